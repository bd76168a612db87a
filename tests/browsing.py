"""A headless Chromium for tests of pages, which keeps what they say on the console and ask of the network.

from browsing import browser, visit  # noqa: F401

def test_page(visit):
    seen = visit(path.as_uri())
    assert seen.page.title() == "A run" and not seen.complaints and seen.requests == [path.as_uri()]
"""

import os
import sys
from pathlib import Path
from typing import Any, Dict, List, NamedTuple

import pytest
from playwright.sync_api import sync_playwright

CHROMIUM = os.environ.get("CHROMIUM") or str(Path(sys.prefix) / "browser/chromium")  # as scripts/browser.sh puts it
QUIET = [  # no request of the browser's own
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-gpu"),
    *("--disable-quic", "--no-first-run", "--no-default-browser-check", "--disable-dev-shm-usage"),
]


class Visit(NamedTuple):
    """A page that is open, and what it has done until now.

    Attributes:
        page: playwright's
        complaints: console messages that are no plain log, exceptions that nothing caught, and requests that failed
        requests: addresses that it asked for, its own first, sockets too; those that lead elsewhere were refused
    """

    page: Any
    complaints: List[str]
    requests: List[str]

    def elsewhere(self, home: str) -> List[str]:
        """The addresses asked for that do not start with `home`; what a page carries in itself (data:, blob:) is none.

        Args:
            home: the page's own address or its beginning
        """
        return [address for address in self.requests if not address.startswith((home, "data:", "blob:"))]


def environment(chromium: str) -> Dict[str, str]:
    """The environment of a browser, with the libraries and the fonts that lie beside it, if there are any."""
    found = dict(os.environ)
    libraries, fonts = Path(chromium).with_name("lib"), Path(chromium).with_name("fonts.conf")
    if libraries.is_dir():
        found["LD_LIBRARY_PATH"] = f"{libraries}:{found.get('LD_LIBRARY_PATH', '')}"
    if fonts.is_file():
        found["FONTCONFIG_FILE"] = str(fonts)
    return found


@pytest.fixture(scope="module")  # each module imports it as its own, and one thread takes one playwright at a time
def browser():
    """A browser for all tests of a process."""
    if not os.path.exists(CHROMIUM):
        pytest.fail(f"{CHROMIUM} is missing: source scripts/browser.sh, or name a Chromium with CHROMIUM=PATH")
    with sync_playwright() as playwright:
        found = playwright.chromium.launch(
            executable_path=CHROMIUM, args=QUIET, env=environment(CHROMIUM), timeout=180_000
        )
        yield found
        found.close()


@pytest.fixture
def visit(browser):
    """A function that opens an address in a fresh profile.

    Args of that function:
        address: of the page, file:// or http://127.0.0.1
        home: the beginning of the addresses that it may ask for (default: its own address alone)
        options: of playwright's new_context, e.g. color_scheme="dark", viewport={"width": 400, "height": 800}
    """
    contexts = []

    def open_page(address: str, home: str = "", **options: Any) -> Visit:
        context = browser.new_context(**options)
        contexts.append(context)
        context.set_default_timeout(60_000)  # other work may share the machine
        context.set_default_navigation_timeout(60_000)
        seen = Visit(context.new_page(), [], [])

        def serve(route):
            seen.requests.append(route.request.url)
            allowed = route.request.url.startswith((home or address, "data:", "blob:"))
            route.continue_() if allowed else route.abort()

        context.route("**/*", serve)
        page = seen.page
        page.on("websocket", lambda socket: seen.requests.append(socket.url))
        page.on("console", lambda said: said.type in ("log", "debug") or seen.complaints.append(said.text))
        page.on("pageerror", lambda error: seen.complaints.append(str(error)))
        page.on("requestfailed", lambda request: seen.complaints.append(f"{request.url}: {request.failure}"))
        page.goto(address, wait_until="networkidle")  # half a second without a request
        return seen

    yield open_page
    for context in contexts:
        context.close()
