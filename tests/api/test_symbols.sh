#!/bin/bash
# libocellus shows what ocellus.h declares and nothing else; the header needs no other, in C and in C++.
library=$(dirname "$1")/libocellus.so
include=$2/include
failed=0
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
[ -e "$library" ] || { echo "FAIL $library is missing"; exit 1; }
nm -D --defined-only "$library" | awk '$2 == "T" {print $3}' | grep -v '^__' | sort >"$tmp/shown"
grep -oE '\boc_[a-z_]+\(' <(sed '/^ \*\|^\/\*/d' "$include/ocellus.h") | tr -d '(' | sort -u >"$tmp/declared"
[ "$(wc -l <"$tmp/declared")" -ge 6 ] || { echo "FAIL only $(wc -l <"$tmp/declared") functions are declared"; failed=1; }
diff "$tmp/declared" "$tmp/shown" || { echo "FAIL declared (<) and shown (>) functions differ"; failed=1; }
for language in c c++; do
    echo '#include "ocellus.h"' | cc -x $language -fsyntax-only -Wall -Werror -I"$include" - 2>"$tmp/err" && continue
    grep -q "cc1plus" "$tmp/err" && { echo "no C++ compiler"; continue; }
    echo "FAIL the header as $language: $(head -3 "$tmp/err")"
    failed=1
done
exit $failed
