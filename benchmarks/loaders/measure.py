"""One measurement of one loader, in a process of its own that `benchmarks/loader.py` starts.

What it finds goes to standard output at once, a JSON object a line behind `@`, so that whoever
started it can look at the server's counters at that moment.
"""

import hashlib
import importlib
import itertools
import json
import multiprocessing
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.loaders.place import Place, set_credentials
from benchmarks.loaders.usage import cpu_of_tree, memory_of_tree

if TYPE_CHECKING:
    from torch import Tensor

# Nothing heavy is imported above: the first batch is timed from the start of the process.

WARM_UP, WARM_UP_S = 10, 1.0  # at least so many batches and seconds
COLD_S = 10.0
# They import it late, some in each worker; before the clock starts is fairer to all.
USES_BOTO3 = {"ours", "mosaicml_streaming", "lit_data"}
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """
    Attributes:
        mode: one of the functions in `MODES`.
        module: of the loader, below `benchmarks.loaders`.
        kind: of work, see `work_of`; for our own loader `normalised`, `uint8` (varied, but not
            normalised) or `uint8 plain` (as a GPU gets them, which does the rest).
        with_feeding: also train on the batches.
        started: `time.time()` at the start of the process.
    """

    mode: str
    module: str
    kind: str
    place: Place
    seconds: float
    with_feeding: bool
    started: float


def main() -> None:
    settings = json.loads(sys.argv[1])
    place = settings.pop("place")
    task = Task(
        **settings,
        place=Place(
            folder=Path(place["folder"]), endpoint=place["endpoint"], cache=Path(place["cache"])
        ),
    )
    if task.place.endpoint is not None:
        set_credentials(task.place.endpoint)
    MODES[task.mode](task)


def tell(event: str, **untimed_metrics: object) -> None:
    print("@" + json.dumps({"event": event, **untimed_metrics}), flush=True)


def epochs_of(task: Task) -> Callable[[], Iterator["Tensor"]]:
    """A function that starts an epoch of the task's loader."""
    loader = importlib.import_module(f"benchmarks.loaders.{task.module}")
    from benchmarks.loaders.work import work_of

    if task.place.endpoint is not None and task.module in USES_BOTO3:
        importlib.import_module("boto3")
    if task.module == "ours":
        make = loader.uint8_batches if task.kind.startswith("uint8") else loader.batches
        work = replace(work_of("given ours"), augmented=task.kind != "uint8 plain")
    else:
        make = loader.batches
        work = work_of(task.kind, decoder="torchvision" if task.module == "lit_data" else "pillow")  # type: ignore[arg-type]
    return lambda: make(task.place, work, shuffle=True)


def measure_local(task: Task) -> None:
    """Batches alone, then beside a training loop, then into one."""
    bare = memory_of_tree()
    epoch = epochs_of(task)
    tell("alone", **steady(epoch(), seconds=task.seconds))
    tell("memory", **{name: memory_of_tree()[name] - bare[name] for name in bare})
    with Training() as training:
        tell("beside", **steady(epoch(), seconds=task.seconds, training=training))
    if task.with_feeding and task.kind in ("documented", "normalised"):
        step = training_step()
        tell("fed", **steady(epoch(), seconds=task.seconds, warm_up=2, use=step))
        if task.module == "ours":
            repeated = itertools.repeat(next(epoch()))
            tell("unfed", **steady(repeated, seconds=task.seconds, warm_up=2, use=step))


def measure_limit(task: Task) -> None:
    """Decoding alone; `kind` is the number of threads."""
    from benchmarks.loaders.limit import decode_forever

    sets = decode_forever(task.place, num_threads=int(task.kind))
    tell("alone", **steady(sets, seconds=task.seconds))
    sets.close()


def measure_s3(task: Task) -> None:
    """The first batch of a process, what follows in its first seconds, and the second epoch."""
    epoch = epochs_of(task)
    first_epoch(task, epoch)
    tell("warm", **steady(epoch(), seconds=task.seconds))


def measure_s3_beside(task: Task) -> None:
    """The same beside a training loop."""
    epoch = epochs_of(task)
    with Training() as training:
        first_epoch(task, epoch, training=training)
        tell("warm", **steady(epoch(), seconds=task.seconds, training=training))


def first_epoch(
    task: Task, epoch: Callable[[], Iterator["Tensor"]], *, training: "Training | None" = None
) -> None:
    """Tell of an epoch with an empty cache, which is full afterwards."""
    before = training.progress() if training else (0, 0.0)
    cpu, begun = cpu_of_tree(), time.time()
    tell("imported", s=begun - task.started)
    count = 0
    batches = epoch()
    for batch in batches:
        if not count:
            tell("first batch", s=time.time() - task.started, after_imports_s=time.time() - begun)
        count += len(batch)
        if time.time() - begun > COLD_S:
            break
    took = time.time() - begun
    after = training.progress() if training else (0, 0.0)
    cpu = cpu_of_tree() - cpu - (after[1] - before[1])
    tell(
        "cold",
        images_per_s=count / took,
        cpu_us=1e6 * cpu / count,
        trained_per_s=(after[0] - before[0]) / took,
        num=count,
    )
    for _ in batches:
        pass
    tell("end of epoch")


def measure_ranks(task: Task) -> None:
    """The memory of two ranks of ours, at the end of an epoch of two domains (of one content)."""
    context = multiprocessing.get_context("spawn")
    barrier, results = context.Barrier(2), context.SimpleQueue()
    ranks = [context.Process(target=run_rank, args=(task, k, barrier, results)) for k in range(2)]
    for rank in ranks:
        rank.start()
    found = [results.get() for _ in ranks]
    for rank in ranks:
        rank.join()
    tell("ranks", **{name: sum(rank[name] for rank in found) for name in found[0]})


def run_rank(task: Task, rank: int, barrier: Any, results: Any) -> None:
    bare = memory_of_tree()
    import torch  # noqa: F401  (what it takes is told apart)

    with_torch = memory_of_tree()
    from benchmarks.loaders.ours import uint8_batches
    from benchmarks.loaders.work import work_of
    from daam.dataset.pixels.normalise import normalise

    # With torchvision, which training needs in any case.
    work = work_of("documented")
    source, target = (
        uint8_batches(task.place, work, shuffle=True, rank=rank, num_ranks=2) for _ in range(2)
    )
    for images, others in zip(source, target, strict=True):
        normalise(images)
        normalise(others)
    barrier.wait()
    now = memory_of_tree()
    barrier.wait()
    results.put(
        {
            **{name: now[name] - bare[name] for name in now},
            "torch_mb": with_torch["private_mb"] - bare["private_mb"],
        }
    )


def check(task: Task) -> None:
    """What a loader makes, to compare it with the others' and with Pillow's pixels."""
    loader = importlib.import_module(f"benchmarks.loaders.{task.module}")
    from benchmarks.loaders.work import work_of

    decoder = "torchvision" if task.module == "lit_data" else "pillow"
    plain = work_of("plain", decoder=decoder)
    for name, shuffle in (("in order", False), ("shuffled", True)):
        digests = [
            digest
            for batch in loader.batches(task.place, plain, shuffle=shuffle)
            for digest in digests_of(batch)
        ]
        total = hashlib.sha256("".join(sorted(digests)).encode()).hexdigest()
        tell(name, num=len(digests), distinct=len(set(digests)), digest=total)
    kinds = ("documented",) if task.module == "ours" else ("documented", "given ours")
    for kind in kinds:
        work = work_of(kind, decoder=decoder)
        batches = itertools.islice(loader.batches(task.place, work, shuffle=True), 30)
        first = next(batches)
        values = [(batch.mean().item(), batch.std().item()) for batch in batches]
        mean, std = (sum(column) / len(values) for column in zip(*values, strict=True))
        tell(kind, shape=list(first.shape), dtype=str(first.dtype), mean=mean, std=std)


def digests_of(batch: "Tensor") -> list[str]:
    import torch

    mean, std = (torch.tensor(values)[:, None, None] for values in (MEAN, STD))
    pixels = ((batch * std + mean) * 255).round().byte().permute(0, 2, 3, 1).contiguous().numpy()
    return [hashlib.sha256(image.tobytes()).hexdigest() for image in pixels]


def steady(
    batches: Iterable[Any],
    *,
    seconds: float,
    warm_up: int = WARM_UP,
    use: Callable[["Tensor"], object] | None = None,
    training: "Training | None" = None,
) -> dict[str, float]:
    """Rate and CPU time once a loader runs, until its epoch ends or `seconds` have passed.

    CPU time is that of the process and all its children, less what `training` took.
    """
    iterator = iter(batches)
    began = time.perf_counter()
    for number, batch in enumerate(iterator, start=1):
        if use is not None:
            use(batch)
        if number >= warm_up and time.perf_counter() - began > WARM_UP_S:
            break
    count = 0
    begun, cpu = time.perf_counter(), cpu_of_tree()
    before = training.progress() if training else (0, 0.0)
    for batch in iterator:
        if use is not None:
            use(batch)
        count += batch if isinstance(batch, int) else len(batch)
        if time.perf_counter() - begun > seconds:
            break
    took = time.perf_counter() - begun
    after = training.progress() if training else (0, 0.0)
    cpu = cpu_of_tree() - cpu - (after[1] - before[1])
    assert count, "the epoch ended while the loader warmed up: prepare more images"
    return {
        "images_per_s": count / took,
        "cpu_us": 1e6 * cpu / count,
        "trained_per_s": (after[0] - before[0]) / took,
        "window_s": took,
    }


def training_step() -> Callable[["Tensor"], object]:
    """Forward and backward of the tiny backbone."""
    import torch

    from daam.model.backbone import tiny_backbone

    torch.manual_seed(0)
    network = tiny_backbone()

    def step(images: "Tensor") -> None:
        network(images).square().mean().backward()

    return step


class Training:
    """A training loop in a thread of its own, on 64 images of 64x32 that stay the same."""

    def __enter__(self) -> "Training":
        import torch

        self._step = training_step()
        self._images = torch.randn(64, 3, 64, 32)
        self._stop = threading.Event()
        self._progress = (0, 0.0)
        self._thread = threading.Thread(target=self._train)
        self._thread.start()
        return self

    def progress(self) -> tuple[int, float]:
        """Images trained on, and the CPU seconds it took."""
        return self._progress

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join()

    def _train(self) -> None:
        while not self._stop.is_set():
            self._step(self._images)
            self._progress = (self._progress[0] + len(self._images), time.thread_time())


MODES = {
    "local": measure_local,
    "limit": measure_limit,
    "s3": measure_s3,
    "s3 beside": measure_s3_beside,
    "ranks": measure_ranks,
    "check": check,
}

if __name__ == "__main__":
    main()
