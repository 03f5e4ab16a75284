"""Render a domain to disk, in the layout of Market-1501."""

import multiprocessing
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import simplejpeg

from daam.domains import DISTRACTOR, JUNK, check_domain
from daam.errors import ConfigError, DataError
from daam.storage.private import make_folder
from daam.storage.scratch import scratch_folder
from daam.synthetic.named import domain_look
from daam.synthetic.person.people import draw_person
from daam.synthetic.scene.spot import Framing
from daam.synthetic.settings import DomainLook, camera_look
from daam.synthetic.shot import take_shot
from daam.synthetic.streams import stream

TRAIN, QUERY, GALLERY = "bounding_box_train", "query", "bounding_box_test"
_BATCH = 64
"""Images per task of a process."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RenderPlan:
    """What to render. The same plan gives the same bytes on every machine.

    Identities 1..num_train_identities are trained on, the next num_test_identities are tested.

    Raises:
        ConfigError: a number is out of range or the name can't be a domain's.
    """

    domain: str
    seed: int
    num_train_identities: int
    num_test_identities: int
    num_cameras: int = 6
    height: int = 128
    width: int = 64
    min_cameras: int = 2
    """Fewest cameras that see an identity; how many do is drawn from this to all."""
    min_images_per_camera: int = 2
    max_images_per_camera: int = 6
    num_distractors: int = 0
    """Gallery images of people who are nobody's query, written as identity 0000."""
    num_junk: int = 0
    """Gallery images of parts of people, or of nobody, written as identity -1."""
    look: DomainLook | None = None
    """Instead of `domain_look(domain, seed=seed)`, to change how hard the domain is."""

    def __post_init__(self) -> None:
        check_domain(self.domain)
        for name, low, high in (
            ("num_train_identities", 0, 4000),
            ("num_test_identities", 0, 4000),
            ("num_cameras", 2, 9),
            ("height", 32, 512),
            ("width", 16, 256),
            ("min_cameras", 2, self.num_cameras),
            ("min_images_per_camera", 2, 50),
            ("max_images_per_camera", self.min_images_per_camera, 50),
            ("num_distractors", 0, 100_000),
            ("num_junk", 0, 100_000),
        ):
            value = getattr(self, name)
            if not low <= value <= high:
                raise ConfigError(
                    f"{name}={value} of the rendered domain {self.domain} is out of range; "
                    f"choose {low} to {high}"
                )


def render_domain(
    plan: RenderPlan,
    *,
    to: Path,
    num_processes: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> int:
    """Write a domain's images into the new folder `to` and return how many there are.

    The folder appears once it is complete: until then the images are in a sibling folder, which
    is removed on failure, or by the next call if this process is killed.

    Args:
        num_processes: more than one starts fresh processes (spawn), so the calling script must be
            importable without side effects.
        progress: called with the number of rendered images and their total.

    Raises:
        DataError: `to` exists or can't be written.
    """
    if to.exists():
        raise DataError(f"{to} exists already; choose another folder or remove it first")
    jobs = list(_jobs(plan))
    try:
        make_folder(to.parent)
        with scratch_folder(inside=to.parent, prefix=f".{to.name}.partial-") as partial:
            for folder in (TRAIN, QUERY, GALLERY):
                (partial / folder).mkdir()
            done = 0
            for count in _run(jobs, plan=plan, to=partial, num_processes=num_processes):
                done += count
                if progress is not None:
                    progress(done, len(jobs))
            partial.rename(to)
    except OSError as error:
        raise DataError(
            f"{to} can't be written ({error}); choose a folder with space left"
        ) from error
    return len(jobs)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Job:
    """One image to render."""

    folder: str
    identity: int
    camera: int
    index: int
    """Number of the image among those of its identity and camera."""
    frame: int

    @property
    def name(self) -> str:
        who = "-1" if self.identity == JUNK else f"{self.identity:04d}"
        return f"{who}_c{self.camera}s1_{self.frame:06d}_{self.index % 100:02d}.jpg"


def _jobs(plan: RenderPlan) -> Iterator[_Job]:
    """Every image of a plan, camera by camera, so that a batch needs few places."""
    jobs: list[_Job] = []
    for identity in range(1, plan.num_train_identities + plan.num_test_identities + 1):
        rng = stream("visits", plan.seed, plan.domain, identity)
        count = int(rng.integers(plan.min_cameras, plan.num_cameras, endpoint=True))
        for camera in sorted(rng.permutation(plan.num_cameras)[:count] + 1):
            images = int(
                rng.integers(plan.min_images_per_camera, plan.max_images_per_camera, endpoint=True)
            )
            start = int(rng.integers(0, 90_000))
            for index in range(images):
                if identity <= plan.num_train_identities:
                    folder = TRAIN
                else:
                    folder = QUERY if index == 0 else GALLERY
                jobs.append(
                    _Job(
                        folder=folder,
                        identity=identity,
                        camera=int(camera),
                        index=index,
                        frame=start + 25 * index,
                    )
                )
    for identity, count in ((DISTRACTOR, plan.num_distractors), (JUNK, plan.num_junk)):
        for index in range(count):
            rng = stream("strays", plan.seed, plan.domain, identity, index)
            camera = int(rng.integers(1, plan.num_cameras, endpoint=True))
            jobs.append(
                _Job(
                    folder=GALLERY,
                    identity=identity,
                    camera=camera,
                    index=index,
                    frame=100_000 + index,
                )
            )
    yield from sorted(jobs, key=lambda job: job.camera)


def _run(jobs: list[_Job], *, plan: RenderPlan, to: Path, num_processes: int) -> Iterator[int]:
    batches = [jobs[start : start + _BATCH] for start in range(0, len(jobs), _BATCH)]
    if num_processes <= 1:
        for batch in batches:
            yield _render_batch(batch, plan=plan, to=to)
        return
    # Fresh processes instead of forks: the caller may hold threads of torch or Ray.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(num_processes, mp_context=context) as pool:
        pending = [pool.submit(_render_batch, batch, plan=plan, to=to) for batch in batches]
        try:
            for finished in as_completed(pending):
                yield finished.result()
        finally:
            pool.shutdown(cancel_futures=True)


def _render_batch(batch: list[_Job], *, plan: RenderPlan, to: Path) -> int:
    look = plan.look or domain_look(plan.domain, seed=plan.seed)
    for job in batch:
        image = _render(job, plan=plan, look=look)
        quality = camera_look(look, camera=job.camera).jpeg_quality
        encoded = simplejpeg.encode_jpeg(image, quality=quality, colorsubsampling="420")
        (to / job.folder / job.name).write_bytes(encoded)
    return len(batch)


def _render(job: _Job, *, plan: RenderPlan, look: DomainLook) -> np.ndarray:
    rng = stream("shot", plan.seed, plan.domain, job.identity, job.camera, job.index)
    framing, absent = Framing(), False
    cast, number = "people", job.identity
    if job.identity in (DISTRACTOR, JUNK):
        cast, number = "strangers", job.index
    if job.identity == JUNK:
        absent = rng.random() < 0.25
        framing = Framing(
            centre=float(rng.uniform(-0.25, 0.25)),
            top=float(rng.uniform(-0.55, 0.1)),
            bottom=float(rng.uniform(-0.3, 0.25)),
        )
    return take_shot(
        look,
        person=draw_person(look, cast=cast, identity=number),
        camera=job.camera,
        framing=framing,
        height=plan.height,
        width=plan.width,
        rng=rng,
        absent=absent,
    )
