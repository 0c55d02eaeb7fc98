"""What a model says about one image."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from intarsia.contracts import PathLike
from intarsia.label_sets import MOST, has, pictured, set_count
from intarsia.visual.files import save_label, save_picture
from intarsia.visual.legend import Entry, share_text, with_legend
from intarsia.visual.overlay import HATCHED, blend, coloured, enlarged

MOST_CLASSES = 2**16
"""Label maps have 16 bits at most, in arrays and in files."""

_REAL: tuple[type[np.generic], ...] = (np.float32, np.float16)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Prediction:
    """The label map of one image at the image's own size, with everything needed to show and save it.

    label: (H, W) class indices, uint8 up to 256 classes and uint16 beyond. Of a `multi_label` model, whose pixels may
    have several classes, sets of them: bit k is class k, uint8 up to 8 classes; `labels` takes them apart.
    classes, palette: name and colour per index.
    image: (H, W, 3) uint8 RGB, for overlays, or None. name: of the image, without suffix; may contain folders.
    If asked for, in float32 or float16:
    probabilities: (K, H, W), summing to 1 over the classes, but with `multi_label`.
    confidence: (H, W), the probability of the label; with `multi_label`, that of the least sure yes or no.
    entropy: (H, W), of the probabilities, from 0 (certain) to log(K), in nats; with `multi_label` the sum of those of
    each yes or no, up to K log(2).
    logits: (K, H, W), or (1, H, W) of a model with one logit.

    Raises ValueError, saying what was expected and found, if the parts do not fit together.
    """

    label: npt.NDArray[np.uint8 | np.uint16]
    classes: tuple[str, ...]
    palette: tuple[tuple[int, int, int], ...]
    image: npt.NDArray[np.uint8] | None = None
    name: str = "image"
    probabilities: npt.NDArray[np.float32 | np.float16] | None = None
    confidence: npt.NDArray[np.float32 | np.float16] | None = None
    entropy: npt.NDArray[np.float32 | np.float16] | None = None
    logits: npt.NDArray[np.float32 | np.float16] | None = None
    multi_label: bool = False

    def __post_init__(self) -> None:
        count, dtype = len(self.classes), label_dtype(len(self.classes), multi_label=self.multi_label)
        values = set_count(count) if self.multi_label else count
        if self.multi_label and count > MOST:
            raise ValueError(f"classes: a pixel may have at most {MOST}, found {count}")
        if count > MOST_CLASSES:
            raise ValueError(f"classes: expected at most {MOST_CLASSES:,}, found {count:,}")
        if self.label.ndim != 2 or self.label.dtype != dtype or self.label.size == 0:
            raise ValueError(
                f"label: expected (H, W) {dtype.__name__} for {count} classes, found {_described(self.label)}"
            )
        if int(self.label.max()) >= values:
            what = "sets of classes" if self.multi_label else "class indices"
            raise ValueError(f"label: expected {what} below {values}, found {self.label.max()}")
        if len(self.palette) != count:
            raise ValueError(f"palette: expected one colour for each of {count} classes, found {len(self.palette)}")
        if any(len(colour) != 3 or not all(0 <= value <= 255 for value in colour) for colour in self.palette):
            raise ValueError("palette: expected (red, green, blue) in 0..255 for every class")
        height, width = self.label.shape
        channels = 1 if self.logits is not None and count == 2 and len(self.logits) == 1 else count
        for field, array, shape, kinds in (
            ("image", self.image, (height, width, 3), (np.uint8,)),
            ("probabilities", self.probabilities, (count, height, width), _REAL),
            ("confidence", self.confidence, (height, width), _REAL),
            ("entropy", self.entropy, (height, width), _REAL),
            ("logits", self.logits, (channels, height, width), _REAL),
        ):
            if array is not None and (array.shape != shape or array.dtype not in kinds):
                names = " or ".join(kind.__name__ for kind in kinds)
                raise ValueError(f"{field}: expected {shape} {names}, found {_described(array)}")

    def __repr__(self) -> str:
        height, width = self.label.shape
        shares = sorted(((share, name) for name, share in self.areas().items() if share), reverse=True)
        parts = [f"{name} {share:.1%}" for share, name in shares[:3]]
        if len(shares) > 3:
            parts.append(f"{len(shares) - 3} more")
        extras = [
            name for name in ("probabilities", "confidence", "entropy", "logits") if getattr(self, name) is not None
        ]
        with_extras = f", with {', '.join(extras)}" if extras else ""
        return f"<Prediction {self.name!r}: {width} x {height} pixels{with_extras}: {', '.join(parts)}>"

    @property
    def labels(self) -> npt.NDArray[np.bool_]:
        """Where each class is, (K, H, W); of a `multi_label` model several may be at one pixel."""
        return np.stack([self.mask(k) for k in range(len(self.classes))])

    def mask(self, k: int) -> npt.NDArray[np.bool_]:
        """Where class k is, (H, W)."""
        return np.asarray(has(self.label, k) == 1 if self.multi_label else self.label == k)

    def areas(self) -> dict[str, float]:
        """The share of the image that each class covers, in fractions of 1; classes that do not appear have 0.

        With `multi_label` they need not add up to 1.
        """
        shares: dict[str, float] = {}
        for name, count in zip(self.classes, self.pixels().tolist(), strict=True):
            shares[name] = shares.get(name, 0.0) + count / self.label.size
        return shares

    def pixels(self, *, min_confidence: float | None = None) -> npt.NDArray[np.int64]:
        """How many pixels each class has, (K,); those that are uncertain at a threshold belong to none."""
        label = self.label.ravel() if min_confidence is None else self.label[~self.uncertain(min_confidence)]
        if self.multi_label:
            return np.array([np.count_nonzero(has(label, k)) for k in range(len(self.classes))], np.int64)
        return np.bincount(label, minlength=len(self.classes)).astype(np.int64)

    def uncertain(self, min_confidence: float) -> npt.NDArray[np.bool_]:
        """Where the confidence is below a threshold, (H, W). A confidence that is no number is below any.

        Raises ValueError if the prediction was made without confidence, or for a threshold outside 0..1.
        """
        if self.confidence is None:
            raise ValueError("uncertain pixels are found by the confidence: predict with confidence=True")
        if not 0 <= min_confidence <= 1:
            raise ValueError(f"min_confidence: expected a confidence from 0 to 1, found {min_confidence}")
        return np.asarray(~(self.confidence >= min_confidence))

    def label_with_uncertain(self, min_confidence: float) -> npt.NDArray[np.uint8 | np.uint16]:
        """The label map (H, W) in which uncertain pixels are 255 up to 255 classes, and 65535 in 16 bits beyond.

        Raises ValueError as `uncertain` does, and for 65536 classes, the last of which has this value.
        """
        if len(self.classes) == MOST_CLASSES:
            raise ValueError(f"uncertain pixels are written as 65535, which is the class {self.classes[-1]!r} here")
        most = 7 if self.multi_label else 255
        dtype: type[np.uint8 | np.uint16] = np.uint8 if len(self.classes) <= most else np.uint16
        label: npt.NDArray[np.uint8 | np.uint16] = self.label.astype(dtype)  # a copy
        label[self.uncertain(min_confidence)] = np.iinfo(dtype).max
        return label

    def coloured(self, *, min_confidence: float | None = None) -> npt.NDArray[np.uint8]:
        """Every pixel in the colour of its class, uncertain ones hatched: (H, W, 3) uint8 RGB."""
        mask = None if min_confidence is None else self.uncertain(min_confidence)
        return coloured(self.label, self.shown_values[1], ignore_index=None, uncertain=mask)

    def overlay(
        self, opacity: float = 0.5, legend: bool = True, *, contours: bool = True, min_confidence: float | None = None
    ) -> npt.NDArray[np.uint8]:
        """The image under its class colours: (H, W, 3) uint8 RGB.

        opacity: 0 shows the image alone, 1 the colours alone; without an image the colours stand alone. With `legend`,
        the classes present are listed to the right with their share, and small images are enlarged so that the text is
        legible. contours: darker lines between classes. min_confidence: pixels of less confidence are hatched.
        """
        mask = None if min_confidence is None else self.uncertain(min_confidence)
        image, label = self.image, self.label
        if legend:
            image, label = enlarged(image, label)
            if mask is not None:
                _, mask = enlarged(None, mask)
        picture = blend(
            image, label, self.shown_values[1], opacity=opacity, ignore_index=None, outline=contours, uncertain=mask
        )
        return with_legend(picture, self._legend(min_confidence)) if legend else picture

    def _legend(self, min_confidence: float | None) -> list[Entry]:
        """The classes that appear, or with `multi_label` the sets, the largest first, and what is uncertain."""
        names, palette = self.shown_values
        label = self.label if min_confidence is None else self.label[~self.uncertain(min_confidence)]
        shares = np.bincount(label.ravel(), minlength=len(names)) / self.label.size
        order = np.argsort(-shares, kind="stable")
        entries = [Entry(names[k], palette[k], share_text(shares[k])) for k in order if shares[k] > 0]
        if min_confidence is not None:
            rest = share_text(float(self.uncertain(min_confidence).mean()))
            entries.append(Entry(f"uncertain (< {min_confidence:g})", HATCHED, rest, hatched=True))
        return entries

    @property
    def shown_values(self) -> tuple[tuple[str, ...], tuple[tuple[int, int, int], ...]]:
        """A name and a colour for each value of the label map."""
        return pictured(self.classes, self.palette) if self.multi_label else (self.classes, self.palette)

    def save(self, path: PathLike, *, min_confidence: float | None = None) -> Path:
        """Write the label map as PNG whose values are class indices: with a palette, or 16-bit grey beyond 256 classes.

        min_confidence: pixels of less confidence than this are written as `label_with_uncertain` does.
        Missing folders are made. Returns the path. Raises ValueError for a suffix other than .png.
        """
        label = self.label if min_confidence is None else self.label_with_uncertain(min_confidence)
        return save_label(path, label, self.shown_values[1])

    def save_overlay(
        self,
        path: PathLike,
        opacity: float = 0.5,
        legend: bool = True,
        *,
        contours: bool = True,
        min_confidence: float | None = None,
    ) -> Path:
        """Write the overlay; the suffix (.jpg, .png, .webp) decides the format. Returns the path."""
        return save_picture(path, self.overlay(opacity, legend, contours=contours, min_confidence=min_confidence))


def label_dtype(num_classes: int, *, multi_label: bool = False) -> type[np.uint8 | np.uint16]:
    """Of label maps: 8 bits as long as they hold class indices, or with `multi_label` a bit for each class."""
    return np.uint8 if num_classes <= (8 if multi_label else 256) else np.uint16


def _described(array: npt.NDArray[Any]) -> str:
    return f"{array.shape} {array.dtype}"
