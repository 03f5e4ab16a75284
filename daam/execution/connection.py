"""A connection to Ray: a cluster started on this machine for one job, or one that is running."""

import logging
import os
import signal
import stat
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import chdir, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray._private import worker as rays_worker
from ray.job_config import JobConfig

from daam.errors import ConfigError, TrainingError
from daam.execution.environment import prepare_environment

OBJECT_STORE_BYTES = 256 << 20  # nothing large goes through it: images come from the shards
MAX_SOCKET_BYTES = 103 if sys.platform == "darwin" else 107  # of the path of a Unix socket


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """A connected cluster.

    Attributes:
        dashboard_url: address of Ray's dashboard; empty if it has none.
        needs_token: whether the dashboard asks for the token that `ray get-auth-token` prints.
        logs: the folder on this machine with Ray's logs of it, stack traces included.
    """

    dashboard_url: str
    needs_token: bool
    logs: str


@contextmanager
def connected(
    *,
    address: str | None = None,
    num_cpus: int | None = None,
    job: Mapping[str, str] | None = None,
) -> Iterator[Connection]:
    """Connect to a cluster, or start one on this machine that ends with the block.

    One started here listens on loopback alone, if `prepare_environment` was called before Ray was
    imported.

    Args:
        address: of a running cluster; `auto` for the one this machine belongs to; None to start
            one.
        num_cpus: processors of a cluster that is started; default: all of this machine's.
        job: what the dashboard shows of this process's job, see `daam.execution.names`.

    Raises:
        ConfigError: the address is one of Ray Client.
        TrainingError: no cluster answers at the address, none can be started, or a folder of Ray's
            cannot be kept from other users of the machine.
    """
    prepare_environment(address=address)
    own_folder = private_folder(_temporary() / f"daam-{os.getuid()}", variable="RAY_TMPDIR")
    on_sigterm = signal.getsignal(signal.SIGTERM)  # in its place Ray puts one that dumps a stack
    config = JobConfig(metadata=dict(job or {}))
    with chdir(_first_on_workers_path(own_folder)):
        if address is None:
            context = _started(own_folder, num_cpus, config)
        else:
            context = _joined(address, config)
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, on_sigterm)
    logs = Path(context.address_info["session_dir"]) / "logs"
    try:
        with _logged_to(logs / f"daam-{os.getpid()}.log"):
            yield Connection(
                dashboard_url=f"http://{context.dashboard_url}" if context.dashboard_url else "",
                needs_token=os.environ.get("RAY_AUTH_MODE") == "token",  # Ray sets the default
                logs=str(logs),
            )
    finally:
        ray.shutdown()


@contextmanager
def _logged_to(path: Path) -> Iterator[None]:
    """Send what Ray logs and prints in this process to a file: it is no progress of a run.

    The message about a worker that died is printed by a private function of Ray's, so a test looks
    for it in the output of a study.
    """
    rays, printed = logging.getLogger("ray"), rays_worker.print_to_stdstream
    on_terminal = list(rays.handlers)
    try:
        file = logging.FileHandler(path)
    except OSError:
        yield
        return
    file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    rays.handlers[:] = [file]
    rays_worker.print_to_stdstream = _log_lines
    try:
        yield
    finally:
        rays_worker.print_to_stdstream = printed
        rays.handlers[:] = on_terminal
        file.close()


def _log_lines(data: Mapping[str, Any], **_: Any) -> None:
    logging.getLogger("ray").error("%s: %s", data.get("pid"), "\n".join(data["lines"]))


def _started(own_folder: Path, num_cpus: int | None, job: JobConfig) -> Any:
    _keep_token_private()
    _check_socket_length(own_folder / "ray")
    try:
        return ray.init(
            address="local",
            num_cpus=num_cpus,
            job_config=job,
            include_dashboard=True,
            dashboard_host="127.0.0.1",
            object_store_memory=OBJECT_STORE_BYTES,
            logging_level=logging.ERROR,
            log_to_driver=False,
            _temp_dir=str(own_folder / "ray"),
        )
    except Exception as error:  # Ray raises the bare class when a process does not come up in time
        raise TrainingError(
            f"Ray could not be started on this machine: {error}; is it short of memory, disk or "
            f"processors? Ray's logs are in {own_folder}/ray/session_latest/logs"
        ) from error


def _joined(address: str, job: JobConfig) -> Any:
    if address.startswith("ray://"):
        raise ConfigError(
            "--address ray://... is Ray Client, which runs the driver in another process; run this "
            "on a machine of the cluster with --address auto, or with `ray job submit`"
        )
    try:
        return ray.init(
            address=address, job_config=job, logging_level=logging.ERROR, log_to_driver=False
        )
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise TrainingError(
            f"there is no Ray cluster at {address}: {error}; start one with "
            "`ray up cluster/onprem.yaml`, or leave --address out to use this machine"
        ) from error


def _check_socket_length(folder: Path) -> None:
    """Refuse a folder whose path is too long for the sockets that Ray makes in it."""
    session = f"session_2026-01-01_00-00-00_000000_{os.getpid()}"
    num_bytes = len(os.fsencode(folder / session / "sockets" / "plasma_store"))
    if num_bytes > MAX_SOCKET_BYTES:
        variable = "RAY_TMPDIR" if os.environ.get("RAY_TMPDIR") else "TMPDIR"
        raise TrainingError(
            f"{variable} = {_temporary()} is too long: Ray's sockets in it would have paths of "
            f"{num_bytes} bytes, and {MAX_SOCKET_BYTES} are possible; set RAY_TMPDIR to a shorter "
            "folder on this machine, such as /tmp"
        )


def private_folder(path: Path, *, variable: str) -> Path:
    """Create a folder that only its owner may enter, or restrict an existing one.

    Ray gives everybody all rights to the folders of its sockets and logs.

    Args:
        path: of the folder.
        variable: of the environment, which decides where it is.

    Raises:
        TrainingError: it belongs to another user, is no folder, or cannot be created.
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = path.lstat()
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid():
            raise TrainingError(
                f"{path} is not a folder of yours; remove it, or set {variable} to another folder"
            )
        path.chmod(0o700)
    except OSError as error:
        raise TrainingError(
            f"{path} cannot be created or restricted to you: {error.strerror}; set {variable} to "
            "a folder that you can write to"
        ) from error
    return path


def _first_on_workers_path(own_folder: Path) -> Path:
    """Return the folder to start Ray in, so that its workers import what this process imports.

    Ray puts the driver's working directory first on the path of all workers. In the user's, a
    `tune.py`, `daam.py` or `utils.py` would shadow ours and the libraries'. So it is the folder
    that daam was imported from; or an empty one where that folder is also Ray's, and therefore on
    their path: site-packages in front of the standard library could shadow the latter.
    """
    code = Path(__file__).resolve().parents[2]
    if code != Path(ray.__file__).resolve().parents[1]:
        return code
    return private_folder(own_folder / "empty", variable="RAY_TMPDIR")


def _keep_token_private() -> None:
    # Ray writes the token it generates with read permission for everybody.
    is_given = {"RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"} & set(os.environ)
    if not is_given and os.environ.get("RAY_AUTH_MODE") != "disabled":
        try:
            home = Path.home()
        except RuntimeError as error:
            raise TrainingError(
                "this user has no home folder, where Ray keeps its token; set HOME to a folder "
                "that you can write to"
            ) from error
        private_folder((home / ".ray").resolve(), variable="HOME")


def _temporary() -> Path:
    # As Ray chooses it. Its socket paths are about 70 characters longer, of at most 104 on macOS,
    # whose own folder for temporary files is too long for that.
    here = "/tmp" if sys.platform == "darwin" else tempfile.gettempdir()  # noqa: S108 (private)
    return Path(os.environ.get("RAY_TMPDIR") or here).absolute()


def require_reachable(places: Mapping[str, str]) -> None:
    """Refuse folders of this machine where the cluster has several machines.

    Args:
        places: name of a setting -> its folder or URI.

    Raises:
        ConfigError: one of them is local and the cluster has several machines.
    """
    num_machines = sum(bool(node["Alive"]) for node in ray.nodes())
    if num_machines < 2:
        return
    for name, uri in places.items():
        if not uri.startswith("s3://"):
            raise ConfigError(
                f"{name} = {uri} is a folder of one machine and the cluster has {num_machines}; "
                f"use one that all of them reach: {name} = s3://bucket/prefix"
            )
