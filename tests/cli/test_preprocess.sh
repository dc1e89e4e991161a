#!/bin/bash
# ocellus preprocess: the three tensors, both ways to say the size, and what is wrong usage. $1: program, $2: source folder.
set -u
program=$1 images=$2/tests/data/image
dir=$(mktemp -d) && trap 'rm -rf "$dir"' EXIT

fail() { echo "FAILED: $*"; exit 1; }
# The header of a safetensors file.
header() { tail -c +9 "$1" | head -c "$(od -An -tu8 -N8 "$1" | tr -d ' ')"; }
# status, words on stderr, arguments
refused() {
    local want=$1 words=$2; shift 2
    "$program" preprocess "$@" > "$dir/stdout" 2> "$dir/stderr"; local got=$?
    [ $got -eq "$want" ] || fail "exit $got, wanted $want: $*"
    grep -q -- "$words" "$dir/stderr" || fail "no '$words' in: $(cat "$dir/stderr")"
    [ ! -s "$dir/stdout" ] || fail "output on stdout: $*"
}

"$program" preprocess "$images/exif6.jpg" --size 56 --out "$dir/o.safetensors" > /dev/null || fail "exif6.jpg"
for tensor in '"decoded":{"dtype":"U8","shape":\[66,38,3\]' '"resized":{"dtype":"U8","shape":\[56,56,3\]' \
              '"pixel_values":{"dtype":"F32","shape":\[3,56,56\]'; do
    header "$dir/o.safetensors" | grep -q "$tensor" || fail "no $tensor in $(header "$dir/o.safetensors")"
done
size=$(stat -c %s "$dir/o.safetensors")
[ $((size - 56 * 56 * 15 - 66 * 38 * 3)) -lt 400 ] || fail "size $size"

"$program" preprocess "$images/exif6.jpg" --size 56 --aspect pad --out "$dir/p.safetensors" > /dev/null || fail "pad"
cmp -s "$dir/o.safetensors" "$dir/p.safetensors" && fail "--aspect pad changes nothing"

refused 2 "one of --model DIR and --size N" "$images/rgb.png" --out "$dir/x"
refused 2 "one of --model DIR and --size N" "$images/rgb.png" --size 5 --model "$dir" --out "$dir/x"
refused 2 "--aspect goes with --size" "$images/rgb.png" --model "$dir" --aspect pad --out "$dir/x"
refused 2 "--out" "$images/rgb.png" --size 5
refused 1 "$dir" "$images/rgb.png" --model "$dir" --out "$dir/x"
refused 1 "absent.png" "$images/absent.png" --size 5 --out "$dir/x"
refused 1 "a JPEG, PNG or WebP image was expected" "$2/LICENSE" --size 5 --out "$dir/x"
refused 1 "no/such" "$images/rgb.png" --size 5 --out "$dir/no/such/x"
[ ! -e "$dir/x" ] || fail "a file was written after an error"
echo ok
