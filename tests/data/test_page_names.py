"""The names that the page in the browser reads too: both by the same patterns and one list."""

import importlib.util
import json
from pathlib import Path

import pytest

from agd_keras.io.contrasts import name_contrast
from agd_keras.io.label_names import is_label

LISTED = json.loads(Path(__file__).with_name("contrasts.json").read_text(encoding="utf-8"))
SCRIPT = Path(__file__).parents[2] / "web" / "words.py"


@pytest.mark.parametrize(("name", "agent", "contrast"), LISTED["names"])
def test_names_tell_contrasts(name, agent, contrast):
    assert name_contrast(name, agent) == contrast


@pytest.mark.parametrize(("name", "label"), LISTED["labels"])
def test_names_tell_masks(name, label):
    assert is_label(name) == label


def test_the_page_has_the_patterns_of_the_package():
    """If not: `python web/words.py`."""
    spec = importlib.util.spec_from_file_location("words", SCRIPT)
    words = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(words)
    assert words.WORDS.read_text(encoding="utf-8") == words.text()
