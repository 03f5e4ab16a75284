"""Images rendered and encoded per second on one core: `python benchmarks/render_speed.py`.

Per domain the median of five rounds after a warm-up that builds the places, in CPU time and in wall
time.
"""

import os
import statistics
import sys
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import simplejpeg

from daam.synthetic.named import DOMAINS, domain_look
from daam.synthetic.person.people import draw_person
from daam.synthetic.scene.spot import Framing
from daam.synthetic.settings import DomainLook, camera_look
from daam.synthetic.shot import take_shot
from daam.synthetic.streams import stream

ROUNDS, IMAGES, CAMERAS = 5, 200, 6
HEIGHT, WIDTH = 128, 64


def main() -> None:
    print(f"{'domain':10} {'images/s CPU':>13} {'images/s wall':>14} {'places, s':>10}")
    for name in DOMAINS:
        look = domain_look(name, seed=0)
        start = time.process_time()
        render(look, start=0)
        warm_up = time.process_time() - start
        rounds = [timed(look, start=IMAGES * number) for number in range(1, ROUNDS + 1)]
        cpu, wall = (statistics.median(IMAGES / r[k] for r in rounds) for k in (0, 1))
        places = max(0.0, warm_up - IMAGES / cpu)
        print(f"{name:10} {cpu:13.0f} {wall:14.0f} {places:10.2f}")


def timed(look: DomainLook, *, start: int) -> tuple[float, float]:
    """CPU and wall seconds of one round."""
    cpu, wall = time.process_time(), time.perf_counter()
    render(look, start=start)
    return time.process_time() - cpu, time.perf_counter() - wall


def render(look: DomainLook, *, start: int) -> None:
    for number in range(start, start + IMAGES):
        camera = 1 + number % CAMERAS
        image = take_shot(
            look,
            person=draw_person(look, cast="people", identity=number % 50),
            camera=camera,
            framing=Framing(),
            height=HEIGHT,
            width=WIDTH,
            rng=stream("benchmark", number),
        )
        simplejpeg.encode_jpeg(
            image, quality=camera_look(look, camera=camera).jpeg_quality, colorsubsampling="420"
        )


if __name__ == "__main__":
    main()
