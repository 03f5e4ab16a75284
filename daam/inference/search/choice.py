"""Which images of a gallery are searched: those of some cameras, and of a time.

Shape: N = images of the gallery.
"""

import re
from collections.abc import Sequence
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from daam.errors import ConfigError, DataError
from daam.inference.search.gallery import Gallery

# Times beyond this are microseconds since 1970, not a data set's own count of frames.
FIRST_MICROSECOND = 10**14
IMPORT_THEM = (
    "import the images with them (daam data import --layout folder --pattern ...), "
    "or search without that choice"
)


def allowed_images(
    gallery: Gallery, *, cameras: Sequence[str], since: str | None, until: str | None
) -> NDArray[np.bool_] | None:
    """(N,) the images of some cameras and a time; None: all.

    Raises:
        ConfigError, DataError: as `Searcher.find`.
    """
    if not cameras and since is None and until is None:
        return None
    allowed_N = np.ones(len(gallery), bool)
    if cameras:
        if gallery.cameras is None:
            raise ConfigError(f"the cameras of {gallery.name} are unknown; {IMPORT_THEM}")
        numbers = [_camera(name, gallery, known=gallery.cameras) for name in cameras]
        allowed_N &= np.isin(gallery.cameras, numbers)
    if since is not None or until is not None:
        if gallery.times is None:
            raise ConfigError(f"the times of {gallery.name} are unknown; {IMPORT_THEM}")
        if since is not None:
            allowed_N &= gallery.times >= parse_time(since)
        if until is not None:
            allowed_N &= gallery.times <= parse_time(until)
    if not allowed_N.any():
        raise DataError(
            f"no image of {gallery.name} is of these cameras and this time; ask for others"
        )
    return allowed_N


def parse_time(text: str) -> int:
    """Read a time: a whole number is the data set's own count, anything else ISO 8601.

    Returns:
        The count, or microseconds since 1970 UTC.

    Raises:
        ConfigError: it is neither.
    """
    if re.fullmatch(r"-?\d{1,18}", text):
        return int(text)
    try:
        time = datetime.fromisoformat(text)
    except ValueError as error:
        raise ConfigError(
            f"{text!r} is not a time; give ISO 8601 (2026-03-01T14:30) or the data set's own count"
        ) from error
    time = time if time.tzinfo is not None else time.replace(tzinfo=UTC)
    return round((time - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds() * 1e6)


def time_text(time: int) -> str | int:
    """Return a time as ISO 8601 if it counts microseconds since 1970, or else the count."""
    if not FIRST_MICROSECOND <= time < 100 * FIRST_MICROSECOND:
        return time
    return datetime.fromtimestamp(time / 1e6, tz=UTC).isoformat(timespec="seconds")


def _camera(name: str, gallery: Gallery, *, known: NDArray[np.int32]) -> int:
    """The number of a camera, given its name or number."""
    numbers = np.unique(known).tolist()
    names = {str(gallery.camera_names.get(number, number)): number for number in numbers}
    if name not in names:
        shown = ", ".join([*names][:20])
        raise ConfigError(f"{gallery.name} has no camera {name}, only {shown}; name one of them")
    return names[name]
