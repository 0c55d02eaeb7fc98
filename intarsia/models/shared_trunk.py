"""Several heads on one pass of a backbone that stands still, which most of the time is spent in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, nn

from intarsia.layers.onednn import by_onednn
from intarsia.models.assembly import levels_of
from intarsia.models.encoder_decoder import EncoderDecoder
from intarsia.models.mask_classifier import MaskClassifier, class_maps


class SharedTrunk(nn.Module):
    """Trained models with one and the same backbone, which computes it once.

    models: by a name each; `MaskClassifier` or `EncoderDecoder`, whose backbones were not trained. They keep their
    necks and heads; of the backbones, the first is used.

    Raises ValueError where there is no model, one is of another kind, or backbones differ in a single number.
    """

    def __init__(self, models: Mapping[str, nn.Module]) -> None:
        super().__init__()
        if not models:
            raise ValueError("SharedTrunk: expected a model at least")
        for name, model in models.items():
            if not isinstance(model, MaskClassifier | EncoderDecoder):
                raise ValueError(
                    "SharedTrunk takes models of a backbone and a head (MaskClassifier, EncoderDecoder); "
                    f"{name!r} is a {type(model).__name__}"
                )
        first, *others = cast("list[MaskClassifier | EncoderDecoder]", list(models.values()))
        state = cast("nn.Module", first.backbone).state_dict()
        for name, other in zip(list(models)[1:], others, strict=True):
            _check_same(state, cast("nn.Module", other.backbone).state_dict(), name, next(iter(models)))
        self.backbone = first.backbone
        self.least_size = max(model.least_size for model in (first, *others))
        self.necks = nn.ModuleDict(
            {name: cast("nn.Module", m.neck) for name, m in models.items() if m.neck is not None}
        )
        self.heads = nn.ModuleDict({name: cast("nn.Module", m.decode_head) for name, m in models.items()})

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Normalised images (N, C, H, W) -> by the models' names, what each of them gives of these images."""
        found = {}
        with by_onednn(self, images):
            levels = levels_of(images, self.backbone, None)
            for name, head in self.heads.items():
                own = self.necks[name](levels) if name in self.necks else levels
                answer = head(own)
                found[name] = class_maps(answer[-1], images.shape[2:]) if isinstance(answer, tuple) else answer
        return found


def _check_same(expected: Mapping[str, Tensor], found: Mapping[str, Tensor], name: str, first: str) -> None:
    other = sorted(expected.keys() ^ found.keys()) or [
        key for key, value in expected.items() if not torch.equal(value, found[key].to(value.device))
    ]
    if other:
        raise ValueError(
            f"the backbones of {first!r} and {name!r} differ in {len(other)} tensors (first {other[0]}): one pass "
            "serves heads of one backbone alone, which was not trained (intarsia train ... --freeze backbone)"
        )
