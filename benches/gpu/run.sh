#!/bin/sh
# Measures etalon on a CUDA device: doctor, parity, steps of every model beside the peer, a training of ActivityNet's shape, cells
# at once, memory. Below 8 minutes. Leaves the device's clocks and modes as they are.
#
#   benches/gpu/run.sh OUT            everything, raw JSON into OUT, together as OUT/gpu.json and in a table as OUT/gpu.md
#   benches/gpu/run.sh OUT steps …    some of: doctor parity steps peer training cells
#
# Needs `etalon` and `etalon-cell` on the PATH and python3 with numpy; the peer needs torch, torchvision and PEER, the folder of
# etad_pytorch.py. BEFORE may name a folder with an older etalon-cell to be timed beside this one. TAD_DATA names the folder of
# salads50. TRAIN (videos), PRECISIONS and JOBS make it shorter.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
out=$1; shift
mkdir -p "$out"; out=$(cd "$out" && pwd)
parts=${*:-doctor parity peer steps training cells}
work=${GPU_WORK:-$(mktemp -d)}
device=${DEVICE:-cuda:0}
models="etad actionformer tridet gtad tadtr temporalmaxer"

say() { printf '%s  %s\n' "$(date +%T)" "$*" >&2; }
data() { [ -f "$work/float32.toml" ] || { say data; python3 "$here/data.py" "$work" --train "${TRAIN:-9649}" --test 100; }; }
# profile EXPERIMENT MODEL STEPS VIDEOS NAME
profile() {
  say "$5"
  timeout 120 etalon profile "$1" --model "$2" --device "$device" --threads 8 --warmup 6 --steps "$3" --videos "$4" --json \
    > "$out/$5.json" 2> "$out/$5.err" || { say "$5 failed"; tail -n 2 "$out/$5.err" >&2; }
}

for part in $parts; do
  case $part in
    doctor) say doctor; etalon doctor --json > "$out/doctor.json" || true ;;
    parity)
      for folder in "$here/../../tests/fixtures/parity" ${FIXTURES:-}; do
        say "parity $folder"
        etalon parity "$folder" --device "$device" --json > "$out/parity-$(basename "$(dirname "$folder")").json" || true
      done ;;
    peer) say peer; python3 "$here/peer.py" "$PEER" > "$out/peer.json" ;;
    steps)
      data
      for model in $models; do profile "$work/float32.toml" "$model" 20 20 "float32-$model"; done
      for model in $models; do profile "$work/bfloat16.toml" "$model" 20 5 "bfloat16-$model"; done
      profile "$work/tf32.toml" etad 20 5 tf32-etad
      if [ -n "${BEFORE:-}" ]; then
        sed 's/, precision = "float32"//' "$work/float32.toml" > "$work/before.toml"
        for model in etad actionformer gtad tadtr; do
          (PATH=$BEFORE:$PATH; profile "$work/before.toml" "$model" 8 3 "before-$model")
        done
      fi ;;
    training)
      data
      for precision in ${PRECISIONS:-float32 bfloat16}; do
        say "training $precision"
        timeout 200 etalon run "$work/$precision.toml" --only etad --store "$work/store-$precision" --device "$device" --jobs 1 \
          > "$out/train-$precision.log" 2>&1 || say "training $precision failed"
        cat "$work/store-$precision"/cells/*/*/record.json > "$out/train-$precision.json" 2> /dev/null || true
      done ;;
    cells)
      for jobs in ${JOBS:-1 4 8}; do
        say "cells $jobs"
        began=$(date +%s.%N)
        timeout 150 etalon run "$here/cells.toml" --store "$work/cells-$jobs" --device "$device" --jobs $jobs \
          > "$out/cells-$jobs.log" 2>&1 || say "cells $jobs failed"
        echo "$jobs $began $(date +%s.%N)" >> "$out/cells.txt"
        cat "$work/cells-$jobs"/cells/*/*/record.json > "$out/cells-$jobs.json" 2> /dev/null || true
      done ;;
  esac
done
python3 "$here/summary.py" "$out" "$out/gpu.json" > "$out/gpu.md"
say done
