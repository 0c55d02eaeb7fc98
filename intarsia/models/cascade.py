"""The assembly of networks that refine their own prediction: a backbone and heads in a row, each reading the last.

Shape letters: N images, C channels, K classes, H, W height and width of the input, h, w of a head's logits.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, cast

from torch import Tensor, nn

from intarsia.contracts import Backbone, Head, HeadOutput, Neck
from intarsia.layers.onednn import by_onednn
from intarsia.models.assembly import as_module, check_reader, connected, least_side, levels_of, named, training_outputs


class RefiningHead(Protocol):
    """Feature maps and the logits of the head before -> better ones."""

    def __call__(self, features: Sequence[Tensor], coarse_logits: Tensor) -> Tensor:
        """Feature maps, coarse_logits (N, K, h, w) -> logits (N, K, h', w')."""
        ...


class CascadeEncoderDecoder(nn.Module):
    """Backbone, optional neck, decode heads in a row, and auxiliary heads that only training looks at.

    The first head reads feature maps; every other one gets the logits of the head before as well (`RefiningHead`).
    Gradients flow through them. Each head runs once in a training step, so that its batch norms see a batch once. Only
    the last may be one that training sees otherwise (`StagedHead`).

    Children are named as in published weights: `backbone`, `neck`, `decode_head.0`, `decode_head.1` ...,
    `auxiliary_head` (one head), or `auxiliary_head.0`, `auxiliary_head.1` ... (a list of heads).

    output_names: of `training_outputs`, without their stages. least_size: the smallest side of an image, in pixels.

    Raises ValueError if there is no second head, or if neck or head expect other levels than they are given.
    """

    def __init__(
        self,
        *,
        backbone: Backbone,
        decode_head: Sequence[Head],
        neck: Neck | None = None,
        auxiliary_head: Head | Sequence[Head] | None = None,
    ) -> None:
        super().__init__()
        count = len(decode_head) if isinstance(decode_head, Sequence) else 1
        if count < 2:
            raise ValueError(
                f"CascadeEncoderDecoder needs a list of two decode heads or more; got {count}. "
                f"EncoderDecoder is the network with one."
            )
        self.backbone = backbone
        self.neck = neck
        self.decode_head = nn.ModuleList(cast("Sequence[nn.Module]", decode_head))
        self.auxiliary_head = as_module(auxiliary_head)
        source, self.features = connected(backbone, neck)
        for i, head in enumerate(decode_head):
            check_reader(f"decode_head.{i}", head, source, self.features)
        self.least_size = least_side(backbone, neck, *decode_head)
        for name, head in named("aux", self.auxiliary_head):
            check_reader(f"auxiliary_head ({name})", head, source, self.features)
        self.output_names = tuple(
            name for name, _ in (*named("decode", self.decode_head), *named("aux", self.auxiliary_head))
        )

    def forward(self, images: Tensor) -> Tensor:
        """Normalised images (N, C, H, W) -> logits (N, K, h, w) of the last decode head, at its own stride."""
        first, *others = self.decode_head
        with by_onednn(self, images):
            levels = self._levels(images)
            logits = cast("Head", first)(levels)
            for head in others:
                logits = cast("RefiningHead", head)(levels, logits)
        return logits

    def training_outputs(self, images: Tensor) -> dict[str, HeadOutput]:
        """Normalised images (N, C, H, W) -> logits of every head: "decode_0", "decode_1" ..., then those of `aux`."""
        outputs: dict[str, HeadOutput] = {}
        previous: tuple[Tensor, ...] = ()
        with by_onednn(self, images):
            levels = self._levels(images)
            for name, head in named("decode", self.decode_head):
                outputs |= training_outputs(name, head, levels, *previous)
                logits = outputs.get(name)
                previous = (logits,) if isinstance(logits, Tensor) else ()
            for name, head in named("aux", self.auxiliary_head):
                outputs |= training_outputs(name, head, levels)
        return outputs

    def _levels(self, images: Tensor) -> tuple[Tensor, ...]:
        return levels_of(images, self.backbone, self.neck)
