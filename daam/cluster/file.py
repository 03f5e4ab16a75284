"""What a file for `ray up` says of a cluster's machines, and how to reach them."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from daam.errors import ClusterError

EXAMPLES = {"192.0.2.10", "192.0.2.11", "192.0.2.12"}  # what cluster/onprem.yaml comes with


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterFile:
    """A file for `ray up`.

    Attributes:
        path: of the file.
        name: of the cluster.
        head: address of the head of a cluster of given machines; None if machines are rented.
        workers: addresses of its workers; empty if machines are rented.
        reached_through: the head's address from outside the machines' network, if it differs.
        num_hosts: machines that are expected once the cluster is up.
        user: who logs in over ssh.
        key: file of the private key; None for ssh's own choice.
        proxy: ssh's ProxyCommand; None for none.
        mounts: path on a machine -> path here.
        excluded: patterns of files that are not sent.
        setup: commands that install what a worker needs.
        start: commands that start a worker.
    """

    path: Path
    name: str
    head: str | None
    workers: tuple[str, ...]
    reached_through: str | None
    num_hosts: int
    user: str
    key: Path | None
    proxy: str | None
    mounts: dict[str, str]
    excluded: tuple[str, ...]
    setup: tuple[str, ...]
    start: tuple[str, ...]

    @property
    def is_rented(self) -> bool:
        """Whether a cloud's provider starts and ends the machines."""
        return self.head is None


def read_cluster_file(path: Path) -> ClusterFile:
    """Read a file for `ray up`, as far as daam needs it.

    Raises:
        ClusterError: it cannot be read, is not such a file, or still names the example's machines.
    """
    try:
        tree = yaml.safe_load(path.read_text())
        file = _parsed(path, tree)
    except OSError as error:
        raise ClusterError(f"{path} cannot be read: {error.strerror}") from error
    except yaml.YAMLError as error:
        raise ClusterError(f"{path} is not YAML: {error}") from error
    except (KeyError, TypeError, AttributeError) as error:
        raise ClusterError(
            f"{path} is not a file for `ray up`: {error!r}; start from cluster/onprem.yaml"
        ) from error
    examples = sorted(EXAMPLES & {str(file.head), *file.workers})
    if examples:
        raise ClusterError(
            f"{path} still has the example's {', '.join(examples)}; fill in your machines in the "
            "lines marked FILL IN"
        )
    return file


def _parsed(path: Path, tree: dict[str, Any]) -> ClusterFile:
    provider, auth = tree["provider"], tree["auth"]
    is_local = provider["type"] == "local"
    types = tree.get("available_node_types", {})
    min_workers = sum(
        int(node_type.get("min_workers", 0))
        for name, node_type in types.items()
        if name != tree.get("head_node_type")
    )
    workers = tuple(provider["worker_ips"]) if is_local else ()
    return ClusterFile(
        path=path,
        name=tree["cluster_name"],
        head=provider["head_ip"] if is_local else None,
        workers=workers,
        reached_through=provider.get("external_head_ip"),
        num_hosts=1 + (len(workers) if is_local else min_workers),
        user=auth["ssh_user"],
        key=_expanded(auth.get("ssh_private_key")),
        proxy=auth.get("ssh_proxy_command"),
        mounts=dict(tree.get("file_mounts") or {}),
        excluded=tuple(tree.get("rsync_exclude") or ()),
        setup=(
            *(tree.get("initialization_commands") or ()),
            *(tree.get("setup_commands") or ()),
            *(tree.get("worker_setup_commands") or ()),
        ),
        start=tuple(tree.get("worker_start_ray_commands") or ()),
    )


def _expanded(path: str | None) -> Path | None:
    return None if path is None else Path(os.path.expanduser(path))
