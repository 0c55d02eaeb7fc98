"""EoMT: a plain transformer finds masks by itself, if queries run along through its last blocks.

Paper: Kerssies, Cavagnero, Hermans, Norouzi, Averta, Leibe, Dubbelman, de Geus, Your ViT is Secretly an Image
    Segmentation Model, CVPR 2025, arXiv:2503.19108.
Original code: https://github.com/tue-mps/eomt (PyTorch, MIT).
Deviation: the original keeps masked attention while it evaluates during a training; here it is a part of training
    alone, so that what a network computes does not depend on how far its training was.

Published scores (original, windows): ADE20K 58.4 (DINOv2-L, 512 x 512), Cityscapes 84.2 (DINOv2-L, 1024 x 1024).

Shape letters: N images, C channels of the transformer, Q queries, P tokens before the patches (class token, registers),
    h, w height and width of the grid of patches, T = Q + P + h w all tokens, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from intarsia.contracts import MaskPredictions, OpenLevel
from intarsia.layers import precision
from intarsia.layers.levels import resize
from intarsia.layers.norm import LayerNorm2d
from intarsia.layers.patch_embed import pieces

ANNEALING_POWER = 0.9


class ScaleBlock(nn.Module):
    """Twice the resolution."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.ConvTranspose2d(channels, channels, 2, stride=2)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False)
        self.norm = LayerNorm2d(channels, eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, h, w) -> (N, C, 2 h, 2 w)."""
        out: Tensor = self.norm(self.conv2(F.gelu(self.conv1(x))))
        return out


class EoMTHead(nn.Module):
    """Queries for the last blocks of a plain transformer, and what is read from them: a class and a mask each.

    in_channels, in_index: the one level, which is open: its last `num_blocks` blocks are run here. num_queries: masks
    looked for. num_upscales: times that the patches are doubled for the masks; 2 makes patches of 16 pixels cells of 4.
    annealing_start, annealing_end: for each block, from which to which part of the training (0..1) its masked attention
    fades out. By default as the authors have it: from one to five sixths of the training, each for one sixth.

    While it trains, each block's queries look at the patches of the mask that they predict before it, and these
    predictions are trained, too. With the probability that `attn_mask_probs` does not have, a query looks at
    everything. Otherwise queries look at everything, and only the last prediction is made.

    Weights start as torch draws them, as in the original code.

    Raises ValueError for schedules that are not one ascending pair in 0..1 for each block.
    """

    attn_mask_probs: Tensor

    def __init__(
        self,
        *,
        in_channels: int,
        num_classes: int,
        in_index: int = 0,
        num_queries: int = 100,
        num_blocks: int = 4,
        num_upscales: int = 2,
        annealing_start: Sequence[float] | None = None,
        annealing_end: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        self.in_channels, self.in_index, self.in_blocks = in_channels, in_index, num_blocks
        self.num_classes = num_classes
        self.num_upscales = num_upscales
        self.annealing = _annealing(num_blocks, annealing_start, annealing_end)
        self.q = nn.Embedding(num_queries, in_channels)
        self.class_head = nn.Linear(in_channels, num_classes + 1)
        self.mask_head = nn.Sequential(
            nn.Linear(in_channels, in_channels),
            nn.GELU(),
            nn.Linear(in_channels, in_channels),
            nn.GELU(),
            nn.Linear(in_channels, in_channels),
        )
        self.upscale = nn.Sequential(*(ScaleBlock(in_channels) for _ in range(num_upscales)))
        self.register_buffer("attn_mask_probs", torch.ones(num_blocks))

    def forward(self, features: Sequence[OpenLevel]) -> tuple[MaskPredictions, ...]:
        """The open level -> class logits (N, Q, K + 1) and mask logits (N, Q, H / 4, W / 4), as the last block leaves
        its queries; in training, first as each block finds them.
        """
        level = features[self.in_index]
        patches = level.map.flatten(2).transpose(1, 2)  # (N, h w, C)
        queries = self.q.weight.to(patches.dtype).expand(patches.shape[0], -1, -1)
        tokens = torch.cat([queries, level.prefix, patches], dim=1)  # (N, T, C)
        found = []
        for i, block in enumerate(level.blocks):
            mask = None
            if self.training:
                found.append(self._predict(tokens, level))
                mask = self._attention_mask(found[-1].mask_logits, level, self.attn_mask_probs[i])
            tokens = block(tokens, mask)
        found.append(self._predict(tokens, level))
        cell = level.stride // 2**self.num_upscales
        height, width = (pieces(side, cell) for side in level.size)
        return tuple(MaskPredictions(x.class_logits, x.mask_logits[..., :height, :width]) for x in found)

    def set_training_progress(self, progress: float) -> None:
        """Set the probabilities of masked attention: 1 before a block's start, then (1 - t)^0.9, 0 from its end on."""
        probabilities = [
            (1 - min(max((progress - start) / (end - start), 0.0), 1.0)) ** ANNEALING_POWER
            for start, end in self.annealing
        ]
        self.attn_mask_probs.copy_(torch.tensor(probabilities))

    def _predict(self, tokens: Tensor, level: OpenLevel) -> MaskPredictions:
        """What the queries among the tokens (N, T, C), as they are now, say of the patches."""
        tokens = level.norm(tokens)
        height, width = level.map.shape[2:]
        first = self.q.num_embeddings
        queries, patches = tokens[:, :first], tokens[:, first + level.prefix.shape[1] :]
        pixels = self.upscale(patches.transpose(1, 2).unflatten(2, (height, width)))  # (N, C, 4 h, 4 w)
        masks = torch.einsum("nqc,nchw->nqhw", self.mask_head(queries), pixels)
        return MaskPredictions(self.class_head(queries), masks)

    def _attention_mask(self, masks: Tensor, level: OpenLevel, probability: Tensor) -> Tensor:
        """Mask logits (N, Q, 4 h, 4 w) -> (N, 1, T, T): queries look at the patches of their mask, all else at all."""
        inside = resize(precision.full_precision(masks.detach()), level.map.shape[2:]).flatten(2) > 0  # (N, Q, h w)
        free = torch.rand(inside.shape[:2], device=inside.device) > probability  # (N, Q)
        patches, others = inside.shape[2], inside.shape[1] + level.prefix.shape[1]
        below = patches + level.prefix.shape[1]
        return F.pad(inside | free.unsqueeze(-1), (others, 0, 0, below), value=True).unsqueeze(1)


def _annealing(
    num_blocks: int, start: Sequence[float] | None, end: Sequence[float] | None
) -> tuple[tuple[float, float], ...]:
    """When masked attention of each block begins to fade, and when it is gone."""
    apart = 1 / 2 / max(num_blocks - 1, 1)  # first starts at 1/6, last at 4/6
    starts = [1 / 6 + apart * i for i in range(num_blocks)] if start is None else list(start)
    ends = [first + 1 / 6 for first in starts] if end is None else list(end)
    if len(starts) != num_blocks or len(ends) != num_blocks:
        raise ValueError(
            f"annealing_start and annealing_end have one entry for each of {num_blocks} blocks (num_blocks); "
            f"got {len(starts)} and {len(ends)}"
        )
    pairs = tuple(zip(map(float, starts), map(float, ends), strict=True))
    if any(not 0 <= first < last <= 1 for first, last in pairs):
        raise ValueError(f"annealing runs from a part of the training to a later one, both in 0..1; got {list(pairs)}")
    return pairs
