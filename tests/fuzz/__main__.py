"""Fuzz for as long as wanted: python -m tests.fuzz --inputs 3000 --seed 1 [TARGET ...]

Prints how many inputs of each target were read right, refused or ended badly, keeps an input of
each bad end in the corpus, and exits with 1 if there was one.
"""

import argparse
import re
import shlex
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, seed, settings

from tests.fuzz.corpus import keep
from tests.fuzz.runner import Worker
from tests.fuzz.targets import TARGETS
from tests.fuzz.worker import BAD, REFUSED, RIGHT, ROOT

BEGIN, END = "<!-- make fuzz: begin -->", "<!-- make fuzz: end -->"


@dataclass(frozen=True, slots=True)
class Tally:
    """What the inputs of a target came to."""

    target: str
    outcomes: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)


def main() -> int:
    """Run from a command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="make fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", default=list(TARGETS), metavar="TARGET")
    parser.add_argument("--inputs", type=int, default=300, help="of each target")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--page", type=Path, help="of the docs, to write a table of all targets into"
    )
    arguments = parser.parse_args()
    with Worker() as worker:
        tallies = [
            fuzz(name, worker=worker, num_inputs=arguments.inputs, seed_number=arguments.seed)
            for name in arguments.targets
        ]
    text = table(tallies)
    print(text)
    if arguments.page is not None and set(arguments.targets) == set(TARGETS):
        write_into(arguments.page, text)
    return int(any(tally.outcomes[BAD] for tally in tallies))


def fuzz(name: str, *, worker: Worker, num_inputs: int, seed_number: int) -> Tally:
    """Run inputs of one target; an input of each reason to end badly is kept."""
    target = TARGETS[name]()
    tally = Tally(target.name)

    @seed(seed_number)
    @settings(
        max_examples=num_inputs,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    @given(target.mutated)
    def run(data: bytes) -> None:
        outcome = worker.run(name, data)
        tally.outcomes[outcome.kind] += 1
        if outcome.kind == BAD:
            # An exception and its line, without what it quotes of the input.
            reason = re.split(r": |'", outcome.reason or "")[0]
            tally.reasons[reason] += 1
            if tally.reasons[reason] == 1:
                print(f"{name}: {outcome.reason}\n  kept: {keep(name, data)}", flush=True)

    run()
    print(name, dict(tally.outcomes), file=sys.stderr, flush=True)
    return tally


def table(tallies: Sequence[Tally]) -> str:
    """Targets x inputs x outcomes, in Markdown."""
    total = Tally("**all**")
    for tally in tallies:
        total.outcomes.update(tally.outcomes)
    rows = [
        f"| {tally.target} | {tally.outcomes.total():,} | {tally.outcomes[RIGHT]:,} "
        f"| {tally.outcomes[REFUSED]:,} | {tally.outcomes[BAD]:,} |"
        for tally in (*tallies, total)
    ]
    head = ["| Format | Inputs | Right | Refused | Bad |", "|---|---|---|---|---|"]
    return "\n".join([*head, *rows])


def write_into(page: Path, text: str) -> None:
    """Replace the table in a page, with the command and the commit that it is of."""
    words = [word for word in sys.argv[1:] if word not in ("--page", str(page))]
    described = ["git", "-C", str(ROOT), "describe", "--always", "--dirty"]
    commit = subprocess.run(described, check=True, capture_output=True, text=True).stdout.strip()
    command = f"`make fuzz ARGS={shlex.quote(shlex.join(words))}` at commit {commit}:"
    before, _, rest = page.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    page.write_text(f"{before}{BEGIN}\n{command}\n\n{text}\n{END}{after}")


if __name__ == "__main__":
    sys.exit(main())
