"""All machines of a running cluster, asked what could go wrong."""

import time
from collections.abc import Mapping
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from daam.cluster.faults import Document
from daam.cluster.probe import Probe
from daam.config.schema import RunConfig

ANSWER_S = 120  # a busy machine takes long to start a process


def inspect_cluster(
    *, store: str | None, all_reduce: bool | None, num_hosts: int, wait_s: float
) -> Document:
    """Ask every machine of the connected cluster.

    Args:
        store: `s3://` prefix that each machine writes to and reads from; None for none.
        all_reduce: whether the machines add a number together, as in training on several of them;
            None: if all of them have GPUs.
        num_hosts: machines to wait for.
        wait_s: how long to wait for them.
    """
    nodes = _nodes(num_hosts, wait_s)
    hosts = {node["NodeManagerAddress"]: _described(node) for node in nodes}
    probes = {node["NodeManagerAddress"]: _probe_on(node) for node in nodes}  # end with the driver
    for address, facts in _ask(probes, "facts", RunConfig().data.cache).items():
        hosts[address] |= facts
        if "error" in facts:
            del probes[address]  # is asked nothing else
    for address, probe in probes.items():
        hosts[address]["clock_s"] = _clock_offset(probe)
    _try_ports(hosts, probes)
    if store is not None:
        for address, result in _ask(probes, "store", store).items():
            hosts[address]["store"] = result
    workers = [host for host in hosts.values() if not host["is_head"]]
    have_gpus = bool(workers) and all(host.get("gpus") for host in workers)
    result = "not run: no GPUs"
    if have_gpus if all_reduce is None else all_reduce:
        result = _add_together(probes, backend="nccl" if have_gpus else "gloo")
    return {"hosts": list(hosts.values()), "all_reduce": result, "num_hosts": num_hosts}


def _nodes(num_hosts: int, wait_s: float) -> list[dict[str, Any]]:
    """The machines that are alive, the head first; waits for as many as are expected."""
    deadline = time.monotonic() + wait_s
    while True:
        nodes = [node for node in ray.nodes() if node["Alive"]]
        if len(nodes) >= num_hosts or time.monotonic() > deadline:
            return sorted(nodes, key=lambda node: (not _is_head(node), node["NodeManagerAddress"]))
        time.sleep(1)


def _is_head(node: Mapping[str, Any]) -> bool:
    return "node:__internal_head__" in node["Resources"]


def _described(node: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "address": node["NodeManagerAddress"],
        "is_head": _is_head(node),
        "ray_gpus": node["Resources"].get("GPU", 0.0),
    }


def _probe_on(node: Mapping[str, Any]) -> Any:
    pinned = NodeAffinitySchedulingStrategy(node_id=node["NodeID"], soft=False)
    remote = ray.remote(num_cpus=0, max_restarts=0)(Probe)
    return remote.options(scheduling_strategy=pinned).remote(node["NodeManagerAddress"])


def _ask(probes: Mapping[str, Any], method: str, *arguments: object) -> dict[str, Any]:
    """Ask all machines at once; one that does not answer is {"error": why}."""
    return _answers({a: getattr(probe, method).remote(*arguments) for a, probe in probes.items()})


def _answers(asked: Mapping[str, Any]) -> dict[str, Any]:
    ready, _ = ray.wait(list(asked.values()), num_returns=len(asked), timeout=ANSWER_S)
    found: dict[str, Any] = {}
    for address, answer in asked.items():
        if answer not in ready:
            found[address] = {"error": f"no answer within {ANSWER_S} s"}
            continue
        try:
            found[address] = ray.get(answer)
        except RayError as error:
            found[address] = {"error": str(error).strip().splitlines()[-1]}
    return found


def _clock_offset(probe: Any) -> float:
    """Seconds by which a machine's clock is surely ahead of this one's."""
    begin = time.time()
    try:
        there = float(ray.get(probe.clock.remote(), timeout=ANSWER_S))
    except (RayError, GetTimeoutError):
        return 0.0
    end = time.time()
    return there - end if there > end else min(there - begin, 0.0)


def _try_ports(hosts: dict[str, dict[str, Any]], probes: Mapping[str, Any]) -> None:
    """Let each machine connect to all others: to Ray's ports, and to one that was chosen freely."""
    ports = {a: port for a, port in _ask(probes, "listen").items() if isinstance(port, int)}
    asked = {
        address: probe.unreachable.remote([other for other in ports.items() if other[0] != address])
        for address, probe in probes.items()
    }
    for address, result in _answers(asked).items():
        hosts[address]["unreachable"] = result if isinstance(result, list) else [result["error"]]


def _add_together(probes: Mapping[str, Any], *, backend: str) -> str:
    first = next(iter(probes))
    port = ray.get(probes[first].free_port.remote(), timeout=ANSWER_S)
    ranks = enumerate(probes.items())
    results = _answers(
        {
            address: probe.all_reduce.remote(rank, len(probes), f"{first}:{port}", backend)
            for rank, (address, probe) in ranks
        }
    )
    errors = [f"{a}: {r['error']}" for a, r in results.items() if isinstance(r, dict)]
    if errors:
        return f"failed with {backend}: {errors[0]}"
    return f"{backend}, {max(results.values()):.1f} s over {len(probes)} machines"
