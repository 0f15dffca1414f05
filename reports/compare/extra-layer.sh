#!/bin/sh
# Is one layer more caught exactly, and named?
#
#   reports/compare/extra-layer.sh target/release/etalon > reports/compare/extra-layer.txt
#
# Profiles a model of the demo twice, and once with one transformer block more before its pyramid; the first two must be equal in
# every count, the third must exit with 3 and name the layers of that block as new.
etalon=${1:?usage: extra-layer.sh ETALON}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
experiment=experiments/demo.toml
model=actionformer
# The preset has one block.
sed 's/^\[model\.actionformer\.arch\.actionformer\]$/&\nstem_layers = 2/' "$experiment" > "$folder/deeper.toml"
cmp -s "$experiment" "$folder/deeper.toml" && { echo "nothing was planted: $experiment has changed"; exit 1; }

profile() { "$etalon" profile "$1" --model "$model" --out "$folder/$2.json" --quiet || exit 1; }
profile "$experiment" base
profile "$experiment" again
profile "$folder/deeper.toml" deeper

echo "the same model:"
"$etalon" compare "$folder/base.json" "$folder/again.json" 2>&1
same=$?
echo "exit $same"
echo
echo "one block more:"
"$etalon" compare "$folder/base.json" "$folder/deeper.json" 2>&1
planted=$?
echo "exit $planted"
[ "$same" -eq 0 ] && [ "$planted" -eq 3 ]
