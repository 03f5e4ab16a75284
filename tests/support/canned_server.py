"""A server that gives the answers it was told to give, and remembers what it was asked."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A request as it came."""

    method: str
    path: str
    headers: dict[str, str]
    """By lower-case name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What is sent back; HEAD gets no body, and one with a Transfer-Encoding is sent as it is."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)


def refusal(status: int, code: str, message: str = "refused", **more: str) -> Answer:
    """An error as S3's documentation shows it."""
    parts = {"Code": code, "Message": message, **more, "RequestId": "4442587FB7D0A2F9"}
    xml = "".join(f"<{name}>{text}</{name}>" for name, text in parts.items())
    body = f'<?xml version="1.0" encoding="UTF-8"?>\n<Error>{xml}</Error>'.encode()
    return Answer(status=status, body=body, headers={"Content-Type": "application/xml"})


class CannedServer:
    """Answers every request by a function of it, inside a `with` block.

    Attributes:
        asked: the requests so far.
        endpoint: its `http://` address.
    """

    def __init__(self, answer: Callable[[Asked], Answer]) -> None:
        self.asked: list[Asked] = []
        asked = self.asked

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_any(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                request = Asked(
                    method=self.command,
                    path=self.path,
                    headers={name.lower(): value for name, value in self.headers.items()},
                )
                asked.append(request)
                given = answer(request)
                self.send_response(given.status)
                for name, value in given.headers.items():
                    self.send_header(name, value)
                if not {"Content-Length", "Transfer-Encoding"} & given.headers.keys():
                    self.send_header("Content-Length", str(len(given.body)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(given.body)

            do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = handle_any

            def log_message(self, format: str, *_: object) -> None:
                """Say nothing."""

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
