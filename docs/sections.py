"""Shows the examples of docstrings, which stand without indent as in Keras, as code."""

import re

import griffe

DOCTEST = re.compile(r"^>>> .*(?:\n.+)*", re.MULTILINE)  # up to an empty line


class Examples(griffe.Extension):
    """Fences doctests, which Markdown would take for quotations."""

    def on_object(self, *, obj: griffe.Object, **kwargs) -> None:
        if obj.docstring:
            text = re.sub(r"^Example:", "**Example:**", obj.docstring.value, flags=re.MULTILINE)
            text = DOCTEST.sub(lambda found: f"```pycon\n{found[0]}\n```", text)
            obj.docstring.value = text.replace("  # doctest: +SKIP", "")
