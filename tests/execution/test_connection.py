import os
import stat
from pathlib import Path

import pytest

from daam.errors import ConfigError, TrainingError
from daam.execution.connection import connected, private_folder


def test_a_private_folder_is_closed_to_others_also_if_it_was_open(tmp_path: Path) -> None:
    for folder in (tmp_path / "new" / "one", tmp_path / "open"):
        if folder.name == "open":
            folder.mkdir()
            folder.chmod(0o777)
        assert private_folder(folder) == folder
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_what_is_no_folder_of_ones_own_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path)
    for name in ("file", "link"):
        with pytest.raises(TrainingError, match=f"{name} .*RAY_TMPDIR"):
            private_folder(tmp_path / name)


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a folder away")
def test_a_folder_of_somebody_else_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "theirs"
    folder.mkdir()
    os.chown(folder, 12345, 12345)
    with pytest.raises(TrainingError, match="not a folder of yours"):
        private_folder(folder)


def test_a_cluster_that_does_not_start_is_one_line_with_the_place_of_the_logs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def init(**_: object) -> None:
        raise Exception("The current node timed out during startup")  # noqa: TRY002  (Ray's own)

    monkeypatch.setattr("ray.init", init)
    with pytest.raises(TrainingError, match=r"timed out during startup.*session_latest/logs"):
        connected().__enter__()


def test_rays_client_is_refused() -> None:
    with pytest.raises(ConfigError, match="--address auto"), connected(address="ray://head:10001"):
        pass
