"""The assembly of nearly every segmentation network: a backbone, perhaps a neck, a head, and auxiliary heads.

Shape letters: N images, C channels, K classes, H, W height and width of the input, h, w of a head's logits.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from intarsia.contracts import Backbone, Head, HeadOutput, Neck
from intarsia.layers.onednn import by_onednn
from intarsia.models.assembly import as_module, check_reader, connected, least_side, levels_of, named, training_outputs


class EncoderDecoder(nn.Module):
    """Backbone, optional neck, decode head, and any number of auxiliary heads that only training looks at.

    Children are named as in published weights: `backbone`, `neck`, `decode_head`, `auxiliary_head` (one head), or
    `auxiliary_head.0`, `auxiliary_head.1` ... (a list of heads).

    output_names: of `training_outputs`, without their stages. least_size: the smallest side of an image, in pixels.

    Raises ValueError for a list of decode heads, or if neck or head expect other levels than they are given.
    """

    def __init__(
        self,
        *,
        backbone: Backbone,
        decode_head: Head,
        neck: Neck | None = None,
        auxiliary_head: Head | Sequence[Head] | None = None,
    ) -> None:
        super().__init__()
        if isinstance(decode_head, Sequence):
            raise ValueError(
                f"EncoderDecoder has one decode_head; got a list of {len(decode_head)}. "
                f"CascadeEncoderDecoder is the network with several."
            )
        self.backbone = backbone
        self.neck = neck
        self.decode_head = decode_head
        self.auxiliary_head = as_module(auxiliary_head)
        source, self.features = connected(backbone, neck)
        check_reader("decode_head", decode_head, source, self.features)
        self.least_size = least_side(backbone, neck, decode_head)
        for name, head in named("aux", self.auxiliary_head):
            check_reader(f"auxiliary_head ({name})", head, source, self.features)
        self.output_names = ("decode", *(name for name, _ in named("aux", self.auxiliary_head)))

    def forward(self, images: Tensor) -> Tensor:
        """Normalised images (N, C, H, W) -> logits (N, K, h, w) of the decode head, at its own stride."""
        with by_onednn(self, images):
            return self.decode_head(self._levels(images))

    def training_outputs(self, images: Tensor) -> dict[str, HeadOutput]:
        """Normalised images (N, C, H, W) -> logits of every head: "decode", then "aux", or "aux_0", "aux_1" ..."""
        outputs: dict[str, HeadOutput] = {}
        with by_onednn(self, images):
            levels = self._levels(images)
            for name, head in [("decode", self.decode_head), *named("aux", self.auxiliary_head)]:
                outputs |= training_outputs(name, head, levels)
        return outputs

    def _levels(self, images: Tensor) -> tuple[Tensor, ...]:
        return levels_of(images, self.backbone, self.neck)
