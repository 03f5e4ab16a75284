"""The settings of a study: its transfers, its budget and its search space.

A study file is a run's settings plus two tables: `[study]` and `[search]`, see
`tune.proposals.space`.
"""

from collections.abc import Collection, Mapping
from typing import Annotated, Any, Literal

from optuna.distributions import BaseDistribution
from pydantic import AfterValidator, BaseModel, Field

from daam.config.load import Tree, merged, nested, run_config, validated, with_settings
from daam.config.schema import RunConfig
from daam.config.section import Section
from daam.documents import shortened
from daam.domains import VALIDATION_SPLITS, Split, Transfer
from daam.errors import ConfigError
from daam.storage import Store, open_store
from daam.storage.store import check_name
from tune.budget import Budget, parse_budget
from tune.proposals.space import Dimension, search_space, with_float_bounds
from tune.proposals.space_checks import check_paths, check_values
from tune.proposals.starts import default_start, user_start

VALIDATION, LABEL_FREE, TRANSFER = "validation", "label_free", "transfer"


def _checked_name(name: str) -> str:
    try:
        return check_name(name, of="study")
    except ConfigError as error:
        raise ValueError(str(error)) from error


class StudySettings(Section):
    """Which transfers are searched, what for, and the budget."""

    name: Annotated[str, AfterValidator(_checked_name)] = Field(
        default="study", description="folder of the study"
    )
    score: Literal["validation", "label_free", "transfer"] = Field(
        default="validation",
        description="what a trial is scored by: the mAP on validation identities of its targets; "
        "the assessment without labels of its targets (`label_free`); or the former, for settings "
        "that are applied to a target without labels (`transfer`)",
    )
    search_transfers: list[str] = Field(
        min_length=1, description="transfers that each trial trains and is scored on, in this order"
    )
    holdout: str = Field(
        default="",
        description="transfer of the final comparison, tested with labels; its target is in no "
        "search transfer; empty: nothing is proven on a target that the search has not seen",
    )
    apply_to: str = Field(
        default="",
        description="transfer to a target without labels that the contenders are trained for, and "
        "assessed on if there is no holdout; label_free: the first of search_transfers if empty",
    )
    num_trials: int = Field(
        default=20, ge=0, description="number of trials; 0: as many as the budget allows"
    )
    budget: str = Field(
        default="",
        description="time after which no further trial begins: 2h, 1h30m, or 4 gpu-hours",
    )
    concurrent_trials: int = Field(
        default=0, ge=0, description="trials at a time; 0: as many as fit the cluster"
    )
    workers_per_trial: int = Field(default=1, ge=1, description="data-parallel workers per trial")
    seed: int = Field(default=1, ge=0, lt=2**32, description="seed of the search")
    aggregate: Literal["mean", "worst"] = Field(
        default="mean", description="how the scores of the transfers are combined"
    )
    max_interrupted: int = Field(
        default=3,
        ge=1,
        description="failures in a row, for reasons outside of the trials (disk, store, memory, "
        "machines), after which a study pauses; these trials stay open",
    )
    minimise: Literal["", "seconds"] = Field(
        default="",
        description="a second objective beside the score: the seconds that a trial trains. Trials "
        "are then not stopped early, and the report lists those that no other beats in both",
    )
    pruner: Literal["median", "asha", "hyperband", "none"] = Field(
        default="median",
        description="rule that stops trials early: below the median of earlier trials, successive "
        "halving (asha; hyperband with several starting epochs), or never",
    )
    num_startup_trials: int = Field(
        default=5,
        ge=0,
        description="trials that finish before the sampler learns from them, and before any is "
        "pruned by the median",
    )
    num_startup_epochs: int = Field(
        default=1, ge=0, description="epochs before a trial may be pruned"
    )
    default_first: bool = Field(
        default=True, description="run the default settings as the first trial"
    )
    stages: str = Field(
        default="",
        description="folder or s3:// where runs share their source stages, also with other studies "
        "and `daam train --stages`; empty: `stages` in the study's own folder",
    )
    race_trials: Annotated[int, Field(ge=0)] | Literal["auto"] = Field(
        default="auto",
        description="best trials of the search that are repeated with other seeds, until one is "
        "ahead of the others or race_seeds is reached; 0 or 1: none; auto: one in six of the "
        "trials, at most 3",
    )
    race_seeds: int = Field(
        default=3, ge=1, description="seeds of a trial in that race at most, the search's included"
    )
    contender_seeds: int = Field(
        default=3, ge=1, description="seeds that each contender of the final comparison trains with"
    )
    start: list[dict[str, Any]] = Field(
        default=[],
        description="settings of the next trials: tables of dotted path and value, or of a preset",
    )


class StudyConfig(BaseModel):
    """A whole study: its own settings, the settings common to all runs, and the search space."""

    study: StudySettings
    run: RunConfig
    search: dict[str, Any]

    def stages_in(self, folder: Store) -> Store:
        """Return where the runs of the study in a folder share their source stages."""
        return open_store(self.study.stages) if self.study.stages else folder.child("stages")

    def transfers(self) -> list[Transfer]:
        """Return the transfers of the search."""
        return [Transfer.parse(text) for text in self.study.search_transfers]

    @property
    def final_transfer(self) -> str:
        """The transfer that the contenders are trained for; empty: there is no comparison."""
        study = self.study
        first = study.search_transfers[0] if study.score == LABEL_FREE else ""
        return study.holdout or study.apply_to or first

    @property
    def all_transfers(self) -> list[str]:
        """The transfers that anything of the study trains on."""
        final = [self.final_transfer] if self.final_transfer else []
        return list(dict.fromkeys([*self.study.search_transfers, *final]))

    @property
    def is_measured(self) -> bool:
        """Whether the contenders are tested with labels; else they are assessed without."""
        return bool(self.study.holdout)

    def needed_splits(self) -> dict[str, set[Split]]:
        """Return the splits that each domain of the study must have."""
        final = [Transfer.parse(self.final_transfer)] if self.final_transfer else []
        needed = {
            domain: {Split.TRAIN}
            for transfer in (*self.transfers(), *final)
            for domain in transfer.domains()
        }
        if self.study.score != LABEL_FREE:
            for transfer in self.transfers():
                needed[transfer.target] |= set(VALIDATION_SPLITS)
        if self.is_measured:
            needed[final[0].target] |= {Split.QUERY, Split.GALLERY}
        return needed

    def seeds(self, count: int) -> list[int]:
        """Return the seed of the study's runs and those that repeat them."""
        return [(self.run.seed + offset) % 2**32 for offset in range(count)]

    def time_budget(self) -> Budget | None:
        """Return what the search may cost in time, if that is limited."""
        return parse_budget(self.study.budget) if self.study.budget else None

    def directions(self) -> list[Literal["maximize", "minimize"]]:
        """Return Optuna's direction of each objective, the score first."""
        return ["maximize", "minimize"] if self.study.minimise else ["maximize"]

    def space(self) -> tuple[Dimension, ...]:
        """Return the search space; settings that depend on others come after them."""
        return search_space(self.search, self.run)

    def distributions(self) -> dict[str, BaseDistribution]:
        """Return Optuna's distribution of every searched setting."""
        return {dimension.path: dimension.distribution for dimension in self.space()}

    def starting_points(self) -> list[dict[str, Any]]:
        """Return the parameters of the first trials."""
        default = [default_start(self.run, self.space())] if self.study.default_first else []
        return [*default, *self.study.start]


def adapting(transfer: str, *, score: str) -> dict[str, Any]:
    """Return the settings that make a study one for a target without labels.

    Raises:
        ConfigError: the study's score needs labels of its targets, and it has no other place for
            the transfer.
    """
    if score == LABEL_FREE:
        return {"study.search_transfers": [transfer]}
    if score == TRANSFER:
        return {"study.apply_to": transfer}
    raise ConfigError(
        f"--source and --target ask for a study of {transfer} without labels of its target, and "
        "this study scores by labels; use --preset adapt, or --set study.score=label_free"
    )


def study_config(tree: Mapping[str, Any], settings: Mapping[str, Any]) -> StudyConfig:
    """Build a study from a study file and `--set` assignments, and validate it.

    Everything is checked before anything runs: every setting, the values of the search, each pair
    of them, every starting point, and that the holdout's target is in no search transfer.

    Raises:
        ConfigError: what is wrong, in one line.
    """
    study_tree = dict(tree)
    search, own = table_of(study_tree, "search"), table_of(study_tree, "study")
    for name in ("search", "study"):
        study_tree.pop(name, None)
    changes = dict(settings)
    search = search | {
        path.removeprefix("search."): changes.pop(path)
        for path in list(changes)
        if path.startswith("search.")
    }
    layered = merged({**study_tree, "study": own}, nested(changes))
    if "search_transfers" not in layered["study"]:
        raise ConfigError(
            "the study names no transfer; for one labelled domain and one without labels give "
            "--source and --target, else list the transfers as study.search_transfers"
        )
    study = validated(StudySettings, layered.pop("study"), where="[study]")
    run = with_settings(run_config(layered), {"compute.num_workers": study.workers_per_trial})
    if run.compute.min_workers:
        raise ConfigError(
            "compute.min_workers is for `train`: the trials of a study are compared, so all train "
            "with study.workers_per_trial workers; leave it out"
        )
    search = {path: with_float_bounds(run, path, spec) for path, spec in search.items()}
    check_paths(without(search, changes), run)
    space = search_space(without(search, changes), run, fixed=changes)
    kept = {dimension.path for dimension in space}
    settled = changes.keys() | search.keys() - kept
    start = [
        user_start(table, run, space, where=f"[[study.start]] {number}", ignored=settled)
        for number, table in enumerate(study.start, start=1)
    ]
    config = StudyConfig(
        study=study.model_copy(update={"start": start}), run=run, search=without(search, settled)
    )
    check_transfers(config)
    if config.time_budget() is None and study.num_trials == 0:
        raise ConfigError(
            "study.num_trials = 0 is no limit, and there is no other; set study.budget = '2h', or "
            "a number of trials"
        )
    check_values(space, run)
    config.starting_points()  # refuses a default outside the space
    return config


def table_of(tree: Mapping[str, Any], name: str) -> Tree:
    """Return a table of a study file; an empty one if it has none.

    Raises:
        ConfigError: it is not a table.
    """
    table = tree.get(name, {})
    if not isinstance(table, dict):
        raise ConfigError(f"{name} = {shortened(table)}: write it as a table, [{name}]")
    return table


def without(search: Tree, paths: Collection[str]) -> Tree:
    """Return a search table without some paths."""
    return {path: spec for path, spec in search.items() if path not in paths}


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
    texts = config.study.search_transfers
    if len(set(texts)) < len(texts):
        raise ConfigError(f"study.search_transfers names a transfer twice: {', '.join(texts)}")
    if config.study.score == TRANSFER and not config.study.apply_to:
        raise ConfigError(
            "study.score = 'transfer' searches on labelled targets for settings that are applied "
            "to another; name it: study.apply_to = 'SOURCE->TARGET'"
        )
    if config.study.apply_to:
        Transfer.parse(config.study.apply_to)
    if config.study.holdout:
        holdout = Transfer.parse(config.study.holdout)
        for transfer in config.transfers():
            is_blind = config.study.score == LABEL_FREE  # to the labels of its targets
            if holdout.target in (transfer.sources if is_blind else transfer.domains()):
                raise ConfigError(
                    f"study.holdout {holdout} and the search transfer {transfer} share the domain "
                    f"{holdout.target}; the holdout's target must appear in no search transfer, or "
                    "the search has seen its labels"
                )
