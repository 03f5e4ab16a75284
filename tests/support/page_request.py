"""Pages on this machine asked as a program would."""

import http.client
from collections.abc import Mapping
from urllib.parse import urlsplit


def ask(
    address: str,
    path: str,
    *,
    method: str = "GET",
    body: bytes = b"",
    headers: Mapping[str, str] | None = None,
) -> tuple[int, bytes, http.client.HTTPMessage]:
    """Status, body and headers of a response from the server of an address."""
    connection = http.client.HTTPConnection(urlsplit(address).netloc, timeout=10)
    connection.request(method, path, body=body, headers=dict(headers or {}))
    response = connection.getresponse()
    found = response.status, response.read(), response.headers
    connection.close()
    return found
