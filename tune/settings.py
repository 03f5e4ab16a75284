"""The settings of a study: its transfers, its budget and its search space.

A study file is a run's settings plus two tables: `[study]` and `[search]`, see `tune.space`.
"""

from collections.abc import Mapping
from typing import Any, Literal

from optuna.distributions import BaseDistribution
from pydantic import BaseModel, Field

from daam.config.load import Tree, merged, nested, run_config, validated, with_settings
from daam.config.schema import RunConfig
from daam.config.section import Section
from daam.domains import VALIDATION_SPLITS, Split, Transfer
from daam.errors import ConfigError
from tune.space import check_space, distribution, with_float_bounds


class StudySettings(Section):
    """Which transfers are searched, which one is held out, and the budget."""

    name: str = Field(
        default="study", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", description="folder of the study"
    )
    search_transfers: list[str] = Field(
        min_length=1, description="transfers whose validation mAP gives the score of a trial"
    )
    holdout: str = Field(
        description="transfer of the final comparison; its target is in no search transfer"
    )
    num_trials: int = Field(default=20, ge=1, description="number of trials")
    concurrent_trials: int = Field(
        default=0, ge=0, description="trials at a time; 0: as many as fit the cluster"
    )
    workers_per_trial: int = Field(default=1, ge=1, description="data-parallel workers per trial")
    seed: int = Field(default=1, ge=0, lt=2**32, description="seed of the search")
    aggregate: Literal["mean", "worst"] = Field(
        default="mean", description="how the scores of the transfers are combined"
    )
    num_startup_trials: int = Field(
        default=5, ge=0, description="trials that finish before any is pruned"
    )
    num_startup_epochs: int = Field(
        default=1, ge=0, description="epochs before a trial may be pruned"
    )
    default_first: bool = Field(
        default=True, description="run the default settings as the first trial"
    )


class StudyConfig(BaseModel):
    """A whole study: its own settings, the settings common to all runs, and the search space."""

    study: StudySettings
    run: RunConfig
    search: dict[str, Any]

    def transfers(self) -> list[Transfer]:
        """Return the transfers of the search."""
        return [Transfer.parse(text) for text in self.study.search_transfers]

    def needed_splits(self) -> dict[str, set[Split]]:
        """Return the splits that each domain of the study must have."""
        holdout = Transfer.parse(self.study.holdout)
        needed = {
            domain: {Split.TRAIN}
            for transfer in (*self.transfers(), holdout)
            for domain in transfer.domains()
        }
        for transfer in self.transfers():
            needed[transfer.target] |= set(VALIDATION_SPLITS)
        needed[holdout.target] |= {Split.QUERY, Split.GALLERY}
        return needed

    def distributions(self) -> dict[str, BaseDistribution]:
        """Return the search space as Optuna's distributions."""
        return {path: distribution(path, spec) for path, spec in self.search.items()}


def study_config(tree: Mapping[str, Any], settings: Mapping[str, Any]) -> StudyConfig:
    """Build a study from a study file and `--set` assignments, and validate it.

    Everything is checked before anything runs: every setting, both ends of every range, every
    choice, and that the holdout's target is in no search transfer.

    Raises:
        ConfigError: what is wrong, in one line.
    """
    study_tree = dict(tree)
    search = study_tree.pop("search", {})
    own = study_tree.pop("study", {})
    for name, table in (("search", search), ("study", own)):
        if not isinstance(table, dict):
            raise ConfigError(f"{name} = {table!r}: write it as a table, [{name}]")
    changes = dict(settings)
    search = search | {
        path.removeprefix("search."): changes.pop(path)
        for path in list(changes)
        if path.startswith("search.")
    }
    layered = merged({**study_tree, "study": own}, nested(changes))
    study = validated(StudySettings, layered.pop("study"), where="[study]")
    run = with_settings(run_config(layered), {"compute.num_workers": study.workers_per_trial})
    search = without_fixed(search, changes)
    search = {path: with_float_bounds(run, path, spec) for path, spec in search.items()}
    config = StudyConfig(study=study, run=run, search=search)
    check_transfers(config)
    check_space(search, run, default_first=study.default_first)
    return config


def without_fixed(search: Tree, changes: Mapping[str, Any]) -> Tree:
    """Drop from the search what the command line fixes."""
    return {path: spec for path, spec in search.items() if path not in changes}


def check_transfers(config: StudyConfig) -> None:
    """Refuse a study whose search would use labels of a target or of its own holdout."""
    if config.run.data.oracle_labels:
        raise ConfigError(
            "data.oracle_labels = true trains on the target's own labels, which a search must not "
            "see; leave it out, and train the ceiling apart: "
            "daam train --preset supervised_target --transfer 'SOURCE->TARGET'"
        )
    if config.run.stage != "all":
        raise ConfigError(
            f"stage = '{config.run.stage}' ends before the adaptation that a study tunes; leave it "
            "out"
        )
    holdout = Transfer.parse(config.study.holdout)
    texts = config.study.search_transfers
    if len(set(texts)) < len(texts):
        raise ConfigError(f"study.search_transfers names a transfer twice: {', '.join(texts)}")
    for transfer in config.transfers():
        if holdout.target in transfer.domains():
            raise ConfigError(
                f"study.holdout {holdout} and the search transfer {transfer} share the domain "
                f"{holdout.target}; the holdout's target must appear in no search transfer, or "
                "the search has seen its labels"
            )
