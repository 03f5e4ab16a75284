"""cluster/Dockerfile: what it copies, who it runs as, and what a linter says."""

import re
import subprocess
import sys
from pathlib import Path

CLUSTER = Path(__file__).parents[2] / "cluster"
LINES = (CLUSTER / "Dockerfile").read_text().splitlines()


def arguments(instruction: str) -> list[str]:
    return [line.partition(" ")[2] for line in LINES if line.startswith(f"{instruction} ")]


def test_hadolint_finds_nothing() -> None:
    linter = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([linter, CLUSTER / "Dockerfile"], capture_output=True, text=True)
    assert done.stdout == ""
    wrong = subprocess.run([linter, "-"], input="FROM debian", capture_output=True, text=True)
    assert "DL3006" in wrong.stdout


def test_only_what_a_host_installs_is_sent_to_the_builder() -> None:
    sent = {
        line.removeprefix("!")
        for line in (CLUSTER / ".dockerignore").read_text().splitlines()
        if line != "*"
    }
    copied = {
        name for each in arguments("COPY") if "--from" not in each for name in each.split()[:-1]
    }
    assert copied == sent == {"environment.sh", "node.sh", "wheel"}


def test_it_runs_daam_as_a_number_without_rights() -> None:
    (user,) = arguments("USER")
    assert re.fullmatch(r"[1-9]\d*:0", user)  # group 0: OpenShift gives a number of its own in it
    assert arguments("ENTRYPOINT") == ['["daam"]']  # no shell in between: SIGTERM reaches daam


def test_both_stages_have_the_same_python() -> None:
    images = [each.split()[0] for each in arguments("FROM")]
    assert len(images) == 2
    assert len(set(images)) == 1
    assert re.fullmatch(r".*/python:3\.1[12]-slim-\w+", images[0])
