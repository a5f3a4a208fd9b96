"""What the committed notebooks hold; `make notebooks` runs them."""

import ast
import json
import re
from pathlib import Path

import pytest

NOTEBOOKS = sorted((Path(__file__).resolve().parents[1] / "notebooks").glob("*.ipynb"))
MACHINE = re.compile(
    r"/(home|root|tmp|work|Users|var|opt|usr)/|site-packages|\.venv", re.IGNORECASE
)
START_UP = re.compile(r"tensorflow/core|oneDNN|cuda|computation_placer|absl|WARNING", re.IGNORECASE)


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def notebook(request):
    return json.loads(request.param.read_text(encoding="utf-8"))


def code_of(notebook):
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def test_there_are_six():
    assert [path.name[:3] for path in NOTEBOOKS] == ["01_", "02_", "03_", "04_", "05_", "06_"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_are_light(path):
    assert path.stat().st_size < 1_000_000


def test_data_is_one_variable_of_the_first_cell(notebook):
    sources = ["".join(cell["source"]) for cell in code_of(notebook)]
    assert sources[0].startswith('DATA = "phantom"')
    assert not any(re.search(r"^DATA\s*=", source, re.MULTILINE) for source in sources[1:])
    assert not any("phantom" in source for source in sources[1:])


def test_ran_from_top_to_bottom_without_error(notebook):
    cells = code_of(notebook)
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell["outputs"]]
    assert {output["output_type"] for output in outputs} <= {
        *("stream", "execute_result", "display_data"),
    }
    assert not any(output.get("name") == "stderr" for output in outputs)


def test_outputs_tell_nothing_of_the_machine(notebook):
    for cell in code_of(notebook):
        for output in cell["outputs"]:
            words = [*output.get("text", ()), *output.get("data", {}).get("text/plain", ())]
            words += output.get("data", {}).get("text/html", ())
            text = "".join(words)
            assert not MACHINE.search(text)
            assert not START_UP.search(text)


def test_only_public_names_are_used(notebook):
    for cell in code_of(notebook):
        lines = "".join(cell["source"]).splitlines()
        tree = ast.parse("\n".join(line for line in lines if not line.startswith("%")))
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.module.startswith("agd_keras"):
                names = [*node.module.split("."), *(alias.name for alias in node.names)]
                assert not any(name.startswith("_") for name in names)


def test_words_explain_every_step(notebook):
    kinds = [cell["cell_type"] for cell in notebook["cells"]]
    assert kinds[0] == "markdown"
    assert kinds[-1] == "markdown"
    assert kinds.count("markdown") >= len(kinds) / 3
