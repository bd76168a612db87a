"""The browser of the other tests sees what a page does wrong."""

import pytest
from browsing import browser, environment, visit  # noqa: F401


def page(folder, body):
    path = folder / "page.html"
    path.write_text(f"<!doctype html><meta charset=utf-8><title>t</title><link rel=icon href='data:,'>{body}")
    return path.as_uri()


def test_a_page_without_faults(tmp_path, visit):  # noqa: F811
    address = page(tmp_path, "<p>hello</p><script>console.log('fine')</script>")
    seen = visit(address, color_scheme="dark")
    assert seen.page.inner_text("p") == "hello" and seen.complaints == []
    assert seen.elsewhere(address) == [] and address in seen.requests
    assert seen.page.evaluate("matchMedia('(prefers-color-scheme: dark)').matches")


@pytest.mark.parametrize(
    "body, said",
    [
        ("<script>console.error('oh')</script>", "oh"),
        ("<script>console.warn('well')</script>", "well"),
        ("<script>throw new Error('no')</script>", "no"),
    ],
)
def test_a_complaint_is_kept(tmp_path, visit, body, said):  # noqa: F811
    seen = visit(page(tmp_path, body))
    assert len(seen.complaints) == 1 and said in seen.complaints[0]


@pytest.mark.parametrize(
    "body, asked",
    [
        ("<img src='http://192.0.2.1/a.png'>", "http://192.0.2.1/a.png"),
        ("<link rel=stylesheet href='https://example.invalid/a.css'>", "https://example.invalid/a.css"),
        ("<style>p{background:url(other.png)}</style><p>x</p>", "other.png"),
        ("<script>fetch('http://192.0.2.1/x').catch(() => 0)</script>", "http://192.0.2.1/x"),
    ],
)
def test_a_request_that_leaves_is_refused_and_kept(tmp_path, visit, body, asked):  # noqa: F811
    address = page(tmp_path, body)
    seen = visit(address)
    [found] = seen.elsewhere(address)
    assert found.endswith(asked) and seen.complaints


def test_a_socket_that_leaves_is_kept(tmp_path, visit):  # noqa: F811
    seen = visit(page(tmp_path, "<script>new WebSocket('ws://192.0.2.1/s')</script>"))
    assert "ws://192.0.2.1/s" in seen.requests


def test_letters_have_a_width(tmp_path, visit):  # noqa: F811
    seen = visit(page(tmp_path, "<span>hello</span>"))
    assert seen.page.locator("span").bounding_box()["width"] > 20


def test_libraries_and_fonts_are_those_beside_the_browser(tmp_path, monkeypatch):
    monkeypatch.setenv("LD_LIBRARY_PATH", "/other")
    monkeypatch.delenv("FONTCONFIG_FILE", raising=False)
    bare = environment(str(tmp_path / "chromium"))
    assert bare["LD_LIBRARY_PATH"] == "/other" and "FONTCONFIG_FILE" not in bare
    (tmp_path / "lib").mkdir()
    (tmp_path / "fonts.conf").touch()
    found = environment(str(tmp_path / "chromium"))
    assert found["LD_LIBRARY_PATH"] == f"{tmp_path}/lib:/other"
    assert found["FONTCONFIG_FILE"] == str(tmp_path / "fonts.conf")
