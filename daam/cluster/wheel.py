"""What the hosts of a cluster install: daam's wheel, the locks beside it, and their checksums."""

import hashlib
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

from daam.errors import ClusterError

LOCKS = ("requirements.lock", "requirements-uv.lock")
SUMS = "SHA256SUMS"


def prepare_wheel(root: Path) -> str:
    """Build the wheel of a checkout into `cluster/wheel/`, with the locks and their checksums.

    Without a checkout, what lies there is used: so may a folder with `cluster/` alone, in which
    somebody put a wheel and its two locks.

    Args:
        root: of the checkout, or the folder with `cluster/`.

    Returns:
        The wheel's name.

    Raises:
        ClusterError: the wheel cannot be built, or there is nothing to build it from.
    """
    folder = root / "cluster" / "wheel"
    if (root / "pyproject.toml").exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        _build(root, folder)
        for lock in LOCKS:
            shutil.copy(root / lock, folder / lock)
    wheels = sorted(folder.glob("daam-*.whl"))
    missing = [lock for lock in LOCKS if not (folder / lock).exists()]
    if len(wheels) != 1 or missing:
        raise ClusterError(
            f"{folder} must hold one wheel of daam and its {' and '.join(LOCKS)}, and here is no "
            "checkout to make them from; run this in the root of a checkout, or put there the "
            "wheel and the locks of a release"
        )
    files = [wheels[0], *(folder / lock for lock in LOCKS)]
    sums = [f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}\n" for file in files]
    (folder / SUMS).write_text("".join(sums))
    return wheels[0].name


def _build(root: Path, folder: Path) -> None:
    # Without an environment of its own: hatchling is the one of requirements-dev.lock.
    if find_spec("hatchling") is None:
        raise ClusterError(
            f"hatchling, which builds the wheel, is not installed beside {sys.executable}; run "
            "`make check` in the checkout, or install requirements-dev.lock"
        )
    build = ["-m", "hatchling", "build", "--target", "wheel", "--directory", str(folder.absolute())]
    done = subprocess.run(
        [sys.executable, *build], cwd=root, capture_output=True, text=True, check=False
    )
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines() or ["it says nothing"]
        raise ClusterError(f"the wheel of {root} could not be built: {lines[-1]}")
