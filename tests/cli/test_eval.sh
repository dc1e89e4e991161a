#!/bin/bash
# eval: its scores are those of `ocellus score` on the files it writes; batches do not change answers; the controls; errors.
program=$1
model=$2/tests/data/golden/tiny
failed=0
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
fail() { echo "FAIL $*"; failed=1; }
is() { [ "$2" = "$3" ] || fail "$1: got \"$2\", not \"$3\""; }
fails() { # what, wanted exit code, needle of stderr, command...
    local what=$1 want=$2 needle=$3 got
    shift 3
    "$@" >/dev/null 2>"$tmp/err"
    got=$?
    is "$what, exit code" $got $want
    grep -qF -- "$needle" "$tmp/err" || fail "$what: \"$needle\" is not in: $(cat "$tmp/err")"
}
number() { sed -n "s/.*\"$1\": \([-0-9.e]*\).*/\1/p" | head -1; } # a JSON member of stdin

"$program" data synth --out "$tmp/data" --count 5 --size 48 --quiet || fail "data synth"
captions=(--data "$tmp/data/captions_coco.json")
short=(--max-new-tokens 6 --dtype f32 --quiet)

"$program" eval "$model" "${captions[@]}" "${short[@]}" --batch 5 --json --out "$tmp/a" >"$tmp/a.json" || fail "captions"
"$program" score --task caption --references "$tmp/data/captions_coco.json" --results "$tmp/a/results.json" --json >"$tmp/score.json"
for s in Bleu_1 Bleu_4 ROUGE_L CIDEr; do
    is "$s" "$(printf %.6g "$(number $s <"$tmp/a.json")")" "$(printf %.6g "$(number $s <"$tmp/score.json")")"
done
is "lines of items.jsonl" "$(wc -l <"$tmp/a/items.jsonl")" 5
is "items" "$(number items <"$tmp/a.json")" 5
[ -s "$tmp/a/scores.json" ] || fail "no scores.json"
"$program" eval "$model" "${captions[@]}" "${short[@]}" --batch 2 --json --out "$tmp/b" >/dev/null || fail "batch of 2"
cmp "$tmp/a/results.json" "$tmp/b/results.json" || fail "answers depend on the batch"
"$program" eval "$model" "${captions[@]}" "${short[@]}" --beams 2 --limit 2 | grep -q '^CIDEr .*' || fail "beams"
"$program" eval "$model" "${captions[@]}" "${short[@]}" --template plain --limit 2 --out "$tmp/p" >/dev/null || fail "plain"
cmp -s "$tmp/a/results.json" "$tmp/p/results.json" && fail "the template changes nothing"

"$program" eval "$model" "${captions[@]}" "${short[@]}" --shuffle-images --out "$tmp/s" >/dev/null || fail "shuffle"
if grep -E '"image":("[^"]*"),"shown":\1' "$tmp/s/items.jsonl"; then fail "an item kept its picture"; fi
is "pictures shown" "$(grep -oE '"shown":"[^"]*"' "$tmp/s/items.jsonl" | sort -u | wc -l)" 5

vqa=(--data "$tmp/data/qa.jsonl" --kind vqa)
"$program" eval "$model" "${vqa[@]}" "${short[@]}" --limit 12 --json --out "$tmp/q" >"$tmp/q.json" || fail "vqa"
head -12 "$tmp/data/qa.jsonl" >"$tmp/qa12.jsonl"
"$program" score --task vqa --references "$tmp/qa12.jsonl" --results "$tmp/q/results.json" --json >"$tmp/score.json"
is "f1" "$(printf %.6g "$(number f1 <"$tmp/q.json")")" "$(printf %.6g "$(number f1 <"$tmp/score.json")")"
[ "$(number images_encoded <"$tmp/q.json")" -lt 5 ] || fail "a picture with several questions is encoded more than once"

# several answers: VQA accuracy counts them all
sed 's/"answer":"\([^"]*\)"/"answers":["nothing","\1",{"answer":"\1"},"\1","\1"]/' "$tmp/qa12.jsonl" >"$tmp/data/several.jsonl"
"$program" eval "$model" --data "$tmp/data/several.jsonl" --kind vqa "${short[@]}" --json --out "$tmp/q5" >"$tmp/q5.json" || fail "several answers"
is "references" "$(number references <"$tmp/q5.json")" 60
"$program" score --task vqa --references "$tmp/data/several.jsonl" --results "$tmp/q5/results.json" --json >"$tmp/score.json"
is "f1 of several answers" "$(printf %.6g "$(number f1 <"$tmp/q5.json")")" "$(printf %.6g "$(number f1 <"$tmp/score.json")")"

"$program" eval --constant "${vqa[@]}" --json --quiet | grep -q '"per_type"' || fail "constant answer"
# The most frequent answer of each kind of question, and the same learned from training questions.
mkdir "$tmp/path"
printf '{"question_id":%s,"image":"a.jpg","question":"%s it?","answer":"%s"}\n' 1 Is yes 2 Is yes 3 is no 4 Does no 5 Where liver 6 Where lung 7 where lung 8 What cell >"$tmp/path/test_qa.jsonl"
printf '{"image":"b.jpg","question":"%s that?","answer":"%s"}\n' Is no Where liver Who nobody Who nobody Who nobody >"$tmp/path/train_qa.jsonl"
"$program" eval --constant --benchmark pathvqa --data "$tmp/path" --json --quiet >"$tmp/k.json" || fail "constant by kind"
part() { sed "s/.*\"$1\": {\"overall\": {\([^}]*\)}.*/\1/" "$tmp/k.json" | number exact; }
is "by type: 2 yes, 2 lung" "$(sed 's/.*"per_type": {\([^}]*\)}.*/\1/' "$tmp/k.json" | number exact)" 0.5
is "by kind: 2 yes, 1 no, 2 lung, 1 cell" "$(part per_kind)" 0.75
is "learned: is -> no, does -> no of its type, where -> liver, what -> nobody of its type" "$(part learned)" 0.375
"$program" eval --constant --benchmark pathvqa --data "$tmp/path" --quiet | grep -q 'counted over the training questions *37.50 *37.50 *50.00 *25.00' || fail "constant by kind, text"
"$program" eval --constant "${captions[@]}" --json --quiet >"$tmp/c.json" || fail "constant caption"
best=$(sed -n 's/.*"candidates": [0-9]*, "caption": "\([^"]*\)".*/\1/p' "$tmp/c.json")
ids=$(grep -oE '"image_id": *[^,}]*' "$tmp/a/results.json" | sed 's/.*: *//')
for id in $ids; do echo "{\"image_id\": $id, \"caption\": \"$best\"},"; done | sed '1s/^/[/; $s/,$/]/' >"$tmp/constant.json"
"$program" score --task caption --references "$tmp/data/captions_coco.json" --results "$tmp/constant.json" --json >"$tmp/score.json"
is "CIDEr of the constant" "$(printf %.6g "$(sed "s/.*\"scores\": {\([^}]*\)}.*/\1/" "$tmp/c.json" | number CIDEr)")" "$(printf %.6g "$(number CIDEr <"$tmp/score.json")")"

fails "no model" 2 "MODEL is missing" "$program" eval "${captions[@]}"
fails "model and constant" 2 "takes no MODEL" "$program" eval "$model" "${captions[@]}" --constant
fails "no data" 2 "--data is missing" "$program" eval "$model"
fails "beams and temperature" 2 "exclude each other" "$program" eval "$model" "${captions[@]}" --beams 2 --temperature 1
fails "top-k alone" 2 "need --temperature" "$program" eval "$model" "${captions[@]}" --top-k 3
fails "no folder" 1 "$tmp/none" "$program" eval "$tmp/none" "${captions[@]}"
fails "no file" 1 "none.json" "$program" eval "$model" --data "$tmp/none.json"
fails "no pictures" 1 "image" "$program" eval "$model" "${captions[@]}" --images "$tmp/a" --quiet
fails "one picture to exchange" 1 "at least two" "$program" eval "$model" "${captions[@]}" --limit 1 --shuffle-images --quiet
exit $failed
