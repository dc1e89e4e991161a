#!/bin/bash
# compare: two evaluations of the same data; a set that only partly overlaps; what does not go together.
program=$1
model=$2/tests/data/golden/tiny
failed=0
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
cd "$tmp" || exit 1
fail() { echo "FAIL $*"; failed=1; }
is() { [ "$2" = "$3" ] || fail "$1: got \"$2\", not \"$3\""; }
has() { grep -qF -- "$3" "$2" || fail "$1: \"$3\" is not in $(cat "$2")"; }
fails() { # what, wanted exit code, needle of stderr, command...
    local what=$1 want=$2 needle=$3 got
    shift 3
    "$@" >/dev/null 2>err
    got=$?
    is "$what, exit code" $got $want
    grep -qF -- "$needle" err || fail "$what: \"$needle\" is not in: $(cat err)"
}
number() { sed -n "s/.*\"$1\": \([-0-9.e]*\).*/\1/p" | head -1; } # a JSON member of stdin
member() { sed "s/.*\"$1\": {\([^}]*\)}.*/\1/"; }               # of stdin, an object without objects in it

# Two evaluations are made by hand: B repeats the reference for every picture but the last, A says little.
item() { printf '{"id":"%s","image":"%s.jpg","shown":"%s.jpg","answer":"%s","references":["a red cat number %s on a mat","the cat %s"],"tokens":3,"finished":true,"logprob":-1.0}\n' $1 $1 $1 "$2" $1 $1; }
mkdir a b c q
for d in a b c; do echo '{"task": "caption"}' >$d/scores.json; done
for i in $(seq 1 20); do item $i "a dog" >>a/items.jsonl; done
for i in $(seq 20 -1 2); do item $i "a red cat number $i on a mat" >>b/items.jsonl; done
item 1 "" >>b/items.jsonl
head -15 b/items.jsonl >c/items.jsonl # items 20 to 6
item 77 "a" >>c/items.jsonl

"$program" compare a b --json >ab.json 2>err || fail "compare: $(cat err)"
[ -s err ] && fail "compare says $(cat err)"
is "items" "$(number items <ab.json)" 20
cider=$(member CIDEr <ab.json)
awk -v d="$(number difference <<<"$cider")" -v lo="$(number low <<<"$cider")" -v hi="$(number high <<<"$cider")" -v p="$(number p <<<"$cider")" \
    'BEGIN { exit !(d > 1 && lo > 0 && lo < d && d < hi && p < 0.001) }' || fail "CIDEr: $cider"
has "the best of b" ab.json '"better_in_b": [{"id": "'
is "the one that a has better" "$(sed 's/.*"better_in_a": \[{"id": "\([0-9]*\)".*/\1/' ab.json)" 1
"$program" compare b a --json >ba.json || fail "compare, exchanged"
is "sign" "$(member CIDEr <ba.json | number high)" "-$(number low <<<"$cider")"
"$program" compare a b --json | cmp - ab.json || fail "equal seeds differ"
"$program" compare a b --seed 1 --json | cmp -s - ab.json && fail "the seed changes nothing"
"$program" compare a a --json | member Bleu_4 >aa.json
is "a with itself, p" "$(number p <aa.json)" 1.0
is "a with itself, difference" "$(number difference <aa.json)" 0.0
"$program" compare a b >ab.txt || fail "text"
has "text" ab.txt "CIDEr "
has "text" ab.txt "Better in B (CIDEr)"
has "text" ab.txt "20 items, 20 pictures"

# What only one has is left out; scores are those of the set that is left (as `ocellus score` gives them).
"$program" compare a c --json >ac.json 2>err || fail "another set"
has "another set" err "5 items are only in a and 1 only in c: the 15 that both have"
is "another set, items" "$(number items <ac.json)" 15
{ echo '{"annotations":['; for i in $(seq 6 20); do printf '{"image_id":%d,"caption":"a red cat number %d on a mat"},{"image_id":%d,"caption":"the cat %d"}%s\n' $i $i $i $i "$([ $i -lt 20 ] && echo ,)"; done; echo ']}'; } >refs.json
{ echo '['; for i in $(seq 6 20); do printf '{"image_id":%d,"caption":"a red cat number %d on a mat"}%s\n' $i $i "$([ $i -lt 20 ] && echo ,)"; done; echo ']'; } >results.json
"$program" score --task caption --references refs.json --results results.json --json >score.json
for s in Bleu_4 ROUGE_L CIDEr; do
    is "another set, $s" "$(printf %.6g "$(member $s <ac.json | number b)")" "$(printf %.6g "$(number $s <score.json)")"
done
fails "another set, strict" 1 "5 items are only in a and 1 only in c" "$program" compare a c --strict

# The files of eval itself, questions.
"$program" data synth --out scenes --count 6 --size 48 --quiet || fail "data synth"
for n in 2 7; do "$program" eval "$model" --data scenes/qa.jsonl --kind vqa --dtype f32 --limit 20 --max-new-tokens $n --quiet --out q$n >q$n.txt || fail "eval"; done
"$program" compare q2 q7 --json >q.json || fail "questions"
awk -v a="$(member overall.f1 <q.json | number b)" -v b="$(sed -n 's/.*"f1": \([^,]*\),.*/\1/p' q7/scores.json | head -1)" 'BEGIN { exit !(a - b < 1e-8 && b - a < 1e-8) }' || fail "F1 of answers: $(member overall.f1 <q.json)"

fails "another task" 1 "has captions and" "$program" compare a q2
fails "no folder" 1 "nowhere: no such folder" "$program" compare a nowhere
fails "no evaluation" 1 "scores.json" "$program" compare a scenes
fails "one folder" 2 "A B" "$program" compare a
sed 's/the cat 5"/the dog 5"/' b/items.jsonl >q/items.jsonl && cp b/scores.json q/
fails "other references" 1 "item 5 has other references in q than in a" "$program" compare a q
item 5 x >>q/items.jsonl
fails "an id twice" 1 "q: item 5 occurs twice" "$program" compare a q
echo '{"id":"1"}' >q/items.jsonl
fails "no item" 1 "q/items.jsonl:1: element 0: not an item of an evaluation" "$program" compare a q
: >q/items.jsonl
fails "empty" 1 "q/items.jsonl" "$program" compare a q
item 900 x >q/items.jsonl
fails "nothing in common" 1 "have no item in common" "$program" compare a q
exit $failed
