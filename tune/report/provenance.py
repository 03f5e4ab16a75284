"""What made a study: the commit of the code and the versions of the libraries."""

import platform
import subprocess
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import daam

LIBRARIES = ("ray", "torch", "torchvision", "optuna", "pyarrow", "numpy")
GIT_TIMEOUT_S = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class GitCommit:
    """A commit, and whether the files differed from it."""

    sha: str
    dirty: bool

    def __str__(self) -> str:
        return f"{self.sha[:12]}{', with changes' if self.dirty else ''}"


def library_versions() -> dict[str, str]:
    """Return the versions of Python, daam and the libraries, without importing them.

    A library that is not installed is left out.
    """
    versions = {"python": platform.python_version(), "daam": daam.__version__}
    for library in LIBRARIES:
        try:
            versions[library] = version(library)
        except PackageNotFoundError:
            continue
    return versions


def git_commit(root: Path) -> GitCommit | None:
    """Return the commit that is checked out in a folder; untracked files count as changes.

    None if the folder is not the top of a git repository with a commit (as where daam was installed
    from a wheel), or if git is missing or refuses.
    """
    sha = _git(root, "rev-parse", "HEAD")
    changes = _git(root, "status", "--porcelain")
    if sha is None or changes is None:
        return None
    return GitCommit(sha=sha, dirty=bool(changes))


def _git(root: Path, *command: str) -> str | None:
    """What a git command prints; None if it fails."""
    # Named in full: the repository of a folder above, or of a git hook that runs us, is not meant.
    place = (f"--git-dir={root / '.git'}", f"--work-tree={root}")
    try:
        done = subprocess.run(
            ["git", *place, *command],
            capture_output=True,
            text=True,
            timeout=GIT_TIMEOUT_S,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
