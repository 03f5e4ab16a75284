"""An HTTP server with canned responses, which records its requests."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A request as it was received."""

    method: str
    path: str
    headers: dict[str, str]
    """By lower-case name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """What is sent back: no body to HEAD, and one with a Transfer-Encoding unchanged."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


def s3_error(status: int, code: str, message: str = "refused", **more: str) -> Response:
    """An error as S3's documentation shows it."""
    parts = {"Code": code, "Message": message, **more, "RequestId": "4442587FB7D0A2F9"}
    xml = "".join(f"<{name}>{text}</{name}>" for name, text in parts.items())
    body = f'<?xml version="1.0" encoding="UTF-8"?>\n<Error>{xml}</Error>'.encode()
    return Response(status=status, body=body, headers={"Content-Type": "application/xml"})


class CannedServer:
    """Responds to every request by a function of it, inside a `with` block.

    Attributes:
        requests: those received so far.
        endpoint: its `http://` address.
    """

    def __init__(self, respond: Callable[[Request], Response]) -> None:
        self.requests: list[Request] = []
        requests = self.requests

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_any(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                request = Request(
                    method=self.command,
                    path=self.path,
                    headers={name.lower(): value for name, value in self.headers.items()},
                )
                requests.append(request)
                response = respond(request)
                self.send_response(response.status)
                for name, value in response.headers.items():
                    self.send_header(name, value)
                if not {"Content-Length", "Transfer-Encoding"} & response.headers.keys():
                    self.send_header("Content-Length", str(len(response.body)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(response.body)

            do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = handle_any

            def log_message(self, format: str, *_: object) -> None:
                """Log nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.endpoint = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
