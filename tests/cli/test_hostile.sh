#!/bin/bash
# Checkpoint folders that lie: each command that reads one says in one line what is wrong, names the file or tensor, leaves with 1
# and writes nothing.
program=$1
golden=$2/tests/data/golden/tiny
failed=0
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
fail() { echo "FAIL $*"; failed=1; }
fails() { # what, needle of stderr, command...
    local what=$1 needle=$2 got
    shift 2
    "$@" >"$tmp/stdout" 2>"$tmp/err"
    got=$?
    [ $got = 1 ] || fail "$what: exit code $got"
    [ "$(wc -l <"$tmp/err")" = 1 ] || fail "$what: $(wc -l <"$tmp/err") lines on stderr: $(head -3 "$tmp/err")"
    [ -s "$tmp/stdout" ] && fail "$what: something on stdout: $(head -1 "$tmp/stdout")"
    grep -qF -- "$needle" "$tmp/err" || fail "$what: \"$needle\" is not in: $(cat "$tmp/err")"
}
fresh() { # one folder with two shards and an index, one with a single file
    rm -rf "$tmp/m" "$tmp/one"
    cp -r "${golden}_legacy" "$tmp/m"
    mkdir "$tmp/one"
    cp "$golden"/*.json "$golden/model.safetensors" "$tmp/one"
    cp "$golden"/tokenizer*.json "$tmp/m"
    chmod -R u+w "$tmp/m" "$tmp/one"
    index=$tmp/m/model.safetensors.index.json
    first=$tmp/m/model-00001-of-00002.safetensors
}
refused() { # what, needle[, folder]: by all who read weights
    local dir=${3:-$tmp/m}
    fails "$1, forward" "$2" "$program" forward "$dir" --raw --prompt a --out "$tmp/x"
    fails "$1, init" "$2" "$program" init --vision "$dir" --text "$dir" --out "$tmp/x"
    printf 'model: {init: %s}\nstages: [{name: a, train: {lm: 1e-3}, datasets: [{json: none.json}]}]\n' "$dir" >"$tmp/recipe.yaml"
    fails "$1, train" "$2" "$program" train "$tmp/recipe.yaml" --out "$tmp/y" --dry-run
    [ -e "$tmp/x" ] && fail "$1: wrote something"
    rm -rf "$tmp/x"
}
write_byte() { # FILE OFFSET BYTE
    printf '%b' "$3" | dd of="$1" bs=1 seek="$2" conv=notrunc 2>/dev/null
}

fresh
"$program" forward "$tmp/m" --raw --prompt a --out "$tmp/x" >/dev/null || fail "the sound folder"
rm "$tmp/x"

# --- shards
size=$(stat -c %s "$first")
for n in 0 7 8 100 $((size / 2)) $((size - 1)); do
    fresh
    truncate -s "$n" "$first"
    refused "a shard of $n bytes" "model-00001-of-00002.safetensors"
done
fresh; echo "more" >>"$first"
refused "a shard that goes on" "5 bytes follow the last tensor"
fresh; rm "$first"
refused "no shard" "model-00001-of-00002.safetensors: cannot open"
fresh; rm "$first"; mkdir "$first"
refused "a folder as shard" "not a regular file"
fresh; write_byte "$first" 6 '\x7f'
refused "a header of 2^55 bytes" "is it a safetensors file?"
fresh; printf 'version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n' >"$first"
refused "a pointer of Git LFS" "git lfs pull"

# --- the index
fresh; sed -i '0,/"model-00001-of-00002/s//"model-00002-of-00002/' "$index"
refused "a tensor in the other shard" "where the index puts it, but in model-00001-of-00002.safetensors"
fresh; sed -i '0,/"model-00001-of-00002/s//"..\/m\/model-00001-of-00002/' "$index"
refused "a path out of the folder" "which is not the name of a file inside the folder"
fresh; sed -i '0,/"model-00001-of-00002/s//"\/etc\/passwd/' "$index"
refused "an absolute path" "which is not the name of a file inside the folder"
fresh; sed -i '0,/"model-00001-of-00002/s//"model-00003-of-00002/' "$index"
refused "a shard that is not there" "model-00003-of-00002.safetensors: cannot open"
fresh; sed -i '/"language_model.model.norm.weight"/d' "$index"
refused "a tensor that the index leaves out" "'language_model.model.norm.weight' of"
fresh; sed -i 's/"language_model.model.norm.weight"/"language_model.model.morn.weight"/' "$index"
refused "a tensor of the index that is nowhere" "'language_model.model.morn.weight' is not in"
fresh; cp "$first" "$tmp/m/copy.safetensors"; sed -i '0,/"model-00001-of-00002.safetensors"/s//"copy.safetensors"/' "$index"
refused "tensors twice" "is in two files"
fresh; head -c 300 "$index" >"$index.cut"; mv "$index.cut" "$index"
refused "half an index" "not valid JSON"
fresh; echo '{"weight_map": 3}' >"$index"
refused "an index of nothing" "no \"weight_map\""
fresh; rm "$index"
refused "no index" "holds neither model.safetensors nor"

# --- tensors
one=$tmp/one/model.safetensors
fresh; sed -i 's/"language_model.model.norm.weight"/"language_model.model.morn.weight"/' "$one"
refused "an unknown tensor" "unknown tensor \"language_model.model.morn.weight\"" "$tmp/one"
fresh; sed -i 's/"language_model.model.embed_tokens.weight":{"dtype":"F32","shape":\[512,64\]/"language_model.model.embed_tokens.weight":{"dtype":"F32","shape":[64,512]/' "$one"
refused "a wrong shape" "embed_tokens.weight\" is F32 [64, 512], config.json asks for [512, 64]" "$tmp/one"
fresh; sed -i 's/"language_model.model.norm.weight":{"dtype":"F32"/"language_model.model.norm.weight":{"dtype":"I32"/' "$one"
refused "a wrong type" "norm.weight\" is I32 [64]; weights are" "$tmp/one"
fresh; sed -i 's/"language_model.model.norm.weight":{"dtype":"F32"/"language_model.model.norm.weight":{"dtype":"F8 "/' "$one"
refused "a type that is none" "has dtype \"F8 \"" "$tmp/one"

# --- config.json
config() { # what, needle, sed script
    fresh
    sed -i "$3" "$tmp/one/config.json"
    refused "$1" "$2" "$tmp/one"
}
config "2^31 layers" "num_hidden_layers" 's/"num_hidden_layers": 3/"num_hidden_layers": 2147483648/'
config "more layers than there are" "missing" 's/"num_hidden_layers": 3/"num_hidden_layers": 250/'
config "hundreds of GiB" "config.json asks for" 's/"intermediate_size": [0-9]*/"intermediate_size": 65536/'
config "a vocabulary of 2^20" "config.json asks for [1048576, 64]" 's/"vocab_size": 512/"vocab_size": 1048576/'
config "no width" "hidden_size" 's/"hidden_size": 64/"hidden_size": 0/'
config "heads that do not divide" "heads" 's/"num_attention_heads": 4/"num_attention_heads": 5/'
config "a picture of nothing" "patch" 's/"patch_size": 14/"patch_size": 0/'
config "another decoder" "only qwen2 is supported" 's/"model_type": "qwen2"/"model_type": "llama"/'
config "half a file" "not valid JSON" '20,$d'
fresh; rm "$tmp/one/config.json"
refused "no config" "config.json: cannot open" "$tmp/one"
exit $failed
