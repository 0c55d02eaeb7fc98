"""What nnU-Net's planner looks for in volumes: the spacing that slices are resampled to, and how values are normalised.

Isensee et al., nnU-Net, Nature Methods 18, 2021, supplementary note 2; the numbers are those of nnunetv2 2.8
(`DatasetFingerprintExtractor`, `ExperimentPlanner`). The first process of a run looks at the volumes and leaves what it
found beside the data description, since each volume has to be read whole.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from intarsia.data.description.mixed import MixedDescription
from intarsia.data.image_io import decode_image
from intarsia.data.slices import part_of
from intarsia.data.volume_facts import shown_of, spacing_of
from intarsia.io.text import read_text
from intarsia.io.whole_files import write_text
from intarsia.terminal import progress

if TYPE_CHECKING:
    from intarsia.data.description.model import DataDescription

FILE = "volumes.json"
"""Beside the data description of a run."""

CUT_MUCH = 0.75
"""Share of a volume below which what is inside of it alone is normalised, where this is the median."""

_ENDS = (0.5, 99.5)
"""Percentiles of labelled voxels at which CT is cut off."""
_VOXELS = 20_000
"""Labelled voxels of a slice that are looked at, at most."""
_LARGEST = 2**20


@dataclass(frozen=True)
class Volumes:
    """The training's volumes. spacing: the median of a slice's pixel, (height, width). size: the median of a slice in
    such pixels, cut to what is not 0. share: the median of what is left of a volume then. count: of volumes.
    """

    spacing: tuple[float, float]
    size: tuple[int, int]
    share: float
    count: int


def look_at(description: DataDescription) -> Volumes | None:
    """What the volumes are like of which the training's images are slices; None unless all are, and say their spacing.

    Raises ValueError naming a file that cannot be read.
    """
    if isinstance(description, MixedDescription):
        return None
    paths = [str(description.root / pair.image) for pair in description.pairs("train")]
    first_of = {part_of(path)[0]: path for path in reversed(paths)}
    spacings, sizes, shares = [], [], []
    with progress("looking at volumes") as bar:
        for done, path in enumerate(first_of.values(), 1):
            spacing = spacing_of(path)
            shown = None if spacing is None else shown_of(path)
            if spacing is None or shown is None:
                return None
            spacings.append(spacing)
            sizes.append(shown[0])
            shares.append(shown[1])
            bar(done, len(first_of))
    target = np.median(np.array(spacings), axis=0)
    resampled = [
        [round(found / wanted * length) for found, wanted, length in zip(spacing, target, size, strict=True)]
        for spacing, size in zip(spacings, sizes, strict=True)
    ]
    height, width = np.median(np.array(resampled), axis=0).round().astype(int).tolist()
    rows, columns = (float(f"{side:.6g}") for side in target)
    return Volumes((rows, columns), (height, width), float(np.median(shares)), len(first_of))


def keep(found: Volumes | None, folder: Path) -> None:
    """Write what was found beside the data description of a run."""
    if found is None:
        (folder / FILE).unlink(missing_ok=True)
        return
    write_text(folder / FILE, json.dumps(asdict(found)) + "\n")


def kept(folder: Path) -> Volumes | None:
    """What `keep` has written there."""
    if not (folder / FILE).is_file():
        return None
    found = json.loads(read_text(folder / FILE, largest=_LARGEST))
    return Volumes(tuple(found["spacing"]), tuple(found["size"]), found["share"], found["count"])


def normalised(description: DataDescription, found: Volumes) -> DataDescription:
    """The description with numbers as nnU-Net has them, in place of the colours that the doctor proposes.

    CT, as a dataset.json says or the doctor from a fixed window, is cut off at percentiles of its labelled voxels, with
    their mean and deviation; anything else is normalised volume by volume.
    """
    bands = _bands(description)
    if bands == 1 and _is_ct(description):
        values = _labelled(description)
        if len(values):
            low, high = (float(f"{end:.6g}") for end in np.percentile(values, _ENDS))
            mean, std = float(f"{values.mean():.6g}"), float(f"{max(values.std(), 1e-8):.6g}")
            if low < high:
                return _raw(description, bands, ("clip", low, high), mean, std)
    scale = ("zscore", "nonzero") if found.share < CUT_MUCH else ("zscore",)
    return _raw(description, bands, scale, 0.0, 1.0)


def _raw(
    description: DataDescription, bands: int, scale: Sequence[float | str], mean: float, std: float
) -> DataDescription:
    named = description.names if len(description.names) == bands else ()
    return replace(
        description, bands="raw", channels=bands, names=named, scale=tuple(scale), mean=(mean,) * bands,
        std=(std,) * bands,
    )  # fmt: skip


def _bands(description: DataDescription) -> int:
    pair = description.pairs("train")[0]
    return int(decode_image(description.root / pair.image).samples.shape[2])


def _is_ct(description: DataDescription) -> bool:
    file = description.root / "dataset.json"
    if file.is_file():
        try:
            content = json.loads(read_text(file, largest=_LARGEST * 100))
        except (ValueError, RecursionError):
            content = {}
        names = content.get("channel_names", content.get("modality")) if isinstance(content, dict) else None
        if isinstance(names, dict) and names:
            return [str(name).lower() for name in names.values()] == ["ct"]
    scale = description.scale
    return scale is not None and all(isinstance(end, float | int) for end in scale)


def _labelled(description: DataDescription) -> npt.NDArray[np.float64]:
    """Values of labelled voxels of the training that are no background."""
    dataset = description.own_dataset("train")
    nothing = () if description.multi_label or description.num_classes == 1 else description.classes[:1]
    background = 0 if nothing in ((), ("background",)) else -1
    found: list[npt.NDArray[Any]] = []
    for index, pair in enumerate(description.pairs("train")):
        label = dataset.label(index)
        if label is None:
            continue
        values = decode_image(description.root / pair.image).samples[:, :, 0]
        values = values[(label != background) & (label != description.ignore_index)]
        found.append(values[:: max(1, len(values) // _VOXELS)].astype(np.float64))
    return np.concatenate(found) if found else np.zeros(0)
