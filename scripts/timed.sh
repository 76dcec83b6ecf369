#!/bin/bash
# Run make targets one after the other, all of them also when one fails, and end with what took how long.
set -u
status=0
summary=()
for target in "$@"; do
    echo "=== $target"
    started=$SECONDS
    if ${MAKE:-make} "$target"; then result=ok; else result=FAILED; status=1; fi
    summary+=("$(printf '%-12s %-7s %4d s' "$target" "$result" $((SECONDS - started)))")
done
echo
printf '%s\n' "${summary[@]}" "$(printf '%-12s %-7s %4d s' total '' "$SECONDS")"
exit $status
