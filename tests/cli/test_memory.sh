#!/bin/bash
# What the whole program promises of its memory and of its runs: the peak that --dry-run and bench train predict is the one
# that is measured; activation checkpointing takes less memory and changes no bit; --memory chooses it; the same seed gives
# the same files, also after the process was killed.
program=$1
failed=0
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
cd "$tmp" || exit 1
fail() { echo "FAIL $*"; failed=1; }
has() { [[ "$2" == *"$3"* ]] || fail "$1: \"$3\" is not in \"$2\""; }
number() { sed -n "s/.*\"$1\": *\([-0-9.e]*\).*/\1/p" | head -1; }
sanitized=$(grep -c __asan_init "$program") # its shadow memory is not ours to predict

"$program" data synth --out data --count 24 --size 64 --max-objects 2 --quiet || fail "data synth"
"$program" tokenizer train --vocab-size 300 --lowercase --out data/tokenizer --quiet data/human.json data/recap.json >/dev/null || fail "tokenizer"
cat >recipe.yaml <<'YAML'
seed: 5
dtype: f32
threads: 1
data: {loader_threads: 2, augment: {crop_min: 0.6}}
model:
  new:
    vision: {hidden: 256, layers: 4, heads: 4, mlp: 1024, image_size: 64, patch_size: 8}
    text: {hidden: 256, layers: 4, heads: 4, kv_heads: 2, mlp: 1024}
  tokenizer: data/tokenizer
stages:
  - {name: align, steps: 2, batch: 4, max_length: 160, train: {projector: 1e-3}, datasets: [{json: data/recap.json}]}
  - {name: tune, steps: 2, batch: 4, max_length: 160, train: {vision: 1e-4, projector: 1e-3, lm: 1e-4}, datasets: [{json: data/human.json}]}
log: {every: 1, tensorboard: false}
YAML

# --- prediction and measurement
near() { # what, predicted, measured: bytes or GiB
    [ "$sanitized" = 0 ] || return
    awk -v w="$1" -v p="$2" -v m="$3" 'BEGIN {r = p / m; printf "%s: predicted %.4g, measured %.4g, ratio %.3f\n", w, p, m, r
        if (!(r > 0.95 && r < 1.05)) {print "FAIL " w; exit 1}}' || failed=1
}
check_train() { # name, options
    local name=$1
    shift
    "$program" train recipe.yaml "$@" --dry-run --json >dry.json || fail "$name: dry run"
    "$program" train recipe.yaml "$@" --out "$name" --quiet --json >run.json 2>err || fail "$name: $(cat err)"
    peak=$(number peak_rss_gib <run.json)
    near "train, $name" "$(sed 's/.*"seconds"//' dry.json | number memory_bytes)" "$(awk -v g="$peak" 'BEGIN {printf "%.0f", g * 2^30}')"
}
check_train plain
plain=$peak
check_train recomputed --recompute on
[ "$sanitized" != 0 ] || awk -v a="$peak" -v b="$plain" 'BEGIN {exit !(a < 0.9 * b)}' || fail "recompute: $peak GiB instead of $plain"
cmp plain/model/model.safetensors recomputed/model/model.safetensors || fail "recompute: other weights"

# The measurement of the kernels has a peak of its own, which a batch of a few pictures would stay below.
batch=16
[ "$sanitized" = 0 ] || batch=1
for what in "projector on" "e2e off"; do
    set -- $what
    "$program" bench train --preset small --batch $batch --stage "$1" --dtype f32 --recompute "$2" --steps 1 --warmup 0 --threads 1 --json --quiet >bench.json || fail "bench $what"
    near "bench, $1, recompute $2" "$(number predicted_gib <bench.json)" "$(number peak_rss_gib <bench.json)"
done

# --- --memory: in between, not every layer has to be computed twice
if [ "$sanitized" = 0 ]; then
    most() { "$program" train recipe.yaml "$@" --memory 64GiB --dry-run --json | sed 's/.*"name": "tune"//' | number most; }
    limit=$(awk -v a="$(most)" -v b="$(most --recompute on)" 'BEGIN {printf "%.0f", (a + b) / 2}')
    "$program" train recipe.yaml --memory "$limit" --out fitted >/dev/null 2>err || fail "fitted: $(cat err)"
    layers=$(sed -n 's/.*tune: the backward pass computes \([0-9]*\) of 4 vision layers and \([0-9]*\) of 4 decoder layers again.*/\1 \2/p' err)
    awk -v l="$layers" 'BEGIN {n = split(l, a, " "); exit !(n == 2 && a[1] + a[2] >= 2 && a[1] + a[2] < 8)}' || fail "fitted: layers \"$layers\" in $(cat err)"
    cmp plain/model/model.safetensors fitted/model/model.safetensors || fail "fitted: other weights"
fi
"$program" train recipe.yaml --memory 1MiB --out none --quiet 2>err && fail "1 MiB was enough"
has "too little" "$(cat err)" "stage align needs up to"
"$program" train recipe.yaml --memory much --out none --quiet 2>err
[ $? = 2 ] || fail "--memory much"

# --- the same seed again, and killed without a chance to save
sed -i 's/steps: 2/steps: 12, save_every: 2/' recipe.yaml
sed -i 's/hidden: 256/hidden: 32/; s/hidden: 256/hidden: 32/; s/mlp: 1024/mlp: 64/' recipe.yaml
"$program" train recipe.yaml --out first --quiet || fail "first"
"$program" train recipe.yaml --out second --quiet || fail "second"
cmp first/model/model.safetensors second/model/model.safetensors || fail "the same seed, other weights"
"$program" train recipe.yaml --out killed --quiet 2>/dev/null &
pid=$!
while kill -0 $pid 2>/dev/null; do
    steps=$(grep -c tune killed/log.jsonl 2>/dev/null)
    [ "${steps:-0}" -ge 5 ] && break
    sleep 0.01
done
kill -KILL $pid 2>/dev/null
wait $pid 2>/dev/null
"$program" train recipe.yaml --out killed --resume --quiet || fail "resume after a kill"
cmp first/model/model.safetensors killed/model/model.safetensors || fail "killed and resumed: other weights"

# --- a timeline
"$program" train recipe.yaml --out traced --stages 1 --profile --quiet 2>err || fail "profile"
grep -q '"name":"linear_fwd","cat":"operation","ph":"X"' traced/align.trace.json || fail "no trace"
exit $failed
