#!/bin/bash
# forward against logits, losses and gradient norms of Hugging Face transformers (tests/data/golden/tiny), in all masks, with
# text and with a picture; its errors.
program=$1
golden=$2/tests/data/golden/tiny
picture=$2/tests/data/image/rgb.png
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
bytes() { # FILE NAME: of a tensor
    local header begin end
    header=$(od -An -tu8 -N8 "$1" | tr -d ' ')
    read -r begin end < <(tail -c +9 "$1" | head -c "$header" | sed "s/.*\"$2\":{[^}]*\"data_offsets\":\[ *\([0-9]*\) *, *\([0-9]*\) *\].*/\1 \2/")
    tail -c +$((9 + header + begin)) "$1" | head -c $((end - begin))
}
tensor() { # FILE NAME TYPE(of od): its values, one a line
    bytes "$1" "$2" | od -An -v -w4096 -t"$3" | tr -s ' ' '\n' | sed '/^$/d'
}
# The golden batch has 5 sequences of at most 50 tokens over a vocabulary of 512.
text_of() { # SEQUENCE: its text, each run of 16 placeholders as one <image>
    local n
    n=$(tensor "$golden/activations/batch.safetensors" lengths d8 | sed -n "$(($1 + 1))p")
    tensor "$golden/activations/batch.safetensors" input_ids d8 | sed -n "$((50 * $1 + 1)),$((50 * $1 + n))p" >"$tmp/ids"
    echo "{\"ids\": [$(paste -sd, "$tmp/ids")]}" | "$program" tokenize "$golden" --decode | sed 's/^{"text": "//; s/"}$//; s/\(<image>\)\{16\}/<image>/g; s/\\n/\n/g'
}
compare() { # MASK SEQUENCE GOLDEN-NAME [image option]
    local what="$1, sequence $2" text
    text=$(text_of "$2"; printf x) # $() would drop line ends of the text
    text=${text%$'\nx'}
    "$program" forward "$golden" --raw --prompt "$text" "${@:4}" --mask "$1" --dtype f32 --out "$tmp/out.safetensors" >/dev/null || fail "$what"
    tensor "$tmp/out.safetensors" input_ids d8 | cmp -s - "$tmp/ids" || fail "$what: other token ids than the golden ones"
    local n
    n=$(($(wc -l <"$tmp/ids") * 512))
    tensor "$golden/activations/$3.safetensors" logits f4 | tail -n +$((50 * 512 * $2 + 1)) | head -n $n >"$tmp/want"
    tensor "$tmp/out.safetensors" logits f4 >"$tmp/got"
    # float32 of two programs differs by 4e-5 here; another mask by more than 1
    paste "$tmp/want" "$tmp/got" | awk -v n=$n -v what="$what" '{d = $1 - $2; if (d < 0) d = -d; if (d > worst) worst = d}
        END {if (NR != n || NF != 2 || worst > 3e-4) {print "FAIL " what ": " NR " of " n " logits, worst difference " worst; exit 1}}' || failed=1
}
compare causal 2 causal
compare causal 0 causal --image "$picture"
compare prefix 0 prefix --image "$picture"
compare isolated 0 full_visual --image "$picture"

# Without --raw the text becomes a user's turn, and the picture comes first.
"$program" forward "$golden" --prompt "Who?" --image "$picture" --no-system --out "$tmp/chat.safetensors" >/dev/null || fail "chat"
"$program" forward "$golden" --raw --prompt $'<|im_start|>user\n<image>\nWho?<|im_end|>\n<|im_start|>assistant\n' --image "$picture" --out "$tmp/raw.safetensors" >/dev/null
cmp "$tmp/chat.safetensors" "$tmp/raw.safetensors" || fail "a user's turn is not what the template says"
"$program" forward "$golden" --prompt "Who?" --image "$picture" --out "$tmp/system.safetensors" >/dev/null || fail "system"
"$program" forward "$golden" --prompt "Who?" --image "$picture" --system "You are a helpful assistant." --out "$tmp/system2.safetensors" >/dev/null
cmp "$tmp/system.safetensors" "$tmp/system2.safetensors" || fail "the system turn of the model's template"
"$program" forward "$golden" --raw --prompt "a" --dtype bf16 --out "$tmp/bf16.safetensors" >/dev/null || fail "bf16"

# Ids, labels and pixels from a file: the first sequence of the golden batch, whose loss is a mean of golden nll.
batch=$golden/activations/batch.safetensors
n=$(tensor "$batch" lengths d8 | head -1)
inputs() { # OUT PICTURES: header and data
    local header size=$((8 * n)) pixels=$((4 * $2 * 3 * 56 * 56))
    header="{\"input_ids\":{\"dtype\":\"I64\",\"shape\":[1,$n],\"data_offsets\":[0,$size]},\"labels\":{\"dtype\":\"I64\",\"shape\":[$n],\"data_offsets\":[$size,$((2 * size))]}"
    [ "$2" -gt 0 ] && header+=",\"pixel_values\":{\"dtype\":\"F32\",\"shape\":[$2,3,56,56],\"data_offsets\":[$((2 * size)),$((2 * size + pixels))]}"
    header+="}"
    printf "\\x$(printf %02x $((${#header} % 256)))\\x$(printf %02x $((${#header} / 256)))\\0\\0\\0\\0\\0\\0" >"$1"
    printf %s "$header" >>"$1"
    bytes "$batch" input_ids | head -c $size >>"$1"
    bytes "$batch" labels | head -c $size >>"$1"
    bytes "$batch" pixel_values | head -c $pixels >>"$1"
}
inputs "$tmp/inputs.safetensors" 1
number() { sed -n "s/.*\"$1\": *\([-0-9.e]*\).*/\1/p"; }
near() { # what, got, wanted, relative tolerance
    awk -v a="$2" -v b="$3" -v t="$4" 'BEGIN {d = a - b; if (d < 0) d = -d; exit !(a != "" && b > 0 && d <= t * b)}' || fail "$1: $2, not $3"
}
for mask in causal prefix; do
    want=$(paste <(tensor "$golden/activations/$mask.safetensors" nll f4 | head -$((n - 1))) <(tensor "$batch" labels d8 | head -$n | tail -n +2) |
        awk '$2 != -100 {sum += $1; k++} END {printf "%.8f", sum / k}')
    "$program" forward "$golden" --inputs "$tmp/inputs.safetensors" --mask $mask --dtype f32 --gradients --json --out "$tmp/out.safetensors" >"$tmp/loss" || fail "inputs, $mask"
    near "loss, $mask" "$(number loss <"$tmp/loss")" "$want" 1e-5
    is "gradients, $mask" "$(grep -o '[a-z_]*\.[a-z_0-9.]*": ' "$tmp/loss" | grep -vc '"out"')" 93
    near "their norm, $mask" "$(sed 's/.*"gradients": {//; s/}.*//' "$tmp/loss" | tr ',' '\n' | awk -F': ' '{sum += $2 * $2} END {printf "%.9g", sqrt(sum)}')" "$(number gradient_norm <"$tmp/loss")" 1e-6
    tensor "$golden/activations/$mask.safetensors" logits f4 | head -n $((n * 512)) >"$tmp/want"
    tensor "$tmp/out.safetensors" logits f4 | paste "$tmp/want" - | awk -v n=$((n * 512)) '{d = $1 - $2; if (d < 0) d = -d; if (d > worst) worst = d} END {exit !(NR == n && worst <= 3e-4)}' || fail "logits of a file, $mask"
done
# An answer is labelled where a chat's training would: its tokens and its end. Text alone pulls at the decoder alone.
"$program" forward "$golden" --prompt "Who?" --answer "A" --dtype f32 --json >"$tmp/loss" || fail "answer"
is "labels of an answer" "$(number labels <"$tmp/loss")" 2
"$program" forward "$golden" --raw --prompt "Who?" --answer "A" --gradients --dtype f32 >"$tmp/loss" || fail "raw answer"
grep -q "^loss .* over 1 tokens" "$tmp/loss" || fail "loss of a raw answer: $(head -1 "$tmp/loss")"
grep -q "vision_tower" "$tmp/loss" && fail "gradients without a picture"
is "gradients of the decoder" "$(grep -c language_model "$tmp/loss")" 38

run=("$program" forward "$golden" --out "$tmp/x.safetensors")
fails "no prompt" 2 "--prompt is missing" "${run[@]}"
fails "nothing to compute" 2 "--out is missing" "$program" forward "$golden" --prompt a
fails "gradients of nothing" 2 "--gradients needs --answer" "${run[@]}" --prompt a --gradients
fails "two sources" 2 "--inputs takes the place" "${run[@]}" --prompt a --inputs "$tmp/inputs.safetensors"
fails "not a file" 1 "not a regular file" "${run[@]}" --inputs <(cat "$tmp/inputs.safetensors")
inputs "$tmp/two.safetensors" 2
fails "two pictures for one place" 1 "16 placeholders of pictures, but 2 pictures" "${run[@]}" --inputs "$tmp/two.safetensors"
fails "ids of another shape" 1 "input_ids is I64 [5, 50]" "${run[@]}" --inputs "$batch"
fails "no ids" 1 "no tensor input_ids" "${run[@]}" --inputs "$golden/model.safetensors"
sed 's/"labels"/"lables"/' "$tmp/inputs.safetensors" >"$tmp/bad.safetensors"
fails "no labels" 1 "without labels there is no loss" "$program" forward "$golden" --inputs "$tmp/bad.safetensors"
sed 's/56,56\]/98,32]/' "$tmp/inputs.safetensors" >"$tmp/bad.safetensors"
fails "pixels of another shape" 1 "F32 [pictures, 3, 56, 56] was expected" "${run[@]}" --inputs "$tmp/bad.safetensors"
sed "s/\[1,$n\]/[$n,1]/" "$tmp/inputs.safetensors" >"$tmp/bad.safetensors"
fails "ids in a column" 1 "I64 [T] was expected" "${run[@]}" --inputs "$tmp/bad.safetensors"
fails "unknown mask" 2 "--mask" "${run[@]}" --prompt a --mask none
fails "more places than pictures" 1 "places for 1" "${run[@]}" --raw --prompt "<image>"
fails "more pictures than places" 1 "2 pictures" "${run[@]}" --prompt "<image> a" --image "$picture" --image "$picture"
fails "no picture" 1 "none.png" "${run[@]}" --prompt a --image "$tmp/none.png"
fails "not a picture" 1 "config.json" "${run[@]}" --prompt a --image "$golden/config.json"
fails "too long" 1 "512 positions" "${run[@]}" --prompt "$(printf 'a %.0s' {1..600})"
fails "empty" 1 "empty prompt" "${run[@]}" --raw --prompt ""
fails "no model" 1 "$tmp/none" "$program" forward "$tmp/none" --prompt a --out "$tmp/x.safetensors"
fails "no tokenizer" 1 "tokenizer" "$program" forward "${golden}_legacy" --prompt a --out "$tmp/x.safetensors"
fails "unknown kernels" 1 "fpga" "${run[@]}" --prompt a --backend fpga
fails "folder to write" 1 "$tmp/none" "$program" forward "$golden" --prompt a --out "$tmp/none/x.safetensors"
[ -e "$tmp/x.safetensors" ] && fail "a failed command left a file"
exit $failed
