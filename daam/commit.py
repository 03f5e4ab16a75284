"""The commit that daam was made from: of the checkout it runs in, or as its wheel recorded it."""

import json
import subprocess
from dataclasses import asdict, dataclass
from pathlib import Path

GIT_TIMEOUT_S = 10
RECORD = Path("daam") / "commit.json"  # hatch_build.py writes it into wheels and sdists


@dataclass(frozen=True, slots=True, kw_only=True)
class GitCommit:
    """A commit, and whether the files differed from it."""

    sha: str
    dirty: bool

    def __str__(self) -> str:
        return f"{self.sha[:12]}{', with changes' if self.dirty else ''}"

    def as_json(self) -> str:
        """Return the record that goes into a wheel."""
        return json.dumps(asdict(self)) + "\n"


def source_commit(root: Path | None = None) -> GitCommit | None:
    """Return the commit of the code in a folder; untracked files count as changes.

    Args:
        root: the folder that holds the package; default: that of the code which runs.

    Returns:
        None if the folder is neither the top of a git repository with a commit nor an installed
        wheel that was built in one, or if git is missing or refuses.
    """
    root = root or Path(__file__).resolve().parents[1]
    if (root / RECORD).exists():
        return GitCommit(**json.loads((root / RECORD).read_text()))
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
