"""VPD: a network that was trained to make images of words knows what is in images.

Paper: Zhao, Rao, Liu, Liu, Zhou, Lu, Unleashing Text-to-Image Diffusion Models for Visual Perception,
    arXiv:2303.02153.
Original code: https://github.com/wl-zhao/VPD

The image becomes latents, and these pass once, without noise, through the denoising U-Net of Stable Diffusion, which
is fine-tuned; what its decoder has at each level are the features, joined, for segmentation, with how much each pixel
attends to each word (section 3.2). The context that it attends to are embeddings of words for what may be seen, adapted
by a small perceptron (section 3.3). Words need no encoder at run time: their embeddings are tensors of the weights.

Deviations, shared with OpenMMLab's published weights: latents are not scaled as in diffusion; the step is 1; maps of
cross attention are not features of depth (`attention_maps=()`, their `use_attn=False`). Not shared: what is never
run, the decoder of the autoencoder and the U-Net's last layer, is no part of the network, and left out when their
weights are loaded; the encoder, which the recipe trains at a rate of 0, has frozen parameters. The maps are the
paper's: MMSegmentation's code for them stops with an error. They have the size of their level, for images of any size.

Published scores on NYU Depth V2, 25k steps, windows with flipped ones, RMSE in metres:
    480x480     0.253
    512x512     0.258

Shape letters: N images, C channels, H, W height and width of the input, h, w of a level, K classes of scenes, T words
of the context, D channels of their embeddings.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from intarsia.contracts import FeatureSpec
from intarsia.layers import latent_encoder
from intarsia.layers.diffusion_unet import DiffusionUNet
from intarsia.layers.latent_encoder import LatentEncoder
from intarsia.layers.memory_order import in_order

UNET = "unet.diffusion_model"
"""Where published weights have the U-Net: in the wrappers of VPD and of latent diffusion."""
STEP = 1.0
"""Of the diffusion: the least noise that the U-Net was trained to take away."""
SCENES = 27
"""Kinds of rooms in NYU Depth V2, whose embeddings are published."""


class VPD(nn.Module):
    """Features of Stable Diffusion's U-Net, finest first, at strides 8, 16, 32 and 64.

    Args:
        pad_shape: height and width, or one for both, that smaller images are padded to, below and to the right. Levels
            are those of the padded image.
        pad_val: what is padded, after normalising.
        class_embed_select: attend to the scene that an image shows (`class_ids`), or the mean of all scenes where that
            is not known, instead of to all words together.
        num_class_embeddings: K scenes, or T words, whose embeddings the weights bring; they start as random
            directions.
        attention_maps: of which transformers of the U-Net maps of cross attention are features as well, those on the
            way "down", "up", or both; () for none. They have as many channels as an image has words in its context: T,
            or one under `class_embed_select`.
        attention_stride: the finest stride, 8 or 16, whose level is joined with maps, as the coarser ones with
            transformers are.
        gamma: how much of the perceptron is added to an embedding, at first, in each channel.
        context_dim: D.
        first_stage_channels, first_stage_channel_mult, first_stage_num_res_blocks, z_channels, embed_dim, in_channels:
            of the autoencoder's encoder (`LatentEncoder`).
        model_channels, channel_mult, num_res_blocks, attention_resolutions, num_heads, transformer_depth,
            checkpoint_activations: of the U-Net (`DiffusionUNet`).

    Raises ValueError for a stride that no level has.
    """

    class_embeddings: Tensor

    def __init__(
        self,
        *,
        pad_shape: int | Sequence[int] | None = None,
        pad_val: float = 0.0,
        class_embed_select: bool = False,
        num_class_embeddings: int = SCENES,
        attention_maps: Sequence[Literal["down", "up"]] = ("up", "down"),
        attention_stride: int = 16,
        gamma: float = 1e-4,
        in_channels: int = 3,
        first_stage_channels: int = 128,
        first_stage_channel_mult: Sequence[int] = (1, 2, 4, 4),
        first_stage_num_res_blocks: int = 2,
        z_channels: int = 4,
        embed_dim: int = 4,
        model_channels: int = 320,
        channel_mult: Sequence[int] = (1, 2, 4, 4),
        num_res_blocks: int = 2,
        attention_resolutions: Sequence[int] = (4, 2, 1),
        num_heads: int = 8,
        transformer_depth: int = 1,
        context_dim: int = 768,
        checkpoint_activations: bool = False,
    ) -> None:
        super().__init__()
        height, width = (pad_shape, pad_shape) if isinstance(pad_shape, int) else pad_shape or (0, 0)
        self.pad_shape = (height, width)
        self.pad_val = pad_val
        self.class_embed_select = class_embed_select
        self.encoder_vq = LatentEncoder(
            in_channels=in_channels,
            channels=first_stage_channels,
            channel_mult=first_stage_channel_mult,
            num_res_blocks=first_stage_num_res_blocks,
            z_channels=z_channels,
            embed_dim=embed_dim,
        ).requires_grad_(False)
        strides = [self.encoder_vq.stride * 2**level for level in range(len(channel_mult))]
        if attention_maps and attention_stride not in strides:
            raise ValueError(f"attention_stride is the stride of a level, one of {strides}; got {attention_stride}")
        unet = DiffusionUNet(
            in_channels=embed_dim,
            model_channels=model_channels,
            channel_mult=channel_mult,
            num_res_blocks=num_res_blocks,
            attention_resolutions=attention_resolutions,
            num_heads=num_heads,
            transformer_depth=transformer_depth,
            context_dim=context_dim,
            checkpoint_activations=checkpoint_activations,
            attention_maps=attention_maps,
            finest_map_level=strides.index(attention_stride) if attention_maps else 0,
        )
        self.unet = nn.ModuleDict({"unet": nn.ModuleDict({"diffusion_model": unet})})
        self.text_adapter = nn.ModuleDict(
            {"fc": nn.Sequential(nn.Linear(context_dim, context_dim), nn.GELU(), nn.Linear(context_dim, context_dim))}
        )
        rows = num_class_embeddings + class_embed_select  # behind all scenes their mean
        self.register_buffer("class_embeddings", F.normalize(torch.randn(rows, context_dim), dim=1))
        self.gamma = nn.Parameter(torch.full((context_dim,), float(gamma)))
        words = 1 if class_embed_select else num_class_embeddings  # that an image attends to
        self.features = tuple(
            FeatureSpec(channels + words * (level in unet.map_levels), stride)
            for level, (channels, stride) in enumerate(zip(unet.channels, strides, strict=True))
        )
        self.register_load_state_dict_pre_hook(_leave_out_what_is_never_run)  # type: ignore[no-untyped-call]

    def forward(self, images: Tensor, class_ids: Tensor | None = None) -> tuple[Tensor, ...]:
        """Images (N, in_channels, H, W) in -1..1 -> one map (N, C, h, w) per level.

        class_ids: the scene (N,) of each image, -1 where it is not known; only read under `class_embed_select`.
        """
        with torch.no_grad():
            whole = latent_encoder.padded(images, self.pad_shape, self.encoder_vq.stride, self.pad_val)
            latents = self.encoder_vq(whole)  # (N, Z, h, w)
        times = torch.full_like(latents[:, 0, 0, 0], STEP, dtype=torch.float32)
        context = self._context(images, class_ids)
        levels: tuple[Tensor, ...] = self.unet.get_submodule(UNET)(latents, times, context)
        return levels

    def set_class_embeddings(self, embeddings: Tensor) -> None:
        """Embeddings (K, D) of all scenes, or (T, D) of all words, before the perceptron.

        Raises ValueError for another number of them, or of channels.
        """
        if self.class_embed_select:
            embeddings = torch.cat([embeddings, embeddings.mean(dim=0, keepdim=True)])
        if embeddings.shape != self.class_embeddings.shape:
            rows, channels = self.class_embeddings.shape
            expected, found = ((rows - self.class_embed_select, channels), (len(embeddings) - self.class_embed_select,))
            raise ValueError(
                f"expected embeddings {expected}, found {(*found, *embeddings.shape[1:])}; num_class_embeddings is how "
                "many there are, context_dim their channels"
            )
        self.class_embeddings.copy_(embeddings)

    def _context(self, images: Tensor, class_ids: Tensor | None) -> Tensor:
        """(N, T, D): all words, or the one scene that the image shows."""
        words = self.class_embeddings
        if self.class_embed_select:
            words = words[-1:] if class_ids is None else words[class_ids]  # (1, D) or (N, D)
        change: Tensor = self.text_adapter["fc"](words)
        adapted = words + self.gamma * change
        if self.class_embed_select and class_ids is not None:
            return adapted[:, None]
        return in_order(adapted[None].expand(images.shape[0], -1, -1))


def _leave_out_what_is_never_run(module: nn.Module, state: dict[str, Tensor], prefix: str, *_: object) -> None:
    """Of published weights, that make images again and ours do not."""
    starts = tuple(f"{prefix}{name}." for name in NEVER_RUN)
    for name in [name for name in state if name.startswith(starts)]:
        del state[name]


NEVER_RUN = ("encoder_vq.decoder", "encoder_vq.post_quant_conv", "unet.unet.diffusion_model.out")
"""Parts of published weights without an effect on features."""


# --- Depth --------------------------------------------------------------------------------------------------------


GROUPS = 16
"""Of every group norm of the head, or as many as divide its channels."""


class VPDDepthHead(nn.Module):
    """Depth of every pixel in 0..max_depth: levels brought to stride 32, joined, and enlarged to the image.

    Args:
        in_channels: of the four levels, at strides 8, 16, 32 and 64.
        max_depth: what a logit without bound stands for.
        embed_dim: channels in front of the depth; `feature_dim` is eight times as many.
        feature_dim: channels of the joined levels.
        num_deconv_filters: channels behind each transposed convolution.
        num_deconv_layers: transposed convolutions, each of which doubles height and width.
        fmap_border: rows below and columns to the right of the joined levels, or one number for both, that show what
            the backbone padded, and are left out.
        align_corners: how depths are resized to the image.

    Raises ValueError for other than four levels, for `feature_dim` and `embed_dim` that do not fit together, and for
    another number of filters than layers.
    """

    num_classes = 1

    def __init__(
        self,
        *,
        in_channels: Sequence[int] = (320, 640, 1280, 1280),
        max_depth: float = 10.0,
        embed_dim: int = 192,
        feature_dim: int = 1536,
        num_deconv_layers: int = 3,
        num_deconv_filters: Sequence[int] = (32, 32, 32),
        fmap_border: int | Sequence[int] = 0,
        align_corners: bool = False,
    ) -> None:
        super().__init__()
        if len(in_channels) != 4:
            raise ValueError(f"VPDDepthHead reads four levels, at strides 8 to 64; got in_channels={list(in_channels)}")
        if feature_dim != 8 * embed_dim:
            raise ValueError(f"feature_dim is eight times embed_dim; got {feature_dim} and {embed_dim}")
        if len(num_deconv_filters) != num_deconv_layers:
            raise ValueError(f"num_deconv_filters has {len(num_deconv_filters)} entries for {num_deconv_layers} layers")
        self.in_channels = tuple(in_channels)
        self.in_index = (0, 1, 2, 3)
        self.feature_strides = (1, 2, 4, 8)
        self.max_depth = max_depth
        below, right = (fmap_border, fmap_border) if isinstance(fmap_border, int) else fmap_border
        self.fmap_border = (below, right)
        self.align_corners = align_corners
        first, second, *_ = in_channels
        self.conv1 = nn.Sequential(
            nn.Conv2d(first, first, 3, stride=2, padding=1),
            nn.GroupNorm(math.gcd(GROUPS, first), first),
            nn.ReLU(),
            nn.Conv2d(first, first, 3, stride=2, padding=1),
        )
        self.conv2 = nn.Conv2d(second, second, 3, stride=2, padding=1)
        self.conv_aggregation = nn.Sequential(
            nn.Conv2d(sum(in_channels), feature_dim, 1), nn.GroupNorm(GROUPS, feature_dim), nn.ReLU()
        )
        self.decoder = DepthDecoder(feature_dim, embed_dim, num_deconv_filters)
        self.depth_pred_layer = nn.Sequential(
            nn.Conv2d(embed_dim, embed_dim, 3, padding=1), nn.ReLU(), nn.Conv2d(embed_dim, 1, 3, padding=1)
        )
        for part in (self.conv1, self.conv2, self.conv_aggregation, self.depth_pred_layer):
            _start(part, truncated=0.02)
        _start(self.decoder, normal=0.001)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Four levels (N, C_i, h / 2^i, w / 2^i) -> depths (N, 1, h * 8, w * 8), less the border."""
        finest, second, third, coarsest = features
        height, width = third.shape[2:]
        doubled = F.interpolate(coarsest, size=(height, width), mode="nearest")
        x = torch.cat([self.conv1(finest), self.conv2(second), third, doubled], dim=1)
        x = self.conv_aggregation(x)  # (N, feature_dim, h / 4, w / 4)
        x = x[:, :, : x.shape[2] - self.fmap_border[0], : x.shape[3] - self.fmap_border[1]]
        depth: Tensor = self.depth_pred_layer(self.decoder(x)).sigmoid() * self.max_depth
        return depth


class DepthDecoder(nn.Module):
    """Transposed convolutions of stride 2, a convolution, and bilinear upsampling by four in two steps."""

    def __init__(self, in_channels: int, out_channels: int, filters: Sequence[int]) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, after in zip([in_channels, *filters], filters, strict=False):
            layers += [nn.ConvTranspose2d(before, after, 2, stride=2, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
        self.deconv_layers = nn.Sequential(*layers)
        last = filters[-1] if filters else in_channels
        self.conv_layers = nn.Sequential(
            nn.Conv2d(last, out_channels, 3, padding=1), nn.BatchNorm2d(out_channels), nn.ReLU()
        )

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, h, w) -> (N, out_channels, h', w'), 32 times as large with three layers."""
        x = self.conv_layers(self.deconv_layers(x))
        for _ in range(2):
            x = F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
        return x


def _start(part: nn.Module, *, truncated: float = 0.0, normal: float = 0.0) -> None:
    """Weights of convolutions with this deviation, biases 0."""
    for layer in part.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            if truncated:
                nn.init.trunc_normal_(layer.weight, std=truncated, a=-2.0, b=2.0)
            else:
                nn.init.normal_(layer.weight, std=normal)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
