"""Pages made of templates: reports, cards and tables."""

from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from agd_keras.runs.baselines import show
from agd_keras.text import markdown, markdown_code, printable


def render(template: str, **values: Any) -> str:
    """Fills in a template of this package; what is filled in is text, no HTML or Markdown.

    Args:
        template: Name of a file in `runs/templates`.
        **values: What it names; a text among them stands there as it is.

    Returns:
        The page.
    """
    in_html = template.endswith(".html")
    written = printable if in_html else markdown
    environment = Environment(
        loader=PackageLoader("agd_keras", "runs/templates"),
        autoescape=in_html,
        finalize=lambda value: written(value) if type(value) is str else value,  # Markup is made
        undefined=StrictUndefined,
        trim_blocks=True,
    )
    environment.filters["show"] = show
    environment.filters["percent"] = lambda share: "-" if share is None else f"{100 * share:.0f} %"
    environment.filters["code"] = lambda text: Markup(markdown_code(text))
    environment.filters["cells"] = lambda row: Markup(" | ".join(map(markdown, row)))
    return environment.get_template(template).render(**values)
