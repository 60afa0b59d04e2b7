# The paper's protocol for one model on one set. Sourced by the scripts beside it, which set
#
#   train, train_split, test, test_split    manifests and their splits
#   classes                                 names of the classes, one a line
#   out                                     folder for everything that is made
#
# and call `protocol NAME=SOURCE[=FLCP]` for every model. SOURCE is what `rate export` opens. FLCP is trained here where
# SOURCE is open_clip: or openai:; for ALBEF and BLIP name a checkpoint of the paper's own code, such as
# reference:00010.pyth:224, or go without.
#
# Environment: LIMIT  rows of a class and split, for a first try     EPOCHS  of every fine-tuning (10)
#              DEVICE cpu or cuda, for FT and FLCP (cpu)             MASKS   options of our own measurement ("--masks auto")
#
# Stopped, the same script goes on: what is trained or exported is kept, and an evaluation goes on where it was.

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
EPOCHS=${EPOCHS:-10} DEVICE=${DEVICE:-cpu} MASKS=${MASKS:---masks auto}
MODELS=(
    clip-b32=open_clip:ViT-B-32-quickgelu:openai
    clip-b16=open_clip:ViT-B-16-quickgelu:openai
    albef=albef:ALBEF.pth
    blip=albef:BLIP.pth
)

# rows ALL USED [--test-share S]: the rows of a manifest that are used, and their classes.
rows() {
    python3 "$here/rows.py" "$1" "$2" "$classes" "${@:3}" ${LIMIT:+--limit "$LIMIT"}
}

protocol() {
    local name source flcp
    IFS='=' read -r name source flcp <<< "$1"
    local to="$out/$name"
    mkdir -p "$to"

    # fine-tune: LP and FT
    local learn=(--split "$train_split" --epochs "$EPOCHS" --batch 32 --classes "$classes")
    [ -d "$to/lp" ] || rate finetune lp "$source" "$train" "${learn[@]}" --lr 1e-3 --out "$to/lp"
    [ -d "$to/ft" ] || rate finetune ft "$source" "$train" "${learn[@]}" --lr 1e-5 --device "$DEVICE" --out "$to/ft"

    # export: ZS and LP are two heads on one tower
    local artifacts=(zs-lp ft) made="$to/export"
    [ -d "$made/zs-lp" ] || rate export "$source" --classes "$classes" --head "lp=linear:$to/lp" --out "$made/zs-lp"
    [ -d "$made/ft" ] || rate export "$to/ft" --out "$made/ft"

    # FLCP: trained here, or the one that was named
    case "$source" in
        open_clip:* | openai:*)
            artifacts+=(flcp)
            [ -d "$to/flcp" ] ||
                rate finetune flcp "$source" "$train" "${learn[@]}" --lr 1e-5 --device "$DEVICE" --out "$to/flcp"
            [ -d "$made/flcp" ] || rate export "$to/flcp" --out "$made/flcp" ;;
        *)
            if [ -n "$flcp" ]; then
                artifacts+=(flcp)
                [ -d "$made/flcp" ] || rate export "$flcp" --classes "$classes" --out "$made/flcp"
            fi ;;
    esac

    # evaluate: the paper's explainer under the paper's rule, and ours
    local artifact paper=() ours=()
    for artifact in "${artifacts[@]}"; do
        rate eval "$made/$artifact" "$test" --split "$test_split" --out "$to/paper/$artifact" \
            --saliency attention --evidence minmax --valid absolute
        rate eval "$made/$artifact" "$test" --split "$test_split" --out "$to/ours/$artifact" $MASKS
        paper+=("$to/paper/$artifact") ours+=("$to/ours/$artifact")
    done

    # compare with zero-shot, the first head; show; do the two measurements agree?
    rate compare "${paper[@]}" | tee "$to/paper.txt"
    rate compare "${ours[@]}" | tee "$to/ours.txt"
    rate report "${paper[@]}" --out "$to/paper.html" --force
    rate report "${ours[@]}" --out "$to/ours.html" --force
    rate agree "$to/ours/zs-lp@zs" "$to/paper/zs-lp@zs" | tee "$to/agreement.txt"
}
