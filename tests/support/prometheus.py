"""Prometheus from Debian's package, over a folder of its own."""

import json
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import urllib3

from tests.support.commands import ROOT

MONITORING = ROOT / "cluster" / "monitoring"


@dataclass(frozen=True, slots=True, kw_only=True)
class Prometheus:
    """A running server.

    Attributes:
        address: of its HTTP API.
        began: seconds since 1970.
    """

    address: str
    began: float

    def series(self, query: str) -> list[dict[str, Any]]:
        """The series of a query from the server's start until now, a value each second."""
        fields = {"query": query, "start": self.began, "end": time.time(), "step": 1}
        answer = urllib3.request("GET", f"{self.address}/api/v1/query_range", fields=fields).json()
        assert answer["status"] == "success", (query, answer)
        return answer["data"]["result"]

    def get(self, path: str) -> Any:
        """The data of an answer of the API."""
        return urllib3.request("GET", f"{self.address}/api/v1/{path}").json()["data"]


def program(name: str) -> str:
    """The path of `prometheus` or `promtool`; the test is skipped where it is not installed."""
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"no {name}; install Debian's package prometheus")
    return path


@contextmanager
def scraping(ray: Path, *, scratch: Path) -> Iterator[Prometheus]:
    """Scrape the Ray of a folder, as `cluster/monitoring/prometheus.yml` says but each second."""
    text = (MONITORING / "prometheus.yml").read_text()
    assert "files: [/tmp/ray/" in text
    text = text.replace("files: [/tmp/ray/", f"files: [{ray}/").replace("10s", "1s")
    (scratch / "prometheus.yml").write_text(text)
    shutil.copy(MONITORING / "alerts.yml", scratch)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    with (scratch / "log").open("wb") as log:
        process = subprocess.Popen(
            [
                program("prometheus"),
                f"--config.file={scratch / 'prometheus.yml'}",
                f"--storage.tsdb.path={scratch / 'data'}",
                f"--web.listen-address={address}",
            ],
            stdout=log,
            stderr=log,
        )
    try:
        yield Prometheus(address=f"http://{address}", began=time.time())
    finally:
        process.terminate()
        process.wait(30)


def dashboards() -> dict[str, Any]:
    """The Grafana dashboards by the names of their files."""
    folder = MONITORING / "grafana" / "dashboards"
    return {path.stem: json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))}
