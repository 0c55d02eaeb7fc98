"""What prediction leaves behind: which files, what is in them, and a writer that works beside the network.

Every kind of output is one file per image, written aside and renamed when it is whole. A file that exists is finished.

    label       NAME.png             class indices, 8 bits with a palette, 16-bit grey beyond 256 classes
    color       NAME_color.png       RGB, each pixel in the colour of its class
    overlay     NAME_overlay.jpg     the image under these colours, with contours and legend
    probs       NAME_probs.npy       float16 (K, H, W), of each class, summing to 1
    confidence  NAME_confidence.png  16-bit grey (H, W): 0 .. 65535 is 0 .. 1, the probability of the label
    entropy     NAME_entropy.png     16-bit grey (H, W): 0 .. 65535 is 0 .. log K nats, certain .. all classes alike
    logits      NAME_logits.npy      float32 (K, H, W), before softmax or sigmoid; (1, H, W) of a model with one logit
    masks       masks/CLASS/NAME.png 255 where the class is, else 0: a file for each class
    polygons    NAME.geojson         connected regions with class, name and area, in pixels, y downwards; needs rasterio
    rle         NAME_rle.json        COCO annotations: a mask of run lengths for each class

Of models whose pixels may have several classes, label files hold sets (bit k is class k), colours are mixed where
classes overlap, probabilities are those of each class by itself, and regions and masks of classes may overlap.
"""

from __future__ import annotations

import io
import math
import queue
import re
import threading
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from intarsia.inference.outputs.coco import CocoImage, write_coco
from intarsia.inference.outputs.geojson import write_geojson
from intarsia.inference.outputs.image_files import OUTLINES, Fields, ImageFiles, reason_of
from intarsia.inference.outputs.label_values import FileValues
from intarsia.inference.outputs.polygons import Labels, polygons, polygons_of_sets
from intarsia.inference.prediction import Prediction
from intarsia.io.whole_files import write_bytes
from intarsia.terminal import Notice
from intarsia.visual.files import fitting, grey_bytes, label_bytes, picture_bytes, too_large

KINDS: Mapping[str, str] = {
    "label": ".png",
    "color": "_color.png",
    "overlay": "_overlay.jpg",
    "probs": "_probs.npy",
    "confidence": "_confidence.png",
    "entropy": "_entropy.png",
    "logits": "_logits.npy",
    "masks": ".png",
    "polygons": ".geojson",
    "rle": "_rle.json",
}
"""Kind -> what its file's name ends in."""

MASKS = "masks"
"""The kind with a file for each class, and the folder of these."""

FULL = 65535
"""The value of 16 bits that stands for 1."""


@dataclass(frozen=True, slots=True)
class Look:
    """How overlays look. opacity: share of the colours, 0..1. contours: between classes. legend: at the right.

    Raises ValueError for an opacity outside 0..1.
    """

    opacity: float = 0.5
    contours: bool = True
    legend: bool = True

    def __post_init__(self) -> None:
        if not 0 <= self.opacity <= 1:
            raise ValueError(f"opacity: expected a number from 0 to 1, found {self.opacity:g}")


@dataclass(frozen=True)
class Outputs(ImageFiles):
    """The files of each image, by kind.

    kinds: of `KINDS`. min_confidence: pixels of less confidence are 255 in label files (65535 in 16 bits) and hatched
    in pictures. values: what label files hold instead of class indices; their names then leave out the folders, as
    benchmark servers want it. classes: names, where masks of each are written.
    """

    look: Look = field(default_factory=Look)
    min_confidence: float | None = None
    values: FileValues | None = None
    classes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_kinds(self.kinds)
        if MASKS in self.kinds and not self.classes:
            raise ValueError(f"--save {MASKS}: masks of the classes are written of images into a folder")

    @property
    def least_confidence(self) -> float | None:
        """That below which pixels have no class."""
        return self.min_confidence

    @property
    def fields(self) -> Fields:
        """What the predictor is asked for besides the label map, as arguments of `Predictor.predict`."""
        return fields_of(self.kinds, self.min_confidence)

    def files(self, name: str) -> dict[str, Path]:
        """Kind -> file of the image of this name."""
        endings = dict(KINDS)
        if self.values is not None:
            name, endings["label"] = Path(name).name, self.values.ending
        found = {kind: self.folder / f"{name}{ending}" for kind, ending in endings.items() if kind in self.kinds}
        if found.pop(MASKS, None) is not None:
            for k, place in enumerate(mask_folders(self.classes)):
                found[f"{MASKS}:{k}"] = self.folder / MASKS / place / f"{name}.png"
        return found

    def write_one(self, prediction: Prediction, kind: str, file: Path, *, image: CocoImage | None = None) -> None:
        """Write one file, whose suffix says in which format, where there are several."""
        if kind in OUTLINES:
            self._write_outlines(prediction, kind, file, image or CocoImage(prediction.name))
        else:
            write_bytes(file, self.encoded(prediction, kind, suffix=file.suffix.lower()))

    def encoded(self, prediction: Prediction, kind: str, *, suffix: str = ".jpg") -> bytes:
        """The content of one file, of a kind outside `OUTLINES`. suffix: of the format of an overlay."""
        least = self.min_confidence
        if kind == "label":
            return self._label(prediction)
        if kind.startswith(f"{MASKS}:"):
            return self._mask(prediction, int(kind.partition(":")[2]))
        if kind == "color":
            return picture_bytes(prediction.coloured(min_confidence=least), ".png")
        if kind == "overlay":
            look = self.look
            picture = prediction.overlay(look.opacity, look.legend, contours=look.contours, min_confidence=least)
            if fitting(picture, suffix) is not picture:
                warnings.warn(f"{prediction.name}: {too_large(suffix)}", Notice, stacklevel=2)
            return picture_bytes(picture, suffix)
        if kind == "confidence":
            assert prediction.confidence is not None
            return _sixteen_bits(prediction.confidence)
        if kind == "entropy":
            assert prediction.entropy is not None
            count = len(prediction.classes)
            most = count * math.log(2) if prediction.multi_label else math.log(max(2, count))
            return _sixteen_bits(prediction.entropy / most)
        array, dtype = (prediction.probabilities, np.float16) if kind == "probs" else (prediction.logits, np.float32)
        assert array is not None
        return _npy(array.astype(dtype, copy=False))

    def _label(self, prediction: Prediction) -> bytes:
        if self.values is not None:
            mask = None if self.min_confidence is None else prediction.uncertain(self.min_confidence)
            return self.values.encoded(prediction.label, mask)
        return label_bytes(self._indices(prediction), prediction.shown_values[1])

    def _mask(self, prediction: Prediction, k: int) -> bytes:
        mask = prediction.mask(k)
        if self.min_confidence is not None:
            mask = mask & ~prediction.uncertain(self.min_confidence)
        return grey_bytes(np.where(mask, np.uint8(255), np.uint8(0)))

    def _indices(self, prediction: Prediction) -> npt.NDArray[np.uint8 | np.uint16]:
        return prediction.label if self.min_confidence is None else prediction.label_with_uncertain(self.min_confidence)

    def _write_outlines(self, prediction: Prediction, kind: str, file: Path, image: CocoImage) -> None:
        """Regions of the classes, by class index; what is uncertain has none."""
        indices, classes = self._indices(prediction), prediction.classes
        nothing = None if self.min_confidence is None else int(np.iinfo(indices.dtype).max)
        if kind == "polygons":
            labels = Labels(indices)
            if prediction.multi_label:
                shapes = polygons_of_sets(labels, len(classes), nothing=nothing)
            else:
                shapes = polygons(labels, nothing=nothing)
            write_geojson(file, shapes, classes=classes, palette=prediction.palette, ground=None)
        else:
            sets = prediction.multi_label
            write_coco(file, Labels(indices), classes=classes, image=image, nothing=nothing, sets=sets)


def mask_folders(classes: Sequence[str]) -> list[str]:
    """A folder for the masks of each class: its name, in letters that every system takes; numbered if there are two."""
    names = [re.sub(r"[^\w .+-]+", "_", name).strip(" .") or "class" for name in classes]
    lower = [name.lower() for name in names]
    return [name if lower.count(name.lower()) == 1 else f"{name}_{k}" for k, name in enumerate(names)]


def check_kinds(kinds: Sequence[str] | frozenset[str]) -> frozenset[str]:
    """The kinds. Raises ValueError for one that is not known, and if there is none."""
    unknown = [kind for kind in kinds if kind not in KINDS]
    if unknown or not kinds:
        raise ValueError(f"--save takes {', '.join(KINDS)}, found {', '.join(map(repr, unknown)) or 'none'}")
    return frozenset(kinds)


def fields_of(kinds: frozenset[str], min_confidence: float | None) -> Fields:
    """What must be predicted for these kinds and this threshold."""
    return {
        "probabilities": "probs" in kinds,
        "confidence": "confidence" in kinds or min_confidence is not None,
        "entropy": "entropy" in kinds,
        "logits": "logits" in kinds,
    }


def _sixteen_bits(shares: npt.NDArray[Any]) -> bytes:
    """Shares of 1 (H, W) as 16-bit grey PNG. What is no number, of a network that gave none, is 0."""
    scaled = np.rint(np.nan_to_num(shares.astype(np.float32)).clip(0, 1) * FULL)
    return grey_bytes(scaled.astype(np.uint16), compress_level=1)


def _npy(array: npt.NDArray[Any]) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, array, allow_pickle=False)
    return buffer.getvalue()


class OutputWriter:
    """Runs jobs that write files in a thread of its own, in order, while the caller goes on with the network.

    At most `ahead` jobs wait; `put` waits for room, so that memory stays bounded. A job that fails with an OSError
    (disk full, no permission) or a ValueError is noted in `failures` by its name, and the others are done all the same.
    Any other error is a bug: it is raised by the next `put` or by `close`.

    threads: more than one finish their jobs in any order.
    """

    def __init__(self, *, threads: int = 1, ahead: int = 2) -> None:
        self.failures: list[tuple[str, str]] = []
        self.done = 0
        self._jobs: queue.Queue[tuple[str, Callable[[], object]] | None] = queue.Queue(maxsize=ahead)
        self._lock = threading.Lock()
        self._bug: BaseException | None = None
        self._threads = [
            threading.Thread(target=self._work, name="intarsia-write", daemon=True) for _ in range(max(1, threads))
        ]
        for thread in self._threads:
            thread.start()

    def put(self, name: str, write: Callable[[], object]) -> None:
        """Have `write` called, soon. name: of the image, for `failures`."""
        self._raise_bug()
        self._jobs.put((name, write))

    def close(self) -> None:
        """Wait until everything that was put is written."""
        for _ in self._threads:
            self._jobs.put(None)
        for thread in self._threads:
            thread.join()
        self._raise_bug()

    def __enter__(self) -> OutputWriter:
        return self

    def __exit__(self, *error: object) -> None:
        """Also after an interruption, what was put is written: it is done already but for that."""
        self.close()

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            name, write = job
            try:
                write()
            except (OSError, ValueError) as error:
                with self._lock:
                    self.failures.append((name, reason_of(error)))
            except BaseException as error:
                self._bug = error
            else:
                with self._lock:
                    self.done += 1

    def _raise_bug(self) -> None:
        if self._bug is not None:
            bug, self._bug = self._bug, None
            raise bug
