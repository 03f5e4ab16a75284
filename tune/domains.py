"""Whether the domains of a study can give its scores."""

from daam.dataset.format.manifest import has_domain, read_manifest
from daam.domains import Split
from daam.errors import ConfigError
from daam.storage import open_store
from tune.settings import LABEL_FREE, StudyConfig


def check_targets(config: StudyConfig) -> None:
    """Refuse a target without identities where the score of a trial is made of them.

    Domains that do not exist are left to `daam.runs.preparation`.

    Raises:
        ConfigError: the message says what can be done instead.
    """
    if config.study.score == LABEL_FREE:
        return
    store = open_store(config.run.data.root)
    for transfer in config.transfers():
        target = transfer.target
        if not has_domain(store, target):
            continue
        if not read_manifest(store, target).split(Split.TRAIN).has_identities:
            raise ConfigError(
                f"{target} has no identities, so study.score = '{config.study.score}' has nothing "
                f"to score {transfer} by; search without labels (daam tune --preset adapt --source "
                f"{transfer.source} --target {target}), or on labelled targets with score = "
                f"'transfer' and apply_to = '{transfer}'"
            )
