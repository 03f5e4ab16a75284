"""Only the person who has the address is answered, and only under this machine's own name."""

import threading
from collections.abc import Iterator

import pytest

from daam.commands.web.local_page import LocalPage, Request, Response, json_response
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
