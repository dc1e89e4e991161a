#!/bin/bash
# usage: tools/dtype_curves.sh DIR [STEPS]
# Does bf16 end where float32 does? Trains one small system twice from the same weights on the same batches, in float32 and
# in bf16 (master weights, softmax, statistics and losses are float32 in both), end to end, and prints the mean loss of the
# last tenth of the steps (default: 2000 steps) of both and their ratio. Exit status 1 where they differ by more than 1%.
# DIR keeps data and runs. OCELLUS names the program (default: build/release/ocellus).
set -euo pipefail
[ $# -ge 1 ] || { sed -n '2,6s/^# //p' "$0"; exit 2; }
ocellus=$(realpath "${OCELLUS:-build/release/ocellus}")
steps=${2:-2000}
mkdir -p "$1" && cd "$1"
if [ ! -e data ]; then
    "$ocellus" data synth --out data --count 400 --size 32 --max-objects 2 --quiet
    "$ocellus" tokenizer train --vocab-size 320 --lowercase --out data/tokenizer --quiet data/human.json data/recap.json >/dev/null
fi
for dtype in f32 bf16; do
    cat >$dtype.yaml <<YAML
seed: 4
dtype: $dtype
threads: ${THREADS:-0}
log: {every: 1, tensorboard: false}
model:
  new:
    vision: {hidden: 64, layers: 3, heads: 4, mlp: 128, image_size: 32, patch_size: 8}
    text: {hidden: 64, layers: 3, heads: 4, kv_heads: 2, mlp: 128}
  tokenizer: data/tokenizer
stages:
  - name: all
    steps: $steps
    batch: 8
    max_length: 128
    system_prompt: false
    train: {vision: 5e-4, projector: 1e-3, lm: 1e-3}
    datasets: [{json: data/human.json}, {json: data/recap.json}]
YAML
    "$ocellus" train $dtype.yaml --out $dtype --overwrite --quiet
done
mean() { sed -n 's/.*"loss":\([0-9.e+-]*\),.*/\1/p' "$1/log.jsonl" | tail -n $((steps / 10)) | awk '{s += $1} END {printf "%.6f", s / NR}'; }
f32=$(mean f32) bf16=$(mean bf16)
awk -v a="$f32" -v b="$bf16" -v n="$steps" 'BEGIN {r = b / a; printf "%d steps: float32 %.4f, bf16 %.4f, ratio %.4f\n", n, a, b, r; exit !(r > 0.99 && r < 1.01)}'
