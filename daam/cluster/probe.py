"""What one machine of a cluster says of itself, from a Ray actor that is pinned to it."""

import os
import platform
import shutil
import socket
import subprocess
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from daam.commit import source_commit
from daam.errors import DaamError
from daam.storage import open_store
from daam.storage.private import make_folder

LIBRARIES = ("ray", "torch", "daam")
CONNECT_S = 5
STORE_BYTES = 8 << 20


class Probe:
    """Runs on one machine."""

    def __init__(self, host: str) -> None:
        self.host = host
        self.listener: socket.socket | None = None

    def __repr__(self) -> str:
        return f"check of {self.host}"

    def facts(self, cache: str) -> dict[str, Any]:
        """Return versions, rights, GPUs, and the free space for the image cache in a folder."""
        token = Path(os.environ.get("RAY_AUTH_TOKEN_PATH", "~/.ray/auth_token")).expanduser()
        return {
            "versions": {"python": platform.python_version(), **_versions()},
            "commit": str(source_commit() or ""),
            "auth_mode": os.environ.get("RAY_AUTH_MODE", "disabled"),
            "token_rights": oct(token.stat().st_mode & 0o777) if token.exists() else None,
            "gpus": _gpus(),
            **_cache_facts(Path(cache).expanduser()),
        }

    def clock(self) -> float:
        """Return this machine's time in seconds."""
        return time.time()

    def listen(self) -> int:
        """Open a port that the others may try, and return its number."""
        self.listener = socket.create_server(("", 0), backlog=256)
        return self.listener.getsockname()[1]

    def free_port(self) -> int:
        """Return the number of a port that nobody uses."""
        with socket.create_server(("", 0)) as server:
            return server.getsockname()[1]

    def unreachable(self, addresses: list[tuple[str, int]]) -> list[str]:
        """Return the addresses that no connection can be made to."""

        def refused(address: tuple[str, int]) -> str | None:
            try:
                socket.create_connection(address, timeout=CONNECT_S).close()
            except OSError as error:
                return f"{address[0]}:{address[1]} ({error})"
            return None

        with ThreadPoolExecutor(32) as pool:
            return [found for found in pool.map(refused, addresses) if found is not None]

    def store(self, uri: str) -> dict[str, Any]:
        """Write to a store, read it back and delete it; return the rates in MB/s, or the error."""
        data = os.urandom(STORE_BYTES)
        key = f".daam-check/{self.host}-{os.getpid()}"
        try:
            store = open_store(uri)
            begin = time.monotonic()
            store.write(key, data)
            written = time.monotonic()
            is_equal = store.read(key) == data
            read = time.monotonic()
            store.delete(key)
        except DaamError as error:
            return {"error": str(error)}
        if not is_equal:
            return {"error": "it returned other bytes than were written"}
        size_mb = STORE_BYTES / 1e6
        return {
            "write_mb_s": size_mb / (written - begin),
            "read_mb_s": size_mb / (read - written),
        }

    def all_reduce(self, rank: int, num_ranks: int, address: str, backend: str) -> float:
        """Add one number over all machines, as training does; return the seconds it took."""
        import torch
        import torch.distributed as distributed

        begin = time.monotonic()
        device = torch.device("cuda:0" if backend == "nccl" else "cpu")
        distributed.init_process_group(
            backend, init_method=f"tcp://{address}", rank=rank, world_size=num_ranks
        )
        try:
            ones = torch.ones(1, device=device)
            distributed.all_reduce(ones)
            if ones.item() != num_ranks:
                raise RuntimeError(f"the sum over {num_ranks} machines is {ones.item()}")
        finally:
            distributed.destroy_process_group()
        return time.monotonic() - begin


def _versions() -> dict[str, str]:
    found = {}
    for library in LIBRARIES:
        try:
            found[library] = version(library)
        except PackageNotFoundError:
            found[library] = "not installed"
    return found


def _cache_facts(folder: Path) -> dict[str, Any]:
    try:
        make_folder(folder)
        with tempfile.TemporaryFile(dir=folder):
            pass
        return {"cache_error": None, "free_gb": shutil.disk_usage(folder).free / 1e9}
    except OSError as error:
        return {"cache_error": f"{folder}: {error.strerror}", "free_gb": None}


def _gpus() -> list[str]:
    """Name and driver of each GPU that NVIDIA's driver shows."""
    query = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(query, capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return []
    return [line.strip() for line in done.stdout.splitlines() if line.strip()]
