#!/bin/sh
# Are instructions counted exactly? A command against itself, then against one with 0.33 % more work.
#
#   reports/compare/instructions.sh target/release/etalon > reports/compare/instructions.txt
etalon=${1:?usage: instructions.sh ETALON}
work() { echo "awk 'BEGIN { for (i = 0; i < $1; i++) s += i * i }'"; }
for rounds in 300000 301000; do
    echo "$(work 300000) against $(work $rounds):"
    "$etalon" compare --baseline "$(work 300000)" --candidate "$(work $rounds)" --instructions
    echo "exit $?"
    echo
done
