"""Text from outside, of files, folders and servers, made safe for where it is shown."""

import re
import unicodedata

# Letters of a piece from outside, of a whole line, and of a paragraph.
LONGEST, MESSAGE, PARAGRAPH = 200, 400, 2000
_CELL = re.compile(r"[^;,\t\r\n\"]+")  # what a spreadsheet may take for a cell of its own
_FORMULA = tuple("=+-@＝＋－＠")  # the wide ones are read alike where Japanese is set
# What Markdown reads as more than itself, each only where it does; the last at the start of a line.
_MARKUP = re.compile(
    r"[\\`*|~$]|\](?=[(\[:])|(?<![^\W_])_|_(?![^\W_])|^(?:#|>|[-+](?=\s)|-{2,}$|=+$)"
)
_HTML = {re.compile(r"&(?=#?\w+;)"): "&amp;", re.compile(r"<(?=[A-Za-z/!?])"): "&lt;"}


def printable(text: object) -> str:
    r"""Writes out what a terminal would obey or not show: controls, reversals, broken bytes.

    Args:
        text: Any text, also a file's name that is not UTF-8.

    Returns:
        The text with such letters as backslash escapes.

    Example:

    >>> print(printable("a\x1b[31mb\u202ec\udcff"))
    a\x1b[31mb\u202ec\udcff
    """
    return "".join(
        # Zs: other blanks than the one of ASCII, as in Japanese names.
        one if one.isprintable() or unicodedata.category(one) == "Zs" else _written_out(one)
        for one in str(text)
    )


def _written_out(letter: str) -> str:
    return letter.encode("unicode_escape").decode("ascii")


def clean(text: object, longest: int = LONGEST) -> str:
    r"""Makes any text one short line that a terminal only shows.

    Args:
        text: Any text, or an error.
        longest: Most letters; of a longer text, the middle is left out.

    Returns:
        The text, its line breaks as blanks.

    Example:

    >>> clean("two\nlines"), clean("a long story of no end", 11)
    ('two lines', 'a long …end')
    """
    whole = str(text)
    if len(whole) > 8 * longest:  # so that megabytes are not looked at letter by letter
        whole = f"{whole[: 4 * longest]} {whole[-4 * longest :]}"
    line = printable(" ".join(whole.split()))
    if len(line) <= longest:
        return line
    end = longest // 3
    return f"{line[: longest - end - 1]}…{line[-end:]}"


def markdown(text: object) -> str:
    r"""Makes text stand in Markdown as it is: no markup, no HTML, no cell of a table.

    Example:

    >>> print(markdown("<b> [a](b) | T1_w < 3"))
    &lt;b> [a\](b) \| T1_w < 3
    """
    line = _MARKUP.sub(r"\\\g<0>", clean(text, PARAGRAPH))
    line = re.sub(r"^(\d+)([.)]\s)", r"\1\\\2", line)
    for mark, entity in _HTML.items():
        line = mark.sub(entity, line)
    return line


def markdown_code(text: object) -> str:
    """Makes text a span of code in Markdown, also where it holds backticks.

    Example:

    >>> print(markdown_code("data/`x`"))
    `` data/`x` ``
    """
    line = clean(text, MESSAGE)
    fence = "`" * (1 + max(map(len, re.findall("`+", line)), default=0))
    blank = " " if "`" in line else ""
    return f"{fence}{blank}{line}{blank}{fence}"


def in_picture(text: object) -> str:
    r"""Makes text a short label that Matplotlib does not read as mathematics.

    Example:

    >>> print(in_picture(r"$\bad$"))
    \$\bad\$
    """
    return clean(text, 40).replace("$", r"\$")


def in_cell(value: object) -> object:
    """Makes a value safe for a cell of a CSV file: no spreadsheet takes it for a formula.

    Args:
        value: Anything; only text is changed.

    Returns:
        Text with an apostrophe ahead of what would be a formula, also behind a character at which
        a spreadsheet may part the cell; controls and broken bytes written out.

    Example:

    >>> in_cell("=1+1"), in_cell("-0.5"), in_cell(-1)
    ("'=1+1", '-0.5', -1)
    """
    if not isinstance(value, str):
        return value
    return _CELL.sub(lambda found: _no_formula(found[0]), printable(value))


def _no_formula(cell: str) -> str:
    if not cell.lstrip().startswith(_FORMULA):
        return cell
    try:
        float(cell)
        return cell
    except ValueError:
        return f"'{cell}"
