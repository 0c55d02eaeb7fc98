"""A model as one function of an image: what is exported.

Shape letters: N images, H, W their height and width, C channels, K classes; R, S height and width of the answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from intarsia.contracts import Task
from intarsia.export.contract import Contract
from intarsia.spec import InferenceSpec
from intarsia.tasks.preprocess import Preprocess


class Deployable(nn.Module):
    """Stored images -> what `contract.output` says: normalising, padding, the network, resizing, the decision.

    The steps are those of `inference.logits.postprocess`, at once instead of strip by strip: logits are enlarged to the
    network's input, the padding is cut off, and they are resized to the answer's size if that is asked for.

    Raises ValueError for a task that is more than a network of pixels: one of depth, or with conditions.
    """

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
        self.num_classes = max(inference.num_classes, 2)
        self.least_size = least_size

    def forward(self, image: Tensor, size: Tensor | None = None) -> tuple[Tensor, ...]:
        """(N, H, W, C) or (N, C, H, W), and perhaps the size (R, S) of the answer, int64 (2,)."""
        images = image.permute(0, 3, 1, 2) if self.contract.layout == "NHWC" else image
        height, width = images.shape[2:]
        logits = self.model(self._input(images)).float()  # (N, K, h, w)
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
        if output == "logits":
            return (logits,)
        probs = _probabilities(logits)  # (N, K, R, S), K >= 2
        if output == "probs":
            return (probs,)
        label = logits.argmax(dim=1) if self.threshold is None else (probs[:, 1] > self.threshold).long()
        stored = label.to(torch.uint8 if self.num_classes <= 256 else torch.int32)  # ONNX knows uint16 hardly anywhere
        if output == "label":
            return (stored,)
        return stored, probs.gather(1, label[:, None])[:, 0]


def _probabilities(logits: Tensor) -> Tensor:
    if logits.shape[1] > 1:
        return logits.softmax(dim=1)
    second = logits.sigmoid()
    return torch.cat([1 - second, second], dim=1)


def _resized(x: Tensor, size: Sequence[int], align_corners: bool) -> Tensor:
    height, width = size
    return F.interpolate(x, size=(height, width), mode="bilinear", align_corners=align_corners)


def _larger(a: int, b: int) -> int:
    return cast("int", torch.sym_max(a, b))  # a symbol while exporting, which max() would decide
