"""Encoding: the pixels of an image as what they differ by from learned code words.

Zhang, Xue, Dana, Deep TEN: Texture Encoding Network, arXiv:1612.02844, section 2. EncNet and FastFCN share it.

Shape letters: N images, C channels, P pixels, W code words.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from intarsia.layers import precision


class Encoding(nn.Module):
    """Every pixel is shared out among the code words, the near ones most; of each, the sum of the differences is kept.

    codewords: (W, C), start uniform within 1 / sqrt(W * C). scale: (W,), how distances count, starts within -1 .. 0.
    """

    def __init__(self, channels: int, num_codes: int) -> None:
        super().__init__()
        bound = (num_codes * channels) ** -0.5
        self.codewords = nn.Parameter(torch.empty(num_codes, channels).uniform_(-bound, bound))
        self.scale = nn.Parameter(torch.empty(num_codes).uniform_(-1, 0))

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, h, w) -> (N, W, C), in the precision of the code words: sums over all pixels grow large."""
        pixels = x.flatten(2)  # (N, C, P)
        codewords, scale = precision.full_precision(self.codewords), precision.full_precision(self.scale)
        lengths = precision.full_precision(pixels).square().sum(dim=1, keepdim=True)  # (N, 1, P)
        products = precision.sums_over_channels(codewords.transpose(0, 1).unsqueeze(0), pixels)  # (N, W, P)
        distances = lengths - 2 * products + codewords.square().sum(dim=1, keepdim=True)  # squared, (N, W, P)
        shares = (scale.unsqueeze(1) * distances).softmax(dim=1)  # (N, W, P)
        # Summed over the pixels, shares * (pixel - code word) needs no difference of every pixel from every word.
        sums = precision.sums_over_pixels(shares, pixels) - shares.sum(dim=2, keepdim=True) * codewords
        return sums.to(self.codewords.dtype)
