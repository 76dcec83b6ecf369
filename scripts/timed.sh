#!/bin/sh
# Run make targets one after the other, also after a failure, and print the result and the time of each.
set -u
status=0
summary=
began=$(date +%s)
for target in "$@"; do
    echo "=== $target"
    started=$(date +%s)
    if ${MAKE:-make} "$target"; then result=ok; else result=FAILED; status=1; fi
    summary="$summary$(printf '%-12s %-7s %4d s' "$target" "$result" $(($(date +%s) - started)))
"
done
printf '\n%s%-12s %-7s %4d s\n' "$summary" total '' $(($(date +%s) - began))
exit "$status"
