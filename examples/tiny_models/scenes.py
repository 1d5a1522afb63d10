"""Procedural scenes with exact masks: what the tiny models are trained and measured on.

A scene is a background with 0 to 15 shapes of eight classes on it. Everything follows from (seed, profile),
so a scene is named by two words and never has to be stored. Three profiles differ in numbers only
(`PROFILES`):

- `plain`: flat or lightly textured, clear contrast, little overlap, 320 to 900 pixels;
- `soft`: between the two, for training only;
- `hard`: textured, shaded, noisy, blurred, at times low in contrast, soft shadows, occlusion, 320 to 1600
  pixels.

Masks are of the *visible* part: an object that lies on another takes its pixels away.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

CLASSES = ("circle", "ellipse", "triangle", "rectangle", "star", "ring", "pair", "blob")

# Training takes seeds below all of these; nothing may be trained on seeds from any of them upwards.
HELD_OUT = {
    "plain": 1_000_000_000,
    "hard": 2_000_000_000,
    "tune": 3_000_000_000,  # for choosing thresholds and watching progress, so that the two above stay unseen
    "shapes": 4_000_000_000,  # examples/shapes
}

MIN_SIZE = 12.0  # pixels, the longest side of the smallest object
MIN_FRACTION = 1 / 44  # of the scene's longest side: 12 pixels once a large scene is resized to 512

Floats = NDArray[np.float32]
Bytes = NDArray[np.uint8]


@dataclass(frozen=True)
class Profile:
    """The numbers in which one kind of scene differs from another; colours and amplitudes are 0..255."""

    longest: tuple[float, float]  # longest side, pixels, drawn log-uniformly
    flat_background: float  # probability
    background_amplitude: tuple[float, float]
    flat_object: float
    object_amplitude: tuple[float, float]
    contrast: float  # least difference of the object's colour to what it lies on, in its strongest channel
    low_contrast: float  # probability that a scene is allowed about half of that
    overlap: float  # largest part of an object that others may cover
    shading: float
    shadow: float
    outline: float
    clutter: float
    noise: tuple[float, float]  # standard deviation
    noisy: float
    blur: tuple[float, float]  # standard deviation, pixels
    blurred: float


PROFILES = {
    "plain": Profile(
        longest=(320, 900),
        flat_background=0.6,
        background_amplitude=(4, 14),
        flat_object=0.75,
        object_amplitude=(4, 16),
        contrast=60,
        low_contrast=0,
        overlap=0.06,
        shading=0.1,
        shadow=0,
        outline=0.08,
        clutter=0,
        noise=(0.5, 2.5),
        noisy=0.3,
        blur=(0.3, 0.7),
        blurred=0.2,
    ),
    "soft": Profile(
        longest=(320, 1100),
        flat_background=0.3,
        background_amplitude=(6, 30),
        flat_object=0.4,
        object_amplitude=(6, 26),
        contrast=48,
        low_contrast=0,
        overlap=0.3,
        shading=0.3,
        shadow=0.2,
        outline=0.1,
        clutter=0.15,
        noise=(1, 6),
        noisy=0.4,
        blur=(0.3, 1.0),
        blurred=0.3,
    ),
    "hard": Profile(
        longest=(320, 1600),
        flat_background=0.12,
        background_amplitude=(8, 55),
        flat_object=0.2,
        object_amplitude=(8, 38),
        contrast=42,
        low_contrast=0.2,
        overlap=0.55,
        shading=0.5,
        shadow=0.4,
        outline=0.12,
        clutter=0.35,
        noise=(1, 12),
        noisy=0.6,
        blur=(0.4, 1.6),
        blurred=0.4,
    ),
}


@dataclass(frozen=True)
class Scene:
    """An image with what is on it.

    `image`: uint8 (H, W, 3) RGB. `ids`: uint8 (H, W), 0 for background, k for the k-th object's visible
    pixels. `classes`: class index into `CLASSES` of object 1, 2, ...
    """

    image: Bytes
    ids: Bytes
    classes: tuple[int, ...]

    def masks(self) -> NDArray[np.bool_]:
        """Visible pixels of every object: bool (N, H, W)."""
        return self.ids[None] == np.arange(1, len(self.classes) + 1, dtype=np.uint8)[:, None, None]

    def boxes(self) -> Floats:
        """Boxes of the visible parts: float32 (N, 4), xyxy, pixels; right and bottom edges are exclusive."""
        return np.array([mask_box(mask) for mask in self.masks()], np.float32).reshape(-1, 4)


def mask_box(mask: NDArray[np.bool_]) -> tuple[int, int, int, int]:
    """Return (x0, y0, x1, y1) of a mask (H, W) with at least one pixel; x1 and y1 are exclusive."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def make_scene(
    seed: int, profile: str = "hard", size: tuple[int, int] | None = None, count: int | None = None
) -> Scene:
    """Render the scene named by (seed, profile); `size` (height, width) and `count` can be forced."""
    # Scenes are small jobs, many of them in parallel processes: threads inside one only get in the way.
    cv2.setNumThreads(1)
    rng = np.random.default_rng([seed, list(PROFILES).index(profile)])
    rules = PROFILES[profile]
    height, width = size or _draw_size(rng, rules)
    canvas = _Canvas(rng, rules, height, width)
    for diameter in _draw_diameters(rng, height, width, count):
        for _ in range(12):
            if canvas.try_to_place(diameter):
                break
    return Scene(canvas.finish(), canvas.ids, tuple(canvas.classes))


def _draw_size(rng: Generator, rules: Profile) -> tuple[int, int]:
    longest = np.exp(rng.uniform(*np.log(rules.longest)))
    shortest = max(320.0, longest * rng.choice([1.0, 0.8, 0.75, 0.667, 0.5625]))
    sides = (round(shortest), round(longest))
    return sides if rng.random() < 0.7 else (sides[1], sides[0])


def _draw_diameters(rng: Generator, height: int, width: int, count: int | None) -> list[float]:
    """Sizes of a scene's objects, largest first (so that small ones lie on top), longest side in pixels."""
    smallest = max(MIN_SIZE, MIN_FRACTION * max(height, width))
    if count is None:
        # Scenes without any object exist, too: a detector has to be told that nothing is an answer.
        count = 0 if rng.random() < 0.02 else int(rng.integers(1, 16))
    # Half the image for a few objects, less for many, or the last ones find no room.
    largest = min(height, width) * 0.5 * min(1.0, 1.9 / np.sqrt(max(count, 1)))
    diameters = np.exp(rng.uniform(np.log(smallest), np.log(largest), count))
    return sorted((float(d) for d in diameters), reverse=True)


# ---- outlines -----------------------------------------------------------------------------


def _outline(rng: Generator, name: str) -> list[Floats]:
    """Closed polygons (each (N, 2)) of a shape, any scale, upright; a polygon inside another is a hole."""
    turn = np.linspace(0, 2 * np.pi, 96, endpoint=False)
    circle = np.stack([np.cos(turn), np.sin(turn)], 1)
    if name == "circle":
        parts = [circle]
    elif name == "ellipse":
        parts = [circle * [1, rng.uniform(0.38, 0.72)]]
    elif name == "triangle":
        angles = np.array([0, 2.0944, 4.1888]) + rng.normal(0, 0.2, 3)
        parts = [np.stack([np.cos(angles), np.sin(angles)], 1)]
    elif name == "rectangle":
        half = rng.uniform(0.35, 1.0)
        parts = [np.array([[-1, -half], [1, -half], [1, half], [-1, half]])]
    elif name == "star":
        points = int(rng.integers(5, 8))
        angles = np.arange(2 * points) * np.pi / points
        radii = np.where(np.arange(2 * points) % 2, rng.uniform(0.38, 0.58), 1.0)
        parts = [np.stack([np.cos(angles), np.sin(angles)], 1) * radii[:, None]]
    elif name == "ring":
        squeeze = [1, rng.uniform(0.75, 1.0)]
        parts = [circle * squeeze, circle[::-1] * squeeze * rng.uniform(0.4, 0.62)]
    elif name == "pair":
        parts = _two_halves(rng)
    else:
        parts = [_wobbly(rng, turn)]
    return [part.astype(np.float32) for part in parts]


def _two_halves(rng: Generator) -> list[NDArray[np.float64]]:
    """A disc or ellipse cut along its middle, the halves moved apart: two parts that belong together."""
    turn = np.linspace(-np.pi / 2, np.pi / 2, 48)
    half = np.stack([np.cos(turn), np.sin(turn) * rng.uniform(0.75, 1.15)], 1)
    gap = [rng.uniform(0.16, 0.32), 0]
    return [half + gap, half * [-1, 1] - gap]


def _wobbly(rng: Generator, turn: NDArray[np.float64]) -> NDArray[np.float64]:
    """A smooth closed outline from a few harmonics, never close to a circle."""
    radius = np.ones_like(turn)
    for harmonic, strength in ((2, 0.2), (3, 0.2), (4, 0.1), (5, 0.06)):
        sign = rng.choice([-1, 1]) * rng.uniform(0.6, 1.3)
        radius += sign * strength * np.cos(harmonic * turn + rng.uniform(0, 2 * np.pi))
    return np.stack([np.cos(turn), np.sin(turn)], 1) * radius.clip(0.25)[:, None]


def _fit(rng: Generator, parts: list[Floats], diameter: float) -> list[Floats]:
    """Turn an outline by any angle, centre it, and scale it so that its box's longest side is `diameter`."""
    angle = rng.uniform(0, 2 * np.pi)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]], np.float32)
    parts = [part @ turn.T for part in parts]
    points = np.concatenate(parts)
    low, high = points.min(0), points.max(0)
    return [(part - (low + high) / 2) * (diameter / (high - low).max()) for part in parts]


def _coverage(parts: list[Floats], centre: NDArray[np.float64], side: int) -> Floats:
    """How much of each pixel of a (side, side) patch the shape covers, 0..1: drawn larger and averaged."""
    scale = 4 if side < 400 else 2
    large = np.zeros((side * scale, side * scale), np.uint8)
    # cv2 puts pixel centres at whole numbers, we put them at halves; 4 bits of sub-pixel position.
    points = [np.round(((part + centre) * scale - 0.5) * 16).astype(np.int32) for part in parts]
    cv2.fillPoly(large, points, 255, cv2.LINE_8, 4)  # several contours: even-odd, which makes the hole of a ring
    return cv2.resize(large, (side, side), interpolation=cv2.INTER_AREA).astype(np.float32) / 255


# ---- surfaces -----------------------------------------------------------------------------


def _ramp(rng: Generator, height: int, width: int) -> Floats:
    """A linear ramp in a random direction, about 0..1 over the longest side: (H, W, 1)."""
    angle, longest = rng.uniform(0, 2 * np.pi), max(height, width)
    x = (np.arange(width, dtype=np.float32) / longest - 0.5 * width / longest) * np.float32(np.cos(angle))
    y = (np.arange(height, dtype=np.float32) / longest - 0.5 * height / longest) * np.float32(np.sin(angle))
    return (y[:, None] + x[None] + np.float32(0.5))[..., None]


def _smooth_noise(rng: Generator, height: int, width: int, cell: float, channels: int = 1) -> Floats:
    """Noise 0..1 that changes over about `cell` pixels: (H, W, channels)."""
    rows, columns = max(2, round(height / cell)), max(2, round(width / cell))
    grid = rng.random((rows, columns, channels), dtype=np.float32)
    return cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC).reshape(height, width, channels)


def _waves(rng: Generator, height: int, width: int, crossed: bool) -> Floats:
    """Stripes, or a chequered pattern, from soft to sharp-edged: (H, W, 1), 0..1."""
    turns = max(height, width) / rng.uniform(10, 80) * 2 * np.pi
    wave = np.sin(_ramp(rng, height, width) * np.float32(turns))
    if crossed:
        wave *= np.sin(_ramp(rng, height, width) * np.float32(turns))
    return (wave * np.float32(rng.uniform(1, 5))).clip(-1, 1) * np.float32(0.5) + np.float32(0.5)


def _surface(
    rng: Generator, height: int, width: int, colour: Floats, flat: float, amplitude: tuple[float, float]
) -> Floats:
    """A colour field (H, W, 3), 0..255, float32, around `colour`."""
    if rng.random() < flat:
        return np.broadcast_to(colour, (height, width, 3)).copy()
    other = colour + rng.normal(0, 1, 3).astype(np.float32) * np.float32(rng.uniform(*amplitude))
    longest = max(height, width)
    kind = rng.integers(0, 6)
    if kind == 0:
        mix = _ramp(rng, height, width)
    elif kind == 1:
        mix = _smooth_noise(rng, height, width, longest / rng.uniform(2, 8))
    elif kind == 2:
        mix = sum(
            np.float32(weight) * _smooth_noise(rng, height, width, cell)
            for weight, cell in ((0.5, longest / 5), (0.3, longest / 20), (0.2, rng.uniform(3, 6)))
        )
    elif kind == 3:
        mix = _waves(rng, height, width, crossed=False)
    elif kind == 4:
        mix = _waves(rng, height, width, crossed=True)
    else:
        mix = _smooth_noise(rng, height, width, rng.uniform(2, 6))
    field = colour + (other - colour) * mix
    if rng.random() < 0.3:
        hue = _smooth_noise(rng, height, width, longest / rng.uniform(2, 5), 3) - np.float32(0.5)
        field += hue * np.float32(rng.uniform(*amplitude))
    return field.astype(np.float32, copy=False)


class _Canvas:
    """A scene in the making: the picture as float32 (H, W, 3), 0..255, and who owns which pixel."""

    def __init__(self, rng: Generator, rules: Profile, height: int, width: int) -> None:
        self.rng, self.rules, self.height, self.width = rng, rules, height, width
        colour = rng.uniform(12, 243, 3).astype(np.float32)
        self.pixels = _surface(rng, height, width, colour, rules.flat_background, rules.background_amplitude)
        self.ids: Bytes = np.zeros((height, width), np.uint8)
        self.classes: list[int] = []
        self._full_areas: list[int] = []
        self._contrast = rules.contrast * (rng.uniform(0.5, 0.75) if rng.random() < rules.low_contrast else 1)
        if rng.random() < rules.clutter:
            self._draw_lines()

    def _draw_lines(self) -> None:
        """Thin lines that are no object."""
        for _ in range(int(self.rng.integers(1, 4))):
            ends = (self.rng.random((2, 2)) * [self.width, self.height]).astype(int)
            colour = [float(v) for v in self.rng.uniform(0, 255, 3)]
            thickness = int(self.rng.integers(1, 4))
            cv2.line(self.pixels, ends[0].tolist(), ends[1].tolist(), colour, thickness, cv2.LINE_AA)

    def try_to_place(self, diameter: float) -> bool:
        """Draw one object at a random place; where it will not do, change nothing and return False."""
        rng = self.rng
        kind = int(rng.integers(len(CLASSES)))
        parts = _fit(rng, _outline(rng, CLASSES[kind]), diameter)
        side = int(np.ceil(diameter)) + 4
        centre = rng.uniform(0.02, 0.98, 2) * [self.width, self.height]
        corner = np.floor(centre - side / 2).astype(int)
        coverage = _coverage(parts, centre - corner, side)

        x0, y0 = np.maximum(corner, 0)
        x1, y1 = np.minimum(corner + side, [self.width, self.height])
        window = (slice(y0, y1), slice(x0, x1))
        inside = coverage[y0 - corner[1] : y1 - corner[1], x0 - corner[0] : x1 - corner[0]]
        mask = inside >= 0.5
        if not self._has_room(mask, int((coverage >= 0.5).sum()), window):
            return False
        # The class is settled before the picture: a colour that cannot be seen means another try.
        surface = self._object_surface(window, diameter)
        if surface is None:
            return False
        if rng.random() < self.rules.shadow:
            self._cast_shadow(coverage, corner, diameter)
        alpha = inside[..., None]
        self.pixels[window] += (surface - self.pixels[window]) * alpha
        if rng.random() < self.rules.outline and diameter > 24:
            self._draw_outline(parts, centre, mask, window)
        self.classes.append(kind)
        self._full_areas.append(int((coverage >= 0.5).sum()))
        self.ids[window][mask] = len(self.classes)
        return True

    def _has_room(self, mask: NDArray[np.bool_], full_area: int, window: tuple[slice, slice]) -> bool:
        """Whether the object is mostly inside the frame and leaves enough of every earlier one visible."""
        if mask.sum() < 0.6 * full_area or not mask.any():
            return False
        below = np.bincount(self.ids[window][mask], minlength=len(self.classes) + 1)[1:]
        if not below.any():
            return True
        if self.rules.overlap < 0.1 and below.sum() > self.rules.overlap * full_area:
            return False
        visible = np.bincount(self.ids.ravel(), minlength=len(self.classes) + 1)[1:]
        least = (1 - self.rules.overlap) * np.array(self._full_areas)
        return bool(np.all((below == 0) | (visible - below >= least)))

    def _object_surface(self, window: tuple[slice, slice], diameter: float) -> Floats | None:
        """The object's own colours over `window`, or None where none drawn stands out from what is there."""
        rng, rules = self.rng, self.rules
        height, width = self.pixels[window].shape[:2]
        below = self.pixels[window].reshape(-1, 3)[:: max(1, height * width // 400)]
        for _ in range(10):
            colour = rng.uniform(8, 247, 3).astype(np.float32)
            difference = np.abs(below - colour).max(1)
            # Almost everywhere, not on average: half of an object on a like-coloured neighbour has no edge.
            if np.quantile(difference, 0.1) > self._contrast:
                break
        else:
            return None
        amplitude = rules.object_amplitude
        # A texture as strong as the contrast would be camouflage, and its mask a matter of opinion.
        amplitude = (min(amplitude[0], self._contrast / 3), min(amplitude[1], self._contrast / 1.5))
        surface = _surface(rng, height, width, colour, rules.flat_object, amplitude)
        if rng.random() < rules.shading:
            surface *= self._shade(height, width, diameter)
        return surface

    def _shade(self, height: int, width: int, diameter: float) -> Floats:
        """Light from one side or from a spot: a factor (H, W, 1) around 1."""
        strength = np.float32(self.rng.uniform(0.12, 0.4))
        if self.rng.random() < 0.5:
            light = _ramp(self.rng, height, width)
        else:
            spot = np.array([width, height]) / 2 + self.rng.normal(0, diameter * 0.15, 2)
            y, x = np.mgrid[:height, :width].astype(np.float32)
            distance = np.hypot(x - np.float32(spot[0]), y - np.float32(spot[1]))
            light = (1 - distance / np.float32(0.8 * diameter)).clip(0, 1)[..., None]
        return 1 - strength / 2 + strength * light

    def _cast_shadow(self, coverage: Floats, corner: NDArray[np.int_], diameter: float) -> None:
        """Darken what lies below the object, softly and a little to one side."""
        softness = max(1.0, diameter * self.rng.uniform(0.02, 0.07))
        margin = int(3 * softness) + 1
        shadow = cv2.GaussianBlur(np.pad(coverage, margin), (0, 0), softness)
        offset = self.rng.normal(0, diameter * 0.06, 2).round().astype(int)
        left, top = corner - margin + offset
        x0, y0 = max(left, 0), max(top, 0)
        x1, y1 = min(left + shadow.shape[1], self.width), min(top + shadow.shape[0], self.height)
        if x0 < x1 and y0 < y1:
            part = shadow[y0 - top : y1 - top, x0 - left : x1 - left, None]
            self.pixels[y0:y1, x0:x1] *= 1 - part * np.float32(self.rng.uniform(0.15, 0.5))

    def _draw_outline(
        self,
        parts: list[Floats],
        centre: NDArray[np.float64],
        mask: NDArray[np.bool_],
        window: tuple[slice, slice],
    ) -> None:
        """Trace the edge in a darker tone, inside the mask only: the outline belongs to the object."""
        area = self.pixels[window]
        traced = np.zeros(mask.shape, np.uint8)
        origin = [window[1].start, window[0].start]
        points = [np.round((part + centre - origin - 0.5) * 16).astype(np.int32) for part in parts]
        cv2.polylines(traced, points, True, 255, int(self.rng.integers(1, 4)), cv2.LINE_AA, 4)
        area *= 1 - (traced * mask)[..., None].astype(np.float32) / 255 * np.float32(self.rng.uniform(0.4, 0.8))

    def finish(self) -> Bytes:
        """Light, blur and noise of the whole picture; then to bytes."""
        rng, rules, pixels = self.rng, self.rules, self.pixels
        if rng.random() < rules.shading * 0.6:
            pixels *= 1 - np.float32(rng.uniform(0.1, 0.45)) * _ramp(rng, self.height, self.width)
        if rng.random() < rules.low_contrast:
            mean = pixels.mean()
            pixels = mean + (pixels - mean) * np.float32(rng.uniform(0.55, 0.85))
        if rng.random() < rules.blurred:
            pixels = cv2.GaussianBlur(pixels, (0, 0), rng.uniform(*rules.blur))
        if rng.random() < rules.noisy:
            channels = 1 if rng.random() < 0.5 else 3
            grain = rng.standard_normal((self.height, self.width, channels), dtype=np.float32)
            pixels = pixels + grain * np.float32(rng.uniform(*rules.noise))
        return pixels.round().clip(0, 255).astype(np.uint8)
