"""Commands on the machines of a cluster, over ssh, from the operator's computer."""

import shlex
import subprocess
import sys
from pathlib import Path

from daam.cluster.file import ClusterFile
from daam.errors import ClusterError

# As `ray up` connects: a machine that was set up anew has another key, and nobody to confirm it.
SSH_OPTIONS = {
    "BatchMode": "yes",
    "StrictHostKeyChecking": "no",
    "UserKnownHostsFile": "/dev/null",
    "LogLevel": "ERROR",
    "ConnectTimeout": "10",
    "ServerAliveInterval": "5",
    "ServerAliveCountMax": "3",
}
NO_CONNECTION = 255  # ssh's own exit code
ENVIRONMENT = ". ~/daam/cluster/environment.sh"
RAY = Path(sys.executable).with_name("ray")


def on_host(file: ClusterFile, host: str, command: str) -> subprocess.CompletedProcess[str]:
    """Run a command on a machine of a cluster that is not rented; return what it printed.

    Raises:
        ClusterError: the machine does not answer over ssh.
    """
    done = subprocess.run(
        [*ssh(file, host), target(file, host), command],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode == NO_CONNECTION:
        raise ClusterError(
            f"{host}: no answer over ssh: {last_line(done.stderr)}; is it on, and does "
            f"`ssh {file.user}@{host}` open it?"
        )
    return done


def on_head(file: ClusterFile, command: str) -> subprocess.CompletedProcess[str]:
    """Run a command on the head; what it prints may have Ray's own lines around it.

    Raises:
        ClusterError: the head does not answer over ssh.
    """
    if file.head is not None:
        return on_host(file, file.head, command)
    return subprocess.run(
        [RAY, "exec", file.path, command],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


def send_files(file: ClusterFile, host: str) -> None:
    """Send the files that the cluster's file mounts on its machines.

    Raises:
        ClusterError: one of them is missing, or cannot be sent.
    """
    excluded = [f"--exclude={pattern}" for pattern in file.excluded]
    for remote, local in file.mounts.items():
        source = Path(local).expanduser()
        if not source.exists():
            raise ClusterError(
                f"{file.path} sends {local}, which is not here; give this command in the root of "
                "the checkout that `daam cluster up` was given in"
            )
        # A folder's content goes into the folder, as with `ray up`.
        slash = "/" if source.is_dir() else ""
        folder = remote if source.is_dir() else str(Path(remote).parent)
        on_host(file, host, f"mkdir -p {folder}")
        done = subprocess.run(
            [
                *("rsync", "-az", *excluded, "--rsh", shlex.join(ssh(file, host))),
                *(f"{source}{slash}", f"{target(file, host)}:{remote.rstrip('/')}{slash}"),
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise ClusterError(f"{host}: {local} could not be sent: {last_line(done.stderr)}")


def ssh(file: ClusterFile, host: str) -> list[str]:
    """Return the command of a connection to a machine, but for the machine's name."""
    options = [f"-o{name}={value}" for name, value in SSH_OPTIONS.items()]
    if file.key is not None:
        options += ["-oIdentitiesOnly=yes", f"-i{file.key}"]
    if file.proxy is not None:
        options.append(f"-oProxyCommand={file.proxy}")
    elif file.reached_through is not None and host != file.head:
        through = shlex.join(["ssh", *options, "-W", "%h:%p", target(file, str(file.head))])
        options.append(f"-oProxyCommand={through}")
    return ["ssh", *options]


def target(file: ClusterFile, host: str) -> str:
    """Return the user and the machine as ssh and rsync take them."""
    address = file.reached_through if host == file.head and file.reached_through else host
    return f"{file.user}@{address}"


def last_line(text: str) -> str:
    """Return the last line that says something."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "it says nothing"
