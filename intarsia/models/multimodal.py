"""The assembly of networks that compare what they see with words: an encoder of images, one of text, and a head.

Shape letters: N images, C channels, K classes, E channels of the vectors that are compared, H, W height and width.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

import torch.nn.functional as F
from torch import Tensor, nn

from intarsia.contracts import Backbone, Level, MaskPredictions
from intarsia.models import mask_classifier
from intarsia.models.assembly import check_reader


class TextEncoder(Protocol):
    """The names of classes -> their vectors. num_vectors, output_dims: how many, and of how many channels."""

    num_vectors: int
    output_dims: int

    def __call__(self) -> Tensor:
        """Vectors (num_vectors, output_dims), the last for what is none of the classes."""
        ...


class NamingHead(Protocol):
    """Images, levels and vectors of classes -> masks with a class each.

    in_index, in_channels, in_tokens: as those of a head that reads levels. num_classes: that have a name. out_dims: of
    the vectors. patch_size: side of the smallest image that it takes.
    """

    num_classes: int
    out_dims: int
    patch_size: int

    def __call__(self, images: Tensor, features: Sequence[Level], classes: Tensor) -> tuple[MaskPredictions, ...]:
        """Images (N, C, H, W), levels, vectors (K + 1, E) -> what the last layer predicts: the answer, alone."""
        ...

    def queries(self, images: Tensor, features: Sequence[Level], classes: Tensor) -> tuple[MaskPredictions, ...]:
        """The same of each layer that training looks at, the last being the answer."""
        ...


class MultimodalEncoderDecoder(nn.Module):
    """An image encoder, a text encoder whose classes are names, and a head that finds masks and names them.

    Children are named as in published weights: `image_encoder`, `text_encoder`, `decode_head`.

    asymetric_input: the image encoder gets the image at another size than the head. encoder_resolution: its side, in
    sides of the image. least_size: the smallest side of an image, in pixels.

    Raises ValueError if the head expects other levels, other vectors or another number of classes than it is given.
    """

    def __init__(
        self,
        *,
        image_encoder: Backbone,
        text_encoder: TextEncoder,
        decode_head: NamingHead,
        asymetric_input: bool = True,
        encoder_resolution: float = 1.0,
    ) -> None:
        super().__init__()
        if encoder_resolution <= 0:
            raise ValueError(f"encoder_resolution is a part of the image's side, above 0; got {encoder_resolution}")
        self.image_encoder = image_encoder
        self.text_encoder = text_encoder
        self.decode_head = decode_head
        self.encoder_resolution = float(encoder_resolution) if asymetric_input else 1.0
        self.features = image_encoder.features
        check_reader("decode_head", decode_head, f"image_encoder {type(image_encoder).__name__}", self.features)
        _check_classes(text_encoder, decode_head)
        patch = max(level.stride for level in self.features)
        self.least_size = max(decode_head.patch_size, math.ceil(patch / self.encoder_resolution))

    def forward(self, images: Tensor) -> Tensor:
        """Normalised images (N, C, H, W) -> (N, K, H, W), how much of each class is in each pixel, in 0..Q.

        At the images' own size: `MaskClassificationModel` says why.
        """
        return mask_classifier.class_maps(self.decode_head(images, *self._compared(images))[-1], images.shape[2:])

    def queries(self, images: Tensor) -> tuple[MaskPredictions, ...]:
        """Normalised images (N, C, H, W) -> the queries after each layer that is trained, the last being the answer."""
        return self.decode_head.queries(images, *self._compared(images))

    def compute_constants(self) -> None:
        """Compute the vectors of the classes, which the text encoder keeps."""
        self.text_encoder()

    def _compared(self, images: Tensor) -> tuple[Sequence[Level], Tensor]:
        """The levels of the images, and the vectors of the classes (K + 1, E)."""
        if self.encoder_resolution != 1.0:
            images = F.interpolate(images, scale_factor=self.encoder_resolution, mode="bilinear", align_corners=False)
        return self.image_encoder(images), self.text_encoder()


def _check_classes(text_encoder: TextEncoder, head: NamingHead) -> None:
    source, reader = f"text_encoder {type(text_encoder).__name__}", f"decode_head {type(head).__name__}"
    if head.out_dims != text_encoder.output_dims:
        raise ValueError(
            f"{reader} compares vectors of {head.out_dims} channels, but {source} gives {text_encoder.output_dims}; "
            "set output_dims of the text encoder and the head's to the same"
        )
    if head.num_classes + 1 != text_encoder.num_vectors:
        raise ValueError(
            f"{reader} has num_classes={head.num_classes} and needs one vector more, for what is none of them; "
            f"{source} gives {text_encoder.num_vectors}. Name as many classes; with cat_bg=False the last name is that "
            "of the background"
        )
