"""Annotations that are not read: boxes, run lengths in tables, volumes. Named, with what to do about them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath

from intarsia.io.text import decoded

_HEAD = 2**16
_LOOKED_AT = 5
_PAINT = "convert them to label images first"
_POINTS = (
    'write them as a JSON beside each image: {"shapes": [{"label": CLASS, "shape_type": "polygon", '
    '"points": [[x, y], ...]}], "imagePath": NAME}'
)

_ON_EARTH = (
    "they are labels of images that lie on Earth; give the images a place (gdal_edit.py -a_srs EPSG:CODE -a_ullr LEFT "
    "TOP RIGHT BOTTOM), or convert the shapes to label images (gdal_rasterize)"
)
_AS_COCO = "export them from the tool as COCO"
_CLASSES = "give each a class first, as `category_id` of COCO annotations, say"
_ROWS = (
    "for number, row in enumerate(pandas.read_parquet(FILE).itertuples()): "
    'open(f"images/{number}.jpg", "wb").write(row.image["bytes"]); '
    'open(f"labels/{number}.png", "wb").write(row.label["bytes"])'
)

_JSON: tuple[tuple[tuple[str, ...], str, str], ...] = (
    (("FeatureCollection",), "GeoJSON polygons", f"{_PAINT} (gdal_rasterize, or rasterio.features.rasterize)"),
    (("poly2d",), "Scalabel polygons", f"{_PAINT} (scalabel.label.to_mask)"),
    (("segmentation", "predicted_iou"), "masks of Segment Anything, which have no classes,", _CLASSES),
    (("jsonResponse", "externalId"), "Kili annotations", _AS_COCO),
    (("data_units", "label_hash"), "Encord annotations", _AS_COCO),
    (("label_classes", "images"), "Hasty annotations", _AS_COCO),
    (
        ("segmentation_bitmap",),
        "Segments.ai annotations",
        "export_dataset(..., export_format='semantic') of segments-ai writes label images",
    ),
    (("coordinates", "filename", "annotations"), "Dataloop annotations", f"{_AS_COCO}, or download them as masks"),
    (("items", "annotations"), "Datumaro annotations", "export them as 'Segmentation mask 1.1' (CVAT)"),
)
_OTHER: Mapping[str, tuple[str, str]] = {
    ".mat": ("MATLAB files", _PAINT),
    ".gz": ("archives", "unpack them"),
    ".nrrd": ("NRRD volumes", "convert them to NIfTI first (SimpleITK.ReadImage, WriteImage)"),
    ".mha": ("MetaImage volumes", "convert them to NIfTI first (SimpleITK.ReadImage, WriteImage)"),
    ".mhd": ("MetaImage volumes", "convert them to NIfTI first (SimpleITK.ReadImage, WriteImage)"),
    ".shp": ("shapefiles", _ON_EARTH),
    ".gpkg": ("GeoPackage polygons", _ON_EARTH),
    ".kml": ("KML polygons", _ON_EARTH),
    ".geojson": (
        "GeoJSON polygons",
        "give each image a file of its name, in its pixels; or the images a place on Earth (GeoTIFF)",
    ),
    ".h5": ("HDF5 files", "save their arrays as images and labels first"),
    ".hdf5": ("HDF5 files", "save their arrays as images and labels first"),
    ".npz": ("NumPy archives", "save their arrays as single .npy files or images first"),
    ".tfrecord": ("TFRecord files", "save their examples as images and labels first"),
    ".parquet": ("Parquet tables", f"save their rows as images and labels first: {_ROWS}"),
    ".ndjson": ("Labelbox or other NDJSON annotations", _PAINT),
    ".zip": ("archives", "unpack them"),
    ".tar": ("archives", "unpack them"),
    ".rar": ("archives", "unpack them"),
    ".7z": ("archives", "unpack them"),
}


def foreign_annotations(root: Path, others: Sequence[str]) -> list[str]:
    """A sentence for each kind of annotation among files that are no images: what, where, what to do."""
    by_kind: dict[tuple[str, str], list[str]] = {}
    by_suffix: dict[str, list[str]] = {}
    for path in others:
        by_suffix.setdefault(PurePosixPath(path).suffix.lower(), []).append(path)
    for suffix, paths in by_suffix.items():
        if suffix in _OTHER:
            by_kind.setdefault(_OTHER[suffix], []).extend(paths)
            continue
        for path in _spread(paths) if suffix not in (".yaml", ".yml") else ():
            found = recognise(root / path)
            if found is not None:
                by_kind.setdefault(found, []).extend(paths if len(paths) > _LOOKED_AT else [path])
                break
    return [
        f"{what} ({_where(dict.fromkeys(paths))}) are not read: {advice}" for (what, advice), paths in by_kind.items()
    ]


def numbered_objects(root: Path, others: Sequence[str]) -> str | None:
    """A file which says that label images hold numbers of objects, and which class each is; None without one."""
    lists = [path for path in others if path.lower().endswith(".json")]
    keyed = ((path, _keys(root / path)) for path in (lists if len(lists) <= _LOOKED_AT else ()))
    return next((path for path, keys in keyed if "segmentation_bitmap" in keys), None)


def _keys(file: Path) -> set[str]:
    try:
        with open(file, "rb") as stream:
            return set(re.findall(r'"(\w+)"\s*:', decoded(stream.read(_HEAD))))
    except (OSError, ValueError):
        return set()


def recognise(file: Path) -> tuple[str, str] | None:
    """(what a file holds, what to do) by its beginning; None if it is nothing known."""
    suffix = file.suffix.lower()
    if suffix not in (".json", ".txt", ".xml", ".csv", ".yaml", ".yml"):
        return _OTHER.get(suffix)
    try:
        with open(file, "rb") as stream:
            text = decoded(stream.read(_HEAD))
    except (OSError, ValueError):
        return None
    if suffix == ".json":
        keys = set(re.findall(r'"(\w+)"\s*:', text)) | ({"FeatureCollection"} & set(re.findall(r'"(\w+)"', text)))
        return next(((what, advice) for wanted, what, advice in _JSON if keys.issuperset(wanted)), None)
    if suffix == ".txt":
        return _yolo(text)
    if suffix == ".xml":
        return _xml(text)
    if suffix == ".csv":
        return _csv(text)
    if re.search(r"^names\s*:", text, re.MULTILINE) and re.search(r"^(nc|train|val)\s*:", text, re.MULTILINE):
        return "the folders and classes of YOLO", ""
    return None


def _yolo(text: str) -> tuple[str, str] | None:
    """Lines of a class number and coordinates between 0 and 1."""
    lines = [line.split() for line in text.splitlines()[:20] if line.strip()][:10]
    if not lines or not all(_is_yolo(line) for line in lines):
        return None
    if all(len(line) == 5 for line in lines):
        return "YOLO boxes", "boxes say nothing of pixels: label areas, or train a detector with them"
    return None


def _is_yolo(cells: Sequence[str]) -> bool:
    if len(cells) < 5 or not cells[0].isdecimal():
        return False
    return all(re.fullmatch(r"-?\d*\.?\d+(e-?\d+)?", cell) and -0.5 <= float(cell) <= 1.5 for cell in cells[1:])


def _xml(text: str) -> tuple[str, str] | None:
    if "<Vertex " in text and "<Region" in text:
        return "outlines of Aperio ImageScope", "open them in QuPath and export GeoJSON, a file for each image"
    if "<annotation" in text and "<polygon" in text:
        return "XML polygons", _PAINT
    if "<annotation" in text and "<bndbox" in text:
        return "XML boxes of Pascal VOC", "boxes say nothing of pixels: label areas, or train a detector with them"
    return None


def _csv(text: str) -> tuple[str, str] | None:
    _, *rest = text.splitlines() or [""]
    if any(re.search(r"(\d+ \d+ ){8}", line) for line in rest[:50]):
        return (
            "run-length encoded masks",
            "call their columns ImageId and EncodedPixels (starts from 1 and lengths, down the columns)",
        )
    if any(re.search(r"(\[|\()\s*-?\d+(\.\d+)?\s*,\s*-?\d+(\.\d+)?\s*[\],)]", line) for line in rest[:50]):
        return "polygons in a table", f"{_POINTS} (or {_PAINT} with PIL.ImageDraw.polygon)"
    return None


def _spread(paths: Sequence[str]) -> Iterable[str]:
    """Some of many, from all over."""
    step = max(1, len(paths) // _LOOKED_AT)
    return paths[::step]


def _where(paths: Iterable[str]) -> str:
    shown = list(paths)
    return shown[0] if len(shown) == 1 else f"{len(shown)} files such as {shown[0]}"
