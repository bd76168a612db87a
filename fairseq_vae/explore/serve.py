"""The server of the page: on this machine's loopback address, for pages of its own alone."""

import os
import socket
import warnings
from typing import Any, Callable
from urllib.parse import urlsplit

from ..base.errors import InputError

__all__ = ["HOSTS", "listen", "require_nicegui", "serve"]

HOSTS = ("127.0.0.1", "localhost")


def require_nicegui() -> None:
    """
    Raises:
        InputError: NiceGUI is not installed
    """
    try:
        import nicegui  # noqa: F401
    except ImportError as error:
        raise InputError("explore needs nicegui: pip install 'fairseq-vae[explore]'") from error


def listen(port: int) -> socket.socket:
    """A socket that waits for connections from this machine.

    Args:
        port: 0 takes a free one

    Raises:
        InputError: the port is in use, or there is no such port
    """
    if not 0 <= port <= 65535:
        raise InputError(f"--port {port}: expected 1 to 65535, or 0 for a free one")
    found = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        if os.name == "posix":  # a port that was left a moment ago is free; elsewhere the option means another thing
            found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind((HOSTS[0], port))
        found.listen()
    except OSError as error:
        found.close()
        raise InputError(f"--port {port}: {error.strerror}; give another, or 0 for a free one") from error
    return found


class OwnOrigin:
    """Refuses what a page of another origin asks for.

    A browser lets any page open a socket to this machine; it names the page's origin beside it.

    Args:
        app: what answers all else, an ASGI application
    """

    def __init__(self, app: Any):
        self.app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        from starlette.responses import PlainTextResponse

        given = dict(scope.get("headers", ()))
        origin, host = given.get(b"origin", b"").decode("latin-1"), given.get(b"host", b"").decode("latin-1")
        if origin and urlsplit(origin).netloc != host:
            await PlainTextResponse("Another origin", status_code=403)(scope, receive, send)
        else:
            await self.app(scope, receive, send)


def serve(build: Callable[[], Any], found: socket.socket, title: str) -> None:
    """Serve a page until the process is interrupted.

    A request for another host than this machine is refused: a name that an attacker's server points here would else
    open the page to the attacker's scripts (DNS rebinding).

    Args:
        build: draws the page for a visitor
        found: of listen
        title: of the page

    Raises:
        KeyboardInterrupt: the process was interrupted
    """
    import uvicorn
    from fastapi import FastAPI
    from nicegui import ui
    from starlette.middleware.trustedhost import TrustedHostMiddleware

    app = FastAPI(openapi_url=None)
    app.add_middleware(OwnOrigin)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=list(HOSTS), www_redirect=False)
    ui.page("/")(build)
    ui.run_with(app, title=title, dark=None, show_welcome_message=False, language="en-US")
    config = uvicorn.Config(app, log_config=None, access_log=False, timeout_graceful_shutdown=1)
    with warnings.catch_warnings():
        # NiceGUI looks at all objects of the process for its server, and torch's old names warn when they are looked at
        warnings.simplefilter("ignore", FutureWarning)
        uvicorn.Server(config).run(sockets=[found])
