#!/bin/bash
# usage: tools/memory_check.sh [bench PRESET STAGE DTYPE [OPTION...] | train RECIPE [OPTION...]]
# Is the predicted peak memory the one that is used?
#   bench full e2e bf16 --recompute on   `ocellus bench train`, which predicts before it takes its memory
#   train recipes/flickr8k.yaml --set data=photos/flickr8k --stages 1
#                                        `ocellus train --dry-run`, then the run itself, into a folder that is removed
# Prints both in GiB and their ratio; exit status 1 where they differ by more than 5%. A recipe by minutes runs as long as
# it says. OCELLUS names the program (default: build/release/ocellus).
set -euo pipefail
ocellus=${OCELLUS:-build/release/ocellus}
number() { sed -n "s/.*\"$1\": *\([-0-9.e]*\).*/\1/p" | head -1; }
compare() { awk -v p="$1" -v m="$2" 'BEGIN {printf "predicted %.3f GiB, measured %.3f GiB, ratio %.3f\n", p, m, p / m; exit !(p / m > 0.95 && p / m < 1.05)}'; }
case ${1:-} in
bench)
    preset=$2 stage=$3 dtype=$4
    shift 4
    result=$("$ocellus" bench train --preset "$preset" --stage "$stage" --dtype "$dtype" --warmup 0 --steps 1 --json "$@")
    compare "$(number predicted_gib <<<"$result")" "$(number peak_rss_gib <<<"$result")"
    ;;
train)
    shift
    out=$(mktemp -d)
    trap 'rm -rf "$out"' EXIT
    predicted=$("$ocellus" train "$@" --dry-run --json | sed 's/.*"seconds"//' | number memory_bytes)
    measured=$("$ocellus" train "$@" --out "$out/run" --json | number peak_rss_gib)
    compare "$(awk -v b="$predicted" 'BEGIN {print b / 2^30}')" "$measured"
    ;;
*)
    sed -n '2,9s/^# \{0,1\}//p' "$0"
    exit 2
    ;;
esac
