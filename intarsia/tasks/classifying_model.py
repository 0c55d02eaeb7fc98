"""A network for anybody's own loop that says of each pixel, and of the whole image, what it shows."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor, nn

from intarsia.tasks.preprocess import Preprocess
from intarsia.tasks.segmentation_model import ModelFacts, SegmentationModel

Function: TypeAlias = "Callable[[Tensor], Tensor]"
Activation: TypeAlias = "str | Callable[[], Function] | None"

_BY_NAME: dict[str, Function] = {
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "softmax": lambda logits: logits.softmax(dim=1),
    "softmax2d": lambda logits: logits.softmax(dim=1),
    "logsoftmax": lambda logits: logits.log_softmax(dim=1),
    "argmax": lambda logits: logits.argmax(dim=1),
    "argmax2d": lambda logits: logits.argmax(dim=1),
}


class ClassifyingModel(SegmentationModel):
    """Images (N, C, H, W) -> scores of pixels (N, K, H, W), and of the images (N, L), L labels an image.

    What segmentation_models.pytorch gives where it is told `aux_params`; a `SegmentationModel` in all else, so that it
    is saved, frozen and trained like one. The second comes from an `ImageClassHead`, the network's one auxiliary head.

    label_activation: of the scores of images: None for logits, a name of that library ("sigmoid", "softmax" ...), or,
    as there, what makes a function of logits (N, L), such as `torch.nn.Softplus`.

    Raises ValueError for another name.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        preprocess: Preprocess,
        normalises: bool,
        num_classes: int,
        align_corners: bool,
        facts: ModelFacts | None = None,
        label_activation: Activation = None,
    ) -> None:
        super().__init__(
            network, preprocess=preprocess, normalises=normalises, num_classes=num_classes,
            align_corners=align_corners, facts=facts,
        )  # fmt: skip
        if label_activation == "identity":
            label_activation = None
        if isinstance(label_activation, str) and label_activation not in _BY_NAME:
            known = ", ".join(("identity", *_BY_NAME))
            raise ValueError(
                f"activation of aux_params must be one of {known}, or a function; got {label_activation!r}"
            )
        made = label_activation() if callable(label_activation) else label_activation
        self._label_activation = (made,)  # in a tuple, so that a module is no part of the network

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        """Images of any size -> scores of their pixels, and of themselves; both at least in float32."""
        outputs = self.training_outputs(images)
        (made,) = self._label_activation
        activation = _BY_NAME[made] if isinstance(made, str) else made
        logits = outputs["aux"]
        return outputs["decode"], logits if activation is None else activation(logits)
