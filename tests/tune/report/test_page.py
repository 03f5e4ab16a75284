"""Sections of a study's page."""

import re
from dataclasses import replace
from html import unescape

import pytest

from daam.inference.assessment import measured_choice
from daam.runs.stages import REUSED, TRAINED
from tests.support.studies import a_record
from tune.report.cells import as_text, searched
from tune.report.charts.contenders import contender_charts
from tune.report.page import summary
from tune.report.sections.cost import cost_section
from tune.report.sections.settings import settings_section, train_commands


def text_of(section: str) -> str:
    return unescape(re.sub(r"<[^>]+>", " ", section))


def test_a_study_without_labels_says_what_choosing_by_its_score_gives() -> None:
    # Every run with groups reports its self-retrieval; only a trial that is ranked by it the rest.
    of_any_run = {"epoch": 1, "label_free/self_retrieval": 0.5}
    ranked = {**of_any_run, "epoch": 2, "label_free/ranking_score": 0.5}
    trial = "trials/trial-0000/plaza-campus"
    record = replace(
        a_record(score="label_free", holdout="plaza->station"), epochs={trial: [of_any_run, ranked]}
    )
    text = text_of(summary(record))
    assert "label-free score" in text
    assert measured_choice({"self_retrieval": 0.5}).summary in text
    by_labels = replace(a_record(), epochs={trial: [of_any_run]})
    assert "Choosing by it" not in text_of(summary(by_labels))


def test_a_study_without_a_holdout_says_what_is_not_proven() -> None:
    record = a_record(score="label_free", holdout="")
    assert "nothing: it is not proven that" in text_of(summary(record))


def test_the_command_uses_the_best_settings_on_the_holdout() -> None:
    assert train_commands(a_record())[-1] == (
        "daam train --config /home/ada/studies/runs/demo/best.toml --transfer 'plaza->station' "
        "--name best"
    )


def test_the_command_for_a_study_on_s3_fetches_the_settings_first() -> None:
    first, *_, last = train_commands(replace(a_record(), uri="s3://bucket/studies/demo"))
    assert first == "aws s3 cp s3://bucket/studies/demo/best.toml best.toml"
    assert "--config best.toml" in last


def test_settings_stand_beside_their_defaults() -> None:
    record = a_record()
    best = record.best
    assert best is not None
    text = text_of(settings_section(record))
    weight = best.params["loss.domain_similarity.weight"]
    assert f"{weight:.3g}" in text
    assert "0.5 to 50, log scale" in text


def test_the_cost_is_split_by_states_and_by_phases() -> None:
    text = text_of(cost_section(a_record()))
    assert re.search(r"complete +7 ", text)
    assert re.search(r"failed +1 ", text)
    assert "Had the 4 pruned trials run to their end" in text
    assert "Failed trials wasted" in text
    # 2 runs of 6 epochs: 2 s each, of which 0.5 labels, 1.25 steps, 0.125 diagnostics
    assert re.search(r"search +2 +24 s +6 s +15 s +2 s +2 s +0 +0 s", text)
    assert "No run found its source stage trained already" in text


def test_shared_source_stages_count_once() -> None:
    record = a_record()
    first, second = (run for run in record.epochs if run.startswith("trials/"))
    epochs = {
        first: [
            {**row, TRAINED: "key"} if row["epoch"] <= 3 else row for row in record.epochs[first]
        ],
        second: [
            {**row, REUSED: "key"} if row["epoch"] <= 3 else row for row in record.epochs[second]
        ],
    }
    text = text_of(cost_section(replace(record, epochs=epochs)))
    assert re.search(r"search +2 +18 s .* 1 +6 s", text)
    assert "1 were trained here and 1 runs took one over, which saved 6 s" in text
    assert "1.3 times as long" in text


def test_contenders_have_a_line_for_each_seed() -> None:
    charts = contender_charts(a_record().epochs)
    assert re.findall(r"<h3>(.+?)</h3>", unescape(charts)) == [
        "Identity loss on the source",
        "Groups of the target's images",
    ]
    loss, groups = charts.split("</figure>")[:2]
    assert loss.count("<polyline") == 6
    assert groups.count("<polyline") == 4  # source-only has no groups
    assert "tuned seed 2, epoch 6" in loss
    assert contender_charts({}) == ""


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ([4, 8], "one of 4, 8"),
        ({"low": 0.5, "high": 50.0, "log": True}, "0.5 to 50, log scale"),
        ({"low": 2, "high": 8, "step": 2}, "2 to 8, in steps of 2"),
        (
            {"choices": [False, True], "when": {"loss.target.kind": "soft"}},
            "one of false, true, when <code>loss.target.kind</code> is soft",
        ),
    ],
)
def test_what_was_searched_is_said_in_words(spec: object, words: str) -> None:
    assert searched(spec) == words


def test_values_are_as_in_a_settings_file() -> None:
    assert [as_text(value) for value in (True, 0.00123456, 12, "auto")] == [
        "true",
        "0.00123",
        "12",
        "auto",
    ]
