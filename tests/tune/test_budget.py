"""How long a search may take: what is written, and what is counted."""

import optuna
import pytest

from daam.errors import ConfigError
from tune.budget import Budget, Cost, CostMeter, cost_of, parse_budget


@pytest.mark.parametrize(
    ("text", "budget"),
    [
        ("2h", Budget(seconds=7200)),
        ("90m", Budget(seconds=5400)),
        ("1h30m", Budget(seconds=5400)),
        ("1.5d", Budget(seconds=129_600)),
        ("45s", Budget(seconds=45)),
        ("4 gpu-hours", Budget(seconds=14_400, is_of_gpus=True)),
        ("1gpu-hour", Budget(seconds=3600, is_of_gpus=True)),
        ("0.5 gpu-hours", Budget(seconds=1800, is_of_gpus=True)),
    ],
)
def test_a_budget_is_read_and_written_with_the_same_meaning(text: str, budget: Budget) -> None:
    assert parse_budget(text) == budget
    assert parse_budget(str(budget)) == budget


@pytest.mark.parametrize("text", ["2", "h", "two hours", "-2h", "0h", "0 gpu-hours", "2h later"])
def test_what_is_no_time_is_refused_with_examples(text: str) -> None:
    with pytest.raises(ConfigError, match="is no time; write it as in 2h"):
        parse_budget(text)


def test_time_is_counted_by_the_clock_and_by_the_gpus_of_running_trials() -> None:
    study = optuna.create_study()
    clock = iter([100.0, 110.0, 130.0, 1000.0, 1005.0])
    meter = CostMeter(study, gpus_per_trial=2, now=lambda: next(clock))
    meter.update(num_running=0)
    meter.update(num_running=3)
    assert meter.cost == Cost(seconds=30, gpu_seconds=120)
    assert cost_of(study) == Cost()
    meter.store()
    again = CostMeter(study, gpus_per_trial=2, now=lambda: next(clock))  # another process
    again.update(num_running=1)
    again.store()
    assert cost_of(study) == Cost(seconds=35, gpu_seconds=130)
    assert parse_budget("35s").is_spent(cost_of(study))
    assert not parse_budget("36s").is_spent(cost_of(study))
    assert not parse_budget("0.04 gpu-hours").is_spent(cost_of(study))


def test_as_much_again_is_counted_from_what_has_been_spent() -> None:
    cost = Cost(seconds=5000, gpu_seconds=7200)
    assert str(parse_budget("2h").beyond(cost)) == "3h23m20s"
    assert str(parse_budget("4 gpu-hours").beyond(cost)) == "6 gpu-hours"
