"""The commit that a study's record names."""

import dataclasses
import subprocess
from pathlib import Path

from daam.commit import RECORD, GitCommit, source_commit


def test_a_commit_is_dirty_when_files_differ_from_it(tmp_path: Path) -> None:
    def git(*command: str) -> None:
        identity = ("-c", "user.name=A", "-c", "user.email=a@localhost")
        place = (f"--git-dir={tmp_path / '.git'}", f"--work-tree={tmp_path}")
        subprocess.run(["git", *place, *identity, *command], check=True, capture_output=True)

    assert source_commit(tmp_path) is None
    git("init", "--quiet")
    assert source_commit(tmp_path) is None
    git("commit", "--quiet", "--allow-empty", "--no-verify", "--message", "Begin")
    clean = source_commit(tmp_path)
    assert clean is not None
    assert len(clean.sha) == 40
    assert not clean.dirty
    (tmp_path / "new.py").write_text("")
    assert source_commit(tmp_path) == dataclasses.replace(clean, dirty=True)
    (tmp_path / "inner").mkdir()
    assert source_commit(tmp_path / "inner") is None


def test_an_installed_wheel_knows_the_commit_it_was_built_from(tmp_path: Path) -> None:
    commit = GitCommit(sha="0123456789abcdef0123456789abcdef01234567", dirty=True)
    (tmp_path / RECORD).parent.mkdir()
    (tmp_path / RECORD).write_text(commit.as_json())
    assert source_commit(tmp_path) == commit
