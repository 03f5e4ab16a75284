"""The proxy strikes the requests it should, where it should, and counts them all."""

import http.client
import socket
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.support.fault_proxy import Fault, FaultProxy, Rule

BODY = bytes(range(256)) * 2000


class Echo(BaseHTTPRequestHandler):
    """Answers GET with BODY, in chunks if asked to, and PUT with what came."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.send_response(200)
        if "chunked" in self.path:
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for start in range(0, len(BODY), 100_000):
                part = BODY[start : start + 100_000]
                self.wfile.write(b"%x\r\n%b\r\n" % (len(part), part))
            self.wfile.write(b"0\r\n\r\n")
            return
        self.send_header("Content-Length", str(len(BODY)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(BODY)

    do_HEAD = do_GET

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


class QuietServer(ThreadingHTTPServer):
    """One that does not print of connections that are reset: it is what the tests are about."""

    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        pass


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The address of an echo server."""
    with QuietServer(("127.0.0.1", 0), Echo) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


@pytest.fixture
def proxy(server: str) -> Iterator[FaultProxy]:
    """A proxy in front of it, without a rule."""
    with FaultProxy(server) as running:
        yield running


@pytest.fixture
def connection(proxy: FaultProxy) -> Iterator[http.client.HTTPConnection]:
    """A connection to the proxy; it stays open between requests."""
    opened = http.client.HTTPConnection(proxy.endpoint.removeprefix("http://"), timeout=5)
    yield opened
    opened.close()


Ask = Callable[..., tuple[int, bytes]]


@pytest.fixture
def ask(connection: http.client.HTTPConnection) -> Ask:
    """Makes a request and reads its answer."""

    def asked(method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
        connection.request(method, path, body)
        answer = connection.getresponse()
        return answer.status, answer.read()

    return asked


def test_without_a_rule_everything_passes_over_one_connection(
    ask: Ask, connection: http.client.HTTPConnection, proxy: FaultProxy
) -> None:
    assert ask("GET", "/b/plain") == (200, BODY)
    first = connection.sock
    assert ask("GET", "/b/chunked") == (200, BODY)
    assert ask("HEAD", "/b/plain") == (200, b"")
    assert ask("PUT", "/b/plain", BODY) == (200, BODY)
    assert connection.sock is first
    assert proxy.requests == {
        ("GET", "/b/plain"): 1,
        ("GET", "/b/chunked"): 1,
        ("HEAD", "/b/plain"): 1,
        ("PUT", "/b/plain"): 1,
    }
    assert proxy.bytes_sent["GET", "/b/plain"] == proxy.bytes_sent["GET", "/b/chunked"] == len(BODY)


def test_keys_are_counted_without_their_query_and_quoting(ask: Ask, proxy: FaultProxy) -> None:
    ask("HEAD", "/b/a%20%2B%C3%BC?versionId=1")
    assert proxy.requests == {("HEAD", "/b/a +ü"): 1}


def test_an_upload_that_expects_100_continue_passes(proxy: FaultProxy) -> None:
    host, port = proxy.endpoint.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=5) as raw:
        raw.sendall(b"PUT /b/k HTTP/1.1\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n")
        with raw.makefile("rb") as answers:
            assert answers.readline() == b"HTTP/1.1 100 Continue\r\n"
            assert answers.readline() == b"\r\n"
            raw.sendall(b"abc")
            assert b" 200 " in answers.readline()


def test_busy_leaves_the_connection_open(ask: Ask, proxy: FaultProxy) -> None:
    ask("GET", "/b/k")
    proxy.set_rule(Rule(fault=Fault.BUSY))
    for method, body in (("GET", None), ("PUT", BODY)):
        status, words = ask(method, "/b/k", body)
        assert status == 503
        assert b"<Code>SlowDown</Code>" in words
    assert ask("HEAD", "/b/k") == (503, b"")
    proxy.set_rule(Rule())
    assert ask("GET", "/b/k") == (200, BODY)


def test_a_share_of_the_requests_fails_as_the_seed_draws_them(ask: Ask, proxy: FaultProxy) -> None:
    def statuses(seed: int) -> list[int]:
        proxy.set_rule(Rule(fault=Fault.BUSY, share=0.5, seed=seed))
        return [ask("HEAD", "/b/k")[0] for _ in range(40)]

    assert statuses(0) == statuses(0) != statuses(1)
    assert 10 < statuses(0).count(503) < 30


def test_only_matching_requests_fail_up_to_max_faults(ask: Ask, proxy: FaultProxy) -> None:
    proxy.set_rule(Rule(fault=Fault.BUSY, methods={"GET"}, keys=r"\.arrow$", max_faults=1))
    asked = [("HEAD", "/b/k.arrow"), ("GET", "/b/k.json"), *[("GET", "/b/k.arrow")] * 2]
    assert [ask(*each)[0] for each in asked] == [200, 200, 503, 200]
    assert proxy.num_faults == 1


@pytest.mark.parametrize("fault", [Fault.RESET, Fault.RESET_IN_UPLOAD])
def test_a_reset_replaces_the_response(ask: Ask, proxy: FaultProxy, fault: Fault) -> None:
    proxy.set_rule(Rule(fault=fault, max_faults=1))
    with pytest.raises(ConnectionError):
        ask("PUT", "/b/k", BODY)
    assert proxy.num_faults == 1
    assert ask("PUT", "/b/k", BODY) == (200, BODY)


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (Fault.RESET_IN_BODY, ConnectionResetError),
        (Fault.CUT_BODY, http.client.IncompleteRead),
        (Fault.STALL_IN_BODY, TimeoutError),
    ],
)
@pytest.mark.parametrize("path", ["/b/plain", "/b/chunked"])
def test_a_body_is_cut_half_way(
    connection: http.client.HTTPConnection,
    proxy: FaultProxy,
    fault: Fault,
    error: type[Exception],
    path: str,
) -> None:
    proxy.set_rule(Rule(fault=fault, max_faults=1))
    connection.timeout = 0.2
    connection.request("GET", path)
    answer = connection.getresponse()
    # A reset may overtake what was sent before it, so it promises no first half.
    if path == "/b/plain" and fault is not Fault.RESET_IN_BODY:
        assert answer.read(len(BODY) // 2) == BODY[: len(BODY) // 2]
    with pytest.raises((error, http.client.IncompleteRead)):
        answer.read()
    answer.close()
    connection.close()


def test_one_bit_of_a_body_is_flipped(ask: Ask, proxy: FaultProxy) -> None:
    proxy.set_rule(Rule(fault=Fault.CORRUPT_BODY))
    _, came = ask("GET", "/b/k")
    assert [i for i in range(len(BODY)) if came[i] != BODY[i]] == [len(BODY) // 2]
    proxy.set_rule(Rule(fault=Fault.CORRUPT_UPLOAD))
    _, came = ask("PUT", "/b/k", BODY)
    assert [i for i in range(len(BODY)) if came[i] != BODY[i]] == [len(BODY) // 2]


def test_silence_ends_with_its_rule(
    ask: Ask, connection: http.client.HTTPConnection, proxy: FaultProxy
) -> None:
    connection.timeout = 0.2
    proxy.set_rule(Rule(fault=Fault.SILENT))
    with pytest.raises(TimeoutError):
        ask("GET", "/b/k")
    connection.close()
    connection.timeout = 5
    threading.Timer(0.2, proxy.set_rule, [Rule()]).start()
    with pytest.raises(ConnectionResetError):
        ask("GET", "/b/k")


def test_latency_and_bandwidth_limit_a_response(ask: Ask, proxy: FaultProxy) -> None:
    proxy.set_rule(Rule(latency_s=0.2))
    start = time.monotonic()
    ask("HEAD", "/b/k")
    assert 0.2 <= time.monotonic() - start < 1
    proxy.set_rule(Rule(bytes_per_s=2 * len(BODY)))
    start = time.monotonic()
    ask("GET", "/b/k")
    assert 0.5 <= time.monotonic() - start < 2
