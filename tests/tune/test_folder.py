"""Who may work on a study, and when."""

import subprocess
import sys
from pathlib import Path

import pytest

from daam.errors import StudyError
from tune.folder import sole_driver

REPOSITORY = Path(__file__).resolve().parents[2]
HOLD = """
import sys, time
from tune.folder import sole_driver
with sole_driver(sys.argv[1]):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_driver_is_refused_until_the_first_is_dead(tmp_path):
    uri = str(tmp_path / "runs" / "study")
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, uri], cwd=REPOSITORY, stdout=subprocess.PIPE, text=True
    ) as first:
        try:
            assert first.stdout is not None
            assert first.stdout.readline() == "held\n"
            expected = pytest.raises(
                StudyError, match=f"another process is running the study in {uri}"
            )
            with expected, sole_driver(uri):
                pytest.fail("two drivers at once")
        finally:
            first.kill()
    with sole_driver(uri):
        assert (tmp_path / "runs" / "study").exists()


def test_a_study_on_s3_is_not_held(s3_uri):
    with sole_driver(s3_uri), sole_driver(s3_uri):
        pass
