"""The formats that are read, by the names that descriptions have for them, and what has been opened of them."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from pathlib import Path
from typing import Any

from intarsia.data.annotations.cityscapes_polygons import CityscapesPolygons
from intarsia.data.annotations.coco import Coco
from intarsia.data.annotations.coco_panoptic import CocoPanoptic, PanopticFile
from intarsia.data.annotations.cvat import Cvat
from intarsia.data.annotations.darwin import Darwin
from intarsia.data.annotations.dicom_seg import DicomSeg, Segmentations
from intarsia.data.annotations.geojson import GeoJson
from intarsia.data.annotations.label_studio import LabelStudio
from intarsia.data.annotations.labelme import LabelMe
from intarsia.data.annotations.object_masks import FoldersOfMasks, ObjectMasks
from intarsia.data.annotations.rle_csv import RleCsv, RleCsvRows
from intarsia.data.annotations.source import AnnotationSource, Format, Opened
from intarsia.data.annotations.superannotate import SuperAnnotate
from intarsia.data.annotations.supervisely import Supervisely
from intarsia.data.annotations.via import Via, ViaCsv
from intarsia.data.annotations.yolo import Yolo

FORMATS: dict[str, Format] = {
    entry.name: entry
    for entry in (
        Coco(),
        CocoPanoptic(),
        LabelMe(),
        Yolo(),
        Cvat(),
        LabelStudio(),
        Supervisely(),
        Darwin(),
        SuperAnnotate(),
        ObjectMasks(),
        DicomSeg(),
        GeoJson(),
        Via(),
        ViaCsv(),
        CityscapesPolygons(),
        RleCsv(),
        RleCsvRows(),
    )
}

_WITH_PICTURES = (ObjectMasks.name, CocoPanoptic.name, DicomSeg.name)
_KEPT = 16
_opened: OrderedDict[tuple[Any, ...], Opened] = OrderedDict()
_lock = threading.Lock()


def open_annotations(root: Path, source: AnnotationSource, *, fresh: bool = False) -> Opened:
    """Annotations that have been looked through, once in a process for as long as their file stays the same.

    fresh: list the files of a folder again, which shows no change when one of its subfolders has changed.

    Raises ValueError naming the file if it cannot be read or is none of its format.
    """
    path = Path(os.path.abspath(root / source.path))
    names = Path(os.path.abspath(root / source.names)) if source.names else None
    key = (source.format, path, _state(path), names, None if names is None else _state(names))
    with _lock:  # threads of the doctor ask for the same file at the same time
        if key not in _opened or (fresh and (FORMATS[source.format].per_image or path.is_dir())):
            _opened[key] = FORMATS[source.format].look_through(path, names)
            while len(_opened) > _KEPT:
                _opened.popitem(last=False)
        _opened.move_to_end(key)
        return _opened[key]


def further_files(root: Path, source: AnnotationSource, key: str) -> tuple[Path, ...]:
    """What an image is drawn from besides the file that a description names: pictures of its objects.

    Raises ValueError as `open_annotations` does.
    """
    if source.format not in _WITH_PICTURES:  # the others need not be looked through for it
        return ()
    opened = open_annotations(root, source)
    assert isinstance(opened, FoldersOfMasks | PanopticFile | Segmentations)
    return opened.drawn_from(key)


def _state(path: Path) -> tuple[int, int]:
    """When it changed, and its size; of a pattern, the folder above its "*"."""
    parts = path.parts[: path.parts.index("*")] if "*" in path.parts else path.parts
    try:
        found = os.stat(Path(*parts))
    except OSError as error:
        raise ValueError(f"{path}: cannot be read: {error.strerror or error}") from None
    return found.st_mtime_ns, found.st_size
