#!/usr/bin/env bash
# On the GPU machine, in the repository's root: `wheels`, then `part-1`, `part-2` ..., then `run`. Each but `run` needs its
# piece of .gpu there; what was put in place stays in $PLACE. `run` writes what it measured to $OUT.
set -uo pipefail
PLACE=${PLACE:-/tmp/reportlib-gpu}
mkdir -p "$PLACE/inputs"

case $1 in
wheels)
  python3 -m pip install -q --no-index --no-deps --no-compile --no-cache-dir --upgrade --target "$PLACE/site" .gpu/wheels/*.whl ;;
part-*)
  cp -r ".gpu/$1/." "$PLACE/inputs/"
  cat "$PLACE"/inputs/model.? >"$PLACE/inputs/checkpoint/model.safetensors" ;;
run)
  export PYTHONPATH="$PLACE/site:$PWD" PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
  export REPORTLIB_GPU_INPUTS="$PLACE/inputs" REPORTLIB_GPU_OUT="${OUT:-$PLACE/out}" REPORTLIB_HOME="$PLACE/home"
  mkdir -p "$REPORTLIB_GPU_OUT"
  nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader
  python3 -m pytest tests/gpu --noconftest -o filterwarnings= -p no:cacheprovider -q -rA "${@:2}" 2>&1 | tee "$REPORTLIB_GPU_OUT/log.txt" ;;
esac
