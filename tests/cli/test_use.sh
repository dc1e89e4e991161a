#!/bin/bash
# caption, ask, inspect and init: results, how they go together, exit codes and messages.
program=$1
model=$2/tests/data/golden/tiny
images=$2/tests/data/image
failed=0
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
fail() { echo "FAIL $*"; failed=1; }
is() { [ "$2" = "$3" ] || fail "$1: got \"$2\", not \"$3\""; }
has() { [[ "$2" == *"$3"* ]] || fail "$1: \"$3\" is not in \"$2\""; }
fails() { # what, wanted exit code, needle of stderr, command...
    local what=$1 want=$2 needle=$3 got
    shift 3
    "$@" >/dev/null 2>"$tmp/err"
    got=$?
    is "$what, exit code" $got $want
    is "$what, lines of stderr" "$(wc -l <"$tmp/err")" 1
    grep -qF -- "$needle" "$tmp/err" || fail "$what: \"$needle\" is not in: $(cat "$tmp/err")"
}
answer() { sed 's/.*"\(answer\|caption\)": "\(.*\)", "tokens".*/\2/'; }

# --- ask: what transformers generates for this prompt and picture (activations/generation.json, prefix, greedy)
want='\ufffd\n\nJ \ufffd\ufffde b f\u0010U \ufffdg\ufffd\u001dg\ufffdfbo'"'"'DJ;\ufffdibe'
got=$("$program" ask "$model" "$images/rgb.png" "Who is there?" --no-system --max-new-tokens 20 --dtype f32 --json | answer)
is "ask" "$(printf '%b' "${got}" | cksum)" "$(printf '%b' "$want" | cksum)"
greedy=("$program" ask "$model" "$images/rgb.png" "Who is there?" --max-new-tokens 6 --dtype f32 --json)
is "one beam is greedy" "$("${greedy[@]}" --beams 1 | answer)" "$("${greedy[@]}" | answer)"
is "temperature near 0 is greedy" "$("${greedy[@]}" --temperature 0.0001 | answer)" "$("${greedy[@]}" | answer)"
is "one token to choose from is greedy" "$("${greedy[@]}" --temperature 1 --top-k 1 | answer)" "$("${greedy[@]}" | answer)"
is "equal seeds" "$("${greedy[@]}" --temperature 2 --seed 5)" "$("${greedy[@]}" --temperature 2 --seed 5)"
[ "$("${greedy[@]}" --temperature 2 --seed 5)" != "$("${greedy[@]}" --temperature 2 --seed 6)" ] || fail "the seed changes nothing"
has "beams" "$("${greedy[@]}" --beams 3)" '"answer"'

# --- caption
short=(--max-new-tokens 5 --dtype f32)
"$program" caption "$model" "$images/rgb.png" "$images/gray.jpg" "$images/lossy.webp" "${short[@]}" --json --batch 2 >"$tmp/three" || fail "caption"
is "a line for each picture" "$(wc -l <"$tmp/three")" 3
alone=$("$program" caption "$model" "$images/gray.jpg" "${short[@]}" --json)
is "the same alone" "${alone%, \"logprob*}" "$(sed -n '2s/, "logprob.*//p' "$tmp/three")" # whose last digits depend on the batch
has "names" "$("$program" caption "$model" "$images/rgb.png" "$images/gray.jpg" "${short[@]}")" "$images/gray.jpg	"
is "plain" "$("$program" caption "$model" "$images/rgb.png" "${short[@]}" --template plain --json | grep -c '"tokens": 5')" 1
fails "ask without template" 1 "--template chat" "$program" ask "$model" "$images/rgb.png" "Who?" --template plain
fails "no picture" 1 "none.png" "$program" caption "$model" "$tmp/none.png"
fails "not a picture" 1 "config.json" "$program" caption "$model" "$model/config.json"
"$program" caption "$model" "$images/rgb.png" "$tmp/none.png" "$images/gray.jpg" "$model/config.json" "${short[@]}" --batch 3 >"$tmp/some" 2>"$tmp/err"
is "some unreadable, exit code" $? 1
is "some unreadable, lines" "$(cut -f1 "$tmp/some")" "$images/rgb.png
$images/gray.jpg"
is "some unreadable, the others" "$(cat "$tmp/some")" "$("$program" caption "$model" "$images/rgb.png" "$images/gray.jpg" "${short[@]}")"
is "some unreadable, messages" "$(grep -c -e "none.png: cannot open" -e "config.json: JSON" -e "2 of 4 pictures could not be read" "$tmp/err")" 3
"$program" caption "$model" "$images/rgb.png" "$tmp/none.png" "${short[@]}" --json >"$tmp/some" 2>/dev/null && fail "unreadable, json: exit code"
has "unreadable, json" "$(sed -n 2p "$tmp/some")" "{\"image\": \"$tmp/none.png\", \"error\": \"$tmp/none.png: cannot open"
"$program" caption "$model" "$images/rgb.png" "${short[@]}" 2>"$tmp/err" >/dev/null
has "cut off" "$(cat "$tmp/err")" "1 of 1 answers were cut off after 5 tokens"
is "cut off, quiet" "$("$program" caption "$model" "$images/rgb.png" "${short[@]}" --quiet 2>&1 >/dev/null)" ""
fails "no model" 1 "$tmp/none" "$program" caption "$tmp/none" "$images/rgb.png"
fails "too few arguments" 2 "MODEL IMAGE..." "$program" caption "$model"
fails "beams and temperature" 2 "exclude each other" "$program" caption "$model" "$images/rgb.png" --beams 2 --temperature 1
fails "too long" 1 "512 positions" "$program" caption "$model" "$images/rgb.png" --max-new-tokens 500

# --- inspect
has "parts" "$("$program" inspect "$model" --json)" '"parameters": {"vision": 86016, "projector": 7296, "lm": 162624, "total": 255936}'
has "tensors" "$("$program" inspect "$model/activations/batch.safetensors" --tensors)" "I64 [5, 50]              labels"
has "legacy, shards" "$("$program" inspect "${model}_legacy" --json)" '"BF16"'
has "for people" "$("$program" inspect "$model")" "255936 parameters in 95 tensors"
fails "inspect nothing" 1 "it is no model" "$program" inspect "$tmp"
fails "inspect no file" 1 "none" "$program" inspect "$tmp/none"
fails "inspect a picture" 1 "rgb.png" "$program" inspect "$images/rgb.png"

# --- init: a model of other parts gives the same features and the same text model, and can be used at once
"$program" init --vision "$model" --text "$model" --projector-hidden 96 --merge 2 --aspect pad --seed 3 --out "$tmp/new" --json >"$tmp/init" || fail "init"
has "init" "$(cat "$tmp/init")" '"vision": 86016, "projector": 24736, "lm": 162624, "total": 273376, "tokens_per_image": 4'
has "init, inspected" "$("$program" inspect "$tmp/new" --json)" '"projector": {"hidden": 96, "merge": 2, "act": "gelu_tanh", "tokens_per_image": 4}, "mask": "prefix", "aspect": "pad"'
has "init, used" "$("$program" caption "$tmp/new" "$images/rgb.png" "${short[@]}" --json)" '"tokens": 5'
for f in a b; do
    [ $f = a ] && from=$model || from=$tmp/new
    "$program" forward "$from" --raw --prompt "the same decoder" --dtype f32 --out "$tmp/$f.safetensors" >/dev/null || fail "forward $f"
done
cmp "$tmp/a.safetensors" "$tmp/b.safetensors" || fail "the decoder changed on the way"
fails "init without decoder" 2 "--text is missing" "$program" init --vision "$model" --out "$tmp/x"
fails "init from nothing" 1 "$tmp/none" "$program" init --vision "$tmp/none" --text "$model" --out "$tmp/x"
fails "merge too large" 1 "merge" "$program" init --vision "$model" --text "$model" --merge 5 --out "$tmp/x"
[ -e "$tmp/x" ] && fail "a failed init left a folder"

# --- init from the layouts of the hub: SigLIP with its text tower, Qwen2 in bf16 with a tied head
hub=$2/tests/data/checkpoints
"$program" init --vision "$hub/siglip" --text "$hub/qwen2" --projector-hidden 24 --out "$tmp/hub" --json >"$tmp/init" || fail "init from the hub's layouts"
has "init from the hub" "$(cat "$tmp/init")" '"tokens_per_image": 4'
is "parameters of the encoder" "$("$program" inspect "$tmp/hub" --json | sed 's/.*"parameters": {"vision": \([0-9]*\).*/\1/')" "$(sed 's/.*"vision": \([0-9]*\),.*/\1/' "$tmp/init")"
for f in "$hub/qwen2" "$tmp/hub"; do
    "$program" forward "$f" --raw --prompt "the same decoder" --dtype f32 --out "$tmp/${f##*/}.safetensors" >/dev/null || fail "forward $f"
done
cmp "$tmp/qwen2.safetensors" "$tmp/hub.safetensors" || fail "the decoder changed on the way from the hub's layout"
fails "towers in the wrong place" 1 "holds no vision encoder" "$program" init --vision "$hub/qwen2" --text "$hub/qwen2" --out "$tmp/x"

# --- a model without a vision encoder
mkdir "$tmp/lm"
cat >"$tmp/lm/config.json" <<'JSON'
{"model_type": "qwen2", "hidden_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 160, "vocab_size": 512, "max_position_embeddings": 512, "rope_theta": 1000000.0, "tie_word_embeddings": true}
JSON
cp "$model/tokenizer.json" "$tmp/lm/"
fails "config without weights" 1 "$tmp/lm" "$program" caption "$tmp/lm" "$images/rgb.png"
exit $failed
