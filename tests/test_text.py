"""Text from outside: whatever it holds, it is only shown."""

import csv
import io
import unicodedata
import warnings

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jinja2 import Environment
from matplotlib.figure import Figure
from rich.console import Console
from rich.table import Table

from agd_keras.errors import InputError
from agd_keras.files import write_csv
from agd_keras.runs.render import render
from agd_keras.text import MESSAGE, clean, in_cell, in_picture, markdown, markdown_code, printable

HOSTILE = [
    *(r"$\bad$", "$", r"\$x$", "a_{b}^c", "[/b]", "[red]x", ":smile:", "<script>alert(1)</script>"),
    *("a|b", "`x`", "``", "[a](http://b)", "![a](http://b)", "# a", "---", "1. a", "&lt;", "\\"),
    *("=1+1", "+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)", "\t=1", "\r=1", " =1", "a;=1", 'a"=1'),
    *("＝1", "\x1b[31mred", "\x1b]0;title\x07", "a\u202egpj.exe", "\u2066x", "two\nlines"),
    *(
        "\u2028",
        "\x00",
        "\x9b31m",
        "\udcff\udcfe",
        "脳",
        "x" * 30_000,
        "",
        " ",
        "\ufeff",
        "é\u0301",
    ),
]
texts = st.sampled_from(HOSTILE) | st.text(st.characters(), max_size=60)
FORBIDDEN = {"Cc", "Cf", "Cs", "Zl", "Zp", "Co", "Cn"}


@given(texts, st.integers(20, 500))
def test_a_line_is_short_and_shows_itself_only(text, longest):
    line = clean(text, longest)
    assert len(line) <= longest
    assert not {unicodedata.category(one) for one in line} & FORBIDDEN
    line.encode("utf-8")
    if text.isprintable() and len(text) <= longest:
        assert line == " ".join(text.split())


@given(st.lists(texts, min_size=1, max_size=3))
def test_an_error_is_as_many_lines_as_it_was_given(parts):
    shown = str(InputError(*parts))
    assert len(shown.split("\n")) == len(parts)
    assert all(len(line) <= MESSAGE + 2 for line in shown.split("\n"))
    assert str(InputError(*InputError(*parts).args)) == shown  # as from another process


@given(texts)
def test_no_cell_is_a_formula_in_any_spreadsheet(text):
    cell = in_cell(text)
    assert cell.endswith(printable(text)[-1:])
    for separator in ",;\t":
        for row in csv.reader(io.StringIO(cell, newline=""), delimiter=separator):
            for part in row:
                if part.lstrip()[:1] in tuple("=+-@＝＋－＠\t\r"):
                    float(part)  # a number is none


def test_numbers_and_plain_text_stay(tmp_path):
    row = {"case": "TCGA_CS_4941", "a": -1.5, "b": "-1.5", "c": None, "d": "5 to 15 mm; (a, b)"}
    path = write_csv(tmp_path / "a.csv", [row], list(row))
    assert path.read_text() == 'case,a,b,c,d\nTCGA_CS_4941,-1.5,-1.5,,"5 to 15 mm; (a, b)"\n'


def test_a_name_that_is_not_utf8_is_written_out(tmp_path):
    path = write_csv(tmp_path / "a.csv", [{"case": "a\udcff"}, {"case": "b"}], ["case"])
    assert path.read_text(encoding="utf-8") == "case\na\\udcff\nb\n"


@pytest.mark.parametrize("text", HOSTILE)
def test_a_label_is_drawn_as_it_is(text):
    figure = Figure(figsize=(1, 1))
    axes = figure.subplots()
    axes.set_xticks([0], [in_picture(text)])
    axes.plot([0], label=in_picture(text))
    axes.legend()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")
        warnings.filterwarnings("ignore", message="No artists")
        figure.savefig(io.BytesIO(), format="png")
    figure = Figure()
    title = figure.text(0, 0, in_picture(text))
    drawn, is_math = title._preprocess_math(title.get_text())
    assert not is_math and drawn == clean(text, 40)


@pytest.mark.parametrize("text", HOSTILE)
def test_markdown_has_no_markup_of_it(text):
    mkdocs = pytest.importorskip("markdown", reason="Markdown DID NOT RUN: no extra [docs]")
    shown = markdown(text)
    page = (
        f"before\n\n{shown}\n\n| a | b |\n|---|---|\n| {shown} | {markdown_code(text)} |\n\nafter"
    )
    html = mkdocs.markdown(page, extensions=["tables"])
    assert html.count("<p>") <= 3 and html.count("<td>") == 2
    for tag in ("<script", "<a ", "<img", "<h1", "<h2", "<hr", "<li", "<em", "<strong"):
        assert tag not in html
    assert html.count("<code>") <= 1


@pytest.mark.parametrize("text", HOSTILE)
def test_a_page_has_no_tag_of_it(text):
    values = {"title": text, "parts": [], "fold_rows": [], "warnings": [(text, text)]}
    metrics = {"threshold": 0.5, "subjects": {text: {}}}
    entry = {"dice": 1.0}
    values |= {"metrics": metrics, "protocol": {text: text}, "rows": [("a", text, text)]}
    values |= {"columns": [text], "anchors": [{"who": text, "protocol": text, text: text}]}
    main = [{"key": "dice", "name": text, "value": text, "meaning": text}]
    values |= {"headline": text, "main": main, "first": text}
    values |= {
        "pictures": {},
        "films": {},
        "charts": {},
        "subject_keys": ["dice"],
        "subjects": [(text, entry)],
    }
    values |= {"distances": text, "errors": [], "case_errors": []}
    values |= {"tables": [{"title": text, "header": [text], "rows": [[text]]}]}
    page = render("report.html", **values)
    page.encode("utf-8")
    assert "<script" not in page and "\x1b" not in page and "\u202e" not in page
    assert page.count("<tr") == render("report.html", **{**values, "title": "a"}).count("<tr")


def test_templates_know_no_other_way():
    assert Environment(finalize=markdown).from_string("{{ a }}").render(a="<b>") == "&lt;b>"


@pytest.mark.parametrize("text", HOSTILE)
def test_a_table_on_screen_is_text(text, capsys):
    from agd_keras.cli.common import print_table
    from agd_keras.evaluation.compare import TextTable, to_rich
    from agd_keras.runs.search.ranking import Ranking, ranking_table

    print_table(to_rich(TextTable(text, [text, "b"], [[text, text]])))
    row = {"a": text, "epochs": 1, "state": "failed"}
    print_table(ranking_table(Ranking(text or "t", [row], [text])))
    table = Table(title="a")
    table.add_column("[/x]")
    print_table(table)
    shown = capsys.readouterr().out
    assert "\x1b" not in shown and "\u202e" not in shown and "[/x]" in shown
    Console(file=io.StringIO()).print(to_rich(TextTable(text, [text], [[text]])))  # a notebook
