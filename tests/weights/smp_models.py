"""Models of segmentation_models.pytorch with random weights, and ours of the same tensors."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import mapping
import segmentation_models_pytorch as smp
import torch
from torch import Tensor, nn

from intarsia.config.build import build_task
from intarsia.config.checking.check import check
from intarsia.config.language.reader import Config
from intarsia.config.lowering.lower import lower
from intarsia.layers.levels import resize
from intarsia.weights.file import apply_state
from intarsia.weights.maps import translated
from intarsia.weights.maps.smp_config import describe_smp

SIZE = (64, 96)
PYRAMID, FOUR_LEVELS, MOBILE = "resnet18", "tu-test_convnext.r160_in1k", "tu-test_efficientnet.r160_in1k"
ENCODERS = {"pyramid": PYRAMID, "four levels": FOUR_LEVELS, "mobile": MOBILE}


def written(kind: str, **arguments: Any) -> tuple[nn.Module, dict[str, Any]]:
    """A model with random weights, and its config.json."""
    model = getattr(smp, kind)(encoder_weights=None, **arguments)
    config = {"encoder_weights": None, **arguments, "_model_class": kind, "_some_version": "1"}
    return mapping.randomised(model), json.loads(json.dumps(config))


def ours(config: dict[str, Any], state: dict[str, Tensor]) -> Any:
    described = Config.from_values(describe_smp(config).config, file="config.json")
    assert check(described, shapes=True) == []
    model: Any = build_task(lower(described)).model.double().eval()
    apply_state(model, translated(state))
    return model


def assert_same_logits(kind: str, *, size: Sequence[int] = SIZE, **arguments: Any) -> None:
    """At the size of the image, to which those who consume our logits resize them."""
    model, config = written(kind, **arguments)
    images = mapping.images(1, arguments.get("in_channels", 3), *size)
    with torch.no_grad():
        found = ours(config, model.state_dict())
        logits = resize(found(images), size, align_corners=found.decode_head.align_corners)
        mapping.assert_same(logits, model(images))
