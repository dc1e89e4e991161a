#!/bin/bash
# forward against logits of Hugging Face transformers (tests/data/golden/tiny), in all masks, with text and with a picture; its errors.
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
tensor() { # FILE NAME TYPE(of od): its values, one a line
    local header begin end
    header=$(od -An -tu8 -N8 "$1" | tr -d ' ')
    read -r begin end < <(tail -c +9 "$1" | head -c "$header" | sed "s/.*\"$2\":{[^}]*\"data_offsets\":\[ *\([0-9]*\) *, *\([0-9]*\) *\].*/\1 \2/")
    tail -c +$((9 + header + begin)) "$1" | head -c $((end - begin)) | od -An -v -w4096 -t"$3" | tr -s ' ' '\n' | sed '/^$/d'
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

run=("$program" forward "$golden" --out "$tmp/x.safetensors")
fails "no prompt" 2 "--prompt is missing" "${run[@]}"
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
