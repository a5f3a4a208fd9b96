#!/bin/sh
# The comparison with other networks, in an environment of its own that also has PyTorch, MONAI and
# segmentation-models-pytorch. Usage: benchmarks/peers.sh [OPTIONS OF peers.py]
set -eu
cd "$(dirname "$0")/.."
environment=.venvs/peers
# From PyPI on Linux, torch brings its CUDA libraries: PIP_EXTRA_INDEX_URL may name the index of
# PyTorch's CPU builds.
sh tests/make_environment.sh "$environment" --constraint requirements.txt --editable . \
    torch==2.13.0 monai==1.6.1 segmentation-models-pytorch==0.6.0
exec "$environment/bin/python" benchmarks/peers.py "$@"
