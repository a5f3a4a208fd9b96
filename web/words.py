"""Writes `web/src/words.json`: what the page knows of names, from the package's own patterns.

`python web/words.py` after a change of `agd_keras/io/contrasts.py` or `label_names.py`.
"""

import ast
import inspect
import json
import re
from pathlib import Path
from types import ModuleType
from typing import Any

WORDS = Path(__file__).parent / "src" / "words.json"
# Names of the page by those of the module.
CONTRASTS = {
    **{"agent": "_AGENT", "post": "_POST", "pre": "_PRE", "without": "_WITHOUT"},
    **{"plain": "_PLAIN", "notAgent": "_NOT_AGENT", "event": "_EVENT", "events": "_EVENTS"},
    **{"noAgent": "_NO_AGENT", "flair": "_FLAIR", "t1c": "_T1C", "t1": "_T1", "t2": "_T2"},
    **{"sequence": "_T1_SEQUENCE", "gluedAgent": "_GLUED_AGENT", "gluedPlain": "_GLUED_PLAIN"},
    **{"with": "_WITH", "beforeC": "_BEFORE_C", "other": "_OTHER", "onto": "_ONTO"},
    **{"maybeOther": "_MAYBE_OTHER", "notOnto": "_NOT_ONTO", "gradient": "_GRADIENT"},
}
LABELS = {"label": "_LABEL", "weakLabel": "_WEAK_LABEL", "truth": "_TRUTH"}


def replacements(module: ModuleType) -> list[list[str]]:
    """The pairs of pattern and text that `words_of` goes through, in the page's spelling."""
    function = ast.parse(inspect.getsource(module.words_of)).body[0]
    loop = next(node for node in ast.walk(function) if isinstance(node, ast.For))
    pairs = eval(compile(ast.Expression(loop.iter), "words_of", "eval"), vars(module))
    return [[pattern, re.sub(r"\\(\d)", r"$\1", text)] for pattern, text in pairs]


def words() -> dict[str, Any]:
    """Everything that the page needs to read names as the package does."""
    from agd_keras.io import contrasts, label_names

    def taken(module: ModuleType, names: dict[str, str]) -> dict[str, Any]:
        found = {key: getattr(module, name) for key, name in names.items()}
        return {key: getattr(value, "pattern", value) for key, value in found.items()}

    return {
        "about": "Made by web/words.py from agd_keras/io/contrasts.py and label_names.py.",
        "replacements": replacements(contrasts),
        **taken(contrasts, CONTRASTS),
        **taken(label_names, LABELS),
    }


def text() -> str:
    """The content of the file."""
    return json.dumps(words(), indent=1, ensure_ascii=True) + "\n"


if __name__ == "__main__":
    WORDS.write_text(text(), encoding="utf-8")
