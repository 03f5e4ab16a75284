"""The public Python API, for notebooks and programs: everything here is in `daam`, too.

A day with it: import a labelled data set and another of the cameras the model is for, train from
the one to the other, evaluate, embed.

    import daam

    daam.import_domain("Market-1501", layout="market1501", domain="market", to="domains")
    daam.import_domain("MSMT17_V1", layout="msmt17", domain="msmt", to="domains")
    config = daam.load_config(
        {"transfer": "market->msmt", "data.root": "domains"}, preset="daam_v2"
    )
    run = daam.train(config, to="runs/first", on_epoch=print)
    found = daam.evaluate(run.folder)
    print(found.scores.mean_average_precision)
    photos = daam.embed(run.folder, images="photos")
    print(photos.names[0], photos.embeddings[0])

Nothing here needs Ray unless a run is trained on a cluster. Folders may be local or on S3
(`s3://bucket/prefix`). An error that the caller can fix is a `DaamError`, whose message says what
is wrong, where, and what to do. Ctrl-C and errors leave no domain, run or file half-written.
"""

import os
from collections.abc import Callable, Generator, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from daam.config.load import load_config
from daam.config.schema import RunConfig as Config
from daam.dataset.importing.hold_out import cut_test_splits
from daam.dataset.importing.import_domain import VALIDATION_SHARE
from daam.dataset.importing.import_domain import import_domain as import_index
from daam.dataset.importing.layouts import read_layout
from daam.dataset.importing.unreadable import unreadable_images, without_unreadable
from daam.dataset.maintenance.describe import SplitDescription, describe_domain
from daam.domains import Split, check_domain
from daam.errors import DaamError
from daam.execution.environment import prepare_environment
from daam.inference.assessment import Assessment
from daam.inference.embedding import Embeddings, embed
from daam.inference.evaluation import Evaluation, evaluate
from daam.inference.export import Exported, export
from daam.inference.search.matches import SearchResult
from daam.inference.search.search import search
from daam.runs.card import write_card
from daam.runs.demo_domains import demo_plan
from daam.runs.lease import sole_driver
from daam.runs.ranks import train_in_processes
from daam.runs.report.page import write_report
from daam.runs.run_folder import CONFIG, LOCK, abandon_run, portable, read_reports, start_run
from daam.runs.run_folder import start_from as start_run_from
from daam.runs.tracking import tracked
from daam.runs.worker import train_run
from daam.storage import Store, open_store
from daam.storage.local import check_path
from daam.synthetic import render_domain as render_plan
from daam.training.loop import StepProgress

__all__ = [
    "Assessment",
    "Config",
    "DaamError",
    "Domain",
    "Embeddings",
    "Evaluation",
    "Exported",
    "SearchResult",
    "StepProgress",
    "TrainedRun",
    "embed",
    "evaluate",
    "export",
    "import_domain",
    "load_config",
    "render_domain",
    "search",
    "train",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Domain:
    """A domain that was imported.

    Attributes:
        name: of the domain.
        root: the store that it is in; `data.root` of a run that uses it.
        splits: what each of its splits holds: `num_images`, `num_identities`, `num_cameras` and
            distributions.
        skipped: reason -> number of files of the data set that were left out for it.
        notes: how the data set was understood, and what is odd about it.
    """

    name: str
    root: str
    splits: Mapping[Split, SplitDescription]
    skipped: Mapping[str, int]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainedRun:
    """A run that was trained to its end.

    Attributes:
        folder: of the run, with its settings, checkpoint and metrics; other functions take it.
        config: its settings.
        epochs: the metrics of each epoch, as given to `on_epoch`; a row each of
            `pandas.DataFrame(run.epochs)`.
    """

    folder: str
    config: Config
    epochs: list[dict[str, Any]]


def import_domain(
    folder: str | Path,
    *,
    layout: str,
    domain: str,
    to: str | Path,
    pattern: str | None = None,
    camera: Literal["folder"] | None = None,
    identity: Literal["folder"] | None = None,
    cut_test: float = 0.0,
    validation_share: float = VALIDATION_SHARE,
    reencode: tuple[int, int] | None = None,
    skip_unreadable: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Domain:
    """Turn the folder of a data set into a domain that runs can use.

    A reader sees the whole domain or none of it. Importing the same folder again sends only what
    the store lacks, so an import that was interrupted is resumed by repeating it.

    Args:
        folder: of your images, or of a data set as its authors publish it; for `csv` and
            `parquet`, the table.
        layout: how it lies there: `folder` (any tree of images), `csv`, `parquet`, `market1501`,
            `msmt17`, `cuhk03`, `veri776`, `randperson` or `personx`.
        domain: name to give it: up to 64 lower-case letters, digits, `-` and `_`.
        to: folder or `s3://bucket/prefix` that holds domains.
        pattern: for `folder`: a regular expression that is searched in each image's path, with
            groups named `camera`, `person`, `track`, `time` or `split`.
        camera: for `folder`: `"folder"` if the folder of an image is named after its camera.
        identity: for `folder`: `"folder"` if it is named after the person.
        cut_test: share of the train identities that becomes query and gallery.
        validation_share: share of the train identities that is held out for validation.
        reencode: (height, width) in pixels to store all images at; None keeps them as they are.
        skip_unreadable: leave out images that cannot be read, which `skipped` of the result counts.
        progress: called with the images done and the images in total.

    Raises:
        ConfigError: the domain's name is not valid.
        LayoutError: the folder does not have that layout.
        DataError: an image is damaged, too few people can be held out, or something is known of
            some images of a split only.
        StorageError: the store cannot be written.
    """
    check_domain(domain)
    store, root = open_store(os.fspath(to)), check_path(Path(folder))
    notes: list[str] = []
    index = read_layout(layout, root, pattern=pattern, camera=camera, identity=identity)
    if skip_unreadable:
        index = without_unreadable(index, unreadable_images(index))
    manifest = import_index(
        cut_test_splits(index, share=cut_test),
        domain=domain,
        to=store,
        validation_share=validation_share,
        reencode=reencode,
        progress=progress,
        on_note=notes.append,
    )
    return Domain(
        name=domain,
        root=store.uri,
        splits=describe_domain(store, manifest),
        skipped=manifest.skipped,
        notes=tuple(notes),
    )


def render_domain(
    domain: str,
    *,
    to: str | Path,
    seed: int = 1,
    num_train_identities: int = 150,
    num_test_identities: int = 60,
    num_cameras: int = 4,
    height: int = 128,
    width: int = 64,
    num_processes: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> int:
    """Render images of people who do not exist, as a new folder in the layout of Market-1501.

    Args:
        domain: `plaza`, `campus` and `station` have looks of their own; another name draws one.
        to: the folder to make. It appears when it is complete.
        seed: of everything random: the same arguments give the same bytes on every machine.
        num_train_identities: people of the train split.
        num_test_identities: people of query and gallery.
        num_cameras: 2 to 9.
        height: of an image, pixels.
        width: likewise.
        num_processes: more than one starts fresh processes: a script then needs
            `if __name__ == "__main__":`.
        progress: called with the images done and the images in total.

    Returns:
        The number of images.

    Raises:
        ConfigError: a number is out of range, or the name is not valid.
        DataError: the folder exists already or cannot be written.
    """
    plan = replace(
        demo_plan(domain, seed=seed),
        num_train_identities=num_train_identities,
        num_test_identities=num_test_identities,
        num_cameras=num_cameras,
        height=height,
        width=width,
    )
    return render_plan(
        plan, to=check_path(Path(to)), num_processes=num_processes, progress=progress
    )


def train(
    config: Config,
    *,
    to: str | Path,
    start_from: str | Path | None = None,
    stages: str | Path | None = None,
    resume: bool = False,
    address: str | None = None,
    on_epoch: Callable[[dict[str, Any]], None] | None = None,
    on_step: Callable[[StepProgress], None] | None = None,
    track: str | None = None,
) -> TrainedRun:
    """Train a model from a labelled source to an unlabelled target; no label of it is read.

    The state is stored after every epoch. A run that fails or is interrupted in its first epoch
    leaves nothing; later it can be resumed, and ends as if it had not been interrupted.

    Args:
        config: settings, see `load_config`.
        to: folder of the run, local or on S3.
        start_from: folder of a run with `stage="source"`, whose source stage a new run takes
            instead of training its own, with the same result to the bit.
        stages: folder or `s3://bucket/prefix` where runs share their source stages: the first run
            that needs one trains and stores it, later ones take it, with the same result to the
            bit. A study's are in `STUDY/stages`.
        resume: go on with the run that is in the folder, if there is one. Its settings must be the
            same, but for `compute` and where its data are.
        address: of a Ray cluster (`auto`: the one of this machine). By default one worker trains in
            this process, and several are processes beside it.
        on_epoch: called after each epoch with its metrics: `epoch`, `num_epochs`, `seconds`,
            `loss/NAME`, `diagnostic/NAME`; where the adaptation seems not to work, `warnings`: a
            list of sentences; and with `stages` the key of the source stage that the epoch is part
            of, as `stage/trained`, or as `stage/reused` if it was taken from there.
        on_step: called at the start of each epoch and after each step of it, where training is in
            this process: the steps of several workers cannot be seen from here.
        track: an experiment tracker that gets each epoch's metrics, too: `tensorboard` (event files
            in the folder), `mlflow`, `wandb` or `trackio`.

    Raises:
        ConfigError: a path or address in the settings is wrong, or the tracker cannot be used.
        DataError: a domain is missing or damaged.
        TrainingError: the folder holds a run and `resume` is not set; a loss became infinite; the
            cluster is too small; workers failed more often than `compute.max_failures`.
        DriverError: another process trains the run.
        CheckpointError: the run to resume or to start from has other settings or data.
    """
    with sole_driver(open_store(os.fspath(to)), lock=LOCK, what="the run") as folder:
        return _train_in(
            folder,
            config,
            start_from=start_from,
            stages=stages,
            resume=resume,
            address=address,
            on_epoch=on_epoch,
            on_step=on_step,
            track=track,
        )


def _train_in(
    folder: Store,
    config: Config,
    *,
    start_from: str | Path | None,
    stages: str | Path | None,
    resume: bool,
    address: str | None,
    on_epoch: Callable[[dict[str, Any]], None] | None,
    on_step: Callable[[StepProgress], None] | None,
    track: str | None,
) -> TrainedRun:
    is_new = not (resume and folder.exists(CONFIG))
    if is_new:
        start_run(folder.uri, config)
    config = portable(config)
    try:
        if is_new and start_from is not None:
            start_run_from(folder, os.fspath(start_from), config)
        with ExitStack() as stack:
            send = None
            if track is not None:
                send = stack.enter_context(tracked(track, folder, config))
            epochs = _epochs(
                folder,
                config,
                stages=None if stages is None else open_store(os.fspath(stages)),
                address=address,
                on_step=on_step,
            )
            for metrics in stack.enter_context(closing(epochs)):
                write_report(folder)
                if send is not None:
                    send(metrics)
                if on_epoch is not None:
                    on_epoch(metrics)
    except BaseException:
        if is_new:
            abandon_run(folder)
        raise
    write_card(folder)
    return TrainedRun(folder=folder.uri, config=config, epochs=read_reports(folder))


def _epochs(
    folder: Store,
    config: Config,
    *,
    stages: Store | None,
    address: str | None,
    on_step: Callable[[StepProgress], None] | None,
) -> Generator[dict[str, Any], None, None]:
    if address is None and config.compute.num_workers == 1:
        return train_run(folder, config, stages=stages, on_step=on_step)
    if address is None:
        return train_in_processes(folder, config, stages=stages)
    prepare_environment(address=address)
    from daam.execution.driver import train_on_ray  # the only part of the API that needs Ray

    return train_on_ray(folder, config, stages=stages, address=address)
