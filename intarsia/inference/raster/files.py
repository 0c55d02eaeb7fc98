"""GeoTIFF files of what was predicted for a scene: tiled, compressed, where the scene lies, with colours and names.

    label        NAME.tif             class indices, 8 bits up to 255 classes, 16 up to 65535, 32 beyond; nodata is the
                                      largest number of these bits
    confidence   NAME_confidence.tif  float32, the probability of the label, 0..1; nodata is nan in this and the others
    entropy      NAME_entropy.tif     float32, of the probabilities, 0 .. log K nats
    probs        NAME_probs.tif       float32, one band for each class, which sum to 1
    logits       NAME_logits.tif      float32, one band for each class, or one of a model with one logit
    masks        NAME_masks.tif       8 bits, one band for each class, 1 where it is and 0 elsewhere; nodata is 255

Where a pixel may have several classes, labels are sets of them (bit k is class k), 8 bits up to 7 classes, 16 beyond.

Names of classes are in the tag CLASS_NAMES (a JSON list) of the label file, and as category names in NAME.tif.aux.xml,
where QGIS and GDAL look for them; bands of the others are described by them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import numpy as np
import numpy.typing as npt

from intarsia.contracts import Size
from intarsia.data.gdal import raster_library, without_place
from intarsia.inference.raster.resume import FinishedStrips
from intarsia.inference.raster.windows import BLOCK, AxisWindows, ColumnPanel
from intarsia.label_sets import pictured, set_count
from intarsia.visual.files import SOFTWARE

LAYERS: Mapping[str, str] = {
    "label": ".tif",
    "confidence": "_confidence.tif",
    "entropy": "_entropy.tif",
    "probs": "_probs.tif",
    "logits": "_logits.tif",
    "masks": "_masks.tif",
}
"""Kind -> what its file's name ends in."""


_LABEL_TYPES = (np.uint8, np.uint16, np.uint32)
_WITH_COLOURS = (np.uint8, np.uint16)
"""Types of which a TIFF may hold a table of colours."""


@dataclass(frozen=True, slots=True)
class Layer:
    """One file. dtype: of its values. fill: where there is no data. bands: one, or one for each of these names."""

    kind: str
    dtype: type[np.generic]
    fill: float
    bands: tuple[str, ...]

    @property
    def bytes(self) -> int:
        """Of one pixel."""
        return np.dtype(self.dtype).itemsize * len(self.bands)

    def blank(self, height: int, width: int) -> npt.NDArray[Any]:
        """(bands, height, width) without data."""
        return np.full((len(self.bands), height, width), self.fill, self.dtype)

    def file(self, label: Path) -> Path:
        """Its file beside that of the labels."""
        return label.with_name(label.stem + LAYERS[self.kind].removesuffix(".tif") + label.suffix)


def layers_of(
    kinds: Iterable[str], classes: Sequence[str], *, single_logit: bool, multi_label: bool = False
) -> list[Layer]:
    """The layers of these kinds; labels always are one. multi_label: they are sets of classes."""
    values = set_count(len(classes)) if multi_label else len(classes)
    label: type[np.generic] = next(kind for kind in _LABEL_TYPES if values <= np.iinfo(kind).max)
    bands = {
        "label": ("label",),
        "confidence": ("confidence",),
        "entropy": ("entropy",),
        "probs": tuple(classes),
        "logits": (classes[-1],) if single_logit else tuple(classes),
        "masks": tuple(classes),
    }
    whole = {"label": label, "masks": np.uint8}
    wanted = {"label", *kinds}
    return [
        Layer(kind, whole[kind], np.iinfo(whole[kind]).max, names)
        if kind in whole
        else Layer(kind, np.float32, float("nan"), names)
        for kind, names in bands.items()
        if kind in wanted
    ]


def write_layer(
    path: Path,
    layer: Layer,
    parts: FinishedStrips,
    *,
    panels: Sequence[ColumnPanel],
    down: AxisWindows,
    size: Size,
    place: Mapping[str, Any],
    classes: Sequence[str],
    palette: Sequence[Sequence[int]],
    multi_label: bool = False,
) -> None:
    """Put the file of a layer together from the finished strips. Each of its blocks is written once.

    Raises ValueError if it cannot be written: no room, no permission.
    """
    window = raster_library("windows").Window
    try:
        with without_place(), raster_library().open(path, "w", **profile_of(layer, size, place)) as target:
            describe_layer(target, layer, classes, palette, multi_label)
            for number, panel in enumerate(panels):
                for top, values in _blocks(layer, parts, number, panel, down):
                    target.write(values, window=window(panel.left, top, values.shape[2], values.shape[1]))
    except (raster_library("errors").RasterioError, OSError) as error:
        raise ValueError(f"{path} cannot be written: {error}. The finished strips beside it are kept") from None


def profile_of(layer: Layer, size: Size, place: Mapping[str, Any]) -> dict[str, Any]:
    """How the file of a layer is written, in the words of rasterio's profiles. BigTIFF where it might pass 4 GiB."""
    return {
        "driver": "GTiff", "height": size[0], "width": size[1], "count": len(layer.bands), "dtype": layer.dtype,
        "nodata": layer.fill, "tiled": True, "blockxsize": BLOCK, "blockysize": BLOCK, "interleave": "band",
        "compress": "deflate", "predictor": 3 if layer.dtype is np.float32 else 1, "zlevel": 6, "BIGTIFF": "IF_SAFER",
        "num_threads": "all_cpus", **place,
    }  # fmt: skip


def _blocks(
    layer: Layer, parts: FinishedStrips, number: int, panel: ColumnPanel, down: AxisWindows
) -> Iterator[tuple[int, npt.NDArray[Any]]]:
    """Rows of blocks of a panel (bands, at most BLOCK, W), each with its first row."""
    width = panel.right - panel.left
    waiting, top = layer.blank(0, width), 0
    for row in range(len(down.firsts)):
        first, last = down.final(row)
        strip = parts.get(number, row, layer.kind)
        values = layer.blank(last - first, width) if strip is None else strip
        waiting = np.concatenate([waiting, values], axis=1)
        whole = waiting.shape[1] // BLOCK * BLOCK
        for start in range(0, whole, BLOCK):
            yield top + start, waiting[:, start : start + BLOCK]
        waiting, top = waiting[:, whole:], top + whole
    if waiting.shape[1]:
        yield top, waiting


def describe_layer(
    target: Any, layer: Layer, classes: Sequence[str], palette: Sequence[Sequence[int]], multi_label: bool
) -> None:
    """Say in an open file what its bands and values are, and their colours."""
    for number, name in enumerate(layer.bands, 1):
        target.set_band_description(number, name)
    target.update_tags(TIFFTAG_SOFTWARE=SOFTWARE, CLASS_NAMES=json.dumps(list(classes), ensure_ascii=False))
    if layer.kind == "label" and layer.dtype in _WITH_COLOURS:
        if multi_label:
            target.update_tags(CLASS_BITS="bit k of a value says that the pixel is of class k")
            palette = pictured(classes, palette)[1]
        colours = {value: (*map(int, colour), 255) for value, colour in enumerate(palette)}
        target.write_colormap(1, {**colours, int(layer.fill): (0, 0, 0, 0)})


def with_names(path: Path) -> Path:
    """The file beside a label file that names its values."""
    return path.with_name(f"{path.name}.aux.xml")


def category_names(classes: Sequence[str]) -> bytes:
    """The content of an .aux.xml file that names the values of a label file's band."""
    names = "".join(f"      <Category>{escape(name)}</Category>\n" for name in classes)
    return (
        '<PAMDataset>\n  <PAMRasterBand band="1">\n    <CategoryNames>\n'
        f"{names}    </CategoryNames>\n  </PAMRasterBand>\n</PAMDataset>\n"
    ).encode()
