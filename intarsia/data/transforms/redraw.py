"""What a drawn sample must be like, for training to take it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from intarsia.contracts import IGNORE_INDEX, Sample


@dataclass(frozen=True)
class RedrawUnlabelled:
    """A sample without a single labelled pixel is transformed again from its beginning, with other random numbers.

    A crop may lie where nothing is labelled; mask classifiers find no mask there. EoMT (arXiv:2503.19108) is trained
    so. It asks for the label as it is when all transforms are done, wherever it stands, and changes nothing itself.

    attempts: how often in all; then the last is taken as it is, since some images have no label at all.
    ignore_index: the label value that counts as none.
    """

    attempts: int = 20
    ignore_index: int = IGNORE_INDEX

    def __post_init__(self) -> None:
        if self.attempts < 1:
            raise ValueError(f"RedrawUnlabelled: attempts must be 1 or more, got {self.attempts!r}")

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """The same sample."""
        return sample

    def accepts(self, sample: Sample) -> bool:
        """Whether it has a labelled pixel, or no label that could have one."""
        return sample.label is None or bool((sample.label != self.ignore_index).any())
