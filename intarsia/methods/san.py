"""SAN: a small network beside a frozen CLIP finds masks, and says to CLIP where to look when it names them.

Paper: Xu, Zhang, Wei, Hu, Bai, Side Adapter Network for Open-Vocabulary Semantic Segmentation, CVPR 2023,
    arXiv:2302.12242. The image encoder is `backbones/vit.py`, the text encoder `backbones/clip_text.py`.
Original code: https://github.com/MendelXu/SAN

Deviations: none in the computation from OpenMMLab's published weights, except that positions are resized wherever the
grid has another height and width, there only where it has another number of patches. CLIP's levels are joined after the
layers that `fusion_index` says, in every case; there only where these are 0, 1, 2 and 3, as they are in all recipes.

Published scores on COCO-Stuff 164k, single scale, mIoU: ViT-B/16 41.93, ViT-L/14 45.78.

Shape letters: N images, Q queries, K classes, H, W height and width of the images, h, w of the grid of patches, h', w'
of CLIP's, L = h * w, L' = h' * w', C channels of the side network, D of CLIP's layers, E of what is compared with the
classes, M attention heads.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from intarsia.contracts import MaskPredictions, TokenLevel
from intarsia.layers import adaptive_pooling, position_embedding, precision
from intarsia.layers.activation import GELU, Activation
from intarsia.layers.attention import MultiheadAttention
from intarsia.layers.conv import ConvNormAct, init_caffe2_xavier_
from intarsia.layers.levels import resize
from intarsia.layers.norm import Norm
from intarsia.layers.patch_embed import PatchEmbed, to_map, to_tokens
from intarsia.layers.position_embedding import learned_positions
from intarsia.layers.transformer import EncoderLayer, ListedEncoderLayer

IMAGE = 640
"""Side of the images that the side network's positions are learned for."""
LN, SIDE_LN2D = Norm("LN"), Norm("LN2d", eps=1e-6)
UNSEEN = -100.0
"""Added to the attention between tokens that should not see each other."""


class Perceptron(nn.Module):
    """Linear layers with ReLUs between them, over the channels of tokens, or of the pixels of a map."""

    def __init__(self, in_channels: int, hidden: int, out_channels: int, num_layers: int, *, of_maps: bool) -> None:
        super().__init__()
        widths = [in_channels, *[hidden] * (num_layers - 1), out_channels]
        self.layers = nn.ModuleList(
            nn.Conv2d(before, after, 1) if of_maps else nn.Linear(before, after) for before, after in pairwise(widths)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(N, Q, C), or (N, C, h, w) -> the same with other channels."""
        *first, last = self.layers
        for layer in first:
            x = layer(x).relu()
        out: Tensor = last(x)
        return out


class MaskDecoder(nn.Module):
    """Queries and patches -> masks, and what they add to CLIP's attention (figure 3, right).

    total_heads, total_layers: of CLIP's layers, to each of which something else is added; 1 for the same everywhere.
    """

    def __init__(
        self,
        in_channels: int,
        *,
        total_heads: int,
        total_layers: int,
        channels: int,
        hidden: int,
        num_layers: int,
        rescale: bool,
    ) -> None:
        super().__init__()
        self.total_heads = total_heads
        self.total_layers = total_layers
        self.query_mlp = Perceptron(in_channels, hidden, channels, num_layers, of_maps=False)
        self.pix_mlp = Perceptron(in_channels, hidden, channels, num_layers, of_maps=True)
        wide = channels * total_heads * total_layers
        self.attn_mlp = Perceptron(in_channels, hidden, wide, num_layers, of_maps=True)
        self.bias_scaling = nn.Linear(1, 1) if rescale else None

    def forward(self, query: Tensor, pixels: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Queries (N, Q, C) and a map (N, C, h, w) -> mask logits (N, Q, h, w), and for each of CLIP's layers, or all
        of them, what each query adds to the attention of its token (N, M or 1, Q, h, w).
        """
        query = self.query_mlp(query)
        masks = torch.einsum("nqc,nchw->nqhw", query, self.pix_mlp(pixels))
        keys = self.attn_mlp(pixels).unflatten(1, (self.total_layers, self.total_heads, -1))
        added = torch.einsum("nqc,nlmchw->nlmqhw", query, keys)
        if self.bias_scaling is not None:
            added = added * self.bias_scaling.weight.view(1) + self.bias_scaling.bias
        return masks, [added[:, i] for i in range(self.total_layers)]


class SideAdapterNetwork(nn.Module):
    """A small transformer over queries and patches, which CLIP's levels are added to on their way (section 3.2).

    fusion_index: after how many layers CLIP's levels are added, one after the other.
    """

    def __init__(
        self,
        *,
        in_channels: int,
        clip_channels: int,
        channels: int,
        patch_size: int,
        patch_bias: bool,
        num_queries: int,
        fusion_index: Sequence[int],
        num_layers: int,
        num_heads: int,
        mlp_ratio: int,
        norm: Norm,
        mask_decoder: MaskDecoder,
    ) -> None:
        super().__init__()
        self.grid = (IMAGE // patch_size, IMAGE // patch_size)
        self.num_queries = num_queries
        self.fusion_index = tuple(fusion_index)
        self.pos_embed = learned_positions(self.grid[0] * self.grid[1], channels)
        self.query_pos_embed = nn.Parameter(torch.empty(1, num_queries, channels))
        self.query_embed = nn.Parameter(torch.empty(1, num_queries, channels))
        self.patch_embed = PatchEmbed(in_channels, channels, patch_size=patch_size, padding=0, bias=patch_bias)
        self.encode_layers = nn.ModuleList(
            EncoderLayer(channels, num_heads, hidden=mlp_ratio * channels, norm=norm) for _ in range(num_layers)
        )
        self.conv_clips = nn.ModuleList(
            nn.Sequential(SIDE_LN2D(clip_channels), ConvNormAct(clip_channels, channels, 1, norm=None, activation=None))
            for _ in fusion_index
        )
        self.mask_decoder = mask_decoder
        self._initialise()

    def forward(
        self, images: Tensor, levels: Sequence[Tensor], after: Sequence[int]
    ) -> list[tuple[Tensor, list[Tensor]]]:
        """Images (N, bands, H, W) and maps of CLIP (N, D, h', w') -> what the mask decoder gives after so many layers,
        for each of these numbers.
        """
        patches = self.patch_embed(images)  # (N, h, w, C)
        height, width = patches.shape[1:3]
        grid = position_embedding.resize_positions(self.pos_embed, self.grid, (height, width), mode="bicubic")
        positions = torch.cat([self.query_pos_embed, grid], dim=1)  # (1, Q + L, C)
        queries = self.query_embed.expand(patches.shape[0], -1, -1)
        x = torch.cat([queries, patches.flatten(1, 2)], dim=1)  # (N, Q + L, C)
        found = []
        for done in range(len(self.encode_layers) + 1):
            if done:
                x = self.encode_layers[done - 1](x + positions)
            for i, conv in enumerate(self.conv_clips):
                if self.fusion_index[i] == done:
                    level = to_tokens(resize(conv(levels[i]), (height, width)))  # (N, L, C)
                    x = torch.cat([x[:, : self.num_queries], x[:, self.num_queries :] + level], dim=1)
            if done in after:
                pixels = to_map(x[:, self.num_queries :], height, width)
                found.append(self.mask_decoder(x[:, : self.num_queries], pixels))
        return found

    def _initialise(self) -> None:
        for parameter in (self.query_pos_embed, self.query_embed):
            nn.init.normal_(parameter, std=0.02)
        for layer in self.encode_layers.modules():
            if isinstance(layer, nn.Linear):
                nn.init.trunc_normal_(layer.weight, std=0.02)
                nn.init.zeros_(layer.bias)
        for conv in self.conv_clips.modules():
            if isinstance(conv, nn.Conv2d):
                init_caffe2_xavier_(conv)


class BiasedRecognition(nn.Module):
    """The last layers of CLIP's image encoder: one more class token for each query, which looks where the query says
    (section 3.2, figure 4). Its weights stay as loaded.
    """

    def __init__(
        self,
        channels: int,
        out_channels: int,
        *,
        num_queries: int,
        num_layers: int,
        num_heads: int,
        mlp_ratio: int,
        qkv_bias: bool,
        final_norm: bool,
        norm: Norm,
        activation: Activation,
    ) -> None:
        super().__init__()
        self.num_queries = num_queries
        self.num_heads = num_heads
        self.final_norm = final_norm
        self.layers = nn.ModuleList(
            ListedEncoderLayer(
                channels,
                num_heads,
                hidden=mlp_ratio * channels,
                qkv_bias=qkv_bias,
                norm=norm,
                activation=activation,
            )
            for _ in range(num_layers)
        )
        self.ln_post = norm(channels)
        self.proj = nn.Linear(channels, out_channels, bias=False)
        self._initialise()

    def forward(self, level: TokenLevel, added: Sequence[Tensor]) -> Tensor:
        """CLIP's last level, and what the queries add to the attention (N, M or 1, Q, h, w) in each layer, or in all of
        them -> what each query has seen (N, Q, E).
        """
        token = level.token.unsqueeze(1)  # (N, 1, D)
        x = torch.cat([token.expand(-1, self.num_queries, -1), token, to_tokens(level.map)], dim=1)  # (N, Q+1+L', D)
        masks = [self._attention_mask(one, level.map) for one in added]
        for i, layer in enumerate(self.layers):
            x = layer(x, masks[i if len(masks) > 1 else 0])
        x = self.proj(self.ln_post(x[:, : self.num_queries]))
        return F.normalize(x, dim=-1) if self.final_norm else x

    def _attention_mask(self, added: Tensor, level: Tensor) -> Tensor:
        """(N, M or 1, Q + 1 + L', Q + 1 + L'): a query's token sees itself and, as it is told, the patches; none sees
        the queries' tokens, so that CLIP's own go on as if there were no others.
        """
        height, width = level.shape[2:]
        added = adaptive_pooling.adaptive_max_pool(added.flatten(1, 2), height, width)
        added = added.unflatten(1, (-1, self.num_queries)).flatten(3)  # (N, M or 1, Q, L')
        itself = torch.eye(self.num_queries, dtype=added.dtype, device=added.device)
        hidden = F.pad(UNSEEN * (1 - itself), (0, 1), value=UNSEEN)  # (Q, Q + 1)
        hidden = hidden.expand(added.shape[0], added.shape[1], -1, -1)
        of_queries = torch.cat([hidden, added], dim=3)  # (N, M or 1, Q, Q + 1 + L')
        of_others = F.pad(torch.zeros_like(added[:, :, :1]), (1, 0))  # (N, M or 1, 1, 1 + L')
        of_others = F.pad(of_others, (self.num_queries, 0), value=UNSEEN)  # (N, M or 1, 1, Q + 1 + L')
        return torch.cat([of_queries, of_others.expand(-1, -1, 1 + height * width, -1)], dim=2)

    def _initialise(self) -> None:
        """As torch's own layers start, which CLIP's image encoder is made of."""
        for attention in self.layers.modules():
            if not isinstance(attention, MultiheadAttention):
                continue
            nn.init.xavier_uniform_(attention.in_proj_weight)
            attention.out_proj.reset_parameters()
            if attention.out_proj.bias is not None:
                nn.init.zeros_(attention.out_proj.bias)
        nn.init.normal_(self.proj.weight, std=self.proj.in_features**-0.5)


class SideAdapterCLIPHead(nn.Module):
    """The side network, and the recognition of its masks by what CLIP knows of words.

    Args:
        num_classes: classes that have a name, without the background.
        clip_channels: D, of each level of the image encoder.
        in_index: the levels read, in the order in which they are added; the last is recognised.
        image_channels: bands of the image.
        embed_dims: C.
        patch_size: side of the side network's patches in pixels.
        patch_bias: a bias in their projection.
        num_queries: masks looked for.
        fusion_index: after how many layers of the side network each level is added.
        num_layers: layers of the side network.
        num_heads: its attention heads.
        mlp_ratio: hidden channels of its feed-forward networks per channel.
        norm: of its layers.
        bias_heads: heads of the recognition to which something else is added: all, or 1 for the same everywhere.
        bias_layers: its layers, likewise.
        mask_channels: of the space in which a query and the pixels of its mask meet.
        mask_hidden: hidden channels of the mask decoder's perceptrons.
        mask_layers: their layers.
        rescale_bias: a learned factor and a shift of what is added to the attention.
        clip_layers: layers of the recognition.
        clip_heads: its attention heads.
        clip_mlp_ratio: hidden channels of its feed-forward networks per channel.
        clip_qkv_bias: biases in its attention's projections.
        clip_norm: of its layers.
        clip_activation: of its feed-forward networks.
        out_dims: E.
        final_norm: queries are compared with classes by their direction alone.
        deep_supervision_idxs: training also looks at what is found after so many layers of the side network.
        frozen_exclude: parts of names; parameters of the recognition without any of them in their name keep their
            weights as loaded. With "all" among them, nothing is frozen.
        align_corners: has no meaning for masks, which are enlarged without; heads have it.

    Raises ValueError for arguments that contradict each other.
    """

    in_tokens = True

    def __init__(
        self,
        *,
        num_classes: int,
        clip_channels: int = 768,
        in_index: Sequence[int] = (0, 1, 2, 3),
        image_channels: int = 3,
        embed_dims: int = 240,
        patch_size: int = 16,
        patch_bias: bool = True,
        num_queries: int = 100,
        fusion_index: Sequence[int] = (0, 1, 2, 3),
        num_layers: int = 8,
        num_heads: int = 6,
        mlp_ratio: int = 4,
        norm: Norm = LN,
        bias_heads: int = 12,
        bias_layers: int = 1,
        mask_channels: int = 256,
        mask_hidden: int = 256,
        mask_layers: int = 3,
        rescale_bias: bool = True,
        clip_layers: int = 3,
        clip_heads: int = 12,
        clip_mlp_ratio: int = 4,
        clip_qkv_bias: bool = True,
        clip_norm: Norm = LN,
        clip_activation: Activation = GELU,
        out_dims: int = 512,
        final_norm: bool = True,
        deep_supervision_idxs: Sequence[int] = (7,),
        frozen_exclude: Sequence[str] = (),
        align_corners: bool = False,
    ) -> None:
        super().__init__()
        _check_places("fusion_index", fusion_index, range(num_layers + 1))
        _check_places("deep_supervision_idxs", deep_supervision_idxs, range(1, num_layers))
        if not in_index:
            raise ValueError("in_index names no level, but the last one is what masks are recognised in")
        if len(in_index) != len(fusion_index):
            raise ValueError(f"fusion_index has {len(fusion_index)} entries, but in_index names {len(in_index)} levels")
        for name, count, all_ in (("bias_heads", bias_heads, clip_heads), ("bias_layers", bias_layers, clip_layers)):
            if count not in (1, all_):
                raise ValueError(f"{name} is 1, or {all_} as many as the recognition has; got {count}")
        self.num_classes = num_classes
        self.in_index = tuple(in_index)
        self.in_channels = (clip_channels,) * len(self.in_index)
        self.out_dims = out_dims
        self.patch_size = patch_size
        self.align_corners = align_corners
        self.last = num_layers
        self.supervised = tuple(deep_supervision_idxs)
        mask_decoder = MaskDecoder(
            embed_dims, total_heads=bias_heads, total_layers=bias_layers, channels=mask_channels, hidden=mask_hidden,
            num_layers=mask_layers, rescale=rescale_bias,
        )  # fmt: skip
        self.side_adapter_network = SideAdapterNetwork(
            in_channels=image_channels, clip_channels=clip_channels, channels=embed_dims, patch_size=patch_size,
            patch_bias=patch_bias, num_queries=num_queries, fusion_index=fusion_index, num_layers=num_layers,
            num_heads=num_heads, mlp_ratio=mlp_ratio, norm=norm, mask_decoder=mask_decoder,
        )  # fmt: skip
        self.rec_with_attnbias = BiasedRecognition(
            clip_channels, out_dims, num_queries=num_queries, num_layers=clip_layers, num_heads=clip_heads,
            mlp_ratio=clip_mlp_ratio, qkv_bias=clip_qkv_bias, final_norm=final_norm, norm=clip_norm,
            activation=clip_activation,
        )  # fmt: skip
        if "all" not in frozen_exclude:
            for name, parameter in self.rec_with_attnbias.named_parameters():
                parameter.requires_grad_(any(part in name for part in frozen_exclude))

    def forward(self, images: Tensor, features: Sequence[TokenLevel], classes: Tensor) -> tuple[MaskPredictions, ...]:
        """Images (N, bands, H, W), levels of CLIP and vectors of the classes (K + 1, E), the background's last -> class
        logits (N, Q, K + 1) and mask logits (N, Q, h, w) of the last layer.
        """
        return self._predict(images, features, classes, (self.last,))

    def queries(self, images: Tensor, features: Sequence[TokenLevel], classes: Tensor) -> tuple[MaskPredictions, ...]:
        """The same of each layer that training looks at, the last being the answer."""
        return self._predict(images, features, classes, (*self.supervised, self.last))

    def _predict(
        self, images: Tensor, features: Sequence[TokenLevel], classes: Tensor, after: Sequence[int]
    ) -> tuple[MaskPredictions, ...]:
        levels = [features[i] for i in self.in_index]
        found = self.side_adapter_network(images, [level.map for level in levels], after)
        predictions = []
        for masks, added in found:
            seen = self.rec_with_attnbias(levels[-1], added)  # (N, Q, E)
            logits = precision.sums_over_channels(seen.transpose(1, 2), classes.transpose(0, 1).unsqueeze(0))
            predictions.append(MaskPredictions(logits, masks))
        return tuple(predictions)


def _check_places(name: str, places: Sequence[int], possible: range) -> None:
    wrong = [place for place in places if place not in possible]
    if wrong:
        raise ValueError(f"{name} counts layers from {possible.start} to {possible.stop - 1}; got {wrong[0]}")
    if list(places) != sorted(set(places)):
        raise ValueError(f"{name} ascends; got {list(places)}")
