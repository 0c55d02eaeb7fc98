"""The one way from images to label maps: validation, test, `predict` and the export check all go through it."""

from __future__ import annotations

import copy
import math
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, overload

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from intarsia.contracts import Batch, ConditionalTask, PathLike, Sample, SampleMeta, Size, Task, Transform
from intarsia.data.collate import collate
from intarsia.data.image_reader import ImageReader
from intarsia.data.pages import count_pages
from intarsia.inference.class_names import label_values
from intarsia.inference.execution import Execution
from intarsia.inference.inputs.arrays import ImageLike, as_array
from intarsia.inference.inputs.finding import FoundImages, ImageFile, Pages, means_many
from intarsia.inference.inputs.images import ImageStream, warn_of_pages
from intarsia.inference.inputs.remote import on_disk, shown
from intarsia.inference.logits.lazy import HeadLogits, LogitMap, Resized
from intarsia.inference.logits.mean import MeanOf, ModelMean
from intarsia.inference.logits.postprocess import (
    FieldAllocator,
    Geometry,
    Postprocessed,
    RequestedFields,
    at_original,
    check_threshold,
    mean_values,
    postprocess,
)
from intarsia.inference.logits.sliding import Feed, SlidingLogits, Window, check_windows, default_batch, windows_of
from intarsia.inference.memory import LARGE, MemoryCheck, memory_errors
from intarsia.inference.network import Soundness, at_least, network_errors, one_thread_after_fork
from intarsia.inference.network_input import NetworkInput, by_windows, can_be_cut
from intarsia.inference.prediction import Prediction, label_dtype
from intarsia.inference.predictions import Answer, Predictions
from intarsia.inference.tta import USUAL, at_first, check_augmented, pixels_of, views_of, without_resizing
from intarsia.label_sets import pictured
from intarsia.spec import AugmentedInference, InferenceSpec
from intarsia.tasks.preprocess import Preprocess, least_size

if TYPE_CHECKING:
    from typing import Unpack  # of Python 3.11

Observe = Callable[[Tensor, Sequence[Window], Size, Size], None]
"""Told of each pass through the network: logits (n, K, h, w), what of which image they show, the whole input's size,
and that of what the network saw, which is larger where windows were padded."""


_SWITCHING = threading.Lock()
"""Held while a task is put to evaluation: one that is half way there would still change its running statistics."""


class Extras(TypedDict, total=False):
    """What `Predictor.predict` gives besides labels, on request."""

    probabilities: bool
    confidence: bool
    entropy: bool
    logits: bool
    half: bool
    place: FieldAllocator | None
    pages: Pages


class Predictor:
    """Turns images into label maps at their own size.

    Threads may share it: no call changes its state, and what a call computes does not depend on other calls. Only
    training the same task meanwhile would disturb it.

    inference: whole images or sliding windows. augment: average over its augmented views, or over the usual six scales
    with their mirror images if it names none; without it, they are not looked at.
    transforms: of the test pipeline, applied to single images as evaluation applies them to a data set.
    classes, palette: names and colours of the label values, or, where a pixel may have several classes, of these (then
    labels are sets, `multi_label`). A model with one logit has two label values; where only its
    foreground is named, the other is called "background".
    reader: what the model expects of an image's bands and values; by default 8-bit RGB.
    batch_windows: how many sliding windows go through the network together; None lets the memory decide.
    precision, compile: how the network computes, see `Execution`.
    least_size: pixels of the least side that the network can see; smaller inputs are padded.

    Raises ValueError for windows, views or a precision that make no sense, and if there is no compiler to compile with.
    """

    def __init__(
        self,
        task: Task,
        *,
        inference: InferenceSpec,
        augment: bool = False,
        transforms: Sequence[Transform] = (),
        classes: Sequence[str],
        palette: Sequence[Sequence[int]],
        device: torch.device | str | None = None,
        reader: ImageReader | None = None,
        batch_windows: int | None = None,
        precision: str = "32",
        compile: bool = False,
    ) -> None:
        if inference.mode != "whole":
            check_windows(inference.crop_size, inference.stride, even=inference.mode == "slide_even")
        self.augmented = (inference.augmented or USUAL) if augment else None
        if self.augmented is not None:
            check_augmented(self.augmented)
        if batch_windows is not None and batch_windows < 1:
            raise ValueError(f"batch_windows: expected at least 1, found {batch_windows}")
        self.inference = inference
        self.transforms = tuple(transforms if self.augmented is None else without_resizing(transforms))
        self.reader = reader or ImageReader()
        self.classes, self.palette = label_values(classes, palette, inference.threshold)
        self.multi_label = inference.answer == "classes"
        self.device = torch.device(device) if device is not None else _device_of(task)
        self.batch_windows = batch_windows
        if _device_of(task) != self.device:
            task.to(self.device)
        self.task = task
        self.network = Execution(task, self.device, precision=precision, compile=compile)
        self.least_size = least_size(task.model)
        self._memory = MemoryCheck(task, self.device, least_size=self.least_size)
        self.others: tuple[Predictor, ...] = ()
        self.mean: MeanOf = "probabilities"
        one_thread_after_fork()

    def together(self, others: Sequence[Predictor], mean: MeanOf) -> Predictor:
        """This model with others of the same classes as one: their mean decides, by this one's threshold.

        mean: of what. Each sees the image through its own network and preprocessing; bands, values, test pipeline,
        windows and views are this one's, which `ensemble.check_members` compares. No pass is told to who observes.
        """
        joined = copy.copy(self)
        joined.others, joined.mean = tuple(others), mean
        return joined

    @property
    def shown_values(self) -> tuple[tuple[str, ...], tuple[tuple[int, int, int], ...]]:
        """A name and a colour for each value of a label map, for pictures."""
        return pictured(self.classes, self.palette) if self.multi_label else (self.classes, self.palette)

    # --- batches: evaluation ---------------------------------------------------------------------------------------

    @torch.inference_mode()
    def predict_batch(self, batch: Batch, *, observe: Observe | None = None) -> list[Tensor]:
        """Label maps (H_i, W_i) at the images' original sizes, uint8 up to 256 classes, else int32, on the device.

        Images of one size go through the network together; no image depends on what else is in the batch. With
        augmentation, the images are expected as `self.transforms` leave them: not resized.

        observe: is told of each pass through the network; of none with augmentation, whose views are no input that
        labels could be compared with.
        """
        return [found.label for found in self.postprocess_batch(batch, RequestedFields(), observe=observe)]

    @torch.inference_mode()
    def postprocess_batch(
        self,
        batch: Batch,
        wanted: RequestedFields,
        *,
        observe: Observe | None = None,
        soundness: Soundness | None = None,
    ) -> list[Postprocessed]:
        """As `predict_batch`, with what else is wanted, such as the confidence, at the images' original sizes.

        soundness: takes note of networks that give nan; its owner warns. None: warns, which waits for the device.
        """
        noted = Soundness() if soundness is None else soundness
        first = batch.metas[0]
        with memory_errors(first.name, first.original_size, self.device, by_windows=self.inference.mode != "whole"):
            found = [self.decided(views, wanted) for views in self._views(batch, observe, noted)]
        if soundness is None:
            noted.warn()
        return found

    @torch.inference_mode()
    def logit_maps(self, samples: Sequence[Sample], *, soundness: Soundness | None = None) -> list[list[LogitMap]]:
        """For each image, before the transforms, its maps at its own size: one, or one for each augmented view.

        For who puts images together to a larger one; `decided` makes a label map of them. soundness: as above.
        """
        rng = np.random.default_rng(0)  # pipelines of the test phase draw nothing; those that do repeat themselves
        transformed = []
        for sample in samples:
            for transform in self.transforms:
                sample = transform(sample, rng)
            transformed.append(sample)
        return list(self._views(collate(transformed), soundness=soundness))

    def decided(self, views: Sequence[LogitMap], wanted: RequestedFields, budget: int | None = None) -> Postprocessed:
        """What `logit_maps` of one image say: its label map, and what else is wanted. budget: see `postprocess`."""
        if wanted.logits:
            self.check_fields(wanted)
        if self.inference.answer == "depth":
            if not wanted.nothing:
                raise ValueError("a model of depth has no probabilities, confidence, entropy or logits")
            return Postprocessed(label=mean_values(views))
        spec, several = self.inference, self.inference.thresholds
        return postprocess(views, threshold=spec.foreground_above, thresholds=several, wanted=wanted, budget=budget)

    def _views(
        self, batch: Batch, observe: Observe | None = None, soundness: Soundness | None = None
    ) -> Iterator[list[LogitMap]]:
        """For each image its maps at the original size, of all models: one, or several whose mean counts."""
        if not self.others:
            yield from self._own_views(batch, observe, soundness)
            return
        members = (self, *self.others)
        means = [ModelMean(len(members), self.mean, sets=self.multi_label) for _ in batch.metas]
        for member in members:
            for mean, views in zip(means, member._own_views(batch, None, soundness), strict=True):
                mean.add(views)
        yield from (mean.maps() for mean in means)

    def _own_views(
        self, batch: Batch, observe: Observe | None, soundness: Soundness | None
    ) -> Iterator[list[LogitMap]]:
        """For each image the maps of this model: one, or as many as it has augmented views."""
        one_thread_after_fork()
        with _SWITCHING:
            if self.task.training:
                self.task.eval()
        if self.augmented is None:
            yield from ([logit_map] for logit_map in self._logit_maps(batch, observe, soundness))
            return
        for image, size, meta in zip(batch.images, batch.sizes, batch.metas, strict=True):
            (height, width), (top, left) = meta.valid or size, meta.corner
            pixels = image[:, top : top + height, left : left + width].permute(1, 2, 0).cpu().numpy()
            yield self._augmented_views(pixels, replace(meta, valid=None, corner=(0, 0)), self.augmented, soundness)

    def _augmented_views(
        self, image: npt.NDArray[Any], meta: SampleMeta, augmented: AugmentedInference, soundness: Soundness | None
    ) -> list[LogitMap]:
        """A logit map for every scale with every flip, in this order, which is that of their sum."""
        # Windows are computed as strips need them, which each view does for itself. A processor gains by no batch.
        together = self.inference.mode == "whole" and self.device.type != "cpu"
        image, scales = at_first(image, meta, augmented), augmented.scales
        pixels = [pixels_of(scale, (image.shape[0], image.shape[1])) for scale in scales]
        maps: dict[int, list[LogitMap]] = {}
        # The largest needs most memory: it comes while nothing is held.
        for number in sorted(range(len(scales)), key=pixels.__getitem__, reverse=True):
            views = views_of(image, meta, scales[number], augmented.flips, together=together)
            maps[number] = [logit_map for view in views for logit_map in self._logit_maps(view, None, soundness)]
        return [logit_map for number in range(len(scales)) for logit_map in maps[number]]

    def _logit_maps(self, batch: Batch, observe: Observe | None, soundness: Soundness | None) -> list[LogitMap]:
        """One logit map for each image, at its original size."""
        maps: dict[int, LogitMap] = {}
        for size in dict.fromkeys(batch.sizes):
            members = [index for index, other in enumerate(batch.sizes) if other == size]
            images = batch.images if len(members) == len(batch.sizes) else batch.images[members]
            images = images.to(self.device, non_blocking=True)[:, :, : size[0], : size[1]]
            metas = [batch.metas[index] for index in members]
            inputs = self._network_input(images, size, metas)
            found = self._at_input(inputs, members, metas, observe, soundness)
            for index, meta, logit_map in zip(members, metas, found, strict=True):
                geometry = Geometry.of(logit_map.size, size, meta)
                maps[index] = at_original(
                    logit_map, geometry, align_corners=self.inference.align_corners, sets=self.multi_label
                )
        return [maps[index] for index in range(len(maps))]

    def _network_input(self, images: Tensor, size: Size, metas: Sequence[SampleMeta]) -> NetworkInput:
        """What the network is shown of stored images (n, C, H, W), if that fits into memory."""
        spec, preprocess = self.inference, self.task.preprocess
        if size[0] * size[1] >= LARGE:
            cut = spec.mode != "whole" and can_be_cut(preprocess, size, self.least_size)
            windows = self.batch_windows or default_batch(spec.crop_size, self.device) if spec.crop_size else 0
            at_once = windows * math.prod(spec.crop_size or ()) if spec.mode != "whole" else None
            self._memory.check(metas[0].name or "image", images, at_once=at_once, normalised_whole=not cut)
            if cut:
                assert isinstance(preprocess, Preprocess)
                return by_windows(images, preprocess)
        inputs = preprocess(images, (size,) * len(images), train=False)  # (n, C, H, W)
        return NetworkInput.of(at_least(inputs, self.least_size))

    def _at_input(
        self,
        inputs: NetworkInput,
        members: Sequence[int],
        metas: Sequence[SampleMeta],
        observe: Observe | None,
        soundness: Soundness | None,
    ) -> list[LogitMap]:
        """A logit map of the network input's size for each of (n, C, H, W), which are the `members` of a batch."""
        network, spec = inputs.size, self.inference

        def forward(pixels: Tensor, windows: Sequence[Window]) -> Tensor:
            shown = [metas[window.image] for window in windows]
            conditions = self.task.conditions(shown) if isinstance(self.task, ConditionalTask) else ()
            pixels = at_least(pixels, self.least_size)  # of windows smaller than that
            with network_errors(shown, pixels.shape[2:]):
                logits = self.network(pixels, *conditions)
            self._check_channels(logits.shape[1])
            noted = soundness or Soundness()
            noted.note(logits, shown)
            if soundness is None:
                noted.warn()
            if observe is not None:
                of_batch = [replace(window, image=members[window.image]) for window in windows]
                observe(logits, of_batch, network, (pixels.shape[2], pixels.shape[3]))
            return logits

        if spec.mode == "whole":
            logits = forward(inputs.whole(), [Window(number, 0, 0, *network) for number in range(inputs.count)])
            return [Resized(HeadLogits(values), network, align_corners=spec.align_corners) for values in logits]
        assert spec.crop_size is not None
        each = [
            windows_of(
                network,
                spec.crop_size,
                spec.stride,
                image=number,
                both_ways=spec.mode == "slide_flip",
                four_ways=spec.mirror,
                even=spec.mode == "slide_even",
            )
            for number in range(inputs.count)
        ]
        for windows, meta in zip(each, metas, strict=True):
            if meta.flips.count("vertical") % 2:  # strips of the upright image come from the bottom
                windows.sort(key=lambda window: -window.top)
        batch = self.batch_windows or default_batch(spec.crop_size, self.device)
        feed = Feed(inputs.cut, [window for windows in each for window in windows], forward, batch=batch)
        return [
            SlidingLogits(
                network, windows, feed, align_corners=spec.align_corners, blend=spec.blend, least_size=self.least_size
            )
            for windows in each
        ]

    def _check_channels(self, found: int) -> None:
        if self.inference.answer == "depth":
            return
        one_logit = self.inference.threshold is not None
        if self.multi_label and found != len(self.classes):
            raise ValueError(f"expected one logit for each of {len(self.classes)} classes, found {found}")
        check_threshold(found, self.inference.foreground_above, most=1 if one_logit else 2)
        if found not in (1, len(self.classes)):
            raise ValueError(
                f"expected one logit for each of {len(self.classes)} classes, found {found}; "
                "class names and model do not belong together"
            )

    # --- images: predict -------------------------------------------------------------------------------------------

    @overload
    def predict(  # type: ignore[overload-overlap]
        self, image: npt.NDArray[Any] | Image.Image | Tensor, **extras: Unpack[Extras]
    ) -> Prediction: ...

    @overload
    def predict(self, image: PathLike, **extras: Unpack[Extras]) -> Any: ...

    @overload
    def predict(
        self, image: FoundImages | Iterable[ImageLike | ImageFile], **extras: Unpack[Extras]
    ) -> Predictions[Prediction]: ...

    def predict(
        self,
        image: ImageLike | FoundImages | Iterable[ImageLike | ImageFile],
        *,
        probabilities: bool = False,
        confidence: bool = False,
        entropy: bool = False,
        logits: bool = False,
        half: bool = False,
        place: FieldAllocator | None = None,
        pages: Pages = "first",
    ) -> Prediction | Predictions[Prediction]:
        """One image gives a Prediction; many give an iterator of them that decodes ahead and holds none back.

        image: a file, an array (H, W, C) or (H, W), a PIL image or a tensor (C, H, W); or a folder, a glob, or any
        iterable of images. Text may be an address: https:// of a file, s3:// of a file or folder. Arrays for a model
        that was trained on colours are uint8: grey, RGB or RGBA. A model trained with `bands: raw` takes the numbers
        and bands that it was trained on.
        probabilities, confidence, entropy, logits: also fill these fields, in float32 or, with `half`, in float16.
        place: gives the tensor for such a field of an image, by its name and shape, if it should not be in memory:
        `inference.scratch.Scratch` keeps them in files.
        pages: of files that hold several images (TIFF, GIF, WebP, PNG), the "first", with a warning, or "all", each as
        an image; then one file gives an iterator, too.

        Raises ValueError for an image that cannot be read or does not fit the model. In a stream such images are set
        aside in `Predictions.failures` instead. Raises ValueError for a model of depth: see `DepthPredictor`.
        """
        if self.inference.answer == "depth":
            raise ValueError(
                "predictions are label maps, and this model answers with depths: make a DepthPredictor of it, as "
                "intarsia.load does"
            )
        wanted = RequestedFields(
            probabilities, confidence, entropy, logits, torch.float16 if half else torch.float32, place
        )
        self.check_fields(wanted)
        return self._one_or_many(image, pages, lambda name, array, file: self._predict_one(name, array, file, wanted))

    def check_fields(self, wanted: RequestedFields) -> None:
        """Raises ValueError for what no image will have; an exported file may say labels alone."""
        if wanted.logits and self.others and self.mean != "logits":
            raise ValueError(
                f"logits of {1 + len(self.others)} models: the mean is one of their probabilities, and has none; ask "
                "for probabilities, or for the mean of their logits"
            )

    def _one_or_many(
        self,
        image: ImageLike | FoundImages | Iterable[ImageLike | ImageFile],
        pages: Pages,
        predict_one: Callable[[str, npt.NDArray[Any], str], Answer],
    ) -> Answer | Predictions[Answer]:
        """What `predict_one` says of the name, the pixels (H, W, C) and the file of an image, or a stream of it."""
        if isinstance(image, str | Path):
            if pages == "first" and not means_many(image):
                with on_disk(image) as file:
                    array = as_array(file, self.reader)
                    if (count := count_pages(file)) > 1:
                        warn_of_pages(shown(image), count)
                    return predict_one(file.stem, array, str(file))
        elif isinstance(image, np.ndarray | Image.Image | Tensor):
            return predict_one("image", as_array(image, self.reader), "")
        return Predictions(ImageStream(image, reader=self.reader, pages=pages), predict_one)

    def predict_sample(self, sample: Sample, *, confidence: bool = False) -> Prediction:
        """A sample of a data set, whose image is as the model expects it, and whose file says where it is from.

        Raises ValueError for an image that does not fit the model.
        """
        return self._predict_sample(sample, RequestedFields(confidence=confidence))

    def _predict_one(self, name: str, image: npt.NDArray[Any], file: str, wanted: RequestedFields) -> Prediction:
        meta = SampleMeta(name=name, image_path=file, original_size=(image.shape[0], image.shape[1]))
        return self._predict_sample(Sample(image, meta=meta), wanted)

    @torch.inference_mode()
    def _predict_sample(self, sample: Sample, wanted: RequestedFields) -> Prediction:
        image = sample.image
        meta = replace(sample.meta, original_size=(image.shape[0], image.shape[1]))  # which own data sets need not say
        soundness = Soundness()
        with memory_errors(meta.name, meta.original_size, self.device, by_windows=self.inference.mode != "whole"):
            (views,) = self.logit_maps([Sample(image, meta=meta)], soundness=soundness)
            found = self.decided(views, wanted)
        soundness.warn()
        return Prediction(
            label=found.label.cpu().numpy().astype(label_dtype(len(self.classes), multi_label=self.multi_label)),
            classes=self.classes,
            palette=self.palette,
            image=as_seen(image),
            name=meta.name,
            probabilities=_array(found.probabilities),
            confidence=_array(found.confidence),
            entropy=_array(found.entropy),
            logits=_array(found.logits),
            multi_label=self.multi_label,
        )


def as_seen(image: npt.NDArray[Any]) -> npt.NDArray[np.uint8] | None:
    """An image (H, W, C) as predictions keep it to be shown: 8-bit colours, or None."""
    return image if image.dtype == np.uint8 and image.shape[2] == 3 else None


def _array(values: Tensor | None) -> npt.NDArray[Any] | None:
    return None if values is None else values.cpu().numpy()


def _device_of(task: Task) -> torch.device:
    for parameter in task.parameters():
        return parameter.device
    return torch.device("cpu")
