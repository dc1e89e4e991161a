#!/bin/bash
# tokenize and tokenizer train: their streams, exit codes, and that one reads what the other writes.
program=$1
data=$2/tests/data/tokenizer
failed=0
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
is() { [ "$2" = "$3" ] || { echo "FAIL $1: got \"$2\", not \"$3\""; failed=1; }; }
fails() { # what, wanted exit code, needle of stderr, stdin, command...
    local what=$1 want=$2 needle=$3 input=$4 got
    shift 4
    printf '%s' "$input" | "$@" >/dev/null 2>"$tmp/err"
    got=$?
    is "$what, exit code" $got $want
    grep -qF -- "$needle" "$tmp/err" || { echo "FAIL $what: \"$needle\" is not in: $(cat "$tmp/err")"; failed=1; }
}

is "specials" "$(echo '{"text": "<|im_end|><image>"}' | "$program" tokenize "$data")" '{"ids": [510, 511]}'
is "file" "$(echo '{"text": " "}' | "$program" tokenize "$data/tokenizer.json")" '{"ids": [220]}'
is "empty text" "$(echo '{"text": ""}' | "$program" tokenize "$data")" '{"ids": []}'
is "no input" "$(: | "$program" tokenize "$data")" ''
is "decode" "$(echo '{"ids": [510, 33, 128]}' | "$program" tokenize "$data" --decode)" '{"text": "<|im_end|>B'$'\xef\xbf\xbd''"}'
is "decode, no specials" "$(echo '{"ids": [510, 33]}' | "$program" tokenize "$data" --decode --skip-special)" '{"text": "B"}'
sed '/"text": null/d' "$data/vectors.jsonl" >"$tmp/in"
"$program" tokenize "$data" <"$tmp/in" >"$tmp/ids" || failed=1
is "ids of all vectors" "$(sed 's/.*"ids": \(\[[^]]*\]\), "decoded".*/{"ids": \1}/' "$tmp/in" | cksum)" "$(cksum <"$tmp/ids")"
"$program" tokenize "$data" --decode <"$tmp/ids" >"$tmp/texts" || failed=1
"$program" tokenize "$data" <"$tmp/texts" | cmp -s - "$tmp/ids" || { echo "FAIL texts -> ids -> texts -> ids"; failed=1; }
fails "no text" 1 'line 2: an object with a string "text"' $'{"text": "a"}\n{"ids": []}\n' "$program" tokenize "$data"
fails "no JSON" 1 "line 1: not valid JSON" "{" "$program" tokenize "$data"
fails "id out of range" 1 "ids[1] is no id" '{"ids": [0, 512]}' "$program" tokenize "$data" --decode
fails "no tokenizer" 1 "neither tokenizer.json nor" "" "$program" tokenize "$tmp"

cat >"$tmp/a.txt" <<'EOF'
a man riding a wave
A man riding a horse
EOF
echo '{"annotations": [{"image_id": 7, "caption": "two dogs"}, {"image_id": 8, "caption": "two dogs running"}]}' >"$tmp/b.json"
echo '[{"conversations": [{"from": "human", "value": "<image>\nWhat?"}, {"from": "gpt", "value": "Two dogs."}]}]' >"$tmp/c.json"
result=$("$program" tokenizer train --vocab-size 272 --lowercase --json --quiet --out "$tmp/new/tok" "$tmp/a.txt" "$tmp/b.json" "$tmp/c.json")
is "trained" "${result%%, \"bytes\"*}" '{"vocab_size": 272, "texts": 6'
is "round trip" "$(echo '{"text": " two dogs<image>"}' | "$program" tokenize "$tmp/new/tok" | "$program" tokenize "$tmp/new/tok" --decode)" '{"text": " two dogs<image>"}'
is "image token" "$(echo '{"text": "<image>"}' | "$program" tokenize "$tmp/new/tok")" '{"ids": [271]}'
echo '[{"caption": "two dogs"}, {"caption": "two dogs"}, {"caption": "two dogs"}, {"caption": "two dogs"}]' >"$tmp/roles.json"
"$program" tokenizer train --vocab-size 300 --quiet --out "$tmp/roles" "$tmp/roles.json" >/dev/null 2>&1
for role in user assistant; do
    is "$role is one token" "$(echo "{\"text\": \"$role\"}" | "$program" tokenize "$tmp/roles" | tr -cd ,)" ""
done
fails "too small" 2 "--vocab-size" "" "$program" tokenizer train --vocab-size 100 --out "$tmp/x" "$tmp/a.txt"
fails "unknown file type" 1 ".jsonl files are read" "" "$program" tokenizer train --vocab-size 300 --out "$tmp/x" "$data"
echo '[{"id": 1}]' >"$tmp/d.json"
fails "no texts" 1 "no texts" "" "$program" tokenizer train --vocab-size 300 --out "$tmp/x" "$tmp/d.json"
echo "[{" >"$tmp/e.json"
fails "broken JSON" 1 "element 0" "" "$program" tokenizer train --vocab-size 300 --out "$tmp/x" "$tmp/e.json"
exit $failed
