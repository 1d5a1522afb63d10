"""Masks to polygons that a YOLO trainer turns back into the same mask.

A YOLO-seg row is one ring: no holes, no parts. So holes and parts are joined into one ring by bridges (there
and back on the same line), and every ring is as simple as a bound on fidelity allows, judged by rasterising
it exactly as the trainer will. Ring coordinates here are positions of pixels; the half pixel to their
centres is added where they are normalised.
"""

from __future__ import annotations

import functools
import itertools
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from samcli.masks import KEEP_ALL, Box, Mask, PartLimit
from samcli.types import Size

T = TypeVar("T", bound=np.generic)

Ring = NDArray[np.float64]
"""(K, 2) x, y: positions of pixels in the image."""

POLYGONS_VERSION = 2
"""Part of the recipes of runs that write polygons: raised when the same mask gives other ones than before."""

_TRAINER_POINTS = 1000
"""Ultralytics resamples a label's polygon to so many points, keeping its own (`resample_segments`)."""

_DECIMALS = 6
"""Of normalised coordinates in a label file: at most 0.01 pixel off in an image 20,000 pixels wide."""

_RESAMPLED_AT_ONCE = 16
"""Rings of equally many points: half a megabyte of the trainer's points at a time."""

_SEARCH_POINTS = 1500
"""Border points looked at for the shortest bridges: the search is quadratic, its result not critical."""

_LEAST_POINTS_OF_CONTOUR = 6
"""Points that a contour takes of `max_points` at the least: four corners, and one at each end of its bridge."""

_RAGGED = 10_000
"""Changes along its lines that a mask has at the least which may have more contours than are traced in a moment."""

_SWINGS = 24
"""Diagonals of a bridge are at most this share of the image's longer side: 27 pixels of 640."""


@dataclass(frozen=True)
class PolygonOptions:
    """Options of the conversion of a mask to rings. `min_iou` bounds what simplification, bridges and specks may
    cost.
    """

    holes: Literal["bridge", "fill"] = "bridge"
    parts: Literal["bridge", "separate", "largest"] = "bridge"
    min_iou: float = 0.98
    max_points: int = 8000
    """Of all rings of an object; the bound on fidelity yields to it."""
    at_centres: bool = False
    """Judge rings at the centres of pixels, where labelme's files have them; else where YOLO's rows have them."""
    part_limit: PartLimit = KEEP_ALL
    """Parts and holes that labels leave out: `Rendering` does so, for all formats, before they see the mask."""


@dataclass(frozen=True)
class Polygons:
    """The rings of one mask, more than one only where parts stay apart, and their IoU with the mask."""

    rings: tuple[Ring, ...]
    iou: float


def mask_to_polygons(mask: Mask, options: PolygonOptions | None = None) -> Polygons:
    """Return the rings of one mask, with as few points as `options.min_iou` allows; none for an empty mask.

    With `parts="bridge"` it is always one ring. Bridges between parts run over background: where they cost more
    than the bound, the borders alone are held to it. Parts and holes worth less than a quarter of the bound are
    left out, and so is what does not fit `options.max_points`; then the bound yields, and `iou` says by how much.
    """
    options = options or PolygonOptions()
    pixels, box = mask.crop()
    if not pixels.size:
        return Polygons((), 0.0)
    most = max(options.max_points // _LEAST_POINTS_OF_CONTOUR, 1)
    parts = _chosen(_trace(pixels, most), options)
    whole = options.holes == options.parts == "bridge"
    target = pixels if whole else _draw(parts, pixels.shape)
    budget = (1 - options.min_iou) * float(np.count_nonzero(target))
    groups = _join(_without_specks(parts, budget / 4), options, max(mask.height, mask.width) // _SWINGS)
    outline = _Outline(groups, box, (mask.height, mask.width), options)
    rings, drawn = outline.simplest(target)
    return Polygons(tuple(rings), _iou(drawn, pixels))


def restated(polygons: Sequence[Polygons], masks: Sequence[Mask]) -> list[Polygons]:
    """Return the polygons of an image's masks with their IoU computed for one label file.

    The trainer resamples all rows of a file to the length of the longest: if a row has more than 1,000 points, the
    others may be rasterised differently than alone.
    """
    longest = max((len(ring) for shape in polygons for ring in shape.rings), default=0)
    if longest <= _TRAINER_POINTS:
        return list(polygons)
    return [_restated(shape, mask, longest) for shape, mask in zip(polygons, masks, strict=True)]


def _restated(shape: Polygons, mask: Mask, longest: int) -> Polygons:
    if not shape.rings:
        return shape
    pixels, box = mask.crop()
    rows = [label_points(ring, mask.height, mask.width) for ring in shape.rings]
    return Polygons(shape.rings, _iou(rasterise(rows, mask.height, mask.width, box, longest=longest), pixels))


def normalise(ring: Ring, height: int, width: int) -> NDArray[np.float64]:
    """(K, 2) in 0..1: centres of pixels, rounded."""
    return np.round((ring + 0.5) / (width, height), _DECIMALS)


def label_points(ring: Ring, height: int, width: int) -> NDArray[np.float64]:
    """(K, 2) in 0..1 as a label file holds them: a trifle to the left of and above the centres of pixels.

    A trainer truncates positions, other readers round them: just below the centre both find the pixel. A step of
    the last decimal is enough for that, in float32 too. Other places do worse, see `docs/formats.md`.
    """
    unit = 10.0**_DECIMALS
    shares: NDArray[np.float64] = np.maximum(np.floor((ring + 0.5) * unit / (width, height)) - 1, 0) / unit
    return shares


def rasterise(
    rings: Sequence[NDArray[np.float64]],
    height: int,
    width: int,
    window: Box | None = None,
    *,
    longest: int = 0,
) -> NDArray[np.bool_]:
    """Normalised rings to pixels as Ultralytics' trainer does it at that size: bool, all of it or a window.

    `longest`: points of the longest ring of the image's label file. Where they are more than 1,000, the trainer
    adds points to all rings of the file until they have as many.

    Source: ultralytics `resample_segments` (float32 points are added between the given ones), then
    `polygon2mask` (truncated to whole numbers, `cv2.fillPoly`).
    """
    left, top, right, bottom = window or (0, 0, width, height)
    canvas = np.zeros((bottom - top, right - left), np.uint8)
    alike: dict[int, list[NDArray[np.float64]]] = defaultdict(list)
    for ring in rings:
        alike[len(ring)].append(ring)
    for group in alike.values():
        for start in range(0, len(group), _RESAMPLED_AT_ONCE):
            shares = _trainer_points(np.stack(group[start : start + _RESAMPLED_AT_ONCE]), longest)
            points = (shares * np.array((width, height), np.float64)).astype(np.int32)
            points -= np.array((left, top), np.int32)
            for line in _without_repeats(points):
                cv2.fillPoly(canvas, [line], 1)  # one at a time: rings of one call would cancel where they overlap
    return canvas.astype(bool)


def draw(rings: Sequence[NDArray[np.float64]], image_size: Size) -> Mask:
    """Normalised rings to a mask as `rasterise` draws them; only the part of the image that they lie in."""
    height, width = image_size
    points = np.concatenate(rings) * (width, height)
    # A pixel more on every side: rounded to float32, as the trainer does, a point may fall beyond its own.
    left, top = np.maximum(np.floor(points.min(0)) - 1, 0).astype(int).tolist()
    right, bottom = np.minimum(np.floor(points.max(0)) + 2, (width, height)).astype(int).tolist()
    if right <= left or bottom <= top:
        return Mask.from_pixels(np.zeros((0, 0), bool), (0, 0), image_size)
    return Mask.from_pixels(rasterise(rings, height, width, (left, top, right, bottom)), (left, top), image_size)


def draw_rings(rings: Sequence[Ring], image_size: Size) -> Mask:
    """Return the mask of rings (positions of pixels) as a trainer draws them when they have been written."""
    return draw([normalise(ring, *image_size) for ring in rings], image_size)


def _trainer_points(rings: NDArray[np.float64], longest: int) -> NDArray[np.float32]:
    """(R, K, 2) to (R, P, 2): `np.interp` as the trainer uses it, to the last bit, for rings alike at once."""
    count, length, _ = rings.shape
    closed = np.empty((count, length + 1, 2))
    closed[:, :-1] = rings.astype(np.float32)
    closed[:, -1] = closed[:, 0]
    steps = np.zeros_like(closed)
    np.subtract(closed[:, 1:], closed[:, :-1], out=steps[:, :-1])
    before, share = _trainer_places(length + 1, longest + 1 if longest > _TRAINER_POINTS else _TRAINER_POINTS)
    # A pair of floats is moved as one complex number.
    from_there, there = (np.take(pairs.view(np.complex128), before, 1).view(float) for pairs in (steps, closed))
    points: NDArray[np.float32] = (from_there * share + there).astype(np.float32)
    return points


@functools.lru_cache(maxsize=256)
def _trainer_places(count: int, total: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the positions of the trainer's `total` points along a closed ring of `count` points.

    The ring's own point before each (P,), and the share of the way to the next one (P, 1).
    """
    own = np.arange(count)
    added = np.linspace(0, count - 1, max(total - count, 1))
    places = np.insert(added, np.searchsorted(added, own), own)
    before = np.floor(places).astype(np.int64)
    return before, (places - before)[:, None]


def _without_repeats(points: NDArray[np.int32]) -> list[NDArray[np.int32]]:
    """Lines (R, P, 2) through pixels, each without the points that are as the one before: they draw nothing."""
    pairs = points.view(np.int64)[..., 0]
    kept = np.ones(pairs.shape, bool)
    np.not_equal(pairs[:, 1:], pairs[:, :-1], out=kept[:, 1:])
    return _cut(points[kept], np.count_nonzero(kept, axis=1).tolist())


def _cut(points: NDArray[T], lengths: Sequence[int]) -> list[NDArray[T]]:
    """Points one after the other to lists of so many."""
    return [points[end - length : end] for end, length in zip(itertools.accumulate(lengths), lengths, strict=True)]


def _iou(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> float:
    common = np.count_nonzero(first & second)
    union = np.count_nonzero(first) + np.count_nonzero(second) - common
    return float(common / union) if union else 0.0


@dataclass(eq=False, slots=True)
class _Contour:
    """One border, traced pixel by pixel: (K, 2) int32 positions in the crop."""

    points: NDArray[np.int32]
    area: int
    """Pixels inside."""
    bridges: dict[int, list[_Bridge]] = field(default_factory=dict)
    """Index of a point -> the bridges that end there."""


_End = tuple[_Contour, int]
"""Where a bridge ends: a contour, and the index of one of its points."""


@dataclass(eq=False, slots=True)
class _Bridge:
    """A line between two contours, which the joined ring runs along in both directions."""

    ends: tuple[_End, _End]
    way: NDArray[np.int32] = field(default_factory=lambda: np.zeros((0, 2), np.int32))
    """(K, 2): its turning points between the two ends."""

    def other_end(self, contour: _Contour) -> _End:
        """Return the contour across the bridge, and the index of the point it ends at."""
        return self.ends[1] if self.ends[0][0] is contour else self.ends[0]

    def way_from(self, contour: _Contour) -> NDArray[np.int32]:
        """Its turning points in the order in which one meets them who comes from there."""
        return self.way if self.ends[0][0] is contour else self.way[::-1]

    def build(self) -> None:
        for contour, index in self.ends:
            contour.bridges.setdefault(index, []).append(self)


@dataclass(eq=False)
class _Part:
    """A connected part of a mask: its outer border and the borders of its holes."""

    outer: _Contour
    holes: list[_Contour]

    @property
    def contours(self) -> list[_Contour]:
        return [self.outer, *self.holes]

    @property
    def area(self) -> int:
        return self.outer.area - sum(hole.area for hole in self.holes)


def _trace(pixels: NDArray[np.bool_], most: int) -> list[_Part]:
    """Return the connected parts of the pixels (8-connected), with their holes, largest first.

    Where there are more contours than `most`, only the largest parts and holes.
    """
    is_ragged = np.count_nonzero(pixels[:, 1:] != pixels[:, :-1]) > _RAGGED  # there are no more contours than that
    if is_ragged and _count_contours(pixels) > most:
        pixels = _largest(pixels, (most + 1) // 2)
    contours, hierarchy = cv2.findContours(pixels.view(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    if len(contours) > most:
        pixels = _largest(pixels, (most + 1) // 2)
        contours, hierarchy = cv2.findContours(pixels.view(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    parents = hierarchy[0, :, 3].tolist()
    parts = {
        index: _Part(_contour(points, hole=False), [])
        for index, (points, parent) in enumerate(zip(contours, parents, strict=True))
        if parent < 0
    }
    for points, parent in zip(contours, parents, strict=True):
        if parent >= 0:
            parts[parent].holes.append(_contour(points, hole=True))
    return sorted(parts.values(), key=lambda part: -part.area)


def _count_contours(pixels: NDArray[np.bool_]) -> int:
    """Return the number of parts and holes; quicker than to trace them where there are hundreds of thousands."""
    padded = np.pad(pixels, 1)
    parts, _ = cv2.connectedComponents(padded.view(np.uint8), connectivity=8)
    outside_and_holes, _ = cv2.connectedComponents((~padded).view(np.uint8), connectivity=4)
    return parts - 1 + outside_and_holes - 2  # both count what is no component, as number 0


def _largest(pixels: NDArray[np.bool_], most: int) -> NDArray[np.bool_]:
    """Return the pixels of the largest parts, with all but the largest holes filled: so many of each."""
    padded = np.pad(pixels, 1)
    padded = _components(padded, most, 8)
    outside_and_holes = _components(~padded, most + 1, 4)
    return np.ascontiguousarray(~outside_and_holes[1:-1, 1:-1])


def _components(pixels: NDArray[np.bool_], most: int, connectivity: int) -> NDArray[np.bool_]:
    """Return the pixels of the largest components; the outermost, which the first pixel is of, counts as the
    largest.
    """
    _, labels, stats, _ = cv2.connectedComponentsWithStats(pixels.view(np.uint8), connectivity=connectivity)
    areas = stats[:, cv2.CC_STAT_AREA]
    areas[labels[0, 0]] = np.iinfo(areas.dtype).max
    areas[0] = 0
    kept = np.zeros(len(areas), bool)
    kept[np.argsort(-areas, kind="stable")[:most]] = True
    kept[0] = False
    components: NDArray[np.bool_] = kept[labels]
    return components


def _contour(points: NDArray[np.int32], *, hole: bool) -> _Contour:
    """Pick's theorem: a border through pixel centres encloses area - border / 2 + 1 of them inside."""
    flat = points.reshape(-1, 2)
    enclosed = cv2.contourArea(flat)
    border = len(flat)
    inside = enclosed - border / 2 + 1 if hole else enclosed + border / 2 + 1
    return _Contour(flat, max(1, round(inside)))


def _chosen(parts: list[_Part], options: PolygonOptions) -> list[_Part]:
    """Return the parts and holes that the options ask to keep."""
    if options.parts == "largest":
        parts = parts[:1]
    if options.holes == "fill":
        parts = [_Part(part.outer, []) for part in parts]
    return parts


def _draw(parts: list[_Part], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Return the pixels of the parts: what the rings should give back."""
    canvas = np.zeros(shape, np.uint8)
    for part in parts:  # largest first: a part inside another's hole comes after that hole was cut
        cv2.fillPoly(canvas, [contour.points for contour in part.contours], 1)
    return canvas.astype(bool)


def _without_specks(parts: list[_Part], allowance: float) -> list[_Part]:
    """Leave out the smallest parts and holes, as long as their pixels stay within the allowance."""
    small = [(part.area, part, part.outer) for part in parts[1:]]
    small += [(hole.area, part, hole) for part in parts for hole in part.holes]
    gone: set[int] = set()
    for area, _, contour in sorted(small, key=lambda item: item[0]):
        allowance -= area
        if allowance < 0:
            break
        gone.add(id(contour))
    return [
        _Part(part.outer, [hole for hole in part.holes if id(hole) not in gone])
        for part in parts
        if id(part.outer) not in gone
    ]


def _join(parts: list[_Part], options: PolygonOptions, swing: int) -> list[_Contour]:
    """Build the bridges; one contour of each group that is now connected, from which its ring is walked.

    Bridges to holes run inside the mask and cost nothing.
    """
    for part in parts:
        for bridge in _hole_bridges(part):
            bridge.build()
    if options.parts != "bridge":
        return [part.outer for part in parts]
    for bridge in _shortest_bridges(parts, swing):
        bridge.build()
    return [parts[0].outer]


def _hole_bridges(part: _Part) -> Iterator[_Bridge]:
    """From each hole's leftmost point straight to the left, to the first border met.

    The line stays inside the mask, and what it meets reaches farther left, so following the bridges always
    ends at the outer border: they make a tree (the trick is ear clipping's, Eberly 2002).
    """
    if not part.holes:
        return
    left, top = part.outer.points.min(0)
    width, height = part.outer.points.max(0) + 1 - (left, top)
    borders = [part.outer, *sorted(part.holes, key=lambda hole: int(hole.points[:, 0].min()))]
    owner = np.full((height, width), -1, np.int32)
    place = np.zeros((height, width), np.int32)
    numbers = range(len(borders))[::-1]  # where borders share a pixel, the leftmost border has it: it comes last
    lengths = [len(borders[number].points) for number in numbers]
    x, y = (np.concatenate([borders[number].points for number in numbers]) - (left, top)).T
    owner[y, x] = np.repeat(numbers, lengths)
    place[y, x] = np.concatenate([np.arange(length) for length in lengths])
    for number, hole in enumerate(borders[1:], 1):
        start = int(hole.points[:, 0].argmin())
        column, line = (hole.points[start] - (left, top)).tolist()
        row = owner[line, : column + 1]
        met = int(np.flatnonzero((row >= 0) & (row < number))[-1])
        yield _Bridge(((borders[row[met]], int(place[line, met])), (hole, start)))


def _shortest_bridges(parts: list[_Part], swing: int) -> Iterator[_Bridge]:
    """Yield a minimum spanning tree over parts, by the distance between their borders along the longer axis (Prim).

    The search looks at some points only; of each bridge that it finds, the ends are then moved to the nearest ones.
    """
    extent = np.max([part.outer.points.max(0) for part in parts], 0)
    contours = [contour for part in parts for contour in part.contours]
    stride = max(1, sum(len(contour.points) for contour in contours) // _SEARCH_POINTS)
    sampled = [contour.points[::stride] for contour in contours]
    x, y = np.concatenate(sampled).astype(np.float32).T
    lengths = [len(points) for points in sampled]
    contour_of = np.repeat(np.arange(len(contours)), lengths)
    place = stride * np.concatenate([np.arange(length) for length in lengths])
    owner = np.repeat(np.arange(len(parts)), [len(part.contours) for part in parts])[contour_of]
    nearest = np.full(len(owner), np.inf, np.float32)  # distance to what is joined
    source = np.zeros(len(owner), np.int64)
    newest, apart = np.flatnonzero(owner == 0), np.flatnonzero(owner != 0)
    while len(apart):
        distances = np.maximum(np.abs(x[apart, None] - x[newest]), np.abs(y[apart, None] - y[newest]))
        closest = distances.argmin(1)
        shorter = distances[np.arange(len(apart)), closest]
        better = shorter < nearest[apart]
        nearest[apart[better]], source[apart[better]] = shorter[better], newest[closest[better]]
        reached = int(apart[nearest[apart].argmin()])
        here, there = ((contours[contour_of[end]], int(place[end])) for end in (source[reached], reached))
        if stride > 1:
            here, there = _nearest_ends(here, there)
        start, end = (contour.points[index] for contour, index in (here, there))
        yield _Bridge((here, there), _way(start, end, extent, swing))
        joined = owner == owner[reached]
        newest, apart = np.flatnonzero(joined), apart[~joined[apart]]


def _way(
    start: NDArray[np.int32], end: NDArray[np.int32], extent: NDArray[np.int32], swing: int
) -> NDArray[np.int32]:
    """Return the turning points of a way in diagonals of at most `swing` pixels, within the extent.

    A trainer reduces its masks by 4: of level and upright lines one pixel wide half survive that, of diagonal ones
    a quarter. The way is no longer than the straight one: along the longer axis it never turns back.
    """
    step = end - start
    long = int(np.abs(step).argmax())
    length, ahead = abs(int(step[long])), 1 if step[long] >= 0 else -1
    most, target, place = int(extent[1 - long]), int(end[1 - long]), int(start[1 - long])
    done, side, turns = 0, 1 if place < most - place else -1, []
    stuck = 0
    while stuck < 2:
        within_reach = (length - done - side * (place - target)) // 2
        leg = min(swing, within_reach, most - place if side > 0 else place)
        stuck = 0 if leg > 0 else stuck + 1
        if leg > 0:
            done, place = done + leg, place + side * leg
            turns.append((done, place))
        side = -side
    turns = [(along, across) for along, across in turns if along < length]
    way = np.array(turns, np.int32).reshape(-1, 2)
    way[:, 0] = start[long] + ahead * way[:, 0]
    return way[:, ::-1] if long else way


def _nearest_ends(here: _End, there: _End) -> tuple[_End, _End]:
    """Move the ends of a bridge along their contours, in turn, for as long as it gets shorter."""
    length = np.inf
    while True:
        there = there[0], int(_distances(there[0], *here).argmin())
        distances = _distances(here[0], *there)
        here = here[0], int(distances.argmin())
        if distances[here[1]] >= length:
            return here, there
        length = distances[here[1]]


def _distances(contour: _Contour, other: _Contour, index: int) -> NDArray[np.int32]:
    """Return the distance of each point of a contour to one of another, along the longer axis."""
    x, y = np.abs(contour.points - other.points[index]).T
    distances: NDArray[np.int32] = np.maximum(x, y)
    return distances


@dataclass(frozen=True)
class _Outline:
    """Groups of contours, traced in the crop at `box` of an image of `size`."""

    groups: list[_Contour]
    box: Box
    size: tuple[int, int]
    options: PolygonOptions

    def simplest(self, target: NDArray[np.bool_]) -> tuple[list[Ring], NDArray[np.bool_]]:
        """Rings at a coarse tolerance (in pixels, halved step by step) that meets the bound; what they draw.

        A simplified border is off by a fraction of the tolerance along its length: that tells where to begin.
        """
        contours = [contour for group in self.groups for contour in _connected(group)]
        target, min_iou = _with_bridges(target, contours, self.options.min_iou)
        border = sum(len(contour.points) for contour in contours)
        tolerance = 8 * (1 - min_iou) * float(np.count_nonzero(target)) / border
        rings, drawn = self._at(tolerance)
        while _count(rings) > self.options.max_points:
            tolerance = max(2 * tolerance, 1.0)
            rings, drawn = self._at(tolerance)
        while tolerance and _iou(drawn, target) < min_iou:
            tolerance = tolerance / 2 if tolerance >= 1 else 0.0
            finer, drawn_finer = self._at(tolerance)
            if _count(finer) > self.options.max_points:
                break
            rings, drawn = finer, drawn_finer
        return rings, drawn

    def _at(self, tolerance: float) -> tuple[list[Ring], NDArray[np.bool_]]:
        """Return the rings at a tolerance, and what they draw."""
        rings = _solid([_walk(root, tolerance) for root in self.groups])
        points = np.concatenate(rings, dtype=np.float64) + np.array(self.box[:2], np.float64)
        lengths = [len(ring) for ring in rings]
        place = normalise if self.options.at_centres else label_points
        drawn = rasterise(_cut(place(points, *self.size), lengths), *self.size, self.box)
        return _cut(points, lengths), drawn


def _count(rings: Sequence[Ring]) -> int:
    return sum(map(len, rings))


def _with_bridges(
    target: NDArray[np.bool_], contours: Sequence[_Contour], min_iou: float
) -> tuple[NDArray[np.bool_], float]:
    """Return the masks that rings are compared with: with bridges where these cost most of the bound."""
    canvas = target.astype(np.uint8)
    for contour in contours:
        for bridge in (bridge for bridges in contour.bridges.values() for bridge in bridges):
            here, there = (end.points[index] for end, index in bridge.ends)
            cv2.polylines(canvas, [np.stack([here, *bridge.way, there])], False, 1)
    bridged = canvas.astype(bool)
    return (target if _iou(bridged, target) >= 1 - (1 - min_iou) * 3 / 4 else bridged), min_iou


def _connected(root: _Contour) -> Iterator[_Contour]:
    """Yield a contour and all that its bridges lead to."""
    if not root.bridges:  # as most, where there are thousands
        yield root
        return
    seen, waiting = {id(root)}, [root]
    while waiting:
        contour = waiting.pop()
        yield contour
        for bridge in (bridge for bridges in contour.bridges.values() for bridge in bridges):
            other, _ = bridge.other_end(contour)
            if id(other) not in seen:
                seen.add(id(other))
                waiting.append(other)


def _walk(root: _Contour, tolerance: float) -> NDArray[np.int32]:
    """Return the ring that runs round a contour and, over the bridges, round all that hang on it, simplified."""
    if not root.bridges:
        alone: NDArray[np.int32] = cv2.approxPolyDP(root.points, tolerance, True).reshape(-1, 2)
        return alone
    pieces, rounds = [], [_round(root, 0, None, tolerance)]
    while rounds:  # a stack, not recursion: holes can hang on each other a thousand deep
        step = next(rounds[-1], None)
        if step is None:
            rounds.pop()
        elif isinstance(step, tuple):
            contour, bridge = step
            rounds.append(_round(*bridge.other_end(contour), bridge, tolerance))
        else:
            pieces.append(step)
    return np.concatenate(pieces)


def _round(
    contour: _Contour, start: int, arrived: _Bridge | None, tolerance: float
) -> Iterator[NDArray[np.int32] | tuple[_Contour, _Bridge]]:
    """Once round a contour from `start`: pieces of it, and the bridges to cross (and come back) on the way."""
    anchors = sorted({start, *contour.bridges})
    turn = anchors.index(start)
    anchors = anchors[turn:] + anchors[:turn]
    for here, after in zip(anchors, [*anchors[1:], start], strict=True):
        yield contour.points[here : here + 1]
        for bridge in contour.bridges.get(here, ()):
            if bridge is not arrived:
                yield bridge.way_from(contour)
                yield contour, bridge
                yield bridge.way_from(contour)[::-1]
                yield contour.points[here : here + 1]
        yield _simplify(_between(contour.points, here, after), tolerance)
    if arrived is not None:
        yield contour.points[start : start + 1]


def _between(points: NDArray[np.int32], here: int, after: int) -> NDArray[np.int32]:
    """Return the part of a closed border between two indices, both included; all of it if they are equal."""
    if after > here:
        return points[here : after + 1]
    return np.concatenate([points[here:], points[: after + 1]])


def _simplify(path: NDArray[np.int32], tolerance: float) -> NDArray[np.int32]:
    """Return the inner points of a path that Douglas and Peucker keep; its two ends are left to the caller."""
    if len(path) < 3:
        return path[:0]
    if (path[0] == path[-1]).all():  # the algorithm needs a chord: cut a closed path at its farthest point
        middle = int(((path - path[0]) ** 2).sum(1).argmax())
        first, second = path[: middle + 1], path[middle:]
        return np.concatenate(
            [_simplify(first, tolerance), path[middle : middle + 1], _simplify(second, tolerance)]
        )
    kept: NDArray[np.int32] = cv2.approxPolyDP(path, tolerance, False).reshape(-1, 2)
    return kept[1:-1]


def _solid(rings: Sequence[NDArray[np.int32]]) -> list[NDArray[np.int32] | Ring]:
    """Give rings without area (a pixel, a line one pixel wide) a quarter pixel on each side.

    A row needs three points and a box of some size; so little changes no pixel when it is rasterised.
    """
    points, starts = np.concatenate(rings), np.cumsum([0, *(len(ring) for ring in rings[:-1])])
    low, high = (extreme.reduceat(points, starts) for extreme in (np.minimum, np.maximum))
    solid: list[NDArray[np.int32] | Ring] = [
        ring if len(ring) > 2 else np.concatenate([ring, ring[:1]]) for ring in rings
    ]
    for index in np.flatnonzero((high == low).any(1)).tolist():
        (x1, y1), (x2, y2) = low[index] - 0.25, high[index] + 0.25
        solid[index] = np.array([[x1, y1], [x2, y1], [x2, y2], [x1, y2]])
    return solid
