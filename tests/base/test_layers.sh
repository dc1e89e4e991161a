#!/bin/bash
# Includes follow the arrows only: base <- compute, data <- model <- train, eval, serve <- cli. compute and data don't see
# each other, nor do train, eval and serve.
source=$2
declare -A allowed=(
    [base]="base"
    [compute]="base compute"
    [data]="base data"
    [model]="base compute data model"
    [train]="base compute data model train"
    [eval]="base compute data model eval"
    [api]="base compute data model api"
    [serve]="base compute data model serve"
    [cli]="base compute data model train eval serve cli"
)
failed=0
files=0
for folder in "$source"/src/*/; do
    layer=$(basename "$folder")
    if [ -z "${allowed[$layer]:-}" ]; then echo "FAIL src/$layer is no layer"; failed=1; continue; fi
    while IFS=: read -r file line include; do
        files=$((files + 1))
        target=${include#*\"}
        target=${target%%\"*}
        if [ ! -e "$source/src/$target" ] && [ ! -e "$source/include/$target" ]; then
            echo "FAIL ${file#"$source"/}:$line: \"$target\" is not written from src/ (\"layer/file.h\")"
            failed=1
            continue
        fi
        [ -e "$source/src/$target" ] || continue
        case " ${allowed[$layer]} " in
        *" ${target%%/*} "*) ;;
        *) echo "FAIL ${file#"$source"/}:$line: $layer must not include $target"; failed=1 ;;
        esac
    done < <(grep -rnE '^[[:space:]]*#[[:space:]]*include[[:space:]]*"' --include='*.c' --include='*.h' --include='*.cu' "$folder")
done
[ $files -gt 20 ] || { echo "FAIL only $files includes were seen"; failed=1; }

# The library returns its errors: only the program, the log, the progress bar and assertions write to stderr or exit.
while IFS= read -r hit; do
    echo "FAIL ${hit#"$source"/}: library code must not print or exit"
    failed=1
done < <(grep -rnE '\b(printf|puts|putchar|exit|perror)[[:space:]]*\(|fprintf[[:space:]]*\([[:space:]]*std(err|out)' --include='*.c' "$source"/src |
    grep -vE "^$source/src/(cli/|base/(error|log|progress)\.c)")
[ $failed -eq 0 ] && echo "$files includes follow the layers"
exit $failed
