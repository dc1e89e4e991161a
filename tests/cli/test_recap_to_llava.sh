#!/bin/bash
# tools/recap_to_llava.py: rows of Parquet files become records that ocellus reads, and rows that it would refuse do not.
# PYTHON: an interpreter with pyarrow; without pyarrow there is nothing to test.
program=$1
source=$2
python=${PYTHON:-python3}
if ! "$python" -c "import pyarrow.parquet" 2>/dev/null; then
    echo "$python has no pyarrow: tools/recap_to_llava.py was not tested"
    exit 0
fi
failed=0
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
cd "$tmp" || exit 1
fail() { echo "FAIL $*"; failed=1; }
is() { [ "$2" = "$3" ] || fail "$1: got \"$2\", not \"$3\""; }
convert() { "$python" "$source/tools/recap_to_llava.py" "$@"; }
fails() { # what, needle of the last line of stderr, arguments...
    local what=$1 needle=$2
    shift 2
    convert "$@" >stdout 2>err && fail "$what: exit code 0"
    tail -1 err | grep -qF -- "$needle" || fail "$what: \"$needle\" is not in: $(tail -1 err)"
    grep -q Traceback err && fail "$what: a traceback"
}

"$python" - "$source/tests/data/image" <<'PYTHON' || fail "rows"
import os, sys
import pyarrow as pa, pyarrow.parquet as pq
png, jpg = (open(f"{sys.argv[1]}/{n}", "rb").read() for n in ("rgb.png", "baseline.jpg"))
turn = pa.struct([("from", pa.string()), ("value", pa.string())])
schema = pa.schema([("id", pa.string()), ("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
                    ("conversations", pa.list_(turn)), ("data_source", pa.string())])
def row(id, data, *values, path=None, first="human", null=False):
    who = ("human", "gpt") if first == "human" else ("gpt", "human")
    return {"id": id, "image": None if null else {"bytes": data, "path": path}, "data_source": "set",
            "conversations": [{"from": who[i % 2], "value": v} for i, v in enumerate(values)]}
good = [row("a", png, "<image>", "A wide field – green.", path="a.png"),
        row("../../b", png, "said before", "What is it?\n<image>", "A field.", "And above?", "The sky.", first="gpt"),
        row("c", jpg, "<image>\nWhat?", "A picture."),
        row("d", None, "What is <image> in HTML?", "No tag: it is <img>.", null=True),
        row("e", None, "Hello", "Hello to you.")]
bad = [row("no picture", None, "<image>\nWhat?", "A field.", null=True), row("a gif", b"GIF89a...", "<image>", "A field."),
       row("no answer", png, "<image>", "A field.", "Why?"), row("elsewhere", None, "What?", "A field.", path="x.jpg"),
       row("silence", png), row("twice", png, "<image><image>", "Two fields.")]
os.mkdir("rows")
pq.write_table(pa.Table.from_pylist(good[:3], schema), "rows/train-0.parquet", row_group_size=2)
pq.write_table(pa.Table.from_pylist(bad[:3] + good[3:] + bad[3:], schema), "rows/train-1.parquet")
pq.write_table(pa.Table.from_pylist([row("f", png, "What?", "A field without a mark.")], schema), "unmarked.parquet")
pq.write_table(pa.table({"id": ["a"]}), "other.parquet")
PYTHON

# --- what comes of them
said=$(convert rows --out set 2>err) || fail "convert: $(cat err)"
is "summary" "$said" "set: 5 records of 11 rows, 2 without a picture; 2 pictures; 6 rows left out"
is "rows left out, named" "$(grep -c '^rows/train-1.parquet: row [0-9]*, id ' err)" 6
is "files" "$(find set -type f | wc -l)" 3
is "one picture, kept once" "$(grep -o '"image": "[^"]*"' set/conversations.json | sort | uniq -c | awk '{printf "%s ", $1}' | tr ' ' '\n' | sort | xargs)" "1 2"
picture=$(sed -n 's/.*"image": "\([^"]*jpg\)".*/\1/p' set/conversations.json)
cmp -s "set/images/$picture" "$source/tests/data/image/baseline.jpg" || fail "a picture's bytes"
is "ids" "$("$python" -c 'import json; print(*[r["id"] for r in json.load(open("set/conversations.json"))])')" "a ../../b c d e"
is "a turn before the first question" "$(grep -c 'said before' set/conversations.json)" 0

# --- ocellus reads it: the tokenizer's training goes through all records
"$program" tokenizer train --vocab-size 300 --out tokenizer --quiet set/conversations.json >/dev/null 2>err || fail "read: $(cat err)"

# --- again: the same bytes, no picture written twice
cp set/conversations.json before.json
find set/images -type f -printf '%p %i\n' | sort >inodes
convert rows --out set --quiet >/dev/null 2>&1 || fail "again"
cmp -s before.json set/conversations.json || fail "the second run gives other records"
is "pictures stay" "$(find set/images -type f -printf '%p %i\n' | sort)" "$(cat inodes)"

# --- what is not as it should be
convert unmarked.parquet --out unmarked | grep -q '^1 records have a picture and no "<image>"' || fail "a picture without its mark"
fails "too many bad rows" "more than 2 rows cannot be used" rows --out few --max-bad 2
[ ! -e few/conversations.json ] || fail "an unfinished set looks finished"
fails "another table" "there is no column conversations" other.parquet --out x
fails "nothing there" "nowhere: there is no such file or folder" nowhere --out x
mkdir empty && fails "no files" "no *.parquet files in this folder" empty --out x
head -c 600 rows/train-0.parquet >cut.parquet
fails "a file cut short" "cut.parquet: not a Parquet file that can be read" cut.parquet --out x
exit $failed
