"""A model as one function of an image: what is exported.

Shape letters: N images, H, W their height and width, C channels, K classes; R, S height and width of the answer.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from intarsia.contracts import ConditionalTask, Task
from intarsia.export.contract import Contract
from intarsia.label_sets import set_count
from intarsia.spec import InferenceSpec
from intarsia.tasks.preprocess import Preprocess, least_size


class Deployable(nn.Module):
    """Stored images -> what `contract.output` says: normalising, padding, the network, resizing, the decision.

    The steps are those of `inference.logits.postprocess`, at once instead of strip by strip: logits are enlarged to the
    network's input, the padding is cut off, and they are resized to the answer's size if that is asked for.

    Of a model of depth, "logits" are depths. Raises ValueError for a preprocessing of another kind than ours.
    """

    thresholds: Tensor | None

    def __init__(self, task: Task, inference: InferenceSpec, contract: Contract, *, least_size: int = 1) -> None:
        super().__init__()
        preprocess = task.preprocess
        if not isinstance(preprocess, Preprocess):
            raise ValueError(f"{type(preprocess).__name__} is no preprocessing that can be exported")
        self.model = task.model
        self.preprocess = preprocess
        self.contract = contract
        self.align_corners = inference.align_corners
        self.threshold = inference.foreground_above
        above = inference.thresholds
        self.register_buffer("thresholds", None if above is None else torch.tensor(above).view(-1, 1, 1))
        # Of sets of up to 8 classes, too, 8 bits are enough.
        self.label_values = max(inference.num_classes, 2) if above is None else set_count(len(above))
        self.least_size = least_size

    def forward(self, image: Tensor, size: Tensor | None = None) -> tuple[Tensor, ...]:
        """(N, H, W, C) or (N, C, H, W), and perhaps the size (R, S) of the answer, int64 (2,)."""
        images = image.permute(0, 3, 1, 2) if self.contract.layout == "NHWC" else image
        height, width = images.shape[2:]
        for side in (height, width):
            torch._check(side >= 1)  # from which torch.export knows it of all maps that strides make of the image
        shown = self._input(images)
        if self.contract.precision == "fp16":
            shown = shown.half()
        logits = self.model(shown).float()  # (N, K, h, w)
        logits = _resized(logits, self._padded(height, width), self.align_corners)[:, :, :height, :width]
        if size is not None:
            rows, columns = size.tolist()
            for side in (rows, columns):
                torch._check(side >= 1)
                torch._check(side < 2**16)
            logits = _resized(logits, (rows, columns), self.align_corners)
        return self._answer(logits)

    def _input(self, images: Tensor) -> Tensor:
        """What the network is shown: normalised and padded."""
        spec, mean = self.preprocess.spec, self.preprocess.mean
        height, width = images.shape[2:]
        x = images.flip(1) if spec.channel_order == "bgr" else images
        x = (x.to(mean.dtype) - mean) / self.preprocess.std
        rows, columns = self._multiple(height, width)
        x = F.pad(x, (0, columns - width, 0, rows - height), value=spec.pad_value)
        rows_shown, columns_shown = self._padded(height, width)
        return F.pad(x, (0, columns_shown - columns, 0, rows_shown - rows))

    def _multiple(self, height: int, width: int) -> tuple[int, int]:
        """What the preprocessing pads to."""
        spec = self.preprocess.spec
        if spec.eval_size is not None:
            return _larger(height, spec.eval_size[0]), _larger(width, spec.eval_size[1])
        divisor = spec.eval_size_divisor or 1
        # Rounded up in this form, since ONNX rounds a division of negative numbers towards zero.
        return (height + divisor - 1) // divisor * divisor, (width + divisor - 1) // divisor * divisor

    def _padded(self, height: int, width: int) -> tuple[int, int]:
        """The same, and no smaller than the network can see."""
        rows, columns = self._multiple(height, width)
        return _larger(rows, self.least_size), _larger(columns, self.least_size)

    def _answer(self, logits: Tensor) -> tuple[Tensor, ...]:
        """Of logits (N, K, R, S), K = 1 for two classes that are told apart by one."""
        output = self.contract.output
        if output == "depth":
            return (logits[:, 0],)
        if output == "logits":
            return (logits,)
        probs = _probabilities(logits, sigmoid=self.thresholds is not None)  # (N, K, R, S)
        if output == "probs":
            return (probs,)
        label, confidence = self._classes(logits, probs) if self.thresholds is None else self._sets(probs)
        stored = label.to(torch.uint8 if self.label_values <= 256 else torch.int32)  # ONNX knows uint16 hardly anywhere
        return (stored,) if output == "label" else (stored, confidence)

    def _classes(self, logits: Tensor, probs: Tensor) -> tuple[Tensor, Tensor]:
        """The class of each pixel (N, R, S), and its probability."""
        label = logits.argmax(dim=1) if self.threshold is None else (probs[:, 1] > self.threshold).long()
        return label, probs.gather(1, label[:, None])[:, 0]

    def _sets(self, probs: Tensor) -> tuple[Tensor, Tensor]:
        """The set of classes of each pixel (N, R, S), and the probability of its least sure yes or no."""
        assert self.thresholds is not None
        has = probs > self.thresholds  # (N, K, R, S)
        bits = torch.tensor([1 << k for k in range(len(self.thresholds))], device=probs.device).view(-1, 1, 1)
        return (has.long() * bits).sum(dim=1), torch.where(has, probs, 1 - probs).amin(dim=1)


def deployable(task: Task, inference: InferenceSpec, contract: Contract) -> Deployable:
    """A task as one function of an image, in evaluation. It shares its numbers with the task, unless they are halved.

    Where a network of depth wants to know what kind of room an image shows, that is unknown, as for images whose name
    does not say it.

    Raises ValueError for other networks that read more of an image than its pixels.
    """
    if isinstance(task, ConditionalTask) and inference.answer != "depth":
        raise ValueError(f"{type(task).__name__} reads more of an image than its pixels, which the file could not know")
    task.eval()
    if (compute := getattr(task.model, "compute_constants", None)) is not None:
        compute()  # what a network makes once of the names of its classes is in the file, and what makes it is not
    module = Deployable(task, inference, contract, least_size=least_size(task.model)).eval()
    if contract.precision == "fp16":
        module = copy.deepcopy(module)  # the original stays, to be compared with
        assert isinstance(module.model, nn.Module)
        module.model.half()
    return module


def _probabilities(logits: Tensor, *, sigmoid: bool) -> Tensor:
    """Of each class by itself; or of classes of which one is true, two of them where there is one logit."""
    if sigmoid:
        return logits.sigmoid()
    if logits.shape[1] > 1:
        return logits.softmax(dim=1)
    second = logits.sigmoid()
    return torch.cat([1 - second, second], dim=1)


def _resized(x: Tensor, size: Sequence[int], align_corners: bool) -> Tensor:
    height, width = size
    return F.interpolate(x, size=(height, width), mode="bilinear", align_corners=align_corners)


def _larger(a: int, b: int) -> int:
    return cast("int", torch.sym_max(a, b))  # a symbol while exporting, which max() would decide
