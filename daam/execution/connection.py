"""A Ray cluster for the time of a job: one on this machine, or one that is running."""

import logging
import os
import stat
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import chdir, contextmanager
from dataclasses import dataclass
from pathlib import Path

import ray

from daam.errors import ConfigError, TrainingError
from daam.execution.environment import prepare_environment

OBJECT_STORE_BYTES = 256 << 20  # nothing large goes through it: images come from the shards


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """A cluster in use."""

    dashboard_url: str
    needs_token: bool
    """Whether Ray lets in only who has the token that `ray get-auth-token` prints."""


@contextmanager
def connected(*, address: str | None = None, num_cpus: int | None = None) -> Iterator[Connection]:
    """Use the cluster at an address (`auto`: the one of this machine), or start one here.

    One that is started here ends with the block, and listens on loopback alone if
    `prepare_environment` was called before Ray was imported.

    Raises:
        ConfigError: the address is one of Ray's client.
        TrainingError: there is no cluster at the address, or a folder of Ray's cannot be kept from
            the machine's other users.
    """
    prepare_environment(address=address)
    if address is not None and address.startswith("ray://"):
        raise ConfigError(
            "--address ray://... is Ray's client, whose driver is another process than this one; "
            "run this on a machine of the cluster with --address auto, or by `ray job submit`"
        )
    own_folder = private_folder(_temporary() / f"daam-{os.getuid()}")
    try:
        with chdir(_first_on_workers_path(own_folder)):
            if address is None:
                _keep_token_private()
                context = ray.init(
                    address="local",
                    num_cpus=num_cpus,
                    include_dashboard=True,
                    dashboard_host="127.0.0.1",
                    object_store_memory=OBJECT_STORE_BYTES,
                    logging_level=logging.ERROR,
                    log_to_driver=False,
                    _temp_dir=str(own_folder / "ray"),
                )
            else:
                context = ray.init(
                    address=address, logging_level=logging.ERROR, log_to_driver=False
                )
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise TrainingError(
            f"there is no Ray cluster at {address or 'this machine'}: {error}; start one with "
            "`ray up cluster/onprem.yaml`, or leave --address out to use this machine"
        ) from error
    try:
        yield Connection(
            dashboard_url=f"http://{context.dashboard_url}" if context.dashboard_url else "",
            needs_token=os.environ.get("RAY_AUTH_MODE") == "token",  # set by Ray where it was not
        )
    finally:
        ray.shutdown()


def private_folder(path: Path) -> Path:
    """Make a folder that only its owner may enter, or of one that is there such a folder.

    Ray gives everybody all rights to the folders of its sockets and logs.

    Raises:
        TrainingError: it cannot be, or it is another's.
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = path.lstat()
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid():
            raise TrainingError(
                f"{path} is not a folder of yours; remove it, or set RAY_TMPDIR (HOME for .ray)"
            )
        path.chmod(0o700)
    except OSError as error:
        raise TrainingError(
            f"{path} cannot be made your own: {error.strerror}; set RAY_TMPDIR (HOME for .ray)"
        ) from error
    return path


def _first_on_workers_path(own_folder: Path) -> Path:
    """Return the folder to start Ray in, so that its workers import what this process imports.

    Ray puts the driver's current folder first on the path of all workers. In the user's, a
    `tune.py`, `daam.py` or `utils.py` would hide ours and the libraries'. So it is the folder
    that daam was imported from, or, where that is already on their path since Ray is there too,
    an empty one: site-packages in front of the standard library could hide that.
    """
    code = Path(__file__).resolve().parents[2]
    if code != Path(ray.__file__).resolve().parents[1]:
        return code
    return private_folder(own_folder / "empty")


def _keep_token_private() -> None:
    # Ray writes the token it makes for all to read.
    is_given = {"RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"} & set(os.environ)
    if not is_given and os.environ.get("RAY_AUTH_MODE") != "disabled":
        private_folder((Path.home() / ".ray").resolve())


def _temporary() -> Path:
    # As Ray has it. The paths of its sockets have about 70 characters more, of the 104 that macOS
    # takes, whose own folder for temporary files is too long for that.
    here = "/tmp" if sys.platform == "darwin" else tempfile.gettempdir()  # noqa: S108 (private)
    return Path(os.environ.get("RAY_TMPDIR") or here).absolute()


def require_reachable(places: Mapping[str, str]) -> None:
    """Refuse places on this machine's disk for a cluster of several machines.

    Args:
        places: a setting's name and its folder or URI.

    Raises:
        ConfigError: one of them is local and the cluster has other machines.
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
