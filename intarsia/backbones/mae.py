"""MAE: the plain transformer of masked autoencoders, fine-tuned for segmentation as BEiT is.

Paper: He et al., Masked Autoencoders Are Scalable Vision Learners, arXiv:2111.06377, section 5 and appendix A.4.
Original code: https://github.com/facebookresearch/mae

The paper is about how such a network learns without labels; this is the network, with weights from there. What its
appendix adds for segmentation is BEiT's: relative positions, and factors on the branches.

Deviations, shared with OpenMMLab's published weights: absolute positions are learned and start at 0 where there are no
weights, no norm behind the last layer unless `final_norm` is set. One that is not shared: images of another size than
`img_size`, which the original refuses, are padded to whole patches, and all positions are resized for them.

Published scores with UPerNet on ADE20K 512x512, 160k steps, single scale (flipped and multi-scale), mIoU:
    B 48.13 (48.70)
"""

from __future__ import annotations

from collections.abc import Sequence

from intarsia.backbones.beit import LN, RelativeTransformer
from intarsia.contracts import Size
from intarsia.layers.activation import GELU, Activation
from intarsia.layers.norm import Norm


class MAE(RelativeTransformer):
    """Patches with learned positions and a class token, then layers of attention with relative positions.

    Args:
        img_size: height and width of the images that positions are learned for, or its side; they are resized where
            an image has another size.
        patch_size: side of a patch in pixels.
        in_channels: bands of the image.
        embed_dims: channels of a token.
        num_layers: layers.
        num_heads: attention heads.
        mlp_ratio: hidden channels of the feed-forward networks per channel.
        out_indices: layers whose outputs are returned; -1 is the last.
        attn_drop_rate: dropout of attention weights.
        drop_path_rate: stochastic depth of the last layer; grows linearly from 0 at the first.
        norm: everywhere.
        activation: of the feed-forward networks.
        patch_norm: a norm behind the projection of patches.
        final_norm: a norm behind the last layer.
        init_values: at which the factors of the branches start.
        checkpoint_activations: recompute each layer in the backward pass instead of keeping its activations.

    Absolute positions start at 0, all other parameters as those of BEiT.

    Raises ValueError for arguments that contradict each other.
    """

    def __init__(
        self,
        *,
        img_size: int | Size = 224,
        patch_size: int = 16,
        in_channels: int = 3,
        embed_dims: int = 768,
        num_layers: int = 12,
        num_heads: int = 12,
        mlp_ratio: float = 4,
        out_indices: int | Sequence[int] = -1,
        attn_drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
        norm: Norm = LN,
        activation: Activation = GELU,
        patch_norm: bool = False,
        final_norm: bool = False,
        init_values: float = 0.1,
        checkpoint_activations: bool = False,
    ) -> None:
        super().__init__(
            bias="all",
            absolute=True,
            img_size=img_size,
            patch_size=patch_size,
            in_channels=in_channels,
            embed_dims=embed_dims,
            num_layers=num_layers,
            num_heads=num_heads,
            mlp_ratio=mlp_ratio,
            out_indices=out_indices,
            attn_drop_rate=attn_drop_rate,
            drop_path_rate=drop_path_rate,
            norm=norm,
            activation=activation,
            patch_norm=patch_norm,
            final_norm=final_norm,
            init_values=init_values,
            checkpoint_activations=checkpoint_activations,
        )
