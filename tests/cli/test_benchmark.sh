#!/bin/bash
# eval --benchmark: folders laid out as the data sets are published, what is missing, a kill in the middle, what changed,
# intervals, the page, published numbers.
program=$1
model=$2/tests/data/golden/tiny
failed=0
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
cd "$tmp" || exit 1
fail() { echo "FAIL $*"; failed=1; }
is() { [ "$2" = "$3" ] || fail "$1: got \"$2\", not \"$3\""; }
has() { grep -qF -- "$3" "$2" || fail "$1: \"$3\" is not in $2"; }
fails() { # what, wanted exit code, needle of stderr, command...
    local what=$1 want=$2 needle=$3 got
    shift 3
    "$@" >/dev/null 2>err
    got=$?
    is "$what, exit code" $got $want
    is "$what, lines of stderr" "$(wc -l <err)" 1
    grep -qF -- "$needle" err || fail "$what: \"$needle\" is not in: $(cat err)"
}
number() { sed -n "s/.*\"$1\": \([-0-9.e]*\).*/\1/p" | head -1; } # a JSON member of stdin

# --- The folders. Scenes in the place of photographs; PNG files may be called .jpg.
"$program" data synth --out scenes --count 12 --size 48 --quiet || fail "data synth"
mkdir -p coco/val2014 coco2/annotations coco2/val2014 flickr/flickr30k-images pathvqa/images/test vqa/val2014 flat/images
for i in $(seq 0 11); do
    f=scenes/images/$(printf %06d $i).png
    name=COCO_val2014_$(printf %012d $i).jpg
    cp $f coco/val2014/$name; cp $f coco2/val2014/$name; cp $f vqa/val2014/$name; cp $f flat/images/$name
    cp $f flickr/flickr30k-images/$i.jpg
    cp $f pathvqa/images/test/$(printf test_%04d.jpg $i)
done
# captions_coco.json has one picture or caption a line. Even pictures are "test", odd ones "val".
karpathy() { # name of the data set
    awk -v set="$1" '
        /"image_id":/ { match($0, /"image_id":[0-9]+/); id = substr($0, RSTART + 11, RLENGTH - 11) + 0
                        match($0, /"caption":".*"\}/); text[id] = text[id] (text[id] == "" ? "" : ",") "{\"raw\":" substr($0, RSTART + 10, RLENGTH - 11) "}" }
        END { printf "{\"images\":["
              for (id = 0; id < 12; id++) {
                  where = set == "coco" ? sprintf("\"filepath\":\"val2014\",\"filename\":\"COCO_val2014_%012d.jpg\",\"cocoid\":%d,", id, id) : sprintf("\"filename\":\"%d.jpg\",", id)
                  printf "%s{%s\"imgid\":%d,\"split\":\"%s\",\"sentences\":[%s]}", id ? "," : "", where, id, id % 2 ? "val" : "test", text[id] }
              printf "],\"dataset\":\"%s\"}\n", set }' scenes/captions_coco.json
}
karpathy coco >coco/dataset_coco.json
cp coco/dataset_coco.json flat/
karpathy flickr30k >flickr/dataset_flickr30k.json
sed 's#"file_name":"images/\([0-9]*\).png"#"file_name":"COCO_val2014_000000\1.jpg"#' scenes/captions_coco.json >coco2/annotations/captions_val2014.json
sed 's#images/00\([0-9]*\).png#test_\1#' scenes/qa.jsonl | head -40 >pathvqa/test_qa.jsonl
awk 'BEGIN { printf "{\"questions\":[" } { match($0, /images\/[0-9]+/); id = substr($0, RSTART + 7, RLENGTH - 7) + 0; match($0, /"question":"[^"]*"/)
     printf "%s{\"image_id\":%d,\"question_id\":%d,%s}", (NR > 1 ? "," : ""), id, NR, substr($0, RSTART, RLENGTH) } END { print "]}" }' <(head -20 scenes/qa.jsonl) >vqa/v2_OpenEnded_mscoco_val2014_questions.json
awk 'BEGIN { printf "{\"annotations\":[" } { match($0, /"answer":"[^"]*"/); a = "{" substr($0, RSTART, RLENGTH) "}"
     printf "%s{\"question_id\":%d,\"answer_type\":\"other\",\"answers\":[%s,%s,%s,%s]}", (NR > 1 ? "," : ""), NR, a, a, a, a } END { print "]}" }' <(head -20 scenes/qa.jsonl) >vqa/v2_mscoco_val2014_annotations.json

short=(--dtype f32 --max-new-tokens 8 --quiet)
run() { "$program" eval "$model" --benchmark "$@" "${short[@]}"; }

# --- Each layout is found, and the scores are those of `ocellus score`.
run coco-karpathy --data coco --out c --json >c.json || fail "coco-karpathy"
is "coco, items" "$(number items <c.json)" 6
has "coco, split" c.json '"split": "test", "official_split": true'
for id in 0 2 4 6 8 10; do has "coco, ids" c/results.json "\"image_id\": $id,"; done
"$program" score --task caption --references coco2/annotations/captions_val2014.json --results c/results.json --json >score.json 2>/dev/null
for s in Bleu_1 ROUGE_L CIDEr_original; do
    is "$s" "$(printf %.6g "$(sed 's/.*"scores": {\([^}]*\)}.*/\1/' c.json | number $s)")" "$(printf %.6g "$(number $s <score.json)")"
done
run coco-karpathy --data coco --split val --out cv --json >cv.json || fail "split val"
has "split val" cv/results.json '"image_id": 11,'
run coco-karpathy --data flat --out flat/out >/dev/null || fail "pictures in one folder"
cmp c/results.json flat/out/results.json || fail "another folder of pictures changes answers"
"$program" eval "$model" --benchmark coco-karpathy --data coco2 --out c2 --dtype f32 --max-new-tokens 8 --json >c2.json 2>err || fail "COCO's own annotations"
has "COCO's own annotations" c2.json '"official_split": false, "items": 12'
has "COCO's own annotations" err "scores are not comparable with published ones"
run flickr30k --data flickr --out f --json >f.json || fail "flickr30k"
is "flickr30k, items" "$(number items <f.json)" 6
run pathvqa --data pathvqa --out p --json >p.json || fail "pathvqa"
is "pathvqa, items" "$(number items <p.json)" 40
has "pathvqa, interval" p.json '"yesno.exact": {"low": '
run vqav2 --data vqa --out v --json >v.json || fail "vqav2"
has "vqav2, references" v.json '"references": 80,'
has "vqav2, prompt" v/items.jsonl 'Answer the question using a single word or phrase.'
(cd vqa/val2014 && tar cf ../val2014.tar --format=ustar ./*.jpg) && rm -r vqa/val2014
run vqav2 --data vqa --out v2 >/dev/null || fail "pictures in a tar file"
cmp v/results.json v2/results.json || fail "a tar file changes answers"
mkdir blip && cp -r coco/val2014 blip/ && echo '[{"image":"val2014/COCO_val2014_000000000003.jpg","caption":["a red circle","a circle"]}]' >blip/coco_karpathy_test.json
run coco-karpathy --data blip --out b --json >b.json || fail "a list of captions"
has "a list of captions" b/results.json '"image_id": 3,'
"$program" eval --constant --benchmark pathvqa --data pathvqa --json --quiet | grep -q '"per_type"' || fail "constant"

# --- Without --out the folder stands beside the model.
cp -r "$model" m
"$program" eval m --benchmark flickr30k --data flickr "${short[@]}" >/dev/null || fail "default folder"
[ -s m-eval/flickr30k/scores.json ] || fail "no scores beside the model"

# --- A kill at any moment: results so far are kept, the end is the same.
slow=(--benchmark pathvqa --data pathvqa --dtype f32 --batch 2 --max-new-tokens 40)
"$program" eval m "${slow[@]}" --out whole --quiet >whole.txt || fail "unbroken run"
for lines in 4 9 15; do
    rm -rf cut
    "$program" eval m "${slow[@]}" --out cut >/dev/null 2>&1 &
    pid=$!
    while kill -0 $pid 2>/dev/null && [ "$(cat cut/journal.jsonl 2>/dev/null | wc -l)" -lt $lines ]; do sleep 0.01; done
    kill -9 $pid 2>/dev/null
    wait $pid 2>/dev/null
    printf '{"item": 3, "id": "te' >>cut/journal.jsonl # what a cut-off write leaves
    before=$(wc -l <cut/journal.jsonl)
    "$program" eval m "${slow[@]}" --out cut >cut.txt 2>err || fail "going on after $before lines: $(cat err)"
    grep -q "goes on after" err || fail "a second start began anew after $before lines"
    for f in results.json items.jsonl scores.json report.html journal.jsonl; do cmp whole/$f cut/$f || fail "$f differs after a kill"; done
done
"$program" eval m "${slow[@]}" --out cut >/dev/null 2>err || fail "a third start"
has "a third start" err "goes on after 40 of 40"
# A line in the middle that is no longer what was written: from there on it is done again.
sed -i '6s/"item"/"itxm"/' cut/journal.jsonl
"$program" eval m "${slow[@]}" --out cut >/dev/null 2>err || fail "a damaged journal"
has "a damaged journal" err "journal.jsonl:6: not the line of item 4"
cmp whole/items.jsonl cut/items.jsonl || fail "a damaged journal changes results"

# --- A model that learned to caption at another question is told from one that did not.
cp -r "$model" asked
sed -i '1s/{/{"ocellus": {"caption_prompt": "Look."},/' asked/config.json
captioned() { "$program" eval asked --benchmark coco-karpathy --data coco --dtype f32 --max-new-tokens 2 --limit 2 --out a --restart "$@" 2>&1 >/dev/null | grep -c 'learned to caption when asked "Look."'; }
is "another question" "$(captioned)" 1
is "its own question" "$(captioned --prompt Look.)" 0

# --- What answers depend on must be the same.
again() { "$program" eval "$1" "${slow[@]}" --out cut --quiet "${@:2}"; }
fails "decoding changed" 1 "decoding.beams was 1 and is now 2" again m --beams 2
fails "batch changed" 1 "batch was 2 and is now 3" again m --batch 3
fails "prompt changed" 1 "suffix was null and is now \"!\"" again m --prompt-suffix '!'
cp -r m m2
printf ' ' >>m2/config.json
fails "model changed" 1 "model was " again m2
cp pathvqa/test_qa.jsonl saved
sed -i '1s/"answer":"/"answer":"x/' pathvqa/test_qa.jsonl
fails "data changed" 1 "data.hash was " again m
mv saved pathvqa/test_qa.jsonl
cp pathvqa/images/test/test_0001.jpg saved
cp pathvqa/images/test/test_0002.jpg pathvqa/images/test/test_0001.jpg
fails "picture changed" 1 "picture test_0001.jpg is another file now" again m
mv saved pathvqa/images/test/test_0001.jpg
again m >/dev/null || fail "everything as it was"
again m --beams 2 --restart >/dev/null || fail "--restart"
is "lines after --restart" "$(wc -l <cut/journal.jsonl)" 41
echo "[]" >cut/journal.jsonl
fails "another file" 1 "not the journal of an evaluation" again m
(exec 9>>whole/journal.jsonl; flock 9; "$program" eval m "${slow[@]}" --out whole --quiet >/dev/null 2>err; is "two at a time, exit code" $? 1; exit $failed) || failed=1
has "two at a time" err "another evaluation writes it"

# --- The page and the table of published numbers.
has "page" c/report.html "CogVLM"
has "page" c/report.html ">145.0<"
has "page" c/report.html "Worst captions"
has "page" p/report.html "Right answers"
grep -q 'src="http\|<script' c/report.html && fail "the page needs something else"
echo '[{"benchmark": "coco-karpathy", "model": "MyModel", "parameters": "1B", "scores": {"CIDEr": 99.9}, "source": "my notes"}]' >more.json
run coco-karpathy --data coco --out c --published more.json >/dev/null || fail "--published"
has "--published" c/report.html ">99.9<"
echo '[{"benchmark": "coco-karpathy", "model": "MyModel", "scores": {"CIDEr": "?"}, "source": "x"}]' >more.json
fails "--published, no number" 1 'row 0: "CIDEr" is not a number' run coco-karpathy --data coco --out c --published more.json
echo '[{"benchmark": "mscoco", "model": "MyModel", "source": "x"}]' >more.json
fails "--published, no benchmark" 1 '"benchmark" is "mscoco"' run coco-karpathy --data coco --out c --published more.json
run coco-karpathy --data coco --out c --resamples 0 --json | grep -q intervals && fail "--resamples 0"

# --- What is missing is named.
fails "no folder" 1 "nothing: no such folder" run coco-karpathy --data nothing
fails "no annotations" 1 "flickr: no annotations of coco-karpathy (split test): looked for dataset_coco.json, coco_karpathy_test.json or captions_val2014.json in ., annotations" run coco-karpathy --data flickr
fails "another split" 1 "--split test is there" run pathvqa --data pathvqa --split val
fails "no such split" 1 "pathvqa has test|val|train" run pathvqa --data pathvqa --split dev
mkdir -p pickles/qas/test && touch pickles/qas/test/test_qa.pkl
fails "pickles" 1 "pickles can run code" run pathvqa --data pickles
mkdir half && cp vqa/*questions.json half
fails "no answers" 1 "no v2_mscoco_val2014_annotations.json" run vqav2 --data half
mkdir bare && cp coco/dataset_coco.json bare
fails "no pictures" 1 "looked for val2014/COCO_val2014_000000000000.jpg in ., images" run coco-karpathy --data bare
rm coco/val2014/COCO_val2014_000000000008.jpg
fails "a missing picture" 1 "1 of 6 pictures are missing, the first is val2014/COCO_val2014_000000000008.jpg" run coco-karpathy --data coco --out c3
run coco-karpathy --data coco --out c3 --limit 4 >/dev/null || fail "--limit"
run coco-karpathy --data bare --images coco2 --out c4 >/dev/null || fail "--images"
fails "kind" 2 "goes with none of --kind" run coco-karpathy --data coco --kind coco
fails "restart alone" 2 "are for --benchmark" "$program" eval "$model" --data x --restart
fails "name" 2 "--benchmark" "$program" eval "$model" --data x --benchmark coco
exit $failed
