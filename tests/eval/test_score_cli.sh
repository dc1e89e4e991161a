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

# --- Bad input: what exactly is said, and what --strict and --lenient make of it.
score() { "$program" score --task caption --references "$tmp/r.json" --results "$tmp/c.json" --json "$@"; }
answers() { "$program" score --task vqa --references "$tmp/q.jsonl" --results "$tmp/a.jsonl" --json "$@"; }
cat >"$tmp/r.json" <<'JSON'
{"images": [{"id": 1}, {"id": "2"}, {"id": 3.0}, {"id": 4}], "annotations": [
{"image_id": 1, "caption": "a cat on a mat"}, {"image_id": 2, "caption": "two dogs run"}, {"image_id": "3", "caption": "a red bus"}]}
JSON
echo '[{"image_id": "1", "caption": "a cat"}, {"image_id": 2.0, "caption": "dogs"}, {"image_id": 3, "caption": "a bus"}]' >"$tmp/c.json"
check "numbers and strings as ids" 0 score
contains "numbers and strings as ids" "$out" '"images": 3, "references": 3'
contains "numbers and strings as ids" "$err" "1 images without a result"
check "an image without references and result, strict" 1 score --strict
contains "an image without references and result, strict" "$err" "no result for image_id 4"
echo '[{"image_id": 4, "caption": "a cat"}, {"image_id": 1, "caption": "a cat"}]' >"$tmp/c.json"
check "missing references" 1 score
contains "missing references" "$err" "image_id 4 has a result in $tmp/c.json but no reference caption; --lenient leaves it out"
check "missing references, lenient" 0 score --lenient
contains "missing references, lenient" "$err" "1 results left out"
echo '[{"image_id": 1, "caption": "a cat on a mat"}, {"image_id": "1", "caption": "dog"}]' >"$tmp/c.json"
check "duplicate results" 1 score
contains "duplicate results" "$err" "c.json:1: element 1: image_id 1 has a result already; --lenient leaves such results out"
check "duplicate results, lenient: the first counts" 0 score --lenient
contains "duplicate results, lenient: the first counts" "$out" '"ROUGE_L": 1,'
echo '[{"image_id": 1.5, "caption": "x"}]' >"$tmp/c.json"
check "a fraction as id" 1 score
contains "a fraction as id" "$err" '"image_id" is missing or neither an integer nor a string'
echo '[{"image_id": 1, "caption": ""}, {"image_id": 2, "caption": " \n"}, {"image_id": 3, "caption": "."}]' >"$tmp/c.json"
check "empty captions are scored" 0 score
contains "empty captions are scored" "$out" '"images": 3,'
contains "empty captions are scored" "$out" '"CIDEr": 0,'
echo '[{"image_id": 1, "caption": null}]' >"$tmp/c.json"
check "no caption" 1 score
contains "no caption" "$err" 'c.json:1: element 0: "caption" is missing or not a string'
printf '[{"image_id": 1, "caption": "ok"},\n {"image_id": 2, "caption": "\303("}]' >"$tmp/c.json"
check "not UTF-8, the line" 1 score
contains "not UTF-8, the line" "$err" "c.json:2: element 1: not valid JSON"
printf '[{"image_id": 1, "caption": "half' >"$tmp/c.json"
check "cut off" 1 score
contains "cut off" "$err" "c.json:1: element 0: not valid JSON"
echo '{"image_id": 1, "caption": "a cat"}' >"$tmp/c.json"
check "not a list" 1 score
contains "not a list" "$err" "a list of results was expected"
: >"$tmp/c.json"
check "an empty file" 1 score
contains "an empty file" "$err" "c.json"
echo '[]' >"$tmp/c.json"
check "no results" 1 score
contains "no results" "$err" "no result belongs to an image of the references"
echo '[{"image_id": 9, "caption": "x"}]' >"$tmp/c.json"
check "nothing matches, lenient" 1 score --lenient
contains "nothing matches, lenient" "$err" "no result belongs to an image of the references"
check "a pipe" 0 bash -c '"$1" score --task caption --references "$2" --results <(cat "$3") --json' _ "$program" "$refs" "$cands"
contains "a pipe" "$out" '"images": 300'

printf '{"question_id": 1, "answer": "yes"}\n{"question_id": "q2", "answers": ["two", 2]}\n' >"$tmp/q.jsonl"
printf '{"question_id": "1", "answer": "Yes."}\n{"question_id": "q2", "answer": 2}\n' >"$tmp/a.jsonl"
check "answers, ids and numbers" 0 answers --strict
contains "answers, ids and numbers" "$out" '"questions": 2, "accuracy": 1'
printf '{"question_id": 1, "answer": "no"}\n{"question_id": 1, "answer": "yes"}\n' >"$tmp/a.jsonl"
check "answers, duplicate" 1 answers
contains "answers, duplicate" "$err" "a.jsonl:2: element 1: question_id 1 has a result already"
check "answers, duplicate, lenient" 0 answers --lenient
contains "answers, duplicate, lenient" "$out" '"questions": 1, "accuracy": 0,'
echo '{"question_id": 7, "answer": "no"}' >"$tmp/a.jsonl"
check "answers, unknown" 1 answers
contains "answers, unknown" "$err" "question_id 7 is not among the references"
printf '{"question_id": 1, "answer": "yes"}\n{"question_id": 1, "answer": "no"}\n' >"$tmp/q.jsonl"
check "a question twice" 1 answers
contains "a question twice" "$err" "q.jsonl:2: element 1: question_id 1 occurs twice"

# Gigabytes: files are mapped and read record by record. No record may be longer than 64 MiB. RLIMIT_DATA counts what is
# allocated, not what is mapped (a sanitizer's own memory is counted: not there).
if ! nm "$program" 2>/dev/null | grep -q __asan_init; then
    limited() { (ulimit -d 250000 && "$@"); }
    rm "$tmp/c.json" && truncate -s 3G "$tmp/c.json"
    check "3 GiB of zeros" 1 limited score
    contains "3 GiB of zeros" "$err" "c.json:1: element 0"
    { printf '[{"image_id": 1, "caption": "'; head -c 300000000 /dev/zero | tr '\0' x; printf '"}]'; } >"$tmp/c.json"
    check "a caption of 300 MB" 1 limited score
    contains "a caption of 300 MB" "$err" "c.json:1: element 0 is longer than 64 MiB"
    { printf '{"other": ['; head -c 300000000 /dev/zero | tr '\0' '['; } >"$tmp/c.json"
    check "brackets without end" 1 limited score
    contains "brackets without end" "$err" "c.json"
fi

[ $failed -eq 0 ] && echo "all as expected"
exit $failed
