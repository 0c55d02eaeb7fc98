"""timm's ResNets and Swin Transformers give the same features after conversion."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mapping
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from intarsia.backbones.resnet import ResNet, ResNetV1c, ResNetV1d
from intarsia.backbones.swin import SwinTransformer
from intarsia.weights.file import apply_state
from intarsia.weights.maps import recognise, translated

timm = pytest.importorskip("timm", reason="timm is not installed")

SWIN: dict[str, Any] = {
    "embed_dim": 12, "depths": (2, 2, 1, 2), "num_heads": (1, 2, 3, 4), "window_size": 3, "img_size": (192, 288),
    "always_partition": True,
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "ours"),
    [
        ("resnet18", lambda: ResNet(18)),
        ("resnet50c", lambda: ResNetV1c(50)),
        ("resnet50d", lambda: ResNetV1d(50)),
    ],
)
def test_resnet(name: str, ours: Callable[[], ResNet]) -> None:
    theirs = mapping.randomised(timm.create_model(name, features_only=True, out_indices=(1, 2, 3, 4)))
    backbone = ours().double().eval()
    apply_state(backbone, without_prefix(theirs))
    images = mapping.images(1, 3, 65, 91)
    with torch.no_grad():
        for level, expected in zip(backbone(images), theirs(images), strict=True):
            mapping.assert_same(level, expected)


def test_swin_with_levels_of_whole_windows() -> None:
    theirs = swin(features_only=True)
    ours = counterpart(theirs)
    images = mapping.images(1, 3, 192, 288)
    with torch.no_grad():
        for level, expected in zip(ours(images), theirs(images), strict=True):
            mapping.assert_same(level, normed(expected))


def test_swin_with_a_level_of_one_window() -> None:
    """timm does not shift such a level, ours and the original do; the other levels agree."""
    theirs = swin(img_size=96, always_partition=False, features_only=True)
    images = mapping.images(1, 3, 96, 96)
    with torch.no_grad():
        *finer, coarsest = zip(counterpart(theirs)(images), theirs(images), strict=True)
    for ours, expected in finer:
        mapping.assert_same(ours, normed(expected))
    assert coarsest[1].shape[1:3] == (3, 3)
    assert not torch.allclose(coarsest[0], normed(coarsest[1]), atol=0.01)


def test_swin_of_the_original_code() -> None:
    """Microsoft's files: patch merging stands at the end of a stage, buffers are in the file."""
    theirs = swin(features_only=True)
    state = {}
    for name, value in theirs.state_dict().items():
        for stage in range(1, 4):
            name = name.replace(f"layers_{stage}.downsample", f"layers_{stage - 1}.downsample")
        state[name.replace("layers_", "layers.")] = value
    state["layers.0.blocks.1.attn_mask"] = torch.zeros(4, 9, 9)
    state["layers.0.blocks.1.attn.relative_position_index"] = torch.zeros(9, 9, dtype=torch.long)
    state["head.weight"] = torch.zeros(10, 96)
    found = recognise(state)
    assert found is not None
    assert "original" in found.name
    converted, unknown = found.convert(state)
    assert unknown == ()
    expected = translated(theirs.state_dict())
    assert converted.keys() == expected.keys()
    assert all(torch.equal(value, expected[name]) for name, value in converted.items())


def swin(**options: Any) -> nn.Module:
    create = timm.models.swin_transformer._create_swin_transformer
    return mapping.randomised(create("swin_tiny_patch4_window7_224", **{**SWIN, **options}))


def normed(features: torch.Tensor) -> torch.Tensor:
    """Their (N, h, w, C) as ours are given, (N, C, h, w), behind a norm of scale 1 and shift 0."""
    return F.layer_norm(features, features.shape[-1:]).permute(0, 3, 1, 2)


def counterpart(theirs: nn.Module) -> nn.Module:
    ours = SwinTransformer(embed_dims=12, depths=SWIN["depths"], num_heads=SWIN["num_heads"], window_size=3)
    ours.double().eval()
    report = apply_state(ours, without_prefix(theirs), allow_partial=True)
    assert report.missing == tuple(f"norm{i}.{part}" for i in range(4) for part in ("weight", "bias"))
    assert not report.unexpected
    return ours


def without_prefix(theirs: nn.Module) -> dict[str, torch.Tensor]:
    return {name.removeprefix("backbone."): value for name, value in translated(theirs.state_dict()).items()}
