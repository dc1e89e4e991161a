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
dry=("$program" train "$recipes/paper.yaml" --set data=data --set models=models --dry-run --threads 1)

# --- nothing is there: each thing in turn is asked for
fails "no decoder" "models/Qwen2-0.5B" "get it from huggingface.co/Qwen/Qwen2-0.5B" "${dry[@]}"
mkdir -p models/Qwen2-0.5B models/siglip-so400m-patch14-384
cp "$golden"/{config,generation_config,tokenizer,tokenizer_config}.json "$golden/model.safetensors" models/Qwen2-0.5B
fails "no encoder" "models/siglip-so400m-patch14-384/config.json" "get it from huggingface.co/google/siglip-so400m-patch14-384" "${dry[@]}"
cp "$golden"/{config,preprocessor_config}.json models/siglip-so400m-patch14-384
fails "no weights" "models/siglip-so400m-patch14-384: holds neither model.safetensors nor" "get it from huggingface.co/google" "${dry[@]}"
cp "$golden/model.safetensors" models/siglip-so400m-patch14-384
fails "no captions" "data/recap-558k/recap.json: cannot open" "get it from huggingface.co/datasets/lmms-lab/LLaVA-ReCap-558K" "${dry[@]}"
mkdir -p data/recap-558k/images/00000 data/coco/{train,val}2014 data/flickr30k/images
record() { printf '{"id": "%s", "image": "00000/%s.png", "conversations": [{"from": "human", "value": "<image>"}, {"from": "gpt", "value": "The image shows a wide field of many colours under an open sky."}]}' "$1" "$1"; }
echo "[$(record a), $(record b), $(record c)]" >data/recap-558k/recap.json
fails "no pictures" "stage align: 3 samples of data/recap-558k/recap.json have no picture below data/recap-558k/images; the first is 00000/a.png, of sample a" "get it from" \
    "$program" train <(sed 's/on_bad: skip/on_bad: fail/' "$recipes/paper.yaml") --set data=data --set models=models --dry-run
for i in a b c; do cp "$picture" data/recap-558k/images/00000/$i.png; done
fails "no COCO" "data/coco/dataset_coco.json" "cs.stanford.edu/people/karpathy" "${dry[@]}"
sentences() { for k in 0 1 2 3 4; do printf '%s{"raw": "A dog %s.", "tokens": ["a"], "imgid": %s, "sentid": %s}' "$([ $k = 0 ] || echo ', ')" $k "$1" $k; done; }
split() { # NAME FOLDER: two pictures for training, one for testing
    local i first=
    echo -n "{\"dataset\": \"$1\", \"images\": ["
    for i in 0 1 2; do
        printf '%s{"filename": "%s.png", %s"imgid": %s, "split": "%s", "sentids": [], "sentences": [%s]}' "$first" $i "$2" $i "$([ $i = 2 ] && echo test || echo train)" "$(sentences $i)"
        first=", "
    done
    echo "]}"
}
split coco '"filepath": "train2014", "cocoid": 7, ' >data/coco/dataset_coco.json
split flickr30k "" >data/flickr30k/dataset_flickr30k.json
for i in 0 1; do cp "$picture" data/coco/train2014/$i.png; cp "$picture" data/flickr30k/images/$i.png; done

# --- all is there
"${dry[@]}" --json >plan.json 2>err || fail "dry run: $(cat err)"
has "parameters" "$(cat plan.json)" '"parameters": {"vision": 86016, "projector": 1041472, "lm": 162624, "total": 1290112}'
has "stage 1" "$(cat plan.json)" '"name": "align", "trainable": 1041472, "batch": 256, "micro_batch": 1, "units_per_epoch": 3, "steps": 1,'
has "stage 2" "$(cat plan.json)" '"name": "align-human", "trainable": 1041472, "batch": 52, "micro_batch": 1, "units_per_epoch": 4, "steps": 1,'
has "stage 3" "$(cat plan.json)" '"name": "tune", "trainable": 1290112, "batch": 256,'
has "stage 4" "$(cat plan.json)" '"name": "tune-human", "trainable": 1290112, "batch": 52,'
number() { sed "s/.*\"name\": \"$1\"[^}]*\"$2\": \([-0-9.e+]*\).*/\1/" plan.json; }
# Five captions of each of four pictures, 16 visual tokens each; a plain caption is the picture, the answer and its end.
is "pictures of a step" "$(number align-human images_per_step)" 4.0
is "arithmetic grows with what is trained" "$(awk -v a="$(number align flops)" -v b="$(number tune flops)" 'BEGIN {print (a > 0 && b > 1.3 * a)}')" 1
is "tokens of a stage" "$(number align tokens)" "$(number align tokens_per_step)"
"${dry[@]}" >plan.txt || fail "dry run for people"
grep -q "^in all .*Mtokens .*PFLOP .*hours" plan.txt || fail "totals are missing"
is "a line for each stage in each table" "$(grep -cE '^(align|align-human|tune|tune-human) ' plan.txt)" 12
is "nothing was written" "$(ls)" "$(printf 'data\nerr\nmodels\nplan.json\nplan.txt\nstdout')"

# --- what is not as it should be
rm data/flickr30k/images/1.png
fails "a picture is gone" "stage align-human: 5 samples of data/flickr30k/dataset_flickr30k.json have no picture" "DenotationGraph" \
    "$program" train <(sed 's/on_bad: skip/on_bad: fail/' "$recipes/paper.yaml") --set data=data --set models=models --dry-run
cp "$picture" data/flickr30k/images/1.png
sed -i 's/"hidden_size": 48/"hidden_size": 96/' models/siglip-so400m-patch14-384/config.json
fails "an encoder that lies about its size" "models/siglip-so400m-patch14-384" "config.json asks for" "${dry[@]}"
sed -i 's/"hidden_size": 96/"hidden_size": 48/' models/siglip-so400m-patch14-384/config.json
sed -i 's/"gpt"/"robot"/' data/recap-558k/recap.json
fails "a record that is none" "data/recap-558k/recap.json:1: record 0" "is none of human" "${dry[@]}"
sed -i 's/"robot"/"gpt"/' data/recap-558k/recap.json

# --- each stage by itself
"$program" train "$recipes/paper-1.yaml" --set data=data --set models=models --dry-run >/dev/null || fail "paper-1"
"$program" init --vision models/siglip-so400m-patch14-384 --text models/Qwen2-0.5B --projector-hidden 9216 --out start >/dev/null || fail "init"
for i in 2 3 4; do
    "$program" train "$recipes/paper-$i.yaml" --set data=data --set start=start --dry-run --json >one.json || fail "paper-$i"
    name=$(sed 's/.*"stages": \[{"name": "\([^"]*\)".*/\1/' one.json)
    is "paper-$i is the stage of paper.yaml" "$(sed "s/.*\"name\": \"$name\", \(.*\), \"seconds_per_step.*/\1/" one.json)" "$(sed "s/.*\"name\": \"$name\", \([^}]*\), \"seconds_per_step.*/\1/" plan.json)"
done
exit $failed
