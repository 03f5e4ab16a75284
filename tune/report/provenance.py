"""What made a study: the commit of the code and the versions of the libraries."""

import platform
import subprocess
import tomllib
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

LIBRARIES = ("ray", "torch", "torchvision", "optuna", "pyarrow", "numpy")
GIT_TIMEOUT_S = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class GitCommit:
    """A commit, and whether the files differed from it."""

    sha: str
    dirty: bool

    def __str__(self) -> str:
        return f"{self.sha[:12]}{', with changes' if self.dirty else ''}"


def library_versions(root: Path) -> dict[str, str]:
    """The versions of Python, daam and the libraries; one that is not installed is left out.

    Nothing is imported for it.

    Args:
        root: folder of daam's pyproject.toml.
    """
    versions = {"python": platform.python_version()}
    project = root / "pyproject.toml"
    if project.exists():
        versions["daam"] = tomllib.loads(project.read_text(encoding="utf-8"))["project"]["version"]
    for library in LIBRARIES:
        try:
            versions[library] = version(library)
        except PackageNotFoundError:
            continue
    return versions


def git_commit(root: Path) -> GitCommit | None:
    """The commit that is checked out in this folder.

    None if the folder is not the top of a git repository with a commit, or if git is not there or
    refuses. Files that git does not know count as changes.
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
