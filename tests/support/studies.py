"""Studies in memory, with trials whose scores depend on their parameters."""

from datetime import datetime, timedelta
from typing import Any

import numpy as np
import optuna
from optuna.trial import FrozenTrial, TrialState

from daam.commit import GitCommit
from daam.config.load import with_settings
from tune.contenders.final import DEFAULT, SOURCE_ONLY, TUNED, Contender, contender_configs
from tune.contenders.racing import Race, run_race
from tune.events import DRIVER, HOST_JOINED, HOST_LOST, STORE, TRAINS_ON
from tune.progress import StudyProgress
from tune.report.record import StudyRecord
from tune.settings import StudyConfig, study_config
from tune.study import StudyResult

START = datetime(2025, 3, 4, 10, 0, 0)
NUM_EPOCHS = 6
SEARCH = {
    "loss.domain_similarity.weight": {"low": 0.5, "high": 50.0, "log": True},
    "loss.target.weight": {"low": 0.1, "high": 4.0, "log": True},
    "loss.target.temperature": {"low": 0.02, "high": 0.2},
    "model.attention.initial_bias": {"low": -1.0, "high": 3.0},
    "model.attention.reduction": [4, 8, 16],
    "optimiser.learning_rate": {"low": 1e-4, "high": 3e-3, "log": True},
}
PRUNED_AT = {6: 2, 7: 3, 9: 2, 11: 4}
FAILED = 8
VERSIONS = {"python": "3.11.9", "daam": "0.1.0", "ray": "2.60.0", "torch": "2.15.0"}
COMMIT = GitCommit(sha="0123456789abcdef0123456789abcdef01234567", dirty=True)
SECONDS = {"search": 231.4, "holdout": 84.9}


def a_study(**settings: Any) -> StudyConfig:
    """Two search transfers, one holdout, six parameters."""
    study = {
        "name": "demo",
        "search_transfers": ["plaza->campus", "campus->plaza"],
        "holdout": "plaza->station",
        "num_trials": 12,
        **settings,
    }
    return study_config(
        {
            "study": study,
            "search": SEARCH,
            "model": {"backbone": "tiny", "weights": "none"},
            "optimiser": {"num_epochs": NUM_EPOCHS, "warmup_epochs": 1},
        },
        {},
    )


def a_trial(
    config: StudyConfig, number: int, generator: np.random.Generator, *, state: TrialState
) -> FrozenTrial:
    """A trial whose score depends on its parameters, and which learns over its epochs."""
    params: dict[str, Any] = {}
    for path, distribution in config.distributions().items():
        if isinstance(distribution, optuna.distributions.CategoricalDistribution):
            params[path] = distribution.choices[int(generator.integers(3))]
        elif isinstance(distribution, optuna.distributions.FloatDistribution):
            low, high = distribution.low, distribution.high
            share = generator.random()
            params[path] = (
                low * (high / low) ** share if distribution.log else low + (high - low) * share
            )
    final = (
        0.62
        - 0.08 * np.log10(params["loss.domain_similarity.weight"] / 6) ** 2
        - 0.15 * np.log10(params["optimiser.learning_rate"] / 8e-4) ** 2
        - 0.05 * np.log10(params["loss.target.weight"]) ** 2
    )
    if state == TrialState.PRUNED:
        final -= 0.12
    num_epochs = {TrialState.COMPLETE: NUM_EPOCHS, TrialState.FAIL: 0}.get(
        state, PRUNED_AT.get(number, 1)
    )
    curve = {
        epoch: float(final * (1 - 0.75 * 0.6**epoch) + generator.normal(0, 0.008))
        for epoch in range(1, num_epochs + 1)
    }
    begin = START + timedelta(seconds=(number // 2) * 40 + generator.random() * 3)
    scores = {
        transfer: curve[num_epochs] + gap
        for transfer, gap in zip(config.study.search_transfers, (0.03, -0.03), strict=True)
        if curve
    }
    finished = state.is_finished()
    return FrozenTrial(
        number=number,
        trial_id=number,
        state=state,
        value=curve[num_epochs] if state in (TrialState.COMPLETE, TrialState.PRUNED) else None,
        datetime_start=begin,
        datetime_complete=begin + timedelta(seconds=4 + 5.5 * num_epochs) if finished else None,
        params=params,
        distributions=config.distributions(),
        user_attrs={"scores": scores} if scores else {},
        system_attrs={},
        intermediate_values=curve,
    )


def some_scores(mean_average_precision: float) -> dict[str, Any]:
    """Scores as a contender's `scores.json` holds them."""
    return {
        "mean_average_precision": mean_average_precision,
        "map_trapezoid": mean_average_precision + 0.01,
        "mean_inp": mean_average_precision * 0.5,
        "cmc": {
            "1": min(1.0, mean_average_precision + 0.14),
            "5": min(1.0, mean_average_precision + 0.24),
            "10": min(1.0, mean_average_precision + 0.28),
        },
        "num_queries": 240,
        "num_left_out": 3,
    }


def some_seeds(mean_average_precision: float) -> dict[int, dict[str, Any]]:
    """Scores with three seeds, a point apart."""
    return {seed: some_scores(mean_average_precision + 0.01 * (seed - 2)) for seed in (1, 2, 3)}


def a_result(config: StudyConfig, states: list[TrialState]) -> StudyResult:
    """A finished study with trials of these states."""
    generator = np.random.default_rng(9)
    trials = [
        a_trial(config, number, generator, state=state) for number, state in enumerate(states)
    ]
    complete = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    best_trial = max(complete, key=lambda trial: trial.value or 0)
    best = with_settings(config.run, best_trial.params)
    scores = {SOURCE_ONLY: 0.341, DEFAULT: 0.527, TUNED: 0.584}
    return StudyResult(
        config=config,
        trials=trials,
        race=None,
        best=with_settings(best, {"transfer": config.final_transfer}),
        best_trial=best_trial.number,
        contenders=[
            Contender(name=name, config=contender, scores=some_seeds(scores[name]))
            for name, contender in contender_configs(config, best).items()
        ],
    )


def a_race(config: StudyConfig) -> Race:
    """Trial 4 wins against 2, which failed, 1, which was worse, and 0, which was not."""
    first, second = config.study.search_transfers

    def both(score: float) -> dict[str, float]:
        return {first: score + 0.001, second: score - 0.001}

    script: dict[int, dict[int, dict[str, float] | str]] = {
        4: {2: both(0.60), 3: both(0.58)},
        2: {2: "the loss is not finite"},
        1: {2: both(0.49)},
        0: {2: both(0.61), 3: both(0.58)},
    }
    return run_race(
        {4: both(0.62), 2: both(0.61), 0: both(0.60), 1: both(0.50)},
        [1, 2, 3],
        repeat=lambda seed, trials: {trial: script[trial][seed] for trial in trials},
        how="mean",
    )


def demo_states() -> list[TrialState]:
    """Of 12 trials: 7 complete, 4 pruned, 1 failed."""
    states = [TrialState.COMPLETE] * 12
    for number in PRUNED_AT:
        states[number] = TrialState.PRUNED
    states[FAILED] = TrialState.FAIL
    return states


def some_epochs() -> dict[str, list[dict[str, float]]]:
    """The metrics of a trial's runs and of the contenders', of two seeds each."""
    runs = [f"trials/trial-0000/{transfer}" for transfer in ("plaza-campus", "campus-plaza")]
    runs += [
        f"holdout/{name}/seed-{seed}" for name in (SOURCE_ONLY, DEFAULT, TUNED) for seed in (1, 2)
    ]
    return {
        run: [
            {
                "epoch": epoch,
                "seconds": 2.0,
                "seconds/labels": 0.5,
                "seconds/steps": 1.25,
                "seconds/diagnostics": 0.125,
                "loss/identity": (4.0 + 0.1 * number) * 0.7**epoch,
                **({} if "source-only" in run else {"diagnostic/num_groups": 40.0 + epoch}),
            }
            for epoch in range(1, NUM_EPOCHS + 1)
        ]
        for number, run in enumerate(runs)
    }


def some_events() -> list[dict[str, Any]]:
    """A study on two hosts of which one was lost while it trained trial 2, and came back."""
    first, second = "10.77.0.10", "10.77.0.11"
    driver = "driver started on head, process 4211"
    kinds: list[dict[str, Any]] = [{"kind": DRIVER, "text": driver, "host": "head"}]
    for number in range(12):
        run, host = f"trial-{number:04d}", (first, second)[number % 2]
        text = f"{run} trains on {host}"
        kinds.append({"kind": TRAINS_ON, "text": text, "run": run, "host": host})
    lost = f"trial-0003: host {second} lost, restart 1 of 3, continues from epoch 2"
    kinds[5:5] = [
        {"kind": HOST_LOST, "text": f"host {second} lost, 1 host is left", "host": second},
        {
            **{"kind": HOST_LOST, "text": lost, "run": "trial-0003", "host": second},
            **{"restart": 1, "epoch": 2},
        },
        {"kind": STORE, "text": "s3://lab/runs: <no answer> for 20 s, retrying"},
        {"kind": HOST_JOINED, "text": f"host {second} joined, there are 2 now", "host": second},
    ]
    return [
        {**event, "time": (START + timedelta(seconds=7 * number)).isoformat() + "+00:00"}
        for number, event in enumerate(kinds)
    ]


def a_record(*, running: bool = False, **settings: Any) -> StudyRecord:
    """What the report of the demo is made of, at its end or in its middle."""
    result = a_result(a_study(**settings), demo_states())
    progress = StudyProgress()
    progress.phase("search", num_runs=12, num_done=0, best=None)
    progress.progress("trial-0007", epoch=3, num_epochs=12, score=0.25)
    return StudyRecord(
        config=result.config,
        uri="/home/ada/studies/runs/demo",
        trials=result.trials,
        contenders=[] if running else result.contenders,
        baseline=some_scores(0.118),
        seconds=SECONDS,
        versions=VERSIONS,
        commit=COMMIT,
        epochs=some_epochs(),
        progress=progress if running else None,
        events=some_events(),
        lines=list(progress.lines) if running else [],
    )
