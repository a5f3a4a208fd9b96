"""A stand-in for the page that node builds."""

import pytest

MARK = '<meta name="referrer" content="no-referrer">'


@pytest.fixture(scope="session")
def page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    (folder / "index.html").write_text(f"<head>{MARK}</head>")
    (folder / "page.js").write_text("script")
    (folder / "runtime.wasm.gz").write_bytes(b"\x1f\x8b")
    return folder
