#!/usr/bin/env bash
# Table CT: Caltech-101, contours as regions; a fifth of every class is the test set, as in the paper, by the images' names.
#
#   examples/paper/ct.sh CALTECH OUT [NAME=SOURCE[=FLCP]...]      CALTECH holds 101_ObjectCategories and Annotations
set -euo pipefail
source "$(dirname "$0")/protocol.sh"
data=$1 out=$2
shift 2
classes="$out/classes.txt" train="$data/rate-used.csv" test="$data/rate-used.csv" train_split=train test_split=test

rate data index caltech101 "$data" --out "$data/rate.csv"
rows "$data/rate.csv" "$train" --test-share 0.2
[ $# -gt 0 ] || set -- "${MODELS[@]}"
for model in "$@"; do protocol "$model"; done
