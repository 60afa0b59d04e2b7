#!/usr/bin/env bash
# Table IN-C: what in.sh trained, under ImageNet-C. The paper's measurement reads ImageNet-C's own files, whose regions are
# those of the clean images; ours makes the corruptions itself, on the model's own crop, with the clean images beside them.
#
#   examples/paper/in-c.sh IMAGENET_C CLEAN OUT IN_OUT/NAME...      CLEAN is the manifest that in.sh evaluated on,
#                                                                   IMAGENET/rate-val-used.csv, and IN_OUT its OUT
#
# Environment: CORRUPTIONS (all)  SEVERITIES (1,2,3,4,5)  MASKS ("--masks auto")
set -euo pipefail
data=$1 clean=$2 out=$3
shift 3
CORRUPTIONS=${CORRUPTIONS:-all} SEVERITIES=${SEVERITIES:-1,2,3,4,5} MASKS=${MASKS:---masks auto}

rate data index imagenet-c "$data" --clean "$clean" --out "$data/rate.csv"
for model in "$@"; do
    to="$out/$(basename "$model")"
    for artifact in "$model"/export/*; do
        name=$(basename "$artifact")
        for folder in "$data"/*/[1-5]; do
            severity=$(basename "$folder") corruption=$(basename "$(dirname "$folder")")
            [[ ",$CORRUPTIONS," =~ ,(all|$corruption), && ",$SEVERITIES," == *",$severity,"* ]] || continue
            rate eval "$artifact" "$data/rate.csv" --split "$corruption:$severity" \
                --out "$to/paper/$name/$corruption-$severity" --saliency attention --evidence minmax --valid absolute
        done
        rate eval "$artifact" "$clean" --corrupt "clean,$CORRUPTIONS" --severities "$SEVERITIES" $MASKS --out "$to/ours/$name"
        rate show "$to/ours/$name" | tee "$to/ours-$name.txt"
    done
    for run in "$to"/paper/zs-lp/*; do
        name=$(basename "$run") runs=()
        for artifact in zs-lp ft flcp; do
            if [ -d "$to/paper/$artifact/$name" ]; then runs+=("$to/paper/$artifact/$name"); fi
        done
        rate compare "${runs[@]}" | tee "$to/paper-$name.txt"
    done
done
