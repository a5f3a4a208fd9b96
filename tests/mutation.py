"""Puts small faults into modules, one at a time, and counts those that no test notices.

Cosmic Ray changes a copy of the tree, in build/mutation: operators, comparisons, numbers, booleans,
`break`, `not`, decorators. Each fault is a run of the module's own tests, which stops at the first
that fails. What was done stays: a second call goes on, if neither module nor tests have changed.

    make mutation MODULES="evaluation/scores.py data/splits.py"

Without MODULES all of training/, data/ and evaluation/: a night, if not two.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
COPY = ROOT / "build" / "mutation"
ROOMS = ("training", "data", "evaluation")
# Tests of a module: those called after it, in the folder called after its room; else these.
TESTS = {
    "training/build.py": "tests/training/test_options.py tests/training/test_fused.py",
    "training/fit.py": "tests/training/test_options.py tests/training/test_train.py",
    "training/callbacks.py": "tests/training/test_options.py tests/training/test_train.py",
    "data/cache_entry.py": "tests/data/test_cache.py",
    "evaluation/patients.py": "tests/evaluation/test_evaluate.py tests/runs/test_aggregate.py",
    "evaluation/summary.py": "tests/evaluation/test_evaluate.py tests/runs/test_aggregate.py",
}
# Of each operator three others are enough; `|` is mostly part of an annotation.
LEFT_OUT = (
    "core/ReplaceBinaryOperator_BitOr_.*",
    "core/ReplaceBinaryOperator_.*_(Div|FloorDiv|Mod|Pow|RShift|LShift|BitOr|BitAnd|BitXor)",
)
SECONDS = 120.0  # for a run of the tests: what takes longer hangs


def own_tests(module: str) -> str:
    """Paths of the tests of a module, and the module itself for its examples."""
    room, name = module.split("/", 1)
    own = Path("tests") / room / f"test_{Path(name).name}"
    tests = TESTS.get(module) or str(own if (ROOT / own).is_file() else own.parent)
    return f"{tests} agd_keras/{module}"


def make_copy() -> None:
    """Copies what git tracks, as it is now, over what an interrupted call left."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    for name in listed.stdout.splitlines():
        source, copy = ROOT / name, COPY / name
        if source.is_file():
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, copy)


def session_of(module: str) -> Path:
    """Where what was tried is kept: of this state of the module and its tests alone."""
    state = hashlib.sha256()
    for path in map(ROOT.joinpath, own_tests(module).split()):
        for file in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
            state.update(file.read_bytes())
    return COPY / f"{module.replace('/', '-')}-{state.hexdigest()[:12]}.sqlite"


def run(module: str) -> list[tuple[dict, dict | None]]:
    """Tries the faults in a module that are left to try; returns all, each with its result."""
    session = session_of(module)
    config = session.with_suffix(".toml")
    python = f"{sys.executable} -m pytest -x -q -p no:cacheprovider"
    config.write_text(f"""[cosmic-ray]
module-path = "agd_keras/{module}"
timeout = {SECONDS}
test-command = "{python} {own_tests(module)}"
[cosmic-ray.distributor]
name = "local"
[cosmic-ray.filters.operators-filter]
exclude-operators = {json.dumps(LEFT_OUT)}
""")
    environment = os.environ | {
        **{"PYTHONPATH": str(COPY), "PYTHONDONTWRITEBYTECODE": "1"},
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",  # most take longer to load than the tests to run
    }

    def call(program: str, *arguments: object) -> str:
        command = [str(Path(sys.executable).with_name(program)), *map(str, arguments)]
        called = subprocess.run(command, cwd=COPY, env=environment, stdout=subprocess.PIPE)
        if called.returncode:
            sys.exit(f"{module}: {program} failed")
        return called.stdout.decode()

    if not session.is_file():
        call("cosmic-ray", "baseline", config)  # the tests pass without a fault
        call("cosmic-ray", "init", config, session)
        call("cr-filter-operators", session, config)
    call("cosmic-ray", "exec", config, session)
    return [json.loads(line) for line in call("cosmic-ray", "dump", session).splitlines()]


def main(modules: list[str]) -> None:
    """Prints for each module its score and its survivors, as changes of a line."""
    make_copy()
    found = [path for room in ROOMS for path in sorted((ROOT / "agd_keras" / room).glob("*.py"))]
    everything = [str(path.relative_to(ROOT / "agd_keras")) for path in found]
    for module in modules or [one for one in everything if not one.endswith("__init__.py")]:
        tried = [(item, result) for item, result in run(module) if result]
        tried = [(item, result) for item, result in tried if result["worker_outcome"] == "normal"]
        lived = [(item, result) for item, result in tried if result["test_outcome"] == "survived"]
        share = 100 * (1 - len(lived) / max(1, len(tried)))
        print(f"{module}: {len(tried) - len(lived)} of {len(tried)} killed, {share:.0f} %")
        for item, result in lived:
            changes = [line for line in result["diff"].splitlines() if line[:1] in "+-"]
            (place,) = item["mutations"]
            print(f"  line {place['start_pos'][0]}:", *(line.strip() for line in changes[3:]))


if __name__ == "__main__":
    main(sys.argv[1:])
