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
    """Pairs of blocks (their units) of different scenes that lie over each other; scenes that lie nowhere have none."""
    blocks: dict[str, dict[str, Area]] = {}
    for window in windows:
        blocks.setdefault(window.scene, {})[window.unit] = window.block
    headers = {scene: header_of(root / scene) for scene in blocks}
    placed = [scene for scene, header in headers.items() if header.is_placed]
    if not placed:
        return
    crs = headers[placed[0]].crs
    whole = {scene: headers[scene].bounds_in(crs) for scene in placed}
    for first, second in combinations(placed, 2):
        if not _touch(whole[first], whole[second]):
            continue
        mine = [(unit, _extent(headers[first], area, crs)) for unit, area in blocks[first].items()]
        theirs = [(unit, _extent(headers[second], area, crs)) for unit, area in blocks[second].items()]
        yield from ((a, b) for a, one in mine for b, other in theirs if share_ground(one, other))


def _touch(mine: Extent, theirs: Extent) -> bool:
    return mine[0] < theirs[2] and theirs[0] < mine[2] and mine[1] < theirs[3] and theirs[1] < mine[3]


def _extent(header: Header, area: Area, crs: object) -> Extent:
    """Of an area of a scene, in a system."""
    shift = raster_library("transform").Affine.translation(area.left, area.top)
    return Header(header.path, (area.height, area.width), header.crs, header.transform * shift).bounds_in(crs)
