#!/bin/bash
# ocellus sweep: a small table of runs from end to end; what is finished is not repeated; a kill and Ctrl-C lose nothing; a run that
# fails or crashes does not end the others; a changed definition is a new run; results, plots and a page.
program=$1
failed=0
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
cd "$tmp" || exit 1
fail() { echo "FAIL $*"; failed=1; }
is() { [ "$2" = "$3" ] || fail "$1: got \"$2\", not \"$3\""; }
has() { [[ "$2" == *"$3"* ]] || fail "$1: \"$3\" is not in \"$2\""; }
cat >recipe.yaml <<'YAML'
vars: {steps: 6, lr: 1e-3}
seed: ${seed}
dtype: f32
threads: 1
model:
  new:
    vision: {hidden: 32, layers: 1, heads: 2, mlp: 64, image_size: 32, patch_size: 8}
    text: {hidden: 32, layers: 1, heads: 2, mlp: 64}
  tokenizer: ${tok}
data: {loader_threads: 1}
stages:
  - {name: align, steps: 2, batch: 4, max_length: 128, train: {projector: "${lr}"}, datasets: [{json: "${data}/recap.json"}]}
  - {name: tune, steps: "${steps}", batch: 4, max_length: 128, train: {lm: "${lr}"}, datasets: [{json: "${data}/human.json"}], save_every: 2}
log: {every: 1, tensorboard: false}
YAML
cat >sweep.yaml <<'YAML'
vars: {seeds: 2, steps: 6, bad: 1e-2, limit: 4}
name: mini
title: A small sweep
question: Does anything happen?
recipe: recipe.yaml
seeds: ${seeds}
set: {data: <data>, tok: <tok>, steps: "${steps}"}
prepare:
  - {name: data, command: data synth --count 24 --size 32 --max-objects 2}
  - {name: tok, command: tokenizer train --vocab-size 300 <data>/human.json <data>/recap.json}
variants:
  - {name: slow, set: {lr: 1e-4}}
  - {name: fast, label: "a | b", set: {lr: "${bad}"}}
evaluate:
  - {name: answers, task: vqa, kind: vqa, data: <data>/qa.jsonl, limit: "${limit}", max_new_tokens: 2}
  - {name: aligned, stage: align, task: vqa, kind: vqa, data: <data>/qa.jsonl, limit: 2, max_new_tokens: 2}
  - {name: blind, task: vqa, kind: vqa, data: <data>/qa.jsonl, constant: true}
measures:
  - {name: accuracy, of: answers, score: scores.overall.accuracy, scale: 100, baseline: blind, baseline_score: per_type.accuracy}
  - {name: loss, kind: loss, of: tune, digits: 3, lower: true}
  - {name: reach, kind: reach, of: tune, value: 100, digits: 0}
  - {name: never, kind: reach, of: tune, value: 0.001}
  - {name: seconds, kind: seconds}
plots:
  - {name: loss, kind: loss, of: tune, title: "<loss> & steps"}
  - {name: accuracy, of: accuracy, connect: true}
  - {name: cost, kind: against, of: loss, against: seconds}
YAML

"$program" sweep sweep.yaml --out o --dry-run >dry || fail "dry run"
has "dry run" "$(cat dry)" "4 runs: 0 done, 0 failed, 0 begun, 4 to do"
has "dry run" "$(cat dry)" "to be prepared  data"
[ -e o ] && fail "a dry run wrote something"
"$program" sweep sweep.yaml --out o --threads 1 >out 2>err || fail "sweep: $(cat err)"
has "which of how many" "$(cat err)" "run 3 of 4: slow, seed 2"
is "output" "$(cat out)" "o/results.md: 4 of 4 runs"
md=$(cat o/results.md)
has "results" "$md" "4 of 4 runs finished: 2 variants, seeds 1 to 2."
has "results, escaped" "$md" '| a \| b | '
has "results, not reached" "$md" " | 5 ± 0 (2) | – | "
grep -q '| without looking | [0-9.]* | ' o/results.md || fail "no baseline"
grep -Eq '^\| a .*(better|worse|not settled)' o/results.md || fail "no differences"
# mean, deviation and differences of results.json from its runs, and those from the logs
flat() { tr -d '\n' <$1 | sed 's/  */ /g'; }
run_losses() { flat o/results.json | sed 's/.*"runs": \[//' | grep -o "\"variant\": \"$1\"[^}]*}" | sed 's/.*"loss": \([^,]*\),.*/\1/'; }
is "states" "$(grep -c '"state": "done"' o/results.json)" 4
log_losses() { for f in o/runs/$1-s*/train/log.jsonl; do tail -1 $f | sed 's/.*"loss":\([^,]*\),.*/\1/'; done; }
summary=$(flat o/results.json | sed 's/.*"variant": "fast", "label"//' | grep -o '"loss": {[^}]*}[^}]*}' | head -1)
number() { echo "$summary" | grep -o "\"$1\": [-0-9.e]*" | sed -n "$2p" | cut -d' ' -f2; }
paste -d' ' <(run_losses slow) <(run_losses fast) <(log_losses slow) <(log_losses fast) |
    awk -v mean="$(number mean 1)" -v sd="$(number sd 1)" -v dmean="$(number mean 2)" -v half="$(number interval95 1)" '
    function near(a, b) { return (a - b) ^ 2 < 1e-14 }
    { slow[NR] = $1; fast[NR] = $2; if (!near($1, $3) || !near($2, $4)) bad = 1 }
    END {
        d1 = fast[1] - slow[1]; d2 = fast[2] - slow[2]; abs = d1 > d2 ? d1 - d2 : d2 - d1
        gap = fast[1] > fast[2] ? fast[1] - fast[2] : fast[2] - fast[1]
        if (NR != 2 || !near(mean, (fast[1] + fast[2]) / 2) || !near(sd, gap / sqrt(2))) bad = 1
        if (!near(dmean, (d1 + d2) / 2) || (half - 12.706 * abs / 2) ^ 2 > 1e-10) bad = 1
        exit bad
    }' || fail "results.json: $summary"
for p in loss accuracy cost; do
    tail -1 o/mini-$p.svg | grep -q '^</svg>$' || fail "o/mini-$p.svg is not whole"
    grep -q 'prefers-color-scheme:dark' o/mini-$p.svg || fail "o/mini-$p.svg is not made for dark pages"
done
grep -q '&lt;loss&gt; &amp; steps' o/mini-loss.svg || fail "a title is not escaped"

# --- nothing is done twice; a new evaluation needs no new training; a page
"$program" sweep sweep.yaml --out o --threads 1 --docs docs/page.md >out 2>err || fail "again: $(cat err)"
grep -q '^run ' err && fail "a finished run was repeated: $(cat err)"
"$program" sweep sweep.yaml --out o --threads 1 --set limit=3 >out 2>err || fail "another evaluation: $(cat err)"
is "runs that were measured anew" "$(grep -c '^run ' err)" 4
is "trainings" "$(cat o/runs/*/train/log.jsonl | wc -l)" 32
printf 'Intro.\n\n%s\nAfter.\n' "$(cat docs/page.md)" >page && mv page docs/page.md
"$program" sweep sweep.yaml --out o --threads 1 --docs docs/page.md --json >json 2>err || fail "docs"
is "sections of the page" "$(grep -c '<!-- sweep mini -->' docs/page.md)" 1
is "around the section" "$(head -1 docs/page.md)/$(tail -1 docs/page.md)" "Intro./After."
[ -s docs/mini-loss.svg ] || fail "no plot beside the page"
is "--json" "$(grep -o '"state": "done"' json | wc -l)" 4

# --- another definition: said, and the old runs stay
"$program" sweep sweep.yaml --out o --threads 1 --set steps=7 --set seeds=1 >out 2>err || fail "changed: $(cat err)"
has "what changed" "$(cat err)" "(variables.steps); a new one"
has "what the page says of it" "$(cat o/results.md)" 'Not as the file has it: `steps=7`, `seeds=1`.'
is "folders" "$(ls -d o/runs/* | wc -l)" 6
mv o moved
"$program" sweep sweep.yaml --out moved --threads 1 --set steps=7 --set seeds=1 >out 2>err || fail "moved"
grep -q '^run ' err && fail "a moved folder was not known again"
rm -r moved/runs

# --- killed in the middle of a run: it goes on from its checkpoint and ends as one that was not
one="--threads 1 --set steps=300 --set seeds=1"
"$program" sweep sweep.yaml --out whole --prepared moved/prepared $one >/dev/null 2>err || fail "whole: $(cat err)"
begin() { # signal
    "$program" sweep sweep.yaml --out killed --prepared moved/prepared $one >/dev/null 2>err &
    pid=$!
    for i in $(seq 2400); do
        [ "$(cat killed/runs/slow-*/train/log.jsonl 2>/dev/null | wc -l)" -ge $2 ] && break
        sleep 0.05
    done
    kill -$1 $pid 2>/dev/null
    wait $pid
    code=$?
}
begin KILL 20
steps=$(cat killed/runs/slow-*/train/log.jsonl | wc -l)
[ "$steps" -lt 300 ] || echo "the first kill came late"
begin INT $((steps + 20))
[ $code = 0 ] || { is "stopped, exit code" $code 1; has "stopped" "$(tail -1 err)" "the same command goes on"; }
has "goes on" "$(cat err)" "slow, seed 1, going on"
"$program" sweep sweep.yaml --out killed --prepared moved/prepared $one >out 2>err || fail "after the kills: $(cat err)"
for v in slow fast; do
    cmp whole/runs/$v-s1-*/train/model/model.safetensors killed/runs/$v-s1-*/train/model/model.safetensors || fail "$v: other weights"
done

# --- a run that fails, one that is killed by the system, a definition that cannot be read
"$program" sweep sweep.yaml --out bad --prepared moved/prepared --threads 1 --set bad=x >out 2>err
is "a bad variable, exit code" $? 1
has "a bad variable" "$(tail -1 err)" "2 of 4 runs failed; bad/results.md names them"
has "failures" "$(cat bad/results.md)" "* fast, seed 2: "
has "failures" "$(cat bad/results.md)" "recipe.yaml:12"
has "the others" "$(cat bad/results.md)" "2 of 4 runs finished"
sed 's/steps: 6, lr/steps: 6, lr/; s/max_length: 128, train: {lm/max_length: 9, train: {lm/' recipe.yaml >short.yaml
sed 's/name: fast, label: "a | b", set: {lr: "${bad}"}/name: fast, recipe: short.yaml, set: {lr: "${bad}"}/' sweep.yaml >short-sweep.yaml
"$program" sweep short-sweep.yaml --out bad2 --prepared moved/prepared --threads 1 --set seeds=1 >out 2>err
is "a failing run, exit code" $? 1
has "a failing run" "$(cat bad2/results.md)" "* fast, seed 1: training: ocellus train: "
# a run whose process is killed ends alone; the next call tries it again from its checkpoint
"$program" sweep sweep.yaml --out crash --prepared moved/prepared $one >out 2>err &
pid=$!
for i in $(seq 2400); do
    [ "$(cat crash/runs/slow-*/train/log.jsonl 2>/dev/null | wc -l)" -ge 20 ] && break
    sleep 0.05
done
kill -KILL $(pgrep -P $pid)
wait $pid
is "a crash, exit code" $? 1
has "a crash" "$(cat crash/results.md)" "* slow, seed 1: training: ended by signal 9"
has "the run after it" "$(cat crash/results.md)" "1 of 2 runs finished"
"$program" sweep sweep.yaml --out crash --prepared moved/prepared $one >out 2>err || fail "after a crash: $(cat err)"
has "after a crash" "$(cat err)" "slow, seed 1, once more"
cmp whole/runs/slow-s1-*/train/model/model.safetensors crash/runs/slow-s1-*/train/model/model.safetensors || fail "after a crash: other weights"

# --- a trained model beside few-shot runs of it: one run, compared with every seed
cat >adapt.yaml <<'YAML'
seed: ${seed}
dtype: f32
threads: 1
model: {init: "${model}"}
stages:
  - {name: adapt, steps: 2, batch: 2, max_length: 128, train: {lm: 1e-3}, datasets: [{kind: vqa, json: "${data}/qa.jsonl", sampling: "${k}"}]}
log: {every: 1, tensorboard: false}
YAML
cat >few.yaml <<'YAML'
vars: {model: none}
name: few
recipe: adapt.yaml
seeds: 2
set: {model: "${model}", data: <smears>}
prepare: [{name: smears, command: data synth --domain cells --count 8 --size 32}]
variants:
  - {name: zero, model: "${model}"}
  - {name: k2, set: {k: "random:2"}}
evaluate: [{name: answers, task: vqa, kind: vqa, data: <smears>/qa.jsonl, limit: 4, max_new_tokens: 2}]
measures: [{name: right, of: answers, score: scores.overall.accuracy}, {name: loss, kind: loss, of: adapt}]
YAML
model=$(ls -d whole/runs/slow-s1-*/train/model)
"$program" sweep few.yaml --out few --threads 1 --set model="$model" >out 2>err || fail "few-shot: $(cat err)"
is "few-shot runs" "$(cat out)" "few/results.md: 3 of 3 runs"
flat few/results.json | sed 's/.*"variants": //' | grep -q '"variant": "k2".*"right": { "n": 2,[^{]*"difference": { "n": 2' || fail "few-shot results: $(flat few/results.json)"

# --- budget
sed 's/^seeds:/minutes: 0.0001\nseeds:/' sweep.yaml >late.yaml
"$program" sweep late.yaml --out late --prepared moved/prepared --threads 1 >out 2>err || fail "budget: $(cat err)"
has "budget" "$(cat err)" "not begun: the budget"
has "budget" "$(cat late/results.md)" "not begun"

usage() { # exit code, needle, command...
    local want=$1 needle=$2
    shift 2
    "$@" >/dev/null 2>err
    is "$needle, exit code" $? $want
    has "message" "$(cat err)" "$needle"
}
usage 1 "none.yaml" "$program" sweep none.yaml
usage 2 "SWEEP.yaml" "$program" sweep
usage 1 "uses no \${sedes}" "$program" sweep sweep.yaml --set sedes=1
sed 's/seeds: /sedes: /' sweep.yaml >bad.yaml
usage 1 "bad.yaml:6:1: unknown key \"sedes\" (did you mean seeds?)" "$program" sweep bad.yaml --set sedes=1
exit $failed
