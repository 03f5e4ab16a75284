"""`daam cluster ...`: machines brought up, checked, taken back and stopped."""

import json
import shlex
import socket
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from daam.cluster.faults import faults_in
from daam.cluster.file import ClusterFile, read_cluster_file
from daam.commands.terminal.options import AsJson
from daam.commands.terminal.screen import (
    as_started,
    console,
    print_json,
    print_line,
    quiet_libraries,
)
from daam.errors import ClusterError

RENTED_WAIT_S = 900  # a machine boots and installs
GIVEN_WAIT_S = 30  # its worker runs already
WIDTH = 80

File = Annotated[Path, typer.Argument(help="File for `ray up`, such as cluster/onprem.yaml.")]
StoreAt = Annotated[
    str | None,
    typer.Option("--store", help="s3://bucket/prefix that every machine writes to and reads from."),
]
AllReduce = Annotated[
    bool | None,
    typer.Option(
        help="Let the machines add a number together, as in training on several of them; default: "
        "where all have GPUs."
    ),
]

cluster = typer.Typer(help="Start, check and stop a cluster of machines.", no_args_is_help=True)


@cluster.command("up")
def cluster_up(file: File, store: StoreAt = None, all_reduce: AllReduce = None) -> None:
    """Start a cluster, or what of it does not run, and check it; run in the root of a checkout.

    Changed code or options restart Ray, which ends the jobs that run.
    """
    from daam.cluster.up import join_hosts, start_cluster

    machines = read_cluster_file(file)
    why = start_cluster(machines, say=print_line)
    document = asked(machines, store, all_reduce=all_reduce)
    missing = absent(machines, document)
    if missing:
        print_line(f"Missing: {', '.join(missing)}; once more.")
        why |= join_hosts(machines, missing, say=print_line)
        document = asked(machines, store, all_reduce=all_reduce)
    conclude(document, missing_lines(machines, document, why))


@cluster.command("check")
def cluster_check(
    file: Annotated[
        Path | None,
        typer.Argument(
            help="File for `ray up`, whose head is asked over ssh; default: the cluster that this "
            "machine is part of."
        ),
    ] = None,
    store: StoreAt = None,
    all_reduce: AllReduce = None,
    hosts: Annotated[int, typer.Option(min=1, help="Machines to wait for, without a file.")] = 1,
    wait: Annotated[float, typer.Option(min=0, help="Seconds to wait for them.")] = 0.0,
    as_json: AsJson = False,  # noqa: FBT002  (typer's way)
) -> None:
    """Ask every machine of a cluster what could go wrong; exit with 2 if something would."""
    if file is not None:
        machines = read_cluster_file(file)
        document = asked(machines, store, all_reduce=all_reduce)
        conclude(document, missing_lines(machines, document, {}), as_json=as_json)
        return
    from daam.execution.environment import prepare_environment

    prepare_environment(address="auto")
    from daam.cluster.check import inspect_cluster
    from daam.execution.connection import connected

    quiet_libraries()
    with connected(address="auto"):
        document = inspect_cluster(store=store, all_reduce=all_reduce, num_hosts=hosts, wait_s=wait)
    few = len(document["hosts"]) < hosts
    lines = [f"{len(document['hosts'])} of {hosts} machines are there"] if few else []
    conclude(document, lines, as_json=as_json)


@cluster.command("join")
def cluster_join(
    file: File,
    host: Annotated[str, typer.Argument(help="Address of a worker, as in the file.")],
) -> None:
    """Take a lost machine back, also one with an empty disk; no job ends."""
    from daam.cluster.up import join_host

    machines = read_cluster_file(file)
    join_host(machines, host)
    document = asked(machines, None, all_reduce=False)
    if host in absent(machines, document):
        raise ClusterError(
            f"{host} started its worker, and the head does not see it; give the command again, "
            "and see ~/daam/node.log there"
        )
    print_line(f"{host} joined; {len(document['hosts'])} of {machines.num_hosts} machines.")


@cluster.command("down")
def cluster_down(file: File) -> None:
    """Stop a cluster: nothing of it runs on afterwards, and rented machines are gone."""
    from daam.cluster.up import stop_cluster

    stop_cluster(read_cluster_file(file), say=print_line)


def asked(machines: ClusterFile, store: str | None, *, all_reduce: bool | None) -> dict[str, Any]:
    """Ask the head to check its cluster."""
    from daam.cluster.up import head_says

    wait_s = RENTED_WAIT_S if machines.is_rented else GIVEN_WAIT_S
    words = ["daam", "cluster", "check", "--json", "--hosts", str(machines.num_hosts)]
    words += ["--wait", str(wait_s)]
    if store is not None:
        words += ["--store", store]
    if all_reduce is not None:
        words.append("--all-reduce" if all_reduce else "--no-all-reduce")
    return json.loads(head_says(machines, shlex.join(words)))


def absent(machines: ClusterFile, document: dict[str, Any]) -> list[str]:
    """Return the workers of the file that are not in the cluster."""
    present = {host["address"] for host in document["hosts"]}
    return [worker for worker in machines.workers if not {worker, address_of(worker)} & present]


def missing_lines(
    machines: ClusterFile, document: dict[str, Any], why: dict[str, str]
) -> list[str]:
    """Return a line per missing machine: which, why, what to do."""
    from daam.cluster.up import last_words

    if machines.is_rented:
        num_hosts = len(document["hosts"])
        if num_hosts >= machines.num_hosts:
            return []
        return [
            f"{num_hosts} of {machines.num_hosts} machines are there; `ray exec {machines.path} "
            "'tail -n 30 /tmp/ray/session_latest/logs/monitor.log'` says why"
        ]
    return [
        f"{host} is not in the cluster: "
        f"{(why.get(host) or last_words(machines, host)).removeprefix(f'{host}: ')}; then "
        f"`daam cluster join {machines.path} {host}`"
        for host in absent(machines, document)
    ]


def address_of(host: str) -> str:
    """Return the address of a name; the name itself if it has none here."""
    try:
        return socket.gethostbyname(host)
    except OSError:
        return host


def conclude(document: dict[str, Any], missing: list[str], *, as_json: bool = False) -> None:
    """Print a check, and exit with 2 if it found faults."""
    faults = [*missing, *faults_in(document)]
    if as_json:
        print_json({**document, "faults": faults})
    else:
        print_check(document)
        for fault in faults:
            typer.echo(f"daam: {as_started(fault)}", err=True)
    if faults:
        raise typer.Exit(ClusterError.exit_code)


def print_check(document: dict[str, Any]) -> None:
    """Print a table of the machines, and what they have in common."""
    table = Table(width=min(console.width, WIDTH))
    for header in ("Machine", "daam", "Free GB", "Clock", "Store MB/s", "GPUs"):
        table.add_column(header, justify="left" if header in ("Machine", "daam") else "right")
    for host in document["hosts"]:
        name = f"{host['address']}{' (head)' if host['is_head'] else ''}"
        if "error" in host:
            table.add_row(name, "no answer", *[""] * 4)
            continue
        store = host.get("store", {})
        rates = "" if not store else "fails"
        if "read_mb_s" in store:
            rates = f"{store['read_mb_s']:.0f} r, {store['write_mb_s']:.0f} w"
        free = "" if host["free_gb"] is None else f"{host['free_gb']:.0f}"
        clock = f"{host['clock_s']:+.1f} s"
        table.add_row(name, host["versions"]["daam"], free, clock, rates, str(len(host["gpus"])))
    console.print(table)
    head = next((host for host in document["hosts"] if host["is_head"]), {})
    if "versions" in head:
        versions = ", ".join(f"{name} {version}" for name, version in head["versions"].items())
        print_line(f"Versions: {versions} ({head['commit'] or 'of no commit'})")
    if not any("store" in host for host in document["hosts"]):
        print_line("Store: not checked; name it with --store s3://bucket/prefix")
    print_line(f"All-reduce: {document['all_reduce']}")
