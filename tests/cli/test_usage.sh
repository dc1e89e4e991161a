#!/bin/bash
# The program's outer contract: exit codes, streams, help, and suggestions, for every command there is.
program=$1
failed=0
check() { # what, wanted exit code, command...
    local what=$1 want=$2
    shift 2
    out=$("$@" 2>"$tmp/err" </dev/null)
    local got=$?
    err=$(cat "$tmp/err")
    [ $got -eq $want ] || { echo "FAIL $what: exit $got, not $want"; echo "  stdout: $out"; echo "  stderr: $err"; failed=1; }
}
contains() { # what, text, needle
    case $2 in *"$3"*) ;; *) echo "FAIL $1: \"$3\" is not in: $2"; failed=1 ;; esac
}
empty() { [ -z "$2" ] || { echo "FAIL $1: not empty: $2"; failed=1; }; }
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

check "no arguments" 2 "$program"
empty "no arguments, stdout" "$out"
contains "no arguments" "$err" "usage: ocellus"
check "--help" 0 "$program" --help
contains "--help" "$out" "usage: ocellus"
empty "--help, stderr" "$err"
check "help" 0 "$program" help
check "--version" 0 "$program" --version
[[ $out =~ ^ocellus\ [0-9]+\.[0-9]+\.[0-9]+$ ]] || { echo "FAIL --version: $out"; failed=1; }
check "unknown command" 2 "$program" nosuchcommand
contains "unknown command" "$err" 'unknown command "nosuchcommand"'
check "mistyped help" 2 "$program" hepl
contains "mistyped help" "$err" "did you mean help?"
check "help of an unknown command" 2 "$program" help nosuchcommand

# Standard output that cannot be written is a failure.
if [ -e /dev/full ]; then
    "$program" --help >/dev/full 2>"$tmp/err"
    [ $? -eq 1 ] || { echo "FAIL full disk: exit code"; failed=1; }
fi

# Every command of the overview explains itself and refuses what it does not know.
commands=$("$program" --help | sed -n 's/^  \([a-z]\+\( [a-z]\+\)\?\)  .*/\1/p')
while read -r name; do
    [ -n "$name" ] || continue
    check "$name --help" 0 "$program" $name --help
    contains "$name --help" "$out" "usage: ocellus $name"
    check "help $name" 0 "$program" help $name
    contains "help $name" "$out" "usage: ocellus $name"
    check "$name --no-such-option" 2 "$program" $name --no-such-option
    contains "$name --no-such-option" "$err" "ocellus $name: unknown option --no-such-option"
    [ "$(wc -l <"$tmp/err")" -eq 1 ] || { echo "FAIL $name: more than one line on stderr: $err"; failed=1; }
    empty "$name --no-such-option, stdout" "$out"
    longest=$("$program" $name --help | awk '{ if (length($0) > m) m = length($0) } END { print m }')
    [ "$longest" -le 120 ] || { echo "FAIL $name --help: a line of $longest columns"; failed=1; }
done <<<"$commands"
exit $failed
