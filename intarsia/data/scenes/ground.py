"""Which scenes, and which blocks of them, show the same ground."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations
from pathlib import Path

from intarsia.data.gdal import raster_library
from intarsia.data.scenes.georeference import Area
from intarsia.data.scenes.header import Header, header_of
from intarsia.data.scenes.rule import SceneWindow

Extent = Sequence[float]
"""(left, bottom, right, top)."""

_SHARED = 0.01


def share_ground(mine: Extent, theirs: Extent) -> bool:
    """Whether two extents share more than a hundredth of the smaller one."""
    width = min(mine[2], theirs[2]) - max(mine[0], theirs[0])
    height = min(mine[3], theirs[3]) - max(mine[1], theirs[1])
    areas = [abs((extent[2] - extent[0]) * (extent[3] - extent[1])) for extent in (mine, theirs)]
    return width > 0 and height > 0 and width * height > _SHARED * min(areas)


def blocks_on_same_ground(root: Path, windows: Sequence[SceneWindow]) -> Iterator[tuple[str, str]]:
    """Pairs of blocks (their units) that lie over each other: of different scenes, or of one that goes by two names.

    Different scenes that lie nowhere share none.
    """
    blocks: dict[tuple[str, str], dict[str, Area]] = {}  # by file and name
    for window in windows:
        blocks.setdefault((window.scene, window.unit.rpartition("/")[0]), {})[window.unit] = window.block
    headers = {scene: header_of(root / scene) for scene, _ in blocks}
    placed = [scene for scene, header in headers.items() if header.is_placed]
    crs = headers[placed[0]].crs if placed else None
    whole = {scene: headers[scene].bounds_in(crs) for scene in placed}

    def extents(scene: str, name: str, *, in_pixels: bool) -> list[tuple[str, Extent]]:
        areas = blocks[scene, name].items()
        return [(unit, _pixels(area) if in_pixels else _extent(headers[scene], area, crs)) for unit, area in areas]

    for first, second in combinations(blocks, 2):
        is_same = first[0] == second[0]
        if not is_same and not (first[0] in whole and second[0] in whole and _touch(whole[first[0]], whole[second[0]])):
            continue
        mine, theirs = (extents(*key, in_pixels=is_same) for key in (first, second))
        yield from ((a, b) for a, one in mine for b, other in theirs if share_ground(one, other))


def _touch(mine: Extent, theirs: Extent) -> bool:
    return mine[0] < theirs[2] and theirs[0] < mine[2] and mine[1] < theirs[3] and theirs[1] < mine[3]


def _pixels(area: Area) -> Extent:
    return area.left, area.top, area.left + area.width, area.top + area.height


def _extent(header: Header, area: Area, crs: object) -> Extent:
    """Of an area of a scene, in a system."""
    shift = raster_library("transform").Affine.translation(area.left, area.top)
    return Header(header.path, (area.height, area.width), header.crs, header.transform * shift).bounds_in(crs)
