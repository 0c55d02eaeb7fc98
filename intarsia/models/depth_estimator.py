"""The assembly of a network that says how far away every pixel is.

Shape letters: N images, C channels, H, W height and width of the input, h, w of a head's depths.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from intarsia.contracts import Backbone, Head, HeadOutput, Neck
from intarsia.layers.onednn import by_onednn
from intarsia.models.assembly import as_module, check_reader, connected, least_side, named, training_outputs


class DepthEstimator(nn.Module):
    """Backbone, optional neck, decode head, and any number of auxiliary heads that only training looks at.

    Children are named as those of an `EncoderDecoder`. Heads give depths (N, 1, h, w) in the unit of the ground truth.

    output_names: of `training_outputs`, without their stages. reads_class_ids: whether the backbone wants to know what
    kind of scene an image shows.

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
            raise ValueError(f"DepthEstimator has one decode_head; got a list of {len(decode_head)}")
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
        self.reads_class_ids = bool(getattr(backbone, "class_embed_select", False))

    def forward(self, images: Tensor, class_ids: Tensor | None = None) -> Tensor:
        """Normalised images (N, C, H, W) -> depths (N, 1, h, w) of the decode head, at its own stride.

        class_ids: the kind of scene (N,) of each image, -1 where it is not known; None for none of them known.
        """
        with by_onednn(self, images):
            return self.decode_head(self._levels(images, class_ids))

    def training_outputs(self, images: Tensor, class_ids: Tensor | None = None) -> dict[str, HeadOutput]:
        """The same -> depths of every head: "decode", then "aux", or "aux_0", "aux_1" ..."""
        outputs: dict[str, HeadOutput] = {}
        with by_onednn(self, images):
            levels = self._levels(images, class_ids)
            for name, head in [("decode", self.decode_head), *named("aux", self.auxiliary_head)]:
                outputs |= training_outputs(name, head, levels)
        return outputs

    def _levels(self, images: Tensor, class_ids: Tensor | None) -> Sequence[Tensor]:
        known = () if class_ids is None or not self.reads_class_ids else (class_ids,)
        levels: Sequence[Tensor] = self.backbone(images, *known)  # type: ignore[assignment]
        return levels if self.neck is None else self.neck(levels)
