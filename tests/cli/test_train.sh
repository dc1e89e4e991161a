#!/bin/bash
# The road from nothing to a model, in miniature: data, tokenizer, towers, stages with evaluation; a run that was stopped
# and continued equals one that was not; --json, --profile, --dry-run; errors.
program=$1
failed=0
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
cd "$tmp" || exit 1
fail() { echo "FAIL $*"; failed=1; }
is() { [ "$2" = "$3" ] || fail "$1: got \"$2\", not \"$3\""; }
has() { [[ "$2" == *"$3"* ]] || fail "$1: \"$3\" is not in \"$2\""; }
fails() { # what, wanted exit code, needle of stderr, command...
    local what=$1 want=$2 needle=$3 got
    shift 3
    "$@" >/dev/null 2>err
    got=$?
    is "$what, exit code" $got $want
    grep -qF -- "$needle" err || fail "$what: \"$needle\" is not in: $(cat err)"
}

"$program" data synth --out data --count 24 --size 32 --max-objects 2 --quiet || fail "data synth"
"$program" tokenizer train --vocab-size 300 --lowercase --out data/tokenizer --quiet data/human.json data/recap.json >/dev/null || fail "tokenizer"
cat >recipe.yaml <<'YAML'
vars: {steps: 60}
seed: 5
dtype: f32
threads: 2
model:
  new:
    vision: {hidden: 32, layers: 2, heads: 2, mlp: 64, image_size: 32, patch_size: 8}
    text: {hidden: 32, layers: 2, heads: 2, mlp: 64}
  towers: {vision: vision/model, text: text/model}
  tokenizer: data/tokenizer
pretrain_vision: {steps: 3, batch: 4, max_text: 32, lr: 1e-3, text: {layers: 1}, datasets: [{json: data/recap.json}]}
pretrain_text: {steps: 3, batch: 4, length: 32, lr: 1e-3, datasets: [{json: data/recap.json}]}
stages:
  - {name: align, steps: 4, batch: 4, max_length: 128, train: {projector: 1e-3}, datasets: [{json: data/recap.json}]}
  - name: tune
    steps: ${steps}
    batch: 4
    micro_batch: 2
    ema: 0.9
    max_length: 128
    train: {vision: 1e-3, projector: 1e-3, lm: 1e-3}
    datasets: [{json: data/human.json}]
    eval_every: 30
    eval: {json: data/captions_coco.json, limit: 4, max_new_tokens: 4}
log: {every: 1}
YAML

"$program" pretrain vision recipe.yaml --out vision --quiet --json >vision.json || fail "pretrain vision"
"$program" pretrain text recipe.yaml --out text --quiet --json >text.json || fail "pretrain text"
has "pretraining's summary" "$(cat text.json)" '"steps": 3, '
"$program" train recipe.yaml --dry-run --json >dry.json || fail "dry run"
[ -e whole ] && fail "a dry run wrote something"
"$program" train recipe.yaml --out whole --quiet --json >whole.json || fail "train"
has "summary" "$(cat whole.json)" '"name": "tune", "stage_index": 1, "steps": 60, "samples": 240'
has "evaluation after the stage" "$(cat whole.json)" '"evaluation": {"task": "caption", "items": 4'
is "evaluations in the log" "$(grep -c '"evaluation"' whole/log.jsonl)" 2
is "lines of the log" "$(grep -c '"loss"' whole/log.jsonl)" 64
for folder in whole/stage-1-align whole/stage-2-tune whole/model; do
    "$program" inspect $folder >/dev/null || fail "$folder"
done
has "the template is remembered" "$("$program" inspect whole/model --json)" '"template": "chat", "system_prompt": true, "stage": "tune"'
has "captions are asked for as in training" "$("$program" inspect whole/stage-1-align)" 'asked for with "Describe the image in detail."'
has "and in the stage after it" "$("$program" inspect whole/model --json)" '"caption_prompt": "Describe the image."'
picture=data/images/000000.png
[ -e $picture ] || fail "no $picture"
is "caption asks so" "$("$program" caption whole/model $picture --dtype f32)" "$("$program" caption whole/model $picture --dtype f32 --prompt "Describe the image.")"
[ "$("$program" caption whole/model $picture --dtype f32 --json)" != "$("$program" caption whole/model $picture --dtype f32 --json --prompt "Describe the image in detail.")" ] ||
    fail "the question for a caption changes nothing"
"$program" eval whole/model --data data/captions_coco.json --limit 4 --max-new-tokens 4 --dtype f32 --json --quiet >eval.json || fail "eval"
number() { sed -n "s/.*\"$1\": *\([-0-9.e]*\).*/\1/p" | head -1; }
for s in ROUGE_L CIDEr new_tokens; do
    is "the model is the one that was evaluated: $s" "$(number $s <eval.json)" "$(tail -1 whole/log.jsonl | number $s)"
done

# --- stopped between stages, and in the middle of one
"$program" train recipe.yaml --out parts --stages 1 --quiet || fail "one stage"
"$program" train recipe.yaml --out parts --resume --quiet || fail "the rest"
cmp whole/model/model.safetensors parts/model/model.safetensors || fail "resumed at a stage's end: other weights"
"$program" train recipe.yaml --out stopped --quiet 2>err &
pid=$!
while kill -0 $pid 2>/dev/null; do
    steps=$(grep -c tune stopped/log.jsonl 2>/dev/null)
    [ "${steps:-0}" -ge 3 ] && break
    sleep 0.01
done
kill -INT $pid 2>/dev/null
wait $pid
code=$?
echo "stopped after $(grep -c tune stopped/log.jsonl) steps of the second stage"
[ $code = 0 ] || { is "stopped, exit code" $code 1; has "stopped" "$(cat err)" "--resume continues"; }
"$program" train recipe.yaml --out stopped --resume --quiet || fail "resume"
cmp whole/model/model.safetensors stopped/model/model.safetensors || fail "resumed in a stage: other weights"

# --- how much, before anything is done
has "dry run" "$(cat dry.json)" '"name": "tune"'
is "steps of the dry run" "$(grep -o '"steps": 60' dry.json | wc -l)" 1
has "parameters" "$("$program" inspect whole/model --json)" "\"total\": $(sed -n 's/.*"parameters": {[^}]*"total": \([0-9]*\).*/\1/p' dry.json)"
"$program" train recipe.yaml --dry-run | grep -q '^align' || fail "dry run for people"

"$program" train recipe.yaml --out profiled --stages 1 --profile --json 2>err | grep -q '"operations": {"' || fail "profile"
grep -q "linear_fwd" err || fail "profile on stderr"

fails "a run is there" 1 "--resume continues it" "$program" train recipe.yaml --out whole
fails "no recipe" 1 "none.yaml" "$program" train none.yaml --out x
sed 's/seed/sede/' recipe.yaml >bad.yaml
fails "unknown key" 1 "bad.yaml:2" "$program" train bad.yaml --out x
fails "no output folder" 1 "--out DIR" "$program" train recipe.yaml
sed 's|data/human.json|data/none.json|' recipe.yaml >bad.yaml
fails "no data" 1 "data/none.json" "$program" train bad.yaml --out y --quiet
fails "no data, dry run" 1 "data/none.json" "$program" train bad.yaml --dry-run
# a record that does not say where its picture goes; sequences that max_length cuts
sed 's|<image>\\n||' data/recap.json >data/unplaced.json
sed 's|{json: data/recap.json}\]}$|{json: data/unplaced.json}]}|; s|max_length: 128, train|max_length: 110, train|' recipe.yaml >unplaced.yaml
fails "no <image>" 1 "fix_placeholders" "$program" train unplaced.yaml --stages 1 --out unplaced --quiet
sed 's|unplaced.json}|unplaced.json, fix_placeholders: true}|' unplaced.yaml >placed.yaml
"$program" train placed.yaml --stages 1 --out placed >/dev/null 2>err || fail "fix_placeholders: $(cat err)"
has "cut sequences" "$(cat err)" "sequences lost their end to max_length (110 tokens)"
fails "unknown number" 2 "--stages" "$program" train recipe.yaml --stages -1 --out x
fails "dry pretraining" 2 "--dry-run is about" "$program" pretrain text recipe.yaml --dry-run --out x
[ -e x ] && fail "a failed command left a folder"
exit $failed
