#!/bin/sh
# Does the comparison of two commands blame the innocent, and does it find a planted slow-down?
#
#   reports/compare/aa.sh target/release/etalon > reports/compare/aa.txt
#
# 20 comparisons of a command with itself (at most one may exit other than 0), then 10 of the command with 10 % more work (at
# least 9 must exit with 3). Everything at its defaults: CPU time and peak memory are gated, looks at 10, 20 and 40 pairs.
etalon=${1:?usage: aa.sh ETALON}
rounds=${ROUNDS:-6000000}
work() { echo "awk 'BEGIN { for (i = 0; i < $1; i++) s += i * i }'"; }
same=$(work "$rounds")
slower=$(work $((rounds * 110 / 100)))
text=$(mktemp)
trap 'rm -f "$text"' EXIT

# compare NAME RUNS CANDIDATE: a line per run; leaves the exit codes in $codes.
compare() {
    codes=""
    for run in $(seq "$2"); do
        "$etalon" compare --baseline "$same" --candidate "$3" > "$text" 2>&1
        code=$?
        codes="$codes $code"
        pairs=$(grep -o '^[0-9]* pairs' "$text")
        printf '%s %2d  exit %d  %-8s  %s\n' "$1" "$run" "$code" "$pairs" "$(grep '^ *CPU time' "$text" | head -1 | tr -s ' ')"
        grep -E '^(error|note)|^ *(candidate|baseline) command|void' "$text" | sed 's/^/        /'
    done
}

count() { printf '%s\n' $codes | grep -c "$@"; }

date -u '+%Y-%m-%d %H:%M UTC'
"$etalon" --version
echo "machine: $(nproc) cores, $(grep -m1 'model name' /proc/cpuinfo | cut -d: -f2 | sed 's/^ //'), load $(cut -d' ' -f1-3 /proc/loadavg)"
echo "command: $same"
echo
compare same 20 "$same"
innocent=$(count -v '^0$')
echo
echo "planted: $slower"
compare planted 10 "$slower"
found=$(count '^3$')
echo
echo "load at the end: $(cut -d' ' -f1-3 /proc/loadavg)"
echo "the same command: $innocent of 20 exits other than 0 (at most 1 may be)"
echo "10 % slower: exit 3 in $found of 10 (at least 9 must be)"
[ "$innocent" -le 1 ] && [ "$found" -ge 9 ]
