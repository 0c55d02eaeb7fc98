"""What a description says about scenes and their labels, and the windows of them that are samples. No file is opened.

A scene is divided into blocks, which are what falls to one split or another, and each block into cells. An epoch has
one sample for each cell. Evaluation counts the pixels of the cell, and shows the network what lies around it, too;
training draws a window whose centre lies in the cell, and which does not leave the block.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from intarsia.contracts import Size
from intarsia.data.scenes.georeference import Area

SCENE_SUFFIXES = (".tif", ".tiff", ".vrt", ".jp2", ".img")
VECTOR_SUFFIXES = (".geojson", ".json", ".gpkg", ".shp", ".fgb")

WINDOW = 512
BLOCK = 2048
"""Pixels a side, where a description does not say it."""


@dataclass(frozen=True, slots=True)
class SceneSplit:
    """The rule of a split: which scenes, which labels, and how both become samples. Paths are relative to the root.

    scenes: files, folders, or patterns with one "*" in the name of the file. exclude: file names left out.
    labels: a vector file, a label raster, or folders and patterns of them, one for each scene: the "*" is its name.
    layer, column: of a vector file, where the class is; without a column all shapes are of one class. classes: (what
        the column says, class of the description).
    areas, where: a vector file of areas, and (column, text) of those that belong to the split; without `areas`, the
        shapes of the labels are the areas.
    names: a list of the blocks that belong to the split, as "SCENE/ROW_COLUMN"; None: all. gap: pixels around blocks
        that the list does not name, in which nothing is learned or counted.
    window: pixels a side of what the network sees. margin: of them, on each side, those that an evaluation does not
        count. block: pixels a side of what a share takes or leaves, at least; 0 for the whole scene.
    missing: "skip" leaves out scenes without labels.
    """

    scenes: tuple[str, ...]
    labels: str | None
    layer: str = ""
    column: str = ""
    classes: tuple[tuple[str, str], ...] = ()
    areas: str = ""
    where: tuple[str, str] | None = None
    exclude: tuple[str, ...] = ()
    names: str | None = None
    gap: int = 0
    window: int = WINDOW
    margin: int = WINDOW // 8
    block: int = BLOCK
    missing: Literal["error", "skip"] = "error"

    def __str__(self) -> str:
        labels = f" with {self.labels}" if self.labels is not None else " without labels"
        only = f", {self.where[0]}: {self.where[1]}" if self.where is not None else ""
        blocks = f"blocks of {self.block}" if self.block else "whole scenes"
        listed = f", listed in {self.names}" if self.names else ""
        return f"windows of {self.window} in {', '.join(self.scenes)}{labels}{only}, {blocks}{listed}"

    @property
    def core(self) -> int:
        """Pixels a side of a cell, at most."""
        return self.window - 2 * self.margin

    def check(self) -> tuple[str, str] | None:
        """(key, what is wrong with it), or None."""
        if self.window < 16:
            return "window", f"expected 16 pixels or more, found {self.window}"
        if self.margin < 0 or self.core < 1:
            return "margin", f"expected 0 to {(self.window - 1) // 2} for windows of {self.window}, found {self.margin}"
        if self.block and self.block < self.window:
            return "block", f"expected at least the window, {self.window} pixels, or `scene`, found {self.block}"
        if self.gap < 0 or (self.gap and self.names is None):
            return "gap", f"expected 0 or more pixels beside a `list` of the split's own blocks, found {self.gap}"
        if self.where is not None and not self.areas and not (self.labels or "").lower().endswith(VECTOR_SUFFIXES):
            return "where", "names a column of a vector file: expected `areas: FILE` beside it, or labels in one"
        return None


@dataclass(frozen=True, slots=True)
class SceneWindow:
    """A sample: a cell of a scene. scene, label: files relative to the root. unit: name of the block, for shares.

    cell: what an evaluation counts. block: what training does not leave. size: of the scene. avoided: areas in which
    nothing is learned or counted, since they are near blocks of other parts.
    """

    rule: SceneSplit
    scene: str
    label: str | None
    unit: str
    cell: Area
    block: Area
    size: Size
    avoided: tuple[Area, ...] = ()

    @property
    def sample_size(self) -> Size:
        """Of what training draws."""
        return min(self.rule.window, self.block.height), min(self.rule.window, self.block.width)

    @property
    def shown(self) -> str:
        """The scene with the rows and columns of the cell, as numpy would slice them."""
        area = self.cell
        return f"{self.scene}[{area.top}:{area.top + area.height}, {area.left}:{area.left + area.width}]"
