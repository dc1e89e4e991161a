#!/bin/bash
# ocellus score: names and values on stdout, warnings and errors on stderr, exit codes.
program=$1
data=$2/tests/data/metrics
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
failed=0
check() { # what, wanted exit code, command...
    local what=$1 want=$2
    shift 2
    out=$("$@" 2>"$tmp/err" </dev/null)
    local got=$?
    err=$(cat "$tmp/err")
    [ $got -eq "$want" ] || { echo "FAIL $what: exit $got, not $want"; echo "  stdout: $out"; echo "  stderr: $err"; failed=1; }
}
contains() { # what, text, needle
    case $2 in *"$3"*) ;; *) echo "FAIL $1: \"$3\" is not in: $2"; failed=1 ;; esac
}
lines() { # what, file, wanted
    local got
    got=$(wc -l <"$2")
    [ "$got" -eq "$3" ] || { echo "FAIL $1: $got lines, not $3"; failed=1; }
}
refs=$data/adversarial_refs.json
cands=$data/adversarial_cands.json

check "captions, JSON" 0 "$program" score --task caption --references "$refs" --results "$cands" --json --strict --per-item "$tmp/items.jsonl"
[ -z "$err" ] || { echo "FAIL captions: stderr $err"; failed=1; }
[ "$(wc -l <<<"$out")" -eq 1 ] || { echo "FAIL captions: more than one line"; failed=1; }
contains "captions" "$out" '"images": 300'
# The first 12 digits of the official scores (adversarial_scores.json).
for name in Bleu_1 Bleu_2 Bleu_3 Bleu_4 ROUGE_L CIDEr; do
    want=$(head -c 400 "$data/adversarial_scores.json" | grep -o "\"$name\": [0-9.]*" | head -1 | cut -c1-$((${#name} + 18)))
    [ -n "$want" ] || { echo "FAIL captions: no official $name"; failed=1; }
    contains "captions, $name" "$out" "$want"
done
contains "captions, original CIDEr" "$out" '"CIDEr_original": '
lines "per item" "$tmp/items.jsonl" 300
contains "per item" "$(head -1 "$tmp/items.jsonl")" '{"image_id": 245915, "Bleu_1": '

check "captions, text" 0 bash -c '"$1" score --task caption --references "$2" --results - <"$3"' _ "$program" "$refs" "$cands"
contains "captions, text" "$out" "300 images"
contains "captions, text" "$out" "METEOR and SPICE need Java"

echo '[{"image_id": "245915", "caption": "elephants"}, {"image_id": 5, "caption": "x"}]' >"$tmp/odd.json"
check "unknown image" 1 "$program" score --task caption --references "$refs" --results "$tmp/odd.json"
contains "unknown image" "$err" "odd.json:1: element 1: image_id 5 is not among the references"
check "unknown image, lenient" 0 "$program" score --task caption --references "$refs" --results "$tmp/odd.json" --lenient --json
contains "unknown image, lenient" "$out" '"images": 1,'
contains "unknown image, lenient" "$err" "1 results left out"
contains "unknown image, lenient" "$err" "299 images without a result"
echo '[{"image_id": 245915, "caption": "elephants"}]' >"$tmp/one.json"
check "missing result, strict" 1 "$program" score --task caption --references "$refs" --results "$tmp/one.json" --strict
contains "missing result, strict" "$err" "no result for image_id 464872"
printf '[{"image_id": 245915, "caption": "\xff"}]' >"$tmp/bytes.json"
check "not UTF-8" 1 "$program" score --task caption --references "$refs" --results "$tmp/bytes.json"
contains "not UTF-8" "$err" "bytes.json:1"
check "no such file" 1 "$program" score --task caption --references "$tmp/none.json" --results "$cands"
contains "no such file" "$err" "none.json"
check "nowhere to write" 1 "$program" score --task caption --references "$refs" --results "$cands" --per-item "$tmp/no/folder/x"
check "strict and lenient" 2 "$program" score --task caption --references "$refs" --results "$cands" --strict --lenient
check "no task" 2 "$program" score --references "$refs" --results "$cands"
check "tokenized answers" 2 "$program" score --task vqa --references "$refs" --results "$cands" --tokenized
check "two inputs" 2 "$program" score --task vqa --references - --results -

echo '{"annotations": [{"image_id": 1, "caption": "Do not ."}, {"image_id": 2, "caption": "x"}]}' >"$tmp/tok_refs.json"
echo '[{"image_id": 1, "caption": "Do not ."}]' >"$tmp/tok.json"
check "tokenized" 0 "$program" score --task caption --references "$tmp/tok_refs.json" --results "$tmp/tok.json" --tokenized --json
contains "tokenized" "$out" '"Bleu_3": 0.99999999'

check "answers" 0 "$program" score --task vqa --references "$data/vqa_refs.json" --results "$data/vqa_results.json" --json --per-item "$tmp/answers.jsonl"
contains "answers" "$out" '"questions": 120, "accuracy": 0.4824999999'
contains "answers" "$out" '"types": {'
lines "answers per item" "$tmp/answers.jsonl" 120
check "answers, text" 0 "$program" score --task vqa --references "$data/vqa_refs.json" --results "$data/vqa_results.json"
contains "answers, text" "$out" "yes/no"

[ $failed -eq 0 ] && echo "all as expected"
exit $failed
