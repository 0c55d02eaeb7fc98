"""An exported file in the place of a network, so that the one predictor runs it: images, windows, scenes, videos.

Shape letters: N images, C channels, K classes, H, W height and width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from intarsia.contracts import Batch, LossTerm, Size
from intarsia.export.contract import Contract
from intarsia.export.runtime import Runtime
from intarsia.inference.depth_predictor import DepthPredictor
from intarsia.inference.logits.lazy import Channels, CropFlip, HeadLogits, LogitMap, Placed, Resized
from intarsia.inference.logits.postprocess import Postprocessed, RequestedFields, mean_values
from intarsia.inference.logits.sliding import SlidingLogits
from intarsia.inference.network import Soundness
from intarsia.inference.predictor import Observe, Predictor
from intarsia.inference.threshold import tells_two_apart
from intarsia.label_sets import has
from intarsia.spec import InferenceSpec

LEAST = 1e-12
"""Of a probability whose logarithm is taken."""

NEAR = 1e-6
"""To 0 or 1, of a probability whose logit is taken."""


class ExportedNetwork(nn.Module):
    """Stored images (N, C, H, W) -> scores (N, K, H, W) that say what the file says.

    Of a file that gives logits or depths, these; of probabilities, their logarithms, whose softmax they are; of labels,
    1 for the class and 0 for the others. Where a pixel may have several classes: of probabilities, the logits whose
    sigmoid they are; of sets, one half more or less than the logit of each class's threshold, so that the mean of
    several windows is decided by their majority. A file of scores says the probability of the label: of two classes
    that is both probabilities, of more it is a further channel, behind those of the classes. Images smaller than a
    file's fixed size are filled up with `filling`, one value for each channel, and what is answered there is cut off.
    """

    def __init__(
        self, runtime: Runtime, num_classes: int, filling: Sequence[float], thresholds: Sequence[float] | None = None
    ) -> None:
        super().__init__()
        self.runtime, self.num_classes = runtime, num_classes
        self.thresholds = None if thresholds is None else torch.tensor(thresholds).view(-1, 1, 1)
        self.filling = torch.tensor([round(value) for value in filling]).view(-1, 1, 1)

    def forward(self, images: Tensor) -> Tensor:
        """See the class. Raises ValueError if images are larger than a fixed size, or the runtime fails."""
        height, width = images.shape[2:]
        return self.scores(self._filled(images), None)[:, :, :height, :width]

    def scores(self, images: Tensor, size: Size | None) -> Tensor:
        """The same for images that the file takes as they are, at a size that it asks for; None: that of the images."""
        contract = self.runtime.meta.contract
        if contract.asks_size and size is None:
            size = (images.shape[2], images.shape[3])
        count = contract.batch or len(images)
        return torch.cat([self._scores(part, contract, size, count) for part in images.split(count)])

    def _scores(self, images: Tensor, contract: Contract, size: Size | None, count: int) -> Tensor:
        """Of at most `count` images, as many as a file of a fixed batch takes: the last stands for those that lack."""
        lacking = count - len(images)
        if lacking:
            repeated = torch.cat([images, images[-1:].expand(lacking, -1, -1, -1)])
            return self._scores(repeated, contract, size, count)[:-lacking]
        given = images.permute(0, 2, 3, 1) if contract.layout == "NHWC" else images
        stored = getattr(torch, contract.dtype)
        found = self.runtime.run(given.to(stored).contiguous().cpu().numpy(), size)
        values = torch.from_numpy(found[contract.outputs[0]])
        if contract.output == "depth":
            return values[:, None]
        if contract.output == "logits":
            return values
        if contract.output == "probs":
            return values.clamp_(min=LEAST).log_() if self.thresholds is None else values.logit(eps=NEAR)
        if contract.output == "scores":
            return self._with_confidence(values, torch.from_numpy(found["confidence"]), contract)
        return self._of_labels(values)

    def _of_labels(self, label: Tensor) -> Tensor:
        """Scores (N, K, H, W) of labels (N, H, W)."""
        if self.thresholds is None:
            return label[:, None] == torch.arange(self.num_classes, dtype=label.dtype).view(-1, 1, 1)
        bits = torch.stack([has(label.int(), k) for k in range(len(self.thresholds))], dim=1)
        return self.thresholds.logit(eps=NEAR) + bits - 0.5

    def _with_confidence(self, label: Tensor, confidence: Tensor, contract: Contract) -> Tensor:
        """Scores (N, 2, H, W) of two classes, or (N, K + 1, H, W), of labels and their probability (N, H, W)."""
        if contract.says_all_of(self.num_classes):
            probs = torch.where(self._of_labels(label), confidence[:, None], 1 - confidence[:, None])
            return probs.clamp_(min=LEAST).log_()
        return torch.cat([self._of_labels(label).to(confidence.dtype), confidence[:, None]], dim=1)

    def _filled(self, images: Tensor) -> Tensor:
        fixed = self.runtime.meta.contract.size
        if fixed is None or images.shape[2:] == torch.Size(fixed):
            return images
        height, width = images.shape[2:]
        if height > fixed[0] or width > fixed[1]:
            raise ValueError(
                f"the file takes images of {fixed[1]} x {fixed[0]} pixels, found {width} x {height}; larger ones are "
                f"shown to it window by window, which `intarsia predict` does by itself"
            )
        whole = self.filling.to(images.dtype).expand(-1, *fixed).repeat(len(images), 1, 1, 1)
        whole[:, :, :height, :width] = images
        return whole


class AsStored(nn.Module):
    """The preprocessing of a file that does its own: none. mean: as long as an image has bands, for who counts them."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.mean = torch.zeros(channels, 1, 1)

    def forward(self, images: Tensor, sizes: Sequence[Size], *, train: bool) -> Tensor:
        """Images (N, C, H, W) -> the same."""
        return images


class ExportedTask(nn.Module):
    """What the predictor knows of a model (`contracts.Task`), of a file. It cannot be trained.

    thresholds: of each class, where a pixel may have several.
    """

    def __init__(
        self, runtime: Runtime, *, num_classes: int, ignore_index: int = 255, filling: Sequence[float] = (),
        thresholds: Sequence[float] | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        contract = runtime.meta.contract
        self.model = ExportedNetwork(runtime, num_classes, filling or (0.0,) * contract.channels, thresholds)
        self.preprocess = AsStored(contract.channels)
        self.num_classes, self.ignore_index = num_classes, ignore_index

    def training_terms(self, batch: Batch) -> list[LossTerm]:
        """Raises ValueError: a file that was exported is not trained."""
        raise ValueError("an exported file cannot be trained; train the weights that it was made of, and export again")

    def label_problem(self, batch: Batch) -> str:
        """Nothing, since nothing is trained."""
        return ""

    def logits(self, images: Tensor, sizes: Sequence[Size]) -> Tensor:
        """Stored images (N, C, H, W) -> scores (N, K, H, W), see `ExportedNetwork`."""
        found: Tensor = self.model(images)
        return found

    def validation_loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Nan: the losses are not in the file."""
        return torch.full((), torch.nan)

    def compile_training(self) -> None:
        """Raises ValueError as `training_terms` does."""
        raise ValueError("an exported file cannot be trained")


def is_exported(task: object) -> bool:
    """Whether this is the task of an exported file."""
    return isinstance(task, ExportedTask)


def has_decided(task: object) -> bool:
    """Whether labels come out of a file as its own threshold has decided, which nothing changes afterwards."""
    if not isinstance(task, ExportedTask):
        return False
    contract = task.model.runtime.meta.contract
    return contract.output not in ("logits", "probs") and not contract.says_all_of(task.num_classes)


def runtime_name(task: object) -> str:
    """What runs the file of a task."""
    assert isinstance(task, ExportedTask)
    return task.model.runtime.name


class _OfFile(Predictor):
    """Where a file asks for the size of its answer, it is told that of the image."""

    @property
    def _contract(self) -> Contract:
        assert isinstance(self.task.model, ExportedNetwork)
        return self.task.model.runtime.meta.contract

    def _logit_maps(self, batch: Batch, observe: Observe | None, soundness: Soundness | None) -> list[LogitMap]:
        if not self._contract.asks_size or self.inference.mode != "whole":
            return super()._logit_maps(batch, observe, soundness)
        network = self.task.model
        assert isinstance(network, ExportedNetwork)
        found: list[LogitMap] = []
        for image, size, meta in zip(batch.images, batch.sizes, batch.metas, strict=True):
            (height, width), (top, left) = meta.valid or size, meta.corner
            shown = meta.original_size if meta.box is None else (max(meta.box[2], 1), meta.box[3])
            scores = network.scores(image[None, :, top : top + height, left : left + width], shown)
            part = CropFlip(HeadLogits(scores[0]), shown, meta.flips)
            box = meta.box
            found.append(part if box is None else Placed(part, meta.original_size, box, sets=self.multi_label))
        return found


class ExportedPredictor(_OfFile):
    """A predictor of an exported file that gives classes.

    Raises ValueError, when it is made or copied and asked, for a threshold where the file has decided already, for
    probabilities of a file that gives labels, and for the confidence of several windows or views of which a file says
    only that of its own label.
    """

    @property
    def _is_open(self) -> bool:
        """Whether the file leaves open what its numbers mean for the label."""
        return not has_decided(self.task)

    def check_fields(self, wanted: RequestedFields) -> None:
        """See `Predictor`."""
        output, is_open = self._contract.output, self._is_open
        if not is_open:
            self._check_threshold(output)
        missing = [] if is_open else [name for name in ("probabilities", "entropy") if getattr(wanted, name)]
        missing += ["confidence"] if wanted.confidence and output == "label" else []
        missing += ["logits"] if wanted.logits and output != "logits" else []
        if missing:
            enough = "logits" if "logits" in missing else "scores" if missing == ["confidence"] else "probs"
            raise ValueError(f"the file gives {output}, and no {', '.join(missing)}: export it with --output {enough}")

    def decided(self, views: Sequence[LogitMap], wanted: RequestedFields, budget: int | None = None) -> Postprocessed:
        """See `Predictor`."""
        self.check_fields(wanted)
        if self._is_open or self._contract.output == "label":
            return super().decided(views, wanted, budget=budget)
        count = len(self.classes)
        found = super().decided([Channels(view, 0, count) for view in views], RequestedFields(), budget=budget)
        return replace(found, confidence=self._confidence(views, wanted, budget)) if wanted.confidence else found

    def _check_threshold(self, output: str) -> None:
        """Raises ValueError for other thresholds than the file has decided by."""
        network = self.task.model
        assert isinstance(network, ExportedNetwork)
        others = None if network.thresholds is None else tuple(network.thresholds.flatten().tolist())
        wanted = self.inference.thresholds
        is_another = wanted != others and not (wanted and others and np.allclose(wanted, others))
        if self.inference.foreground_above is not None or is_another:
            raise ValueError(
                f"the file gives {output}, decided by a threshold of its own: export it with --output probs"
            )

    def _confidence(self, views: Sequence[LogitMap], wanted: RequestedFields, budget: int | None) -> Tensor:
        """What a file of scores says of the label, in the last channel of its map."""
        if len(views) > 1 or not _is_of_one_pass(views[0]):
            raise ValueError(
                "the file gives scores: the confidence of what it decided in one window or view, which says nothing of "
                "the mean of several: export it with --output probs, or leave windows and views out"
            )
        count = len(self.classes)
        values = mean_values([Channels(views[0], count, count + 1)], budget=budget)
        placed = None if wanted.place is None else wanted.place("confidence", views[0].size)
        return values.to(wanted.dtype) if placed is None else placed.copy_(values)

    def _check_channels(self, found: int) -> None:
        has_confidence = self._contract.output == "scores" and not self._contract.says_all_of(len(self.classes))
        super()._check_channels(found - has_confidence)


def _is_of_one_pass(view: LogitMap) -> bool:
    """Whether each pixel of a map is one that a file answered with."""
    while isinstance(view, Resized | CropFlip):
        if isinstance(view, Resized) and view.size != view.source.size:
            return False
        view = view.source
    return isinstance(view, HeadLogits) or (isinstance(view, SlidingLogits) and view.is_single)


class ExportedDepthPredictor(_OfFile, DepthPredictor):
    """A predictor of an exported file that gives depths."""


def inference_of(inference: InferenceSpec, contract: Contract) -> InferenceSpec:
    """How the predictor of an exported file infers: as the model, as far as the file leaves it open.

    The decision of labels is in the file, unless it gives the probabilities that they are decided by. A file of one
    size is shown windows of it.
    """
    if contract.output not in ("logits", "depth"):
        is_open = contract.output == "probs" or (tells_two_apart(inference) and contract.says_all_of(2))
        decides = inference.foreground_above if is_open else None
        count = inference.num_classes if inference.threshold is None else 2  # of one logit, the file gives both classes
        inference = replace(inference, threshold=None, two_class_threshold=decides, num_classes=count)
    if contract.size is not None:
        height, width = contract.size
        slides = inference.mode != "whole" and inference.crop_size == contract.size
        if not slides:
            stride = (max(1, height * 2 // 3), max(1, width * 2 // 3))
            inference = replace(inference, mode="slide", crop_size=contract.size, stride=stride)
    return inference
