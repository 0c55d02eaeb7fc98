"""The two-layer perceptron of transformers, with the parameter names of published weights (`layers.0.0`, `layers.1`).

Shape letters: N images, C channels; any layout of tokens lies between the two.
"""

from __future__ import annotations

from torch import Tensor, nn

from intarsia.layers.activation import GELU, Activation


class FeedForward(nn.Module):
    """Widens to `hidden` channels, activates, narrows again (Vaswani et al., arXiv:1706.03762, section 3.3).

    dropout: behind either layer, in training. The layers start as torch's do; a transformer that starts otherwise says
    so itself.
    """

    def __init__(self, channels: int, hidden: int, *, activation: Activation = GELU, dropout: float = 0.0) -> None:
        super().__init__()
        widen, narrow = nn.Linear(channels, hidden), nn.Linear(hidden, channels)
        self.layers = nn.Sequential(
            nn.Sequential(widen, activation(), nn.Dropout(dropout)), narrow, nn.Dropout(dropout)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(N, ..., C) -> (N, ..., C). The residual connection is the caller's."""
        out: Tensor = self.layers(x)
        return out
