"""What a search may cost in time, besides its number of trials: `2h`, `1h30m`, `4 gpu-hours`."""

import re
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

import optuna

from daam.errors import ConfigError

SECONDS = {"d": 86400, "h": 3600, "m": 60, "s": 1}
TIME = re.compile(r"(?:\d+(?:\.\d+)?[dhms])+")
GPU_HOURS = re.compile(r"(\d+(?:\.\d+)?) ?gpu-hours?")
SPENT = "spent"
"""The attribute of an Optuna study that holds what its search has cost so far."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Time that a search took: by the clock, and summed over the GPUs that its trials held."""

    seconds: float = 0.0
    gpu_seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """A limit in seconds, by the clock or summed over GPUs."""

    seconds: float
    is_of_gpus: bool = False

    def is_spent(self, cost: Cost) -> bool:
        """Whether no further trial may begin."""
        return (cost.gpu_seconds if self.is_of_gpus else cost.seconds) >= self.seconds

    def beyond(self, cost: Cost) -> "Budget":
        """Return the budget of a search that costs as much again as it may, after this cost."""
        so_far = cost.gpu_seconds if self.is_of_gpus else cost.seconds
        return Budget(seconds=so_far + self.seconds, is_of_gpus=self.is_of_gpus)

    def __str__(self) -> str:
        if self.is_of_gpus:
            return f"{self.seconds / 3600:.6g} gpu-hours"
        left, parts = round(self.seconds), ""
        for unit, seconds in SECONDS.items():
            count, left = divmod(left, seconds)
            parts += f"{count}{unit}" if count else ""
        return parts or "0s"


def parse_budget(text: str) -> Budget:
    """Read a budget.

    Raises:
        ConfigError: it is none, or zero.
    """
    if gpu_hours := GPU_HOURS.fullmatch(text):
        budget = Budget(seconds=float(gpu_hours[1]) * 3600, is_of_gpus=True)
    elif TIME.fullmatch(text):
        parts = re.findall(r"([\d.]+)([dhms])", text)
        budget = Budget(seconds=sum(float(count) * SECONDS[unit] for count, unit in parts))
    else:
        budget = Budget(seconds=0)
    if budget.seconds <= 0:
        raise ConfigError(
            f"study.budget = {text!r} is no time; write it as in 2h, 90m, 1h30m or '4 gpu-hours'"
        )
    return budget


class CostMeter:
    """Adds up what a search costs, over all processes that run it, in an attribute of its study.

    Args:
        study: the Optuna study of the search.
        gpus_per_trial: that a running trial holds.
        now: a clock, in seconds.
    """

    def __init__(
        self,
        study: optuna.Study,
        *,
        gpus_per_trial: int = 0,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.study = study
        self.gpus_per_trial = gpus_per_trial
        self.now = now
        self.cost = cost_of(study)
        self.since = now()

    def update(self, *, num_running: int) -> None:
        """Count the time since the last update, in which so many trials ran."""
        passed = self.now() - self.since
        self.since += passed
        self.cost = Cost(
            seconds=self.cost.seconds + passed,
            gpu_seconds=self.cost.gpu_seconds + passed * num_running * self.gpus_per_trial,
        )

    def store(self) -> None:
        """Write the cost into the study."""
        self.study.set_user_attr(SPENT, asdict(self.cost))


def cost_of(study: optuna.Study) -> Cost:
    """Return what a search has cost so far."""
    return Cost(**study.user_attrs.get(SPENT, {}))
