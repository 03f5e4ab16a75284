"""Pictures of what is seen of a study while it runs, for docs/guides/watch.md.

    python benchmarks/screens.py

Runs a small study on this machine, and photographs Ray's dashboard and the study's own page with
Debian's Chromium once trials train. Takes two minutes.
"""

import re
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from daam.storage import open_store
from tests.support.chromium import Chromium
from tests.support.commands import Command, started
from tests.support.tiny_domains import TINY_RUN, add_domain

IMAGES = Path(__file__).resolve().parent.parent / "docs" / "images"
SETTLES_S = 6  # the dashboard asks for what it shows every few seconds
PAGES = ("actors",)  # of Ray's dashboard; others show paths of the machine
STUDY = """
[study]
search_transfers = ["plaza->campus"]
holdout = "plaza->station"
num_trials = 12
concurrent_trials = 2

[search]
"optimiser.learning_rate" = { low = 1e-4, high = 1e-2, log = true }
"""
LOG_IN = """
fetch("/api/authenticate", {{method: "POST", headers: {{authorization: "Bearer {token}"}}}})
  .then((answer) => answer.ok)
"""


def main() -> None:
    """Run the study and take the pictures."""
    with tempfile.TemporaryDirectory(prefix="daam-screens-") as folder:
        scratch = Path(folder)
        root = open_store(str(scratch / "domains"))
        for name in ("plaza", "campus", "station"):
            add_domain(root, name, scratch=scratch / "images")
        study = scratch / "demo.toml"
        length = "num_epochs = 20\nsteps_per_epoch = 20"
        run = TINY_RUN.replace("num_epochs = 2\nsteps_per_epoch = 2", length)
        study.write_text(run + STUDY)
        words = ("tune", "--name", "demo", "--config", str(study))
        places = ("--storage", str(scratch / "runs"), "--set", f"data.root={scratch / 'domains'}")
        with (
            started(*words, *places, scratch=scratch / "tune") as tune,
            Chromium(scratch / "profile") as browser,
        ):
            tune.until(lambda: "trial-0001 epoch" in tune.out)
            browser.resize(width=1280, height=640)
            dashboard = address_in(tune)
            browser.open(dashboard)
            token = (Path.home() / ".ray" / "auth_token").read_text().strip()
            if not browser.run(LOG_IN.format(token=token)):
                raise SystemExit("the dashboard does not take the token")
            for page in PAGES:
                browser.open(f"{dashboard}/?{page}#/{page}")
                time.sleep(SETTLES_S)
                (IMAGES / f"ray-{page}.png").write_bytes(browser.picture())
            folder_of_study = str(scratch / "runs" / "demo")
            with started("dashboard", folder_of_study, scratch=scratch / "page") as page:
                page.until(lambda: "http://" in page.out)
                browser.open(address_in(page))
                time.sleep(SETTLES_S)
                (IMAGES / "study-page.png").write_bytes(browser.picture())


def address_in(command: Command) -> str:
    """Return the first address that a command has printed."""
    found = re.search(r"http://\S+", command.out)
    if found is None:
        raise SystemExit(f"no address in:\n{command.out}")
    return found[0]


if __name__ == "__main__":
    main()
