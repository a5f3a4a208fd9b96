#!/usr/bin/env bash
# Builds the wheel, installs it into an empty environment, and uses it from another folder.
set -euo pipefail
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

test -f agd_keras/web/dist/index.html || echo "no page in this wheel: make web has not been run" >&2
.venv/bin/python -m build --wheel --outdir "$work" . >"$work/build.log" || { cat "$work/build.log"; exit 1; }
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --constraint requirements.txt "$work"/*.whl
cd "$work"
export AGD_KERAS_CACHE="$work/cache"
venv/bin/agd-train --epochs 1 --out run
venv/bin/agd-evaluate --model run --data phantom --out results
test -s results/report.html
venv/bin/python -c "from agd_keras.web import find_page; print(find_page())" || test ! -f "$OLDPWD/agd_keras/web/dist/index.html"
echo "the wheel works in an empty environment"
