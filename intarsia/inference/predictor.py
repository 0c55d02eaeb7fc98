"""The one way from images to label maps: validation, test, `predict` and the export check all go through it."""

from __future__ import annotations

import glob
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, overload

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from intarsia.contracts import Batch, PathLike, Sample, SampleMeta, Size, Transform
from intarsia.data.files import Bands
from intarsia.data.loader import collate
from intarsia.inference.prediction import Prediction
from intarsia.inference.restore import Geometry, check_threshold, restore, restore_probabilities
from intarsia.inference.sources import Failure, FoundImages, ImageLike, ImageStream, as_array
from intarsia.spec import InferenceSpec


class Segmenter(Protocol):
    """What the predictor needs of a task: `tasks.semantic.SemanticSegmentation` is one."""

    training: bool

    @property
    def preprocess(self) -> Callable[..., Tensor]:
        """Images (N, C, H, W) as stored, sizes of their valid parts, train=False -> the network's input."""

    @property
    def model(self) -> Callable[[Tensor], Tensor]:
        """The network's input -> logits (N, K, h, w)."""

    def eval(self) -> Any:
        """Switch to evaluation."""

    def to(self, device: torch.device) -> Any:
        """Move everything to a device."""

    def parameters(self) -> Iterator[Tensor]:
        """All parameters; the first one's device is the task's."""


@dataclass(frozen=True, slots=True)
class Outputs:
    """What the network gave for a batch. logits: (N, K, h, w). network: the size of its input, padding included."""

    logits: Tensor
    network: Size


class Predictor:
    """Turns images into label maps at their own size. Holds no state that a call changes: threads may share it.

    transforms: of the test pipeline, applied to single images as evaluation applies them to a data set.
    classes, palette: names and colours of the label values. A model with one logit has two label values; where only its
    foreground is named, the other is called "background".
    bands: "colour" reads every image as RGB; "stored" takes files and arrays as they are.

    Raises ValueError for an inference mode other than "whole".
    """

    def __init__(
        self,
        task: Segmenter,
        *,
        inference: InferenceSpec,
        transforms: Sequence[Transform] = (),
        classes: Sequence[str],
        palette: Sequence[Sequence[int]],
        device: torch.device | str | None = None,
        bands: Bands = "colour",
    ) -> None:
        if inference.mode != "whole":
            raise ValueError(
                f"inference mode: expected 'whole', found {inference.mode!r}; sliding windows are not supported yet. "
                "Set model.test_cfg.mode='whole' to predict whole images"
            )
        self.inference = inference
        self.transforms = tuple(transforms)
        self.bands = bands
        self.classes, self.palette = _label_values(classes, palette, inference.threshold)
        self.device = torch.device(device) if device is not None else _device_of(task)
        task.to(self.device)
        self.task = task

    # --- batches: evaluation ---------------------------------------------------------------------------------------

    def predict_batch(self, batch: Batch) -> list[Tensor]:
        """Label maps (H_i, W_i) at the images' original sizes, uint8 up to 256 classes, else int32, on the device."""
        return self.label_maps(self.outputs(batch), batch)

    @torch.inference_mode()
    def outputs(self, batch: Batch) -> Outputs:
        """The network's logits, on their own stride; for those who also want a loss on them."""
        if self.task.training:
            self.task.eval()
        batch = batch.to(self.device)
        images = self.task.preprocess(batch.images, batch.sizes, train=False)
        logits = self.task.model(images)
        self._check_channels(logits.shape[1])
        _warn_of_non_finite(logits, batch.metas)
        return Outputs(logits, (images.shape[2], images.shape[3]))

    @torch.inference_mode()
    def label_maps(self, outputs: Outputs, batch: Batch) -> list[Tensor]:
        """The label map of each image from the network's outputs."""
        align_corners, threshold = self.inference.align_corners, self.inference.threshold
        return [
            restore(logits, geometry, align_corners=align_corners, threshold=threshold).label
            for logits, geometry in zip(outputs.logits, geometries(batch, outputs.network), strict=True)
        ]

    def _check_channels(self, found: int) -> None:
        check_threshold(found, self.inference.threshold)
        if found not in (1, len(self.classes)):
            raise ValueError(
                f"expected one logit for each of {len(self.classes)} classes, found {found}; "
                "class names and model do not belong together"
            )

    # --- images: predict -------------------------------------------------------------------------------------------

    @overload
    def predict(  # type: ignore[overload-overlap]
        self,
        image: npt.NDArray[Any] | Image.Image | Tensor,
        *,
        probabilities: bool = False,
        confidence: bool = False,
    ) -> Prediction: ...

    @overload
    def predict(self, image: PathLike, *, probabilities: bool = False, confidence: bool = False) -> Any: ...

    @overload
    def predict(
        self, image: FoundImages | Iterable[ImageLike], *, probabilities: bool = False, confidence: bool = False
    ) -> Predictions: ...

    def predict(
        self,
        image: ImageLike | FoundImages | Iterable[ImageLike],
        *,
        probabilities: bool = False,
        confidence: bool = False,
    ) -> Prediction | Predictions:
        """One image gives a Prediction; many give an iterator of them that decodes ahead and holds none back.

        image: a file, an array (H, W, 3), (H, W) or (H, W, 4), a PIL image or a tensor (C, H, W), all uint8 RGB; or a
        folder, a glob, or any iterable of images. probabilities, confidence: also fill these fields.

        Raises ValueError for an image that cannot be read or does not fit the model. In a stream such images are set
        aside in `Predictions.failures` instead.
        """
        options = _Options(probabilities, confidence)
        if isinstance(image, str | Path):
            if Path(image).expanduser().is_dir() or (glob.has_magic(str(image)) and not Path(image).exists()):
                return Predictions(self, ImageStream(image, bands=self.bands), options)
            image = Path(image).expanduser()
            return self._predict_one(Path(image).stem, as_array(image, bands=self.bands), options)
        if isinstance(image, np.ndarray | Image.Image | Tensor):
            return self._predict_one("image", as_array(image, bands=self.bands), options)
        return Predictions(self, ImageStream(image, bands=self.bands), options)

    @torch.inference_mode()
    def _predict_one(self, name: str, image: npt.NDArray[Any], options: _Options) -> Prediction:
        sample = Sample(image, meta=SampleMeta(name=name, original_size=(image.shape[0], image.shape[1])))
        rng = np.random.default_rng(0)  # pipelines of the test phase draw nothing; those that do repeat themselves
        for transform in self.transforms:
            sample = transform(sample, rng)
        batch = collate([sample])
        outputs = self.outputs(batch)
        (geometry,) = geometries(batch, outputs.network)
        logits, threshold = outputs.logits[0], self.inference.threshold
        align_corners = self.inference.align_corners
        restored = restore(
            logits, geometry, align_corners=align_corners, threshold=threshold, confidence=options.confidence
        )
        shares = None
        if options.probabilities:
            shares = restore_probabilities(logits, geometry, align_corners=align_corners, threshold=threshold)
        return Prediction(
            label=restored.label.cpu().numpy().astype(np.uint8 if len(self.classes) <= 256 else np.uint16),
            classes=self.classes,
            palette=self.palette,
            image=image if image.dtype == np.uint8 and image.shape[2] == 3 else None,
            name=name,
            probabilities=None if shares is None else shares.float().cpu().numpy(),
            confidence=None if restored.confidence is None else restored.confidence.float().cpu().numpy(),
        )


@dataclass(frozen=True, slots=True)
class _Options:
    probabilities: bool
    confidence: bool


class Predictions(Iterator[Prediction]):
    """The predictions of a stream of images, made as they are asked for.

    Raises ValueError at the end if there were images and not one could be used.
    """

    def __init__(self, predictor: Predictor, stream: ImageStream, options: _Options) -> None:
        self._predictor, self._stream, self._options = predictor, stream, options

    @property
    def failures(self) -> list[Failure]:
        """Images that could not be used so far, with the reason."""
        return self._stream.failures

    @property
    def skipped(self) -> Mapping[str, int]:
        """How many files of which suffix were passed over in folders."""
        return self._stream.skipped

    @property
    def total(self) -> int | None:
        """How many images there are, None if that is not known beforehand."""
        return self._stream.total

    def __next__(self) -> Prediction:
        while True:
            name, image = next(self._stream)
            try:
                return self._predictor._predict_one(name, image, self._options)
            except ValueError as error:
                self._stream.reject(name, error)

    def close(self) -> None:
        """Stop decoding ahead."""
        self._stream.close()


def geometries(batch: Batch, network: Size) -> list[Geometry]:
    """How each image of a batch became the network's input."""
    return [
        Geometry(network, meta.valid or size, meta.original_size, meta.flips)
        for meta, size in zip(batch.metas, batch.sizes, strict=True)
    ]


def _warn_of_non_finite(logits: Tensor, metas: Sequence[SampleMeta]) -> None:
    """One warning for each such image: Python's own filter shows the same text only once."""
    for meta, is_finite in zip(metas, logits.isfinite().flatten(1).all(dim=1).tolist(), strict=True):
        if not is_finite:
            name = meta.name or "image"
            warnings.warn(f"{name}: the network gave nan or infinity; its labels mean nothing there", stacklevel=3)


def _label_values(
    classes: Sequence[str], palette: Sequence[Sequence[int]], threshold: float | None
) -> tuple[tuple[str, ...], tuple[tuple[int, int, int], ...]]:
    names = tuple(classes)
    colours = tuple((int(red), int(green), int(blue)) for red, green, blue in palette)
    if threshold is not None and len(names) == 1:
        names, colours = ("background", *names), ((0, 0, 0), *colours)
    if not names or len(names) != len(colours):
        raise ValueError(
            f"expected a name and a colour for every class, found {len(classes)} names, {len(palette)} colours"
        )
    if threshold is not None and len(names) != 2:
        raise ValueError(
            f"a model with one logit tells two classes apart, found {len(names)} names: {', '.join(names)}"
        )
    return names, colours


def _device_of(task: Segmenter) -> torch.device:
    for parameter in task.parameters():
        return parameter.device
    return torch.device("cpu")
