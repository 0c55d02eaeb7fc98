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
from torch import Tensor, nn

from intarsia.contracts import MaskPredictions, OpenLevel, Size
from intarsia.layers.query_masks import (
    ScaleBlock,
    annealing_of,
    attention_mask,
    cut_to,
    mask_perceptron,
    masked_share,
    predicted,
)


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
        self.annealing = annealing_of(num_blocks, annealing_start, annealing_end)
        self.q = nn.Embedding(num_queries, in_channels)
        self.class_head = nn.Linear(in_channels, num_classes + 1)
        self.mask_head = mask_perceptron(in_channels)
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
        height, width = level.map.shape[2:]
        grid, found = (height, width), []
        for i, block in enumerate(level.blocks):
            mask = None
            if self.training:
                found.append(self._predict(tokens, level, grid))
                prefix = level.prefix.shape[1]
                mask = attention_mask(found[-1].mask_logits, grid, prefix, self.attn_mask_probs[i])
            tokens = block(tokens, mask)
        found.append(self._predict(tokens, level, grid))
        return cut_to(found, level.size, level.stride // 2**self.num_upscales)

    def set_training_progress(self, progress: float) -> None:
        """Set the probabilities of masked attention."""
        self.attn_mask_probs.copy_(masked_share(self.annealing, progress), non_blocking=True)

    def _predict(self, tokens: Tensor, level: OpenLevel, grid: Size) -> MaskPredictions:
        """What the queries among the tokens (N, T, C), as they are now, say of the patches."""
        return predicted(
            level.norm(tokens), self.q.num_embeddings, grid,
            class_head=self.class_head, mask_head=self.mask_head, upscale=self.upscale,
        )  # fmt: skip
