#!/usr/bin/env bash
# Table SD: Stanford Dogs, boxes as regions, the official split.
#
#   examples/paper/sd.sh STANFORD_DOGS OUT [NAME=SOURCE[=FLCP]...]      STANFORD_DOGS holds Images, Annotation and the lists
set -euo pipefail
source "$(dirname "$0")/protocol.sh"
data=$1 out=$2
shift 2
classes="$out/classes.txt" train="$data/rate-used.csv" test="$data/rate-used.csv" train_split=train test_split=test

rate data index stanford-dogs "$data" --out "$data/rate.csv"
rows "$data/rate.csv" "$train"
[ $# -gt 0 ] || set -- "${MODELS[@]}"
for model in "$@"; do protocol "$model"; done
