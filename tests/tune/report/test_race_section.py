"""The race in a study's report and files."""

import dataclasses
import json
from pathlib import Path

from optuna.trial import TrialState
from pydantic import TypeAdapter

from daam.storage import open_store
from tests.support.studies import COMMIT, SECONDS, VERSIONS, a_race, a_result, a_study
from tune.contenders.racing import Race
from tune.report.files import write_report
from tune.report.record import StudyRecord
from tune.report.sections.race import race_section


def test_the_page_and_the_files_show_the_race(tmp_path: Path) -> None:
    config = a_study()
    result = a_result(config, [TrialState.COMPLETE] * 5)
    race = a_race(config)
    result = dataclasses.replace(result, race=race, best_trial=race.winner)
    folder = open_store(str(tmp_path))
    write_report(result, folder, seconds=SECONDS, baseline=None, versions=VERSIONS, commit=COMMIT)
    document = json.loads(folder.read("study.json"))
    assert TypeAdapter(Race).validate_json(json.dumps(document["race"])) == race
    assert document["best"]["trial"] == 4
    page = folder.read("report.html").decode()
    for words in (
        "Best settings, from trial 4",
        "The best trials, repeated",
        "Trial 4 has the best mean over 3 seeds; between it and 1 other the race is not decided.",
        "failed with seed 2: the loss is not finite",
        "11.5 points behind trial 4 after seed 2",
        "cannot be told from the winner",
    ):
        assert words in page
    assert "with a score of 0.6000 over 3 seeds" in folder.read("best.toml").decode()


def test_without_a_race_there_is_no_section() -> None:
    assert race_section(StudyRecord(config=a_study(), uri="runs/demo", trials=[])) == ""
