#!/usr/bin/env bash
# Table IN: ImageNet-1K, boxes as regions; trained on the training images that have boxes, evaluated on the validation set.
#
#   examples/paper/in.sh IMAGENET OUT [NAME=SOURCE[=FLCP]...]      IMAGENET holds train, val and the boxes of both
set -euo pipefail
source "$(dirname "$0")/protocol.sh"
data=$1 out=$2
shift 2
classes="$out/classes.txt" train="$data/rate-train-used.csv" test="$data/rate-val-used.csv" train_split=train test_split=val

rate data index imagenet "$data" --split train --out "$data/rate-train.csv"
rate data index imagenet "$data" --split val --out "$data/rate-val.csv"
rows "$data/rate-train.csv" "$train"
rows "$data/rate-val.csv" "$test"
[ $# -gt 0 ] || set -- "${MODELS[@]}"
for model in "$@"; do protocol "$model"; done
