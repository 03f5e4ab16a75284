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
        assert private_folder(folder, variable="RAY_TMPDIR") == folder
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_what_is_no_folder_of_ones_own_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path)
    for name in ("file", "link"):
        with pytest.raises(TrainingError, match=f"{name} .*HOME"):
            private_folder(tmp_path / name, variable="HOME")


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a folder away")
def test_a_folder_of_somebody_else_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "theirs"
    folder.mkdir()
    os.chown(folder, 12345, 12345)
    with pytest.raises(TrainingError, match="not a folder of yours"):
        private_folder(folder, variable="HOME")


def test_a_cluster_that_does_not_start_is_one_line_with_the_place_of_the_logs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def init(**_: object) -> None:
        raise Exception("The current node timed out during startup")  # noqa: TRY002  (Ray's own)

    monkeypatch.setattr("ray.init", init)
    with pytest.raises(TrainingError, match=r"timed out during startup.*session_latest/logs"):
        connected().__enter__()


@pytest.mark.parametrize("variable", ["TMPDIR", "RAY_TMPDIR"])
def test_a_folder_too_long_for_sockets_is_refused_before_ray_starts(
    variable: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ray.init", lambda **_: pytest.fail("Ray was started"))
    monkeypatch.setattr("tempfile.tempdir", None)
    long = tmp_path / ("slurm_jobdir_" * 5)
    long.mkdir()
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    monkeypatch.setenv(variable, str(long))
    with pytest.raises(TrainingError, match=rf"^{variable} = .*bytes, and 10[37] .*RAY_TMPDIR"):
        connected().__enter__()


def test_a_home_that_cannot_be_written_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ray.init", lambda **_: pytest.fail("Ray was started"))
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
    (tmp_path / "file").touch()
    monkeypatch.setenv("HOME", str(tmp_path / "file"))
    with pytest.raises(TrainingError, match=r"\.ray cannot be created.*set HOME"):
        connected().__enter__()


def test_rays_client_is_refused() -> None:
    with pytest.raises(ConfigError, match="--address auto"), connected(address="ray://head:10001"):
        pass
