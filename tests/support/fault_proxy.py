"""A proxy in front of an HTTP server that breaks chosen requests, and counts all of them.

It parses requests and responses. So a new rule applies from the next request on, also on open
connections, and a fault happens exactly where it is meant to.
"""

import random
import re
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from io import BufferedReader
from math import inf
from types import TracebackType
from typing import Self
from urllib.parse import unquote

from tests.support.http_message import read_head

POLL_S = 0.02
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
SLOW_DOWN = b"<Error><Code>SlowDown</Code><Message>Reduce your request rate.</Message></Error>"
SLOW_DOWN_HEAD = (
    b"HTTP/1.1 503 Slow Down\r\nContent-Type: application/xml\r\nContent-Length: %d\r\n\r\n"
) % len(SLOW_DOWN)
# Closing a socket that lingers for no time resets the connection.
NO_LINGERING = struct.pack("ii", 1, 0)


class Fault(StrEnum):
    """What goes wrong with a request. Faults in a body happen half-way through it."""

    BUSY = "busy"  # 503 with S3's SlowDown; the server never sees the request
    SILENT = "silent"  # accepted, and never answered
    RESET = "reset"  # the connection is reset in place of an answer
    RESET_IN_BODY = "reset in body"
    CUT_BODY = "cut body"  # the connection closes before Content-Length bytes were sent
    STALL_IN_BODY = "stall in body"  # the rest never comes
    CORRUPT_BODY = "corrupt body"  # one bit is flipped
    RESET_IN_UPLOAD = "reset in upload"
    CORRUPT_UPLOAD = "corrupt upload"


UPLOADS = frozenset({Fault.RESET_IN_UPLOAD, Fault.CORRUPT_UPLOAD})
BODIES = frozenset({Fault.RESET_IN_BODY, Fault.CUT_BODY, Fault.STALL_IN_BODY, Fault.CORRUPT_BODY})


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """Which requests fail, and how; without arguments, none.

    Attributes:
        fault: None for none. Those of uploads hit PUT and POST alone, those of bodies GET alone.
        share: of the matching requests that fail, in [0, 1]; drawn with the seed.
        max_faults: requests that fail; later ones pass.
        methods: of the requests it matches; all if empty.
        keys: a regular expression searched in `/bucket/key`.
        latency_s: added to each matching request.
        bytes_per_s: of bodies sent to clients, all connections together.
    """

    fault: Fault | None = None
    share: float = 1.0
    seed: int = 0
    max_faults: float = inf
    methods: Collection[str] = ()
    keys: str = ""
    latency_s: float = 0.0
    bytes_per_s: float = inf

    def matches(self, method: str, key: str) -> bool:
        """Whether the rule applies to such a request."""
        return (not self.methods or method in self.methods) and bool(re.search(self.keys, key))

    def can_hit(self, method: str) -> bool:
        """Whether its fault, if any, can hit such a request."""
        if self.fault in UPLOADS:
            return method in ("PUT", "POST")
        return self.fault is not None and (self.fault not in BODIES or method == "GET")


class FaultProxy:
    """Passes requests on to a server, inside a `with` block.

    Attributes:
        endpoint: the proxy's own `http://` address.
        requests: (method, `/bucket/key`) -> requests received, failed ones included.
        bytes_sent: the same -> bytes of bodies that the server sent.
        num_faults: requests that failed under the present rule.
    """

    def __init__(
        self,
        endpoint: str,
        *,
        rule: Rule | None = None,
        address: tuple[str, int] = ("127.0.0.1", 0),
    ) -> None:
        """
        Args:
            endpoint: `http://host:port` of the server.
            rule: what it does from the start.
            address: where it listens; port 0 for a free one.
        """
        host, port = endpoint.removeprefix("http://").split(":")
        self._server = (host, int(port))
        self._listener = socket.create_server(address, backlog=128)
        self._lock = threading.Lock()
        self._wire = threading.Lock()
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self.endpoint = f"http://{address[0]}:{self._listener.getsockname()[1]}"
        self.requests: Counter[tuple[str, str]] = Counter()
        self.bytes_sent: Counter[tuple[str, str]] = Counter()
        self.set_rule(rule or Rule())

    def set_rule(self, rule: Rule) -> None:
        """Apply another rule from the next request on; what stalls under the old one is reset."""
        with self._lock:
            self._rule = rule
            self._random = random.Random(rule.seed)
            self.num_faults = 0

    def __enter__(self) -> Self:
        self._start(self._accept)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.set_rule(Rule())
        _hang_up(self._listener)
        self._threads[0].join()
        self._listener.close()
        with self._lock:
            for end in self._open:
                _hang_up(end)
        for thread in self._threads:
            thread.join()

    def _start(self, work: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=work, args=arguments, name="fault-proxy", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            with self._lock:
                self._open.add(client)
            self._start(self._serve, client)

    def _serve(self, client: socket.socket) -> None:
        try:
            # Either side may hang up at any moment; that ends this connection alone.
            with client, suppress(OSError), socket.create_connection(self._server) as server:
                with self._lock:
                    self._open.add(server)
                with client.makefile("rb") as requests, server.makefile("rb") as answers:
                    while self._exchange(client, requests, server, answers):
                        pass
        finally:
            with self._lock:
                self._open = {end for end in self._open if end.fileno() != -1}

    def _exchange(
        self,
        client: socket.socket,
        requests: BufferedReader,
        server: socket.socket,
        answers: BufferedReader,
    ) -> bool:
        """Pass on one request and its answer; whether the connection can be used again."""
        request = read_head(requests)
        if request is None:
            return False
        method, target, _ = request.lines[0].decode("latin-1").split(" ", 2)
        about = (method, unquote(target.partition("?")[0]))
        rule, fault = self._choose_fault(about)
        time.sleep(rule.latency_s)

        if fault is Fault.SILENT:
            self._stall(rule)
        if fault in (Fault.SILENT, Fault.RESET):
            return _reset(client)
        waits = "100-continue" in request.fields.get("expect", "")
        if fault is Fault.BUSY:
            if not waits:
                for _ in request.body(requests):
                    pass
            client.sendall(SLOW_DOWN_HEAD + (b"" if method == "HEAD" else SLOW_DOWN))
            return not waits

        server.sendall(request.as_bytes(without="expect"))
        if waits:
            client.sendall(CONTINUE)
        for position, block in request.body(requests):
            if fault is Fault.RESET_IN_UPLOAD and position + len(block) > request.middle:
                server.sendall(request.framed(block[: request.middle - position]))
                return _reset(server) or _reset(client)
            if fault is Fault.CORRUPT_UPLOAD:
                block = _corrupted(block, at=request.middle - position)
            server.sendall(request.framed(block))
        server.sendall(request.end)

        answer = read_head(answers)
        if answer is None:
            return False
        client.sendall(answer.as_bytes())
        if method != "HEAD" and answer.has_body:
            for position, block in answer.body(answers):
                with self._lock:
                    self.bytes_sent[about] += len(block)
                with self._wire:
                    time.sleep(len(block) / rule.bytes_per_s)
                if fault is Fault.CORRUPT_BODY:
                    block = _corrupted(block, at=answer.middle - position)
                elif fault in BODIES and position + len(block) > answer.middle:
                    client.sendall(answer.framed(block[: answer.middle - position]))
                    if fault is Fault.STALL_IN_BODY:
                        self._stall(rule)
                    return fault is not Fault.CUT_BODY and _reset(client)
                client.sendall(answer.framed(block))
            client.sendall(answer.end)
        return "close" not in (request.fields.get("connection"), answer.fields.get("connection"))

    def _choose_fault(self, about: tuple[str, str]) -> tuple[Rule, Fault | None]:
        with self._lock:
            self.requests[about] += 1
            rule = self._rule
            if not rule.matches(*about):
                return Rule(), None
            if (
                not rule.can_hit(about[0])
                or self.num_faults >= rule.max_faults
                or self._random.random() >= rule.share
            ):
                return rule, None
            self.num_faults += 1
            return rule, rule.fault

    def _stall(self, rule: Rule) -> None:
        while self._rule is rule:
            time.sleep(POLL_S)


def _corrupted(block: bytes, *, at: int) -> bytes:
    if not 0 <= at < len(block):
        return block
    return block[:at] + bytes([block[at] ^ 1]) + block[at + 1 :]


def _reset(end: socket.socket) -> bool:
    """Have the connection reset when it is closed; it can't be used again."""
    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_LINGERING)
    return False


def _hang_up(end: socket.socket) -> None:
    with suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)
