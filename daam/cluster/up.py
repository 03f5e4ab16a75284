"""Start a cluster until all its machines are there, take one back, and stop it."""

import os
import shlex
import stat
import subprocess
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from secrets import token_hex

from daam.cluster.file import ClusterFile
from daam.cluster.remote import ENVIRONMENT, RAY, last_line, on_head, on_host, send_files
from daam.cluster.wheel import prepare_wheel
from daam.errors import ClusterError

NODE = "bash ~/daam/cluster/node.sh"
MAX_CONNECTIONS = 32
Say = Callable[[str], None]


def start_cluster(file: ClusterFile, *, say: Say) -> dict[str, str]:
    """Start a cluster, or what of it does not run; call it in the root of a checkout.

    What runs already from the same files goes on running. Changed code or options restart Ray,
    which ends the jobs.

    Args:
        file: of the cluster.
        say: receives what happens.

    Returns:
        Machine -> why it could not be started.

    Raises:
        ClusterError: the wheel cannot be built, or the head cannot be started.
    """
    if keep_token():
        say("Made the cluster's token, ~/.ray/auth_token.")
    say(f"Hosts install {prepare_wheel(Path.cwd())}.")
    variables = {"RAY_USAGE_STATS_ENABLED": "0"}
    if not file.is_rented:
        _forget_state(file)
        variables["RAY_UP_enable_autoscaler_v2"] = "0"  # v2 starts one of several given workers
    if subprocess.run([RAY, "up", "-y", file.path], env=os.environ | variables).returncode:
        raise ClusterError(
            f"`ray up {file.path}` failed, and says why above; ~/daam/node.log on the head has more"
        )
    # Ray's autoscaler starts the workers too, on its own time and without a word if it fails.
    # node.sh lets only one of the two work, and the other find it done.
    return join_hosts(file, file.workers, say=say)


def join_hosts(file: ClusterFile, hosts: Iterable[str], *, say: Say) -> dict[str, str]:
    """Start workers on machines, several at a time; return machine -> why it failed."""

    def join(host: str) -> tuple[str, str | None]:
        try:
            join_host(file, host)
        except ClusterError as error:
            say(f"{host} did not join.")
            return host, str(error)
        say(f"{host} joined.")
        return host, None

    with ThreadPoolExecutor(MAX_CONNECTIONS) as pool:
        return {host: why for host, why in pool.map(join, hosts) if why is not None}


def join_host(file: ClusterFile, host: str) -> None:
    """Send a machine its files, install what is missing, and start its worker; no job ends.

    Raises:
        ClusterError: the machine is not one of the file's, does not answer, or fails.
    """
    if host not in file.workers:
        names = ", ".join(file.workers) or "none: its provider replaces a machine that is lost"
        raise ClusterError(f"{host} is not a worker of {file.path}; its workers are {names}")
    send_files(file, host)
    head = f"export RAY_HEAD_IP={shlex.quote(str(file.head))}"
    for command in (*file.setup, *(f"{head}; {start}" for start in file.start)):
        done = on_host(file, host, command)
        if done.returncode:
            raise ClusterError(f"{host}: {last_line(done.stderr or done.stdout)}")


def last_words(file: ClusterFile, host: str) -> str:
    """Return the last line that node.sh wrote on a machine, or that it does not answer."""
    try:
        return last_line(on_host(file, host, "tail -n 3 ~/daam/node.log").stdout)
    except ClusterError as error:
        return str(error)


def stop_cluster(file: ClusterFile, *, say: Say) -> None:
    """Stop a cluster: end what it runs on its machines, or the machines if they are rented.

    Raises:
        ClusterError: a machine could not be stopped.
    """
    if file.is_rented:
        if subprocess.run([RAY, "down", "-y", file.path]).returncode:
            raise ClusterError(
                f"`ray down {file.path}` failed, and says why above; machines that run are billed: "
                "look at your provider's list of them"
            )
        return

    def stop(host: str) -> str | None:
        try:
            done = on_host(file, host, f"test ! -f ~/daam/cluster/node.sh || {NODE} stop")
        except ClusterError as error:
            return str(error)
        if done.returncode:
            return f"{host}: {last_line(done.stderr or done.stdout)}"
        say(f"{host} stopped.")
        return None

    # The head first: its jobs end before their workers do, and say how to resume.
    faults = [stop(str(file.head))]
    with ThreadPoolExecutor(MAX_CONNECTIONS) as pool:
        faults += pool.map(stop, file.workers)
    _forget_state(file)
    if any(faults):
        raise ClusterError(
            f"{'; '.join(fault for fault in faults if fault)}; a worker without its head ends "
            "within about a minute, and its files stay: stop it again when it answers"
        )


def keep_token() -> bool:
    """Make the cluster's token where there is none, and keep it from other users.

    Returns:
        Whether it was made.
    """
    path = Path.home() / ".ray" / "auth_token"
    if path.exists():
        path.chmod(stat.S_IRUSR | stat.S_IWUSR)
        return False
    path.parent.mkdir(mode=0o700, exist_ok=True)
    with os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as token:
        token.write(token_hex(32))
    return True


def _forget_state(file: ClusterFile) -> None:
    """Remove Ray's notes on given machines: by them it skips the set-up of one that was emptied."""
    from ray.autoscaler._private.local.config import get_lock_path, get_state_path

    for note in (get_state_path(file.name), get_lock_path(file.name)):
        Path(note).unlink(missing_ok=True)


def head_says(file: ClusterFile, command: str) -> str:
    """Return the last line of a command that prints JSON on the head.

    Raises:
        ClusterError: the head does not answer, or the command prints no JSON.
    """
    done = on_head(file, f"{ENVIRONMENT} && {command}")
    found = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if not found:
        raise ClusterError(
            f"the head of {file.path} cannot be asked: {last_line(done.stderr or done.stdout)}; "
            "start the cluster with `daam cluster up`"
        )
    return found[-1].strip()
