"""What grounds and walls are made of: paving, grass, tracks, brick, shop fronts, trains.

Shapes: N = pixels of the surface. Coordinates in metres; `footprint` is the size of a pixel there,
over which edges are blended, so that joints fade with distance instead of flickering.
"""

from functools import lru_cache

import numpy as np

from daam.synthetic.kinds import Ground, Strip, Wall
from daam.synthetic.streams import stream


class TableNoise:
    """Repeatable noise over the plane, looked up in a table that a place shifts to its own part."""

    def __init__(self, *, rng: np.random.Generator) -> None:
        self._shift = rng.integers(0, 256, 2)

    def cell(self, column: np.ndarray, row: np.ndarray | int) -> np.ndarray:
        """Uniform 0..1, one number per whole cell."""
        table, rows = _noise_tables()[0], np.asarray(row).astype(np.int32)
        return table[
            (rows + self._shift[0]) & 255, (column.astype(np.int32) + self._shift[1]) & 255
        ]

    def colours(self, column: np.ndarray, *, row: int) -> np.ndarray:
        """(N, 3) uniform 0..1, of the cells in this row and the two after it."""
        return self.cell(column[:, None], row + np.arange(3))

    def fine(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Uniform 0..1, one number per unit square."""
        return self.cell(np.floor(x), np.floor(y))

    def smooth(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Smooth, mean 0, deviation about .5, features about one unit wide."""
        table = _noise_tables()[1]
        return table[
            (np.floor(y * 6).astype(np.int32) + self._shift[0]) & 255,
            (np.floor(x * 6).astype(np.int32) + self._shift[1]) & 255,
        ]


def ground_albedo(
    ground: Ground,
    *,
    x: np.ndarray,
    z: np.ndarray,
    turn: float,
    footprint: np.ndarray,
    colour: np.ndarray,
    noise: TableNoise,
) -> np.ndarray:
    """(N, 3) linear albedo of what people walk on; `turn` rotates the paving."""
    u = x * np.float32(np.cos(turn)) - z * np.float32(np.sin(turn))
    v = x * np.float32(np.sin(turn)) + z * np.float32(np.cos(turn))
    stains = 1.0 + 0.14 * noise.smooth(x * 0.7, z * 0.7)
    match ground:
        case Ground.SLABS:
            wide, deep, joint, spread = 0.9, 0.6, 0.03, 0.22
        case Ground.TILES:
            wide, deep, joint, spread = 0.45, 0.45, 0.02, 0.10
        case Ground.COBBLES:
            wide, deep, joint, spread = 0.2, 0.2, 0.035, 0.35
        case Ground.ASPHALT:
            grain = 0.82 + 0.36 * noise.fine(x * 30, z * 30)
            cracks = np.abs(noise.smooth(x * 0.5, z * 0.5)) < 0.02
            shade = stains * grain * np.where(cracks, 0.75, 1.0)
            return colour * shade[:, None]
    row = np.floor(v / deep)
    shifted = u + (row % 2) * (0.5 * wide if ground is Ground.SLABS else 0.0)
    lines = np.maximum(
        _line(shifted, period=wide, width=joint, footprint=footprint),
        _line(v, period=deep, width=joint, footprint=1.6 * footprint),
    )
    fade = np.clip(wide / (3 * footprint) - 0.3, 0, 1)
    shade = 1 + fade * spread * (noise.cell(np.floor(shifted / wide), row) - 0.5)
    if ground is Ground.TILES:
        checker = (np.floor(u / (4 * wide)) + np.floor(v / (4 * deep))) % 2
        shade *= 1 - 0.12 * checker
    return colour * (stains * shade * (1 - 0.45 * lines))[:, None]


def strip_albedo(
    strip: Strip,
    ground: np.ndarray,
    *,
    x: np.ndarray,
    z: np.ndarray,
    footprint: np.ndarray,
    noise: TableNoise,
    wetness: float,
) -> np.ndarray:
    """(N, 3) linear albedo between the walkway and the wall; `z` counts from the strip's edge."""
    match strip:
        case Strip.GRASS:
            green = np.array([0.10, 0.17, 0.045], np.float32)
            shade = 0.7 + 0.4 * noise.fine(x * 14, z * 7) + 0.25 * noise.smooth(x, z)
            kerb = (z < 0.14)[:, None]
            return np.where(kerb, np.float32(0.42), green * shade[:, None])
        case Strip.ROAD:
            grey = np.float32(0.10 * (1 - 0.4 * wetness))
            shade = 0.85 + 0.3 * noise.fine(x * 20, z * 20)
            marks = (np.abs(z - 1.3) < 0.07) & ((x / 1.6) % 1.0 < 0.55)
            kerb = z < 0.16
            colours = np.repeat((grey * shade)[:, None], 3, axis=1)
            colours[marks | kerb] = 0.5
            return colours.astype(np.float32)
        case Strip.TRACKS:
            yellow = np.array([0.72, 0.50, 0.05], np.float32)
            colours = ground.copy()
            bumps = 1 - 0.25 * _line(x, period=0.12, width=0.05, footprint=footprint)
            colours[z < 0.32] = (yellow * bumps[:, None])[z < 0.32]
            white = (z > 0.55) & (z < 0.68)
            colours[white] = 0.6
            pit = z > 0.68
            bed = 0.045 + 0.04 * noise.fine(x * 9, z * 9)
            sleepers = (x / 0.62) % 1.0 < 0.35
            bed = np.where(sleepers & (z > 1.1), 0.09, bed)
            rails = (np.abs(z - 1.35) < 0.05) | (np.abs(z - 2.5) < 0.05)
            bed = np.where(rails, 0.4, bed)
            colours[pit] = bed[pit, None]
            return colours.astype(np.float32)
        case Strip.NONE:
            return ground


def wall_albedo(
    wall: Wall,
    *,
    x: np.ndarray,
    y: np.ndarray,
    footprint: np.ndarray,
    colour: np.ndarray,
    noise: TableNoise,
) -> np.ndarray:
    """(N, 3) linear albedo of the wall behind everybody."""
    grime = (1.0 + 0.1 * noise.smooth(x * 0.5, y * 0.5) - 0.25 * np.exp(-y / 0.25)).astype(
        np.float32
    )
    base = colour * grime[:, None]
    match wall:
        case Wall.BRICK:
            row = np.floor(y / 0.16)
            offset = x + (row % 2) * 0.2
            mortar = _grid(offset, y, period=(0.4, 0.16), width=0.025, footprint=footprint)
            tone = 1 + 0.35 * (noise.cell(np.floor(offset / 0.4), row) - 0.5)
            base = base * tone[:, None]
            base = base + mortar[:, None] * (np.float32(0.42) - base) * np.float32(0.55)
            return _windows(
                base, x=x, y=y, period=(3.1, 3.2), size=(1.3, 1.7), sill=1.0, noise=noise
            )
        case Wall.PANELS:
            joint = _grid(x, y + 0.4, period=(1.5, 1.5), width=0.03, footprint=footprint)
            base = base * (1 - 0.5 * joint)[:, None]
            base = np.where((y < 0.28)[:, None], np.float32(0.05), base)
            return _posters(base, x=x, y=y, noise=noise)
        case Wall.SHOPS:
            return _shops(base, x=x, y=y, footprint=footprint, noise=noise)
        case Wall.GLASS:
            bars = _grid(x, y, period=(1.25, 1.7), width=0.09, footprint=footprint)
            pane = noise.cell(np.floor(x / 1.25), np.floor(y / 1.7))
            glow = (0.06 + 0.12 * pane + 0.05 * noise.smooth(x * 0.4, y * 0.8)).astype(np.float32)
            glass = glow[:, None] * np.array([0.8, 1.0, 1.15], np.float32)
            return glass + bars[:, None] * (np.float32(0.3) - glass)
        case Wall.TRAIN:
            return _train(base, x=x, y=y, noise=noise)


def _windows(
    base: np.ndarray,
    *,
    x: np.ndarray,
    y: np.ndarray,
    period: tuple[float, float],
    size: tuple[float, float],
    sill: float,
    noise: TableNoise,
) -> np.ndarray:
    column, row = np.floor(x / period[0]), np.floor((y - sill) / period[1])
    u, v = x - column * period[0] - 0.5 * period[0], y - sill - row * period[1]
    frame = (np.abs(u) < size[0] / 2 + 0.1) & (v > -0.1) & (v < size[1] + 0.1)
    glass = (np.abs(u) < size[0] / 2) & (v > 0) & (v < size[1])
    glass &= (np.abs(u) > 0.03) & (np.abs(v - 0.6 * size[1]) > 0.03)
    shine = 0.03 + 0.16 * noise.cell(column, row) * (0.4 + v / size[1])
    base = np.where(frame[:, None], np.float32(0.55), base)
    return np.where(glass[:, None], shine[:, None] * np.array([0.85, 1.0, 1.2], np.float32), base)


def _posters(base: np.ndarray, *, x: np.ndarray, y: np.ndarray, noise: TableNoise) -> np.ndarray:
    column = np.floor(x / 2.9)
    u, v = x - column * 2.9 - 1.45, y - 1.7
    there = noise.cell(column, 0) > 0.35
    inside = (np.abs(u) < 0.62) & (np.abs(v) < 0.85) & there
    rim = (np.abs(u) < 0.68) & (np.abs(v) < 0.91) & there
    paper, ink = (0.7 * noise.colours(column, row=row) ** 1.5 + 0.05 for row in (1, 4))
    motif = noise.smooth(u * 1.3 + column * 7, v * 1.3) > 0.15
    text = (v < -0.5) & ((v * 11) % 1.0 < 0.4)
    picture = np.where((motif | text)[:, None], ink, paper)
    base = np.where(rim[:, None], np.float32(0.08), base)
    return np.where(inside[:, None], picture, base).astype(np.float32)


def _shops(
    base: np.ndarray, *, x: np.ndarray, y: np.ndarray, footprint: np.ndarray, noise: TableNoise
) -> np.ndarray:
    upper = _windows(base, x=x, y=y, period=(2.3, 3.0), size=(1.0, 1.6), sill=3.9, noise=noise)
    shop = np.floor(x / 4.2)
    u = x - shop * 4.2 - 2.1
    awning = 0.65 * noise.colours(shop, row=1) ** 1.3 + 0.04
    stripes = ((x / 0.42) % 1.0 < 0.5)[:, None]
    awning = np.where(stripes, awning, np.float32(0.75))
    goods = 0.10 + 0.3 * np.clip(noise.smooth(x * 0.8, y * 1.1), 0, 1)
    glass = goods[:, None] * (0.6 + 0.8 * noise.colours(np.floor(x / 0.7), row=7))
    bars = _line(u + 2.1, period=1.4, width=0.08, footprint=footprint)[:, None]
    glass = glass * (1 - bars) + 0.04 * bars
    door = ((np.abs(u - 1.3) < 0.5) & (y < 2.2))[:, None]
    glass = np.where(door, np.float32(0.035), glass)
    pier = (np.abs(u) > 1.85)[:, None]
    low = np.where(pier, base, glass)
    low = np.where(((y < 0.35) & (np.abs(u - 1.3) > 0.5))[:, None], base * np.float32(0.6), low)
    picture = np.where((y < 2.55)[:, None], low, awning)
    return np.where((y < 3.2)[:, None], picture, upper).astype(np.float32)


def _train(base: np.ndarray, *, x: np.ndarray, y: np.ndarray, noise: TableNoise) -> np.ndarray:
    wagon = np.floor(x / 1.9)
    u = x - wagon * 1.9 - 0.95
    door = noise.cell(np.floor(x / 3.8), 3) > 0.5
    trim = np.array([0.35, 0.03, 0.04], np.float32) * (0.6 + noise.cell(np.zeros(1), 5))
    base = np.where((np.abs(y - 1.25) < 0.14)[:, None], trim, base)
    window = (np.abs(u) < 0.72) & (np.abs(y - 2.2) < 0.52)
    lit = (0.05 + 0.5 * noise.cell(wagon, 1) * (0.4 + 0.3 * noise.smooth(x, y))).astype(np.float32)
    base = np.where(window[:, None], lit[:, None] * np.array([1.0, 0.95, 0.8], np.float32), base)
    leaf = door & (np.abs(np.abs(u) - 0.45) < 0.02) & (y > 0.7)
    base = np.where(leaf[:, None], np.float32(0.03), base)
    base = np.where((y < 0.7)[:, None], np.float32(0.03), base)
    return np.where((y > 3.3)[:, None], base * np.float32(0.35), base).astype(np.float32)


def _grid(
    x: np.ndarray,
    y: np.ndarray,
    *,
    period: tuple[float, float],
    width: float,
    footprint: np.ndarray,
) -> np.ndarray:
    """Coverage of lines in both directions."""
    return np.maximum(
        _line(x, period=period[0], width=width, footprint=footprint),
        _line(y, period=period[1], width=width, footprint=footprint),
    )


def _line(
    position: np.ndarray, *, period: float, width: float, footprint: np.ndarray
) -> np.ndarray:
    """Coverage 0..1 of lines every `period` metres, blended over the size of a pixel."""
    away = np.abs((position / period) % 1.0 - 0.5)
    edge = (0.5 - away) * period
    soft = np.maximum(footprint, 1e-3)
    return np.clip((width / 2 - edge) / soft + 0.5, 0, 1) * np.minimum(1.0, width / soft + 0.2)


@lru_cache(maxsize=1)
def _noise_tables() -> tuple[np.ndarray, np.ndarray]:
    """Two (256, 256) float32 tables: uniform white, and smooth with features of about 6 cells."""
    white = stream("noise table").random((256, 256)).astype(np.float32)
    frequency = np.fft.fftfreq(256)
    falloff = np.exp(-((frequency[:, None] ** 2 + frequency[None, :] ** 2) * 700))
    spectrum = np.fft.fft2(stream("smooth table").standard_normal((256, 256)))
    smooth = np.fft.ifft2(spectrum * falloff).real
    return white, (0.5 * smooth / smooth.std()).astype(np.float32)
