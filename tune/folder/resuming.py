"""A study that goes on with other settings: which of its trials still count.

A trial fits if the changed study would train the same: its parameters lie in the new space, all its
other settings are the same, and it was scored on all search transfers. Others are set aside: they
keep their number, because their folder is named by it, and become FAIL with the reason.
"""

import copy
import re
from datetime import datetime
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState
from pydantic import TypeAdapter

from daam.config.load import setting, with_settings
from daam.documents import parse_json
from daam.errors import ConfigError, StudyError
from daam.storage import Store
from daam.storage.scratch import scratch_folder
from daam.training.state import changed_settings
from tune.events import FAILURE
from tune.folder.folder import (
    journal_storage,
    settings_document,
    stored_study,
    write_settings,
)
from tune.folder.journal_file import JOURNAL, SETTINGS, replace_journal
from tune.proposals.starts import parameters_of
from tune.search.searcher import EXHAUSTED, SET_ASIDE
from tune.search.trial import aggregate
from tune.settings import StudyConfig

KEPT = re.compile(r"journal-(\d{1,9})\.log", re.ASCII)
TREE = TypeAdapter(dict[str, Any])


def adopt(folder: Store, config: StudyConfig) -> list[str]:
    """Give a study the settings with which it goes on; return what cannot be kept, a line a reason.

    The settings may come from a new file, from the command line, or from a `study.toml` that was
    edited. The journal as it was is kept beside the new one, as `journal-N.log`.

    Raises:
        StudyError: the journal is damaged, or of a version of daam with other settings.
    """
    with scratch_folder() as scratch:
        study = stored_study(folder, scratch)
        if study is None:
            write_settings(folder, config)
            return []
        then = settings_of(study, where=folder.locate(JOURNAL))
        if then == config:
            return []
        if then.study.minimise != config.study.minimise:
            raise StudyError(
                f"study.minimise was {then.study.minimise!r} and cannot change in a study that has "
                "begun; start a new one: --name NAME"
            )
        path = scratch / "changed.log"
        changed = optuna.create_study(
            study_name=config.study.name, storage=journal_storage(path), directions=study.directions
        )
        for name, value in study.user_attrs.items():
            if name != EXHAUSTED:
                changed.set_user_attr(name, value)
        changed.set_user_attr(SETTINGS, settings_document(config))
        set_aside: dict[str, list[int]] = {}
        for trial in study.get_trials(deepcopy=False):
            carried, reason = carried_over(trial, then=then, now=config)
            changed.add_trial(carried)
            if reason:
                set_aside.setdefault(reason, []).append(trial.number)
        kept = [int(found[1]) for key in folder.list("journal-") if (found := KEPT.fullmatch(key))]
        folder.upload(scratch / JOURNAL, f"journal-{max(kept, default=0) + 1}.log")
        write_settings(folder, config)  # first: repeated if this process dies before the next line
        replace_journal(folder, path.read_bytes())
    return [
        f"Set aside: trial{'s' * (len(numbers) > 1)} {', '.join(map(str, numbers))}: {reason}"
        for reason, numbers in set_aside.items()
    ]


def settings_of(study: optuna.Study, *, where: str) -> StudyConfig:
    """Return the settings that the trials of a study were run with.

    Raises:
        StudyError: this version of daam does not know them.
    """
    try:
        text = study.user_attrs[SETTINGS]
        return StudyConfig.model_validate(parse_json(text.encode(), TREE))
    except (KeyError, ValueError) as error:
        raise StudyError(
            f"{where} was written by another version of daam; start a new study: --name NAME"
        ) from error


def carried_over(
    trial: FrozenTrial, *, then: StudyConfig, now: StudyConfig
) -> tuple[FrozenTrial, str]:
    """Return a trial as the changed study has it, and why it is set aside; empty if it fits."""
    if trial.state == TrialState.WAITING or SET_ASIDE in trial.user_attrs:
        return trial, ""
    parameters, reason = parameters_now(trial.params, then=then, now=now)
    if not reason:
        reason = scoring_differs(trial, then=then.study, now=now.study)
    if reason:
        return without_result(trial, reason), reason
    trial = copy.deepcopy(trial)
    distributions = now.distributions()
    trial.distributions = {path: distributions[path] for path in parameters}
    trial.params = parameters
    if trial.state == TrialState.COMPLETE and is_scored_otherwise(then.study, now.study):
        scores = [trial.user_attrs["scores"][transfer] for transfer in now.study.search_transfers]
        trial.values = [aggregate(scores, how=now.study.aggregate), *trial.values[1:]]
        trial.intermediate_values = {}
    return trial, ""


def without_result(trial: FrozenTrial, reason: str) -> FrozenTrial:
    """Return a trial that is set aside. Without parameters: they may be tried again."""
    return FrozenTrial(
        number=trial.number,
        trial_id=trial.number,
        state=TrialState.FAIL,
        value=None,
        params={},
        distributions={},
        intermediate_values={},
        user_attrs={SET_ASIDE: reason, FAILURE: f"set aside: {reason}"},
        system_attrs={},
        datetime_start=trial.datetime_start,
        datetime_complete=trial.datetime_complete or datetime.now(),
    )


def parameters_now(
    parameters: dict[str, Any], *, then: StudyConfig, now: StudyConfig
) -> tuple[dict[str, Any], str]:
    """Return a trial's parameters in the new space, and why there are none; empty if there are."""
    was = with_settings(then.run, {**parameters, "transfer": now.run.transfer})
    values, outside = parameters_of(was, now.space())
    for path, value in outside.items():
        return {}, f"{path} = {value!r} is not searched any more"
    try:
        would_be = with_settings(now.run, values)
    except ConfigError as error:
        return {}, str(error)
    differing = changed_settings(was.model_dump(), would_be.model_dump())
    return values, ", ".join(f"{path} was {setting(was, path)!r}" for path in differing)


def scoring_differs(trial: FrozenTrial, *, then: Any, now: Any) -> str:
    """Return why a trial's score is not what the changed study would give it; empty if it is."""
    if then.score != now.score:
        return f"study.score was {then.score!r}"
    if not is_scored_otherwise(then, now) or trial.state == TrialState.FAIL:
        return ""
    if trial.state != TrialState.COMPLETE:
        return "not complete, and scored otherwise"
    missing = [
        transfer
        for transfer in now.search_transfers
        if transfer not in trial.user_attrs.get("scores", {})
    ]
    if missing:
        return f"not scored on {', '.join(missing)}"
    return ""


def is_scored_otherwise(then: Any, now: Any) -> bool:
    """Whether trials that train the same get another score, or other scores on the way to it."""
    return (then.search_transfers, then.aggregate) != (now.search_transfers, now.aggregate)
