"""A page on this machine, for the person who started the command and nobody else.

It listens on loopback only. Other users of the machine reach loopback, too, so the address holds a
secret; and a page of another site cannot ask through a name of its own that leads here, because the
Host header is checked.

An application whose addresses cannot have the secret in front is served beside the page, to
browsers that come from it: they get a cookie with another secret.
"""

import json
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.cookies import CookieError, SimpleCookie
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from typing import Any, Self
from urllib.parse import parse_qsl, unquote, urlsplit
from wsgiref.types import WSGIApplication
from wsgiref.util import setup_testing_defaults

from daam.errors import ConfigError, DaamError

MAX_BODY_BYTES = 32 << 20
APPLICATION = "application/"
"""The page's address of the application beside it."""
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; script-src 'unsafe-inline'; "
    "style-src 'unsafe-inline'; img-src 'self' blob: data:; connect-src 'self'; "
    "form-action 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What the page asks: the parameters of its address and the body."""

    query: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """What it is answered."""

    body: bytes
    kind: str = "text/html; charset=utf-8"
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    """Besides those of every response, or in their place."""


def json_response(document: object, *, status: int = 200) -> Response:
    """A JSON document."""
    return Response(body=json.dumps(document).encode(), kind="application/json", status=status)


Route = Callable[[Request], Response]


class LocalPage:
    """Serves routes until it is closed; each request in a thread of its own."""

    def __init__(
        self,
        routes: Mapping[tuple[str, str], Route],
        *,
        port: int = 0,
        application: WSGIApplication | None = None,
    ) -> None:
        """
        Args:
            routes: (method, name) -> what answers it; the name "" is the page itself. A `DaamError`
                is answered with status 400 and `{"error": message}`.
            port: on 127.0.0.1; 0 takes a free one.
            application: served beside the page, reached from it as `APPLICATION`.

        Raises:
            ConfigError: the port is taken, or may not be used.
        """
        self._secret = secrets.token_urlsafe(16)
        self._cookie = secrets.token_urlsafe(16)
        self._routes = dict(routes)
        self._application = application
        if application is not None:
            self._routes["GET", APPLICATION] = self._enter
        page = self

        class Handler(BaseHTTPRequestHandler):
            timeout = 30  # a silent client does not hold a thread for ever

            def do_GET(self) -> None:
                page.handle(self)

            def do_POST(self) -> None:
                page.handle(self)

            def log_message(self, format: str, *args: Any) -> None:
                """Nothing: the address is a secret, and the terminal is the command's."""

        try:
            self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        except (OSError, OverflowError) as error:
            raise ConfigError(
                f"port {port} of this machine cannot be used ({error}); choose another, or 0 for a "
                "free one"
            ) from error
        self._server.daemon_threads = True

    @property
    def address(self) -> str:
        """What to open in a browser."""
        return f"http://127.0.0.1:{self._server.server_port}/{self._secret}/"

    def serve(self) -> None:
        """Answer requests until `stop`, or Ctrl-C."""
        self._server.serve_forever(poll_interval=0.2)

    def stop(self) -> None:
        """Let `serve` return; from another thread."""
        self._server.shutdown()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.server_close()

    def handle(self, handler: BaseHTTPRequestHandler) -> None:
        """Answer one request."""
        response = self._answer(handler)
        handler.send_response(response.status)
        for name, value in {
            **HEADERS,
            "Content-Type": response.kind,
            **response.headers,
            "Content-Length": str(len(response.body)),
            "Connection": "close",
        }.items():
            handler.send_header(name, value)
        handler.end_headers()
        handler.wfile.write(response.body)

    def _answer(self, handler: BaseHTTPRequestHandler) -> Response:
        parts = urlsplit(handler.path)
        secret, _, name = parts.path.removeprefix("/").partition("/")
        is_page = secrets.compare_digest(secret.encode(), self._secret.encode())
        if not self._is_own_host(handler) or not (is_page or self._has_cookie(handler)):
            return json_response({"error": "open the address that the command printed"}, status=403)
        route = self._routes.get((handler.command, name))
        if is_page and route is None:
            return json_response({"error": f"there is no {name!r} here"}, status=404)
        try:
            size = int(handler.headers.get("Content-Length") or 0)
        except ValueError:
            size = -1
        if not 0 <= size <= MAX_BODY_BYTES:
            limit = f"{MAX_BODY_BYTES >> 20} MiB are the most that can be sent"
            return json_response({"error": limit}, status=413)
        try:
            body = handler.rfile.read(size)
            if is_page and route is not None:
                return route(Request(query=dict(parse_qsl(parts.query)), body=body))
            return self._from_application(handler, body=body)
        except DaamError as error:
            return json_response({"error": str(error)}, status=400)

    def _is_own_host(self, handler: BaseHTTPRequestHandler) -> bool:
        port = self._server.server_port
        return handler.headers.get("Host", "") in (f"127.0.0.1:{port}", f"localhost:{port}")

    @property
    def _cookie_name(self) -> str:
        return f"daam-{self._server.server_port}"

    def _has_cookie(self, handler: BaseHTTPRequestHandler) -> bool:
        try:
            found = SimpleCookie(handler.headers.get("Cookie", "")).get(self._cookie_name)
        except CookieError:
            return False
        value = "" if found is None else found.value
        return self._application is not None and secrets.compare_digest(
            value.encode(), self._cookie.encode()
        )

    def _enter(self, _: Request) -> Response:
        cookie = f"{self._cookie_name}={self._cookie}; Path=/; HttpOnly; SameSite=Strict"
        return Response(body=b"", status=303, headers={"Location": "/", "Set-Cookie": cookie})

    def _from_application(self, handler: BaseHTTPRequestHandler, *, body: bytes) -> Response:
        assert self._application is not None  # noqa: S101 - else nobody has the cookie
        path, _, query = handler.path.partition("?")
        environ: dict[str, Any] = {
            "REQUEST_METHOD": handler.command,
            "PATH_INFO": unquote(path, "latin-1"),
            "QUERY_STRING": query,
            "CONTENT_TYPE": handler.headers.get("Content-Type", ""),
            "CONTENT_LENGTH": str(len(body)),
            "HTTP_HOST": handler.headers["Host"],
            "wsgi.input": BytesIO(body),
        }
        setup_testing_defaults(environ)
        status, headers = 500, {}

        def start(line: str, pairs: list[tuple[str, str]], *_: Any) -> Callable[[bytes], None]:
            nonlocal status, headers
            status, headers = int(line.split()[0]), dict(pairs)
            return lambda _: None

        parts = self._application(environ, start)
        try:
            content = b"".join(parts)
        finally:
            if (close := getattr(parts, "close", None)) is not None:
                close()
        return Response(body=content, status=status, headers=headers)
