#!/bin/sh
# Layers, losses, metrics and training steps under the JAX and PyTorch backends of Keras, in an
# environment of their own that has no TensorFlow. Usage: tests/backends/run.sh
set -eu
cd "$(dirname "$0")/../.."
environment=.venvs/backends
sh tests/make_environment.sh "$environment" "keras==3.15.1" "jax[cpu]==0.10.2" "torch==2.13.0" \
    "numpy>=2" scipy scikit-learn pydantic pyyaml pytest hypothesis

# Neither the settings nor the fixtures of the main suite: they need TensorFlow.
for backend in jax torch; do
    echo "KERAS_BACKEND=$backend"
    KERAS_BACKEND=$backend "$environment/bin/python" -m pytest -q -c /dev/null --rootdir=. \
        -p no:cacheprovider --import-mode=importlib --confcutdir=tests/layers -W ignore \
        tests/backends tests/layers tests/test_losses.py tests/test_metrics.py "$@"
done
