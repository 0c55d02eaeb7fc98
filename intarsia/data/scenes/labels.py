"""The labels of a scene, from shapes or from a raster, for any area of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from intarsia.data.annotations.drawn import ClassValues
from intarsia.data.scenes.georeference import Area
from intarsia.data.scenes.handles import Handles
from intarsia.data.scenes.header import Header, header_of, stamp_of
from intarsia.data.scenes.label_rasters import LabelRaster
from intarsia.data.scenes.rule import VECTOR_SUFFIXES, SceneSplit, SceneWindow
from intarsia.data.scenes.vectors import Layer, placed, read_layer


class SceneLabels(Protocol):
    """Labels of one scene."""

    def read(self, area: Area) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
        """File values (H, W), or colours (H, W, 3), and where there is something (H, W)."""
        ...


_OPEN: Handles[SceneLabels] = Handles()


def is_vector(file: str) -> bool:
    """Whether a label file holds shapes."""
    return file.lower().endswith(VECTOR_SUFFIXES)


def labels_of(root: Path, window: SceneWindow, classes: ClassValues) -> SceneLabels | None:
    """The labels of the scene of a window; they stay open. None without labels.

    classes: what is burnt for a class that a column names.

    Raises ValueError naming the file if labels cannot be read, or cannot be laid on the scene.
    """
    if window.label is None:
        return None
    path, scene = root / window.label, root / window.scene
    shared = (path, stamp_of(path), scene, stamp_of(scene))
    if is_vector(window.label):
        key = (*shared, window.rule.layer, window.rule.column, window.rule.classes, classes)
        return _OPEN.get(key, lambda: _Shapes(path, header_of(scene), window.rule, classes))
    return _OPEN.get(shared, lambda: LabelRaster(path, header_of(scene)))


def inside(root: Path, window: SceneWindow, area: Area) -> npt.NDArray[np.bool_] | None:
    """(H, W): which pixels of an area the rule's areas cover; None where the rule has none."""
    found = areas_of(root, window.rule, window.label, window.scene)
    return None if found is None else found.read(area)[0] > 0


def areas_of(root: Path, rule: SceneSplit, label: str | None, scene: str) -> _Areas | None:
    """The areas that belong to the rule's split, on one scene."""
    if rule.where is None:
        return None
    path = root / (rule.areas or label or "")
    key = ("areas", path, stamp_of(path), root / scene, stamp_of(root / scene), rule.layer, rule.where)
    where = rule.where
    found = _OPEN.get(key, lambda: _Areas(path, "" if rule.areas else rule.layer, where, header_of(root / scene)))
    assert isinstance(found, _Areas)
    return found


class _Shapes:
    """Shapes with the values of their classes."""

    def __init__(self, path: Path, scene: Header, rule: SceneSplit, classes: ClassValues) -> None:
        layer = read_layer(path, rule.layer)
        self._placed, self._values = placed(layer, scene), shape_values(layer, rule, classes)

    def read(self, area: Area) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
        burnt = self._placed.burnt(area, self._values)
        return burnt, np.ones(burnt.shape, np.bool_)


class _Areas:
    """The shapes whose column says one text."""

    def __init__(self, path: Path, layer: str, where: tuple[str, str], scene: Header) -> None:
        found = read_layer(path, layer)
        texts = _texts(found.column(where[0]))
        if not (texts == where[1]).any():
            raise ValueError(
                f"{path}: no shape has {where[1]!r} in the column {where[0]!r}; found {_some(texts)}: correct `where`"
            )
        self._placed, self._values = placed(found, scene), (texts == where[1]).astype(np.int32)

    def read(self, area: Area) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
        # Of areas that overlap, each counts: those of other splits are no part of what is burnt.
        burnt = self._placed.burnt(area, self._values, only=self._values > 0)
        return burnt, np.ones(burnt.shape, np.bool_)


def shape_values(layer: Layer, rule: SceneSplit, classes: ClassValues) -> npt.NDArray[np.int32]:
    """The value (n,) of each shape of a layer in the label.

    Whole numbers of the column are taken as they are; texts are names of classes; without a column there is one class.

    Raises ValueError naming the file, the row and the class if a shape says none that the description knows.
    """
    if not rule.column:
        return np.full(len(layer.shapes), _only(layer, classes), np.int32)
    column = layer.column(rule.column)
    stands_for = dict(rule.classes)
    if column.dtype.kind in "iu" and not stands_for:
        return column.astype(np.int32)
    if column.dtype.kind == "f" and not stands_for and (np.isfinite(column) & (column % 1 == 0)).all():
        return column.astype(np.int32)  # a whole number with gaps elsewhere comes as one with a point
    texts, places = np.unique(_texts(column), return_inverse=True)
    known = [_value(str(text), layer, rule, classes, stands_for, places == number) for number, text in enumerate(texts)]
    return np.array(known, np.int32)[places]


def _texts(column: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """A column as texts, "" where a shape says nothing."""
    if column.dtype.kind == "f":
        return np.array(["" if np.isnan(number) else f"{number:g}" for number in column])
    return np.array(["" if text is None else str(text).strip() for text in column])


def _value(
    text: str,
    layer: Layer,
    rule: SceneSplit,
    classes: ClassValues,
    stands_for: dict[str, str],
    where: npt.NDArray[np.bool_],
) -> int:
    name = stands_for.get(text, text)
    if name in classes.values:
        return classes.values[name]
    if classes.outside == "ignore":
        return classes.ignored
    row = int(layer.rows[int(np.argmax(where))])
    known = _some(list(classes.values))
    found = f"names no class in the column {rule.column!r}" if not text else f"has the class {name!r}"
    raise ValueError(
        f"{layer.path}: shape {row} (from 0) {found}; expected one of the description's: {known}. Add it to `classes` "
        f"and `labels`; or say what it stands for, `classes: {{{text or 'NAME'}: CLASS}}` in the split (ignore is "
        "possible); or write `outside: ignore`"
    )


def _only(layer: Layer, classes: ClassValues) -> int:
    names = [name for name, value in classes.values.items() if name not in ("ignore", "background") and value > 0]
    if len(names) != 1:
        raise ValueError(
            f"{layer.path}: expected `column: NAME` in the split, which says the class of each shape, since there are "
            f"{len(names)} classes besides background ({_some(names)}); its columns are {_some(list(layer.columns))}"
        )
    return classes.values[names[0]]


def _some(names: Any, limit: int = 8) -> str:
    shown = list(dict.fromkeys(map(str, names)))
    return ", ".join(shown[:limit]) + (f" and {len(shown) - limit} more" if len(shown) > limit else "") or "none"
