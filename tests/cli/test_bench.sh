#!/bin/bash
# bench train and bench infer: what they print, the count of operations, and that the parts of a step add up.
program=$1 source=$2
failed=0
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
fail() { echo "FAIL $*"; failed=1; }
is() { [ "$2" = "$3" ] || fail "$1: got \"$2\", not \"$3\""; }
has() { [[ "$2" == *"$3"* ]] || fail "$1: \"$3\" is not in \"$2\""; }
number() { sed -n "s/.*\"$1\": \([-0-9.e]*\).*/\1/p" | head -1; }

# tflop_per_step is what torch_train_step.py prints for this model and batch
for stage in "e2e 0.0124516" "projector 0.00711485"; do
    set -- $stage
    "$program" bench train --preset small --stage "$1" --batch 2 --steps 2 --json --quiet >"$tmp/$1.json" || fail "$1"
    for key in sec_per_step tokens_per_sec gflops peak_rss_gib cpu_sec_per_step loss; do
        [[ "$(number $key <"$tmp/$1.json")" =~ [1-9] ]] || fail "$1: no $key"
    done
    is "$1: operations of a step" "$(printf %.6g "$(number tflop_per_step <"$tmp/$1.json")")" "$2"
    is "$1: tokens" "$(number tokens <"$tmp/$1.json")" 224
    # the timed operations are most of the step
    tr '{' '\n' <"$tmp/$1.json" | sed -n 's/.*"ms": \([0-9.e+-]*\).*/\1/p' | awk -v s="$(number sec_per_step <"$tmp/$1.json")" -v what="$1" \
        '{sum += $1} END {if (NR < 10 || sum < 300 * s || sum > 3000 * s) {print "FAIL " what ": " NR " operations take " sum " of " 1000 * s " ms"; exit 1}}' || failed=1
done
has "weight gradients" "$(cat "$tmp/e2e.json")" '"attention_bwd": {"calls": 12.0'
has "none below the projector" "$(cat "$tmp/projector.json")" '"attention_bwd": {"calls": 6.0'
has "the projector's two" "$(cat "$tmp/projector.json")" '"linear_bwd_w": {"calls": 2.0'

"$program" bench infer --preset small --prefill 20 --new-tokens 3 --repeats 2 --json --quiet >"$tmp/infer.json" || fail "infer"
for key in encode_s prefill_tok_s decode_tok_s caption_s peak_rss_gib; do
    [[ "$(number $key <"$tmp/infer.json")" =~ [1-9] ]] || fail "infer: no $key"
done
has "the tiny model" "$("$program" bench infer --model "$source/tests/data/golden/tiny" --prefill 20 --new-tokens 3 --repeats 1 --json --quiet)" '"start_ms"'
"$program" bench infer --preset small --dtype q9 >/dev/null 2>"$tmp/err"
is "unknown type" $? 2
"$program" bench infer --model "$source/tests/data/golden/tiny" --prefill 600 --quiet >/dev/null 2>"$tmp/err"
is "too long" $? 1
grep -q "512 positions" "$tmp/err" || fail "too long: $(cat "$tmp/err")"
exit $failed
