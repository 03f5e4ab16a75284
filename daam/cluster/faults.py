"""What is wrong with a cluster, by what its machines say of themselves.

A document describes a cluster: `hosts`, a list with a dict per machine, whose keys are those of
`probe.Probe.facts` and `address`, `is_head`, `clock_s`, `store`, `unreachable`, `ray_gpus`; or
`error` where the machine did not answer. And `all_reduce`: what became of it.
"""

from collections.abc import Iterable, Mapping
from typing import Any

MAX_CLOCK_S = 2.0
MIN_FREE_GB = 1.0
Document = dict[str, Any]


def faults_in(document: Document) -> list[str]:
    """Return what is wrong with a cluster, a line per fault: where, what, and what to do."""
    hosts = document["hosts"]
    head = next((host for host in hosts if host["is_head"]), {})
    faults = [fault for host in hosts for fault in _faults_of(host, head)]
    if str(document["all_reduce"]).startswith("failed"):
        faults.append(
            f"all-reduce over the machines {document['all_reduce']}; training on several machines "
            "needs it: name their network interface in NCCL_SOCKET_IFNAME and GLOO_SOCKET_IFNAME "
            "in ~/.config/daam/network.sh"
        )
    return faults


def _faults_of(host: Mapping[str, Any], head: Mapping[str, Any]) -> Iterable[str]:
    name = host["address"]
    if "error" in host:
        yield f"{name}: {host['error']}; is daam installed there? See ~/daam/node.log"
        return
    for library, version in host["versions"].items():
        expected = head.get("versions", {}).get(library, version)
        if version != expected:
            yield f"{name}: {library} {version}, the head has {expected}; run `daam cluster up`"
    if host["commit"] != head.get("commit", host["commit"]):
        yield (
            f"{name}: daam of commit {host['commit']}, the head's is of {head['commit']}; run "
            "`daam cluster up`"
        )
    if host["auth_mode"] != "token":
        yield f"{name}: Ray runs without the token; start it with ~/daam/cluster/node.sh"
    if host["token_rights"] is not None and int(host["token_rights"], 8) & 0o077:
        yield f"{name}: others can read the token; chmod 600 ~/.ray/auth_token"
    if abs(host["clock_s"]) > MAX_CLOCK_S:
        direction = "ahead of" if host["clock_s"] > 0 else "behind"
        yield (
            f"{name}: its clock is {abs(host['clock_s']):.1f} s {direction} the head's, and a "
            "store refuses requests of another time; timedatectl set-ntp true"
        )
    if host["cache_error"]:
        yield f"{name}: the image cache cannot be written: {host['cache_error']}"
    elif host["free_gb"] < MIN_FREE_GB:
        yield (
            f"{name}: {host['free_gb']:.1f} GB free for the image cache; make room, or set "
            "data.cache_gb"
        )
    if error := host.get("store", {}).get("error"):
        yield f"{name}: {error}"
    if host["unreachable"]:
        places = ", ".join(host["unreachable"])
        yield f"{name}: cannot connect to {places}; open all ports among the cluster's machines"
    if len(host["gpus"]) != host["ray_gpus"]:
        yield (
            f"{name}: {len(host['gpus'])} GPUs, and Ray counts {host['ray_gpus']:g}; restart its "
            "worker once nvidia-smi shows all of them"
        )
