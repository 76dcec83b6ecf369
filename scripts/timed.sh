#!/bin/sh
# Run make targets one after the other, the rest also when one fails, and end with what took how long.
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
