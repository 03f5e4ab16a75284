"""Only the person who has the address is answered, and only under this machine's own name."""

import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest

from daam.commands.web.local_page import APPLICATION, LocalPage, Request, Response, json_response
from daam.errors import ConfigError, DataError
from tests.support.page_request import ask


def refuse(_: Request) -> Response:
    raise DataError("this is no picture; send a JPEG")


@pytest.fixture
def page() -> Iterator[LocalPage]:
    routes = {
        ("GET", ""): lambda _: Response(body=b"hello"),
        ("POST", "echo"): lambda request: json_response(len(request.body)),
        ("GET", "refuse"): refuse,
    }
    with LocalPage(routes) as page:
        thread = threading.Thread(target=page.serve)
        thread.start()
        yield page
        page.stop()
        thread.join()


def secret(page: LocalPage) -> str:
    return page.address.split("/")[3]


def test_the_address_that_was_printed_is_answered_and_kept_out_of_caches(page: LocalPage) -> None:
    status, body, headers = ask(page.address, f"/{secret(page)}/")
    assert (status, body) == (200, b"hello")
    assert page.address.startswith("http://127.0.0.1:")
    assert headers["Cache-Control"] == "no-store"
    assert "default-src 'none'" in headers["Content-Security-Policy"]


@pytest.mark.parametrize("path", ["/", "/guess/", "/guess/echo", "//", "/%2e%2e/", "/%00/"])
def test_without_the_secret_nothing_is_told(page: LocalPage, path: str) -> None:
    assert ask(page.address, path)[0] == 403


def test_a_name_of_another_site_that_leads_here_is_refused(page: LocalPage) -> None:
    assert ask(page.address, f"/{secret(page)}/", headers={"Host": "evil.example"})[0] == 403


def test_an_error_is_said_and_an_unknown_name_is_not_found(page: LocalPage) -> None:
    status, body, _ = ask(page.address, f"/{secret(page)}/refuse")
    assert (status, body) == (400, b'{"error": "this is no picture; send a JPEG"}')
    assert ask(page.address, f"/{secret(page)}/../etc/passwd")[0] == 404
    assert ask(page.address, f"/{secret(page)}/echo")[0] == 404  # GET where POST is meant


@pytest.mark.parametrize("length", ["-1", "much", str(1 << 40)])
def test_an_impossible_body_is_refused_before_it_is_read(page: LocalPage, length: str) -> None:
    headers = {"Content-Length": length}
    found = ask(page.address, f"/{secret(page)}/echo", method="POST", headers=headers)
    assert found[0] == 413


def test_a_port_that_is_taken_is_named(page: LocalPage) -> None:
    port = int(page.address.split(":")[2].partition("/")[0])
    for taken in (port, 70_000):
        with pytest.raises(ConfigError, match=f"port {taken} of this machine cannot be used"):
            LocalPage({}, port=taken)


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Answers with what it was asked."""
    start_response("418 I'm a teapot", [("Content-Type", "text/x"), ("X-Own", "yes")])
    body = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
    text = f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']} {environ['QUERY_STRING']} "
    return [text.encode("latin-1"), body]


@pytest.fixture
def beside() -> Iterator[LocalPage]:
    with LocalPage(
        {("GET", ""): lambda _: Response(body=b"page")}, application=application
    ) as page:
        thread = threading.Thread(target=page.serve)
        thread.start()
        yield page
        page.stop()
        thread.join()


def test_an_application_is_there_for_browsers_that_come_from_the_page(beside: LocalPage) -> None:
    status, _, headers = ask(beside.address, f"/{secret(beside)}/{APPLICATION}")
    assert (status, headers["Location"]) == (303, "/")
    cookie, *attributes = headers["Set-Cookie"].split("; ")
    assert {"HttpOnly", "SameSite=Strict"} < set(attributes)
    assert secret(beside) not in cookie  # other servers on this machine are sent it, too
    status, body, headers = ask(
        beside.address, "/api/x%20y?z=1", method="POST", body=b"hi", headers={"Cookie": cookie}
    )
    assert (status, body) == (418, b"POST /api/x y z=1 hi")
    assert (headers["X-Own"], headers["Content-Type"]) == ("yes", "text/x")
    assert headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("cookie", ["", "daam-{port}=guess", "daam-{port}=", "other=1", ";;="])
def test_without_the_cookie_the_application_is_not_asked(beside: LocalPage, cookie: str) -> None:
    port = beside.address.split(":")[2].partition("/")[0]
    headers = {"Cookie": cookie.format(port=port)}
    assert ask(beside.address, "/api/x", headers=headers)[0] == 403


def test_the_cookie_does_not_open_the_page(beside: LocalPage) -> None:
    _, _, headers = ask(beside.address, f"/{secret(beside)}/{APPLICATION}")
    cookie = headers["Set-Cookie"].partition(";")[0]
    assert ask(beside.address, "/", headers={"Cookie": cookie})[1].startswith(b"GET / ")
    evil = {"Cookie": cookie, "Host": "evil.example"}
    assert ask(beside.address, "/api", headers=evil)[0] == 403
