#!/usr/bin/env bash
# Table CUB: CUB-200-2011, segmentations as regions, the official split.
#
#   examples/paper/cub.sh CUB_200_2011 OUT [NAME=SOURCE[=FLCP]...]
set -euo pipefail
source "$(dirname "$0")/protocol.sh"
data=$1 out=$2
shift 2
classes="$out/classes.txt" train="$data/rate-used.csv" test="$data/rate-used.csv" train_split=train test_split=test

rate data index cub200 "$data" --out "$data/rate.csv"
rows "$data/rate.csv" "$train"
[ $# -gt 0 ] || set -- "${MODELS[@]}"
for model in "$@"; do protocol "$model"; done
