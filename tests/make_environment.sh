#!/bin/sh
# Makes an environment anew where its packages have changed. Usage: tests/make_environment.sh FOLDER
# OPTIONS AND PACKAGES FOR PIP...
set -eu
folder=$1
shift
if [ "$(cat "$folder/packages" 2>/dev/null)" != "$*" ]; then
    "${PYTHON:-python3}" -m venv --clear "$folder"
    "$folder/bin/python" -m pip install --quiet "$@"
    echo "$*" >"$folder/packages"
fi
