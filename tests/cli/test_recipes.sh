#!/bin/bash
# recipes/paper*.yaml on a small mock of the folders they expect: a dry run checks and counts, starts nothing, and says of what
# is missing where it should be and where one gets it.
program=$1
recipes=$2/recipes
golden=$2/tests/data/golden/tiny
picture=$2/tests/data/image/rgb.png
failed=0
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
cd "$tmp" || exit 1
fail() { echo "FAIL $*"; failed=1; }
is() { [ "$2" = "$3" ] || fail "$1: got \"$2\", not \"$3\""; }
has() { [[ "$2" == *"$3"* ]] || fail "$1: \"$3\" is not in \"$2\""; }
fails() { # what, needles of stderr (two), command...
    local what=$1 needle=$2 more=$3 got
    shift 3
    "$@" >stdout 2>err
    got=$?
    is "$what, exit code" $got 1
    is "$what, lines of stderr" "$(wc -l <err)" 1
    grep -qF -- "$needle" err || fail "$what: \"$needle\" is not in: $(cat err)"
    grep -qF -- "$more" err || fail "$what: \"$more\" is not in: $(cat err)"
}
# A dry run judges a stage by one micro-batch: three samples at a time are the whole of each set below.
dry=("$program" train "$recipes/paper.yaml" --set data=data --set models=models --set micro=3 --dry-run --threads 1)

# --- nothing is there: each thing in turn is asked for
fails "no decoder" "models/Qwen2-0.5B" "get it from huggingface.co/Qwen/Qwen2-0.5B" "${dry[@]}"
mkdir -p models/Qwen2-0.5B models/siglip-so400m-patch14-384
cp "$golden"/{config,generation_config,tokenizer,tokenizer_config}.json "$golden/model.safetensors" models/Qwen2-0.5B
fails "no encoder" "models/siglip-so400m-patch14-384/config.json" "get it from huggingface.co/google/siglip-so400m-patch14-384" "${dry[@]}"
cp "$golden"/{config,preprocessor_config}.json models/siglip-so400m-patch14-384
fails "no weights" "models/siglip-so400m-patch14-384: holds neither model.safetensors nor" "get it from huggingface.co/google" "${dry[@]}"
cp "$golden/model.safetensors" models/siglip-so400m-patch14-384
fails "no captions" "data/recap-118k/conversations.json: cannot open" "get it from huggingface.co/datasets/lmms-lab/LLaVA-ReCap-118K" "${dry[@]}"
# three captions in each of the first two sets; in the third a caption, a conversation of two turns, one about no picture
record() { printf '{"id": "%s", "image": "00/%s.png", "conversations": [{"from": "human", "value": "<image>"}, {"from": "gpt", "value": "The image shows a wide field of many colours under an open sky."}%s]}' "$1" "$1" "$2"; }
again=', {"from": "human", "value": "What is above the field?"}, {"from": "gpt", "value": "The open sky."}'
silent='{"id": "c", "conversations": [{"from": "human", "value": "What is a field?"}, {"from": "gpt", "value": "Open land."}]}'
mkdir -p data/{recap-118k,recap-558k,next-790k}/images/00
echo "[$(record a), $(record b), $(record c)]" | tee data/recap-118k/conversations.json >data/recap-558k/conversations.json
fails "no pictures" "stage align: 3 samples of data/recap-118k/conversations.json have no picture below data/recap-118k/images; the first is 00/a.png, of sample a" "get it from" \
    "$program" train <(sed 's/on_bad: skip/on_bad: fail/' "$recipes/paper.yaml") --set data=data --set models=models --dry-run
for i in a b c; do for set in recap-118k recap-558k next-790k; do cp "$picture" data/$set/images/00/$i.png; done; done
fails "no conversations" "data/next-790k/conversations.json" "huggingface.co/datasets/lmms-lab/LLaVA-NeXT-Data" "${dry[@]}"
echo "[$(record a), $(record b "$again"), $silent]" >data/next-790k/conversations.json

# --- all is there
"${dry[@]}" --json >plan.json 2>err || fail "dry run: $(cat err)"
has "parameters" "$(cat plan.json)" '"parameters": {"vision": 86016, "projector": 1041472, "lm": 162624, "total": 1290112}'
has "stage 1" "$(cat plan.json)" '"name": "align", "trainable": 1041472, "batch": 256, "micro_batch": 3, "units_per_epoch": 3, "steps": 1,'
has "stage 2" "$(cat plan.json)" '"name": "align-more", "trainable": 1041472, "batch": 256, "micro_batch": 3, "units_per_epoch": 3, "steps": 1,'
has "stage 3" "$(cat plan.json)" '"name": "tune", "trainable": 1290112, "batch": 256,'
has "stage 4" "$(cat plan.json)" '"name": "instruct", "trainable": 1290112, "batch": 256, "micro_batch": 3, "units_per_epoch": 3, "steps": 1,'
number() { sed "s/.*\"name\": \"$1\"[^}]*\"$2\": \([-0-9.e+]*\).*/\1/" plan.json; }
# One sample of three is about no picture; the other stages have a picture a sample.
is "pictures of a step" "$(number tune images_per_step) $(number instruct images_per_step)" "3.0 2.0"
is "the same captions, the same arithmetic" "$(number align tokens_per_step) $(number align flops_per_step)" "$(number align-more tokens_per_step) $(number align-more flops_per_step)"
is "arithmetic grows with what is trained" "$(awk -v a="$(number align flops)" -v b="$(number tune flops)" 'BEGIN {print (a > 0 && b > 1.3 * a)}')" 1
is "tokens of a stage" "$(number align tokens)" "$(number align tokens_per_step)"
"${dry[@]}" >plan.txt || fail "dry run for people"
grep -q "^in all .*Mtokens .*PFLOP .*hours" plan.txt || fail "totals are missing"
is "a line for each stage in each table" "$(grep -cE '^(align|align-more|tune|instruct) ' plan.txt)" 12
is "nothing was written" "$(ls)" "$(printf 'data\nerr\nmodels\nplan.json\nplan.txt\nstdout')"

# --- what is not as it should be
rm data/next-790k/images/00/b.png
fails "a picture is gone" "stage instruct: 1 samples of data/next-790k/conversations.json have no picture" "LLaVA-NeXT-Data" \
    "$program" train <(sed 's/on_bad: skip/on_bad: fail/' "$recipes/paper.yaml") --set data=data --set models=models --dry-run
cp "$picture" data/next-790k/images/00/b.png
sed -i 's/"hidden_size": 48/"hidden_size": 96/' models/siglip-so400m-patch14-384/config.json
fails "an encoder that lies about its size" "models/siglip-so400m-patch14-384" "config.json asks for" "${dry[@]}"
sed -i 's/"hidden_size": 96/"hidden_size": 48/' models/siglip-so400m-patch14-384/config.json
sed -i 's/"gpt"/"robot"/' data/recap-118k/conversations.json
fails "a record that is none" "data/recap-118k/conversations.json:1: record 0" "is none of human" "${dry[@]}"
sed -i 's/"robot"/"gpt"/' data/recap-118k/conversations.json

# --- each stage by itself
"$program" train "$recipes/paper-1.yaml" --set data=data --set models=models --dry-run >/dev/null || fail "paper-1"
"$program" init --vision models/siglip-so400m-patch14-384 --text models/Qwen2-0.5B --projector-hidden 9216 --out start >/dev/null || fail "init"
for i in 2 3 4; do
    "$program" train "$recipes/paper-$i.yaml" --set data=data --set start=start --set micro=3 --dry-run --json >one.json || fail "paper-$i"
    name=$(sed 's/.*"stages": \[{"name": "\([^"]*\)".*/\1/' one.json)
    is "paper-$i is the stage of paper.yaml" "$(sed "s/.*\"name\": \"$name\", \(.*\), \"seconds_per_step.*/\1/" one.json)" "$(sed "s/.*\"name\": \"$name\", \([^}]*\), \"seconds_per_step.*/\1/" plan.json)"
done
exit $failed
