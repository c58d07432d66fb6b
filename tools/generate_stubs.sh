#!/usr/bin/env bash
# Generates the Python stubs beside their protos, or checks that the committed ones are fresh (--check).
set -euo pipefail
cd "$(dirname "$0")/.."
bin=${VENV:-.venv}/bin
googleapis=$("$bin/python" -c 'import google.rpc; print(list(google.rpc.__path__)[0])')
mkdir -p .build/googleapis/google
ln -sfn "$googleapis" .build/googleapis/google/rpc

into=protos
if [ "${1:-}" = --check ]; then
  into=$(mktemp -d)
  trap 'rm -rf "$into"' EXIT
fi
(cd protos && find greenroom -name '*.proto' | sort) | PATH="$PWD/$bin:$PATH" xargs "$bin/python" -m grpc_tools.protoc \
  -I protos -I .build/googleapis --python_out="$into" --grpc_python_out="$into" --mypy_out="quiet:$into" --mypy_grpc_out="quiet:$into"

if [ "${1:-}" = --check ]; then
  stale=0
  while read -r file; do
    cmp -s "$into/$file" "protos/$file" || { echo "stale: protos/$file" >&2; stale=1; }
  done < <(cd "$into" && find . -type f)
  [ "$stale" = 0 ] || { echo "The stubs do not match the protos: run 'make protos' and commit the result." >&2; exit 1; }
  echo "The stubs match the protos."
fi
