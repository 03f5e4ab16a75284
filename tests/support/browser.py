"""Pages on this machine asked as a program and as headless Chromium would."""

import http.client
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

import pytest


def chromium(address: str, *, profile: Path) -> str:
    """The document after the page's scripts have run; skips where Chromium is not installed."""
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("no chromium to open the page with; install Debian's package chromium")
    done = subprocess.run(
        [
            program,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            f"--user-data-dir={profile / 'chromium'}",
            "--virtual-time-budget=5000",
            "--dump-dom",
            address,
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return done.stdout


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
