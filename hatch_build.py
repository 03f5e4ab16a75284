"""Records in wheels and sdists the commit that they are built from."""

import runpy
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class CommitRecord(BuildHookInterface[Any]):
    """Adds `daam/commit.json`; an editable install asks git each time instead."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Run by hatchling before it builds."""
        code = runpy.run_path(str(Path(self.root) / "daam" / "commit.py"))
        commit = code["source_commit"](Path(self.root))
        is_recorded = (Path(self.root) / code["RECORD"]).exists()  # in an unpacked sdist
        if commit is None or is_recorded or version == "editable":
            return
        self.folder = tempfile.TemporaryDirectory()
        record = Path(self.folder.name) / "commit.json"
        record.write_text(commit.as_json())
        build_data["force_include"][str(record)] = code["RECORD"].as_posix()

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Run by hatchling after it has built."""
        if hasattr(self, "folder"):
            self.folder.cleanup()
