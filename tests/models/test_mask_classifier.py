"""Masks and their classes as an answer for every pixel."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from intarsia.backbones.resnet import ResNet
from intarsia.contracts import MaskPredictions
from intarsia.layers.levels import resize
from intarsia.layers.norm import Norm
from intarsia.methods.maskformer import MaskFormerHead
from intarsia.models import mask_classifier
from intarsia.models.mask_classifier import MaskClassifier, class_maps
from intarsia.necks.fpn import FPN


def queries(*shape: int, count: int = 5, classes: int = 3, dtype: torch.dtype = torch.float32) -> MaskPredictions:
    random = torch.Generator().manual_seed(0)
    masks = 4 * torch.randn(2, count, *shape, generator=random)
    return MaskPredictions(torch.randn(2, count, classes + 1, generator=random).to(dtype), masks.to(dtype))


def head(in_channels: tuple[int, ...] = (8, 16, 32, 64)) -> MaskFormerHead:
    norm = Norm("GN", num_groups=4)
    return MaskFormerHead(in_channels=in_channels, num_classes=3, channels=16, mask_channels=8, num_queries=5,
                          num_heads=2, num_layers=2, hidden=16, norm=norm)  # fmt: skip


def backbone() -> ResNet:
    return ResNet(18, base_channels=8, stem_channels=8)


def plainly(found: MaskPredictions, size: tuple[int, int]) -> Tensor:
    """Pixel by pixel and class by class, the sum over the queries."""
    inside = resize(found.mask_logits, size).sigmoid()
    share = found.class_logits.softmax(-1)
    maps = torch.zeros(2, found.class_logits.shape[2] - 1, *size, dtype=inside.dtype)
    for k in range(maps.shape[1]):
        for q in range(inside.shape[1]):
            maps[:, k] += share[:, q, k, None, None] * inside[:, q]
    return maps


@pytest.mark.parametrize("size", [(16, 24), (17, 23), (4, 6), (3, 5)])
@pytest.mark.parametrize("gradients", [True, False])
def test_class_maps_are_sums_over_queries(size: tuple[int, int], gradients: bool) -> None:
    found = queries(4, 6, dtype=torch.float64)
    before = found.mask_logits.clone()
    with torch.set_grad_enabled(gradients):
        torch.testing.assert_close(class_maps(found, size), plainly(found, size), rtol=1e-12, atol=0)
    assert found.mask_logits.equal(before)


def test_masks_are_enlarged_before_the_sigmoid() -> None:
    found = queries(4, 6)
    behind = torch.einsum("nqk,nqhw->nkhw", found.class_logits.softmax(-1)[..., :-1], found.mask_logits.sigmoid())
    assert not torch.allclose(class_maps(found, (16, 24)), resize(behind, (16, 24)), atol=1e-2)


@pytest.mark.parametrize(
    ("shape", "size", "strips"),
    [((40, 33), (160, 130), 10), ((40, 33), (80, 130), 5), ((40, 33), (40, 200), 3), ((40, 33), (120, 132), 1)],
)
def test_strips_have_the_same_bits(
    shape: tuple[int, int], size: tuple[int, int], strips: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where rows become a power of two of rows, whatever happens to columns; three times as many are done at once."""
    found = queries(*shape, count=7)
    whole = class_maps(found, size)
    monkeypatch.setattr(mask_classifier, "BUDGET", 2 * 7 * 16 * size[1] * 4)
    parts = list(mask_classifier._strips(found.mask_logits, size))
    assert len(parts) == strips
    assert torch.cat([part for _, part in parts], dim=2).equal(resize(found.mask_logits, size))
    with torch.no_grad():
        torch.testing.assert_close(class_maps(found, size), whole, rtol=1e-6, atol=1e-6)  # sums, in another order


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_lifted_before_anything_is_computed(dtype: torch.dtype) -> None:
    found = queries(4, 6, dtype=dtype)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        maps = class_maps(found, (16, 24))
    assert maps.dtype == torch.float32
    torch.testing.assert_close(
        maps, plainly(MaskPredictions(found.class_logits.float(), found.mask_logits.float()), (16, 24))
    )


def test_answer_has_the_size_of_the_images_and_is_that_of_the_last_layer() -> None:
    torch.manual_seed(0)
    model = MaskClassifier(backbone=backbone(), decode_head=head()).eval()
    images = torch.randn(1, 3, 65, 97)
    with torch.no_grad():
        layers = model.queries(images)
        assert model(images).equal(class_maps(layers[-1], (65, 97)))
    assert len(layers) == 2
    assert [(tuple(x.class_logits.shape), tuple(x.mask_logits.shape)) for x in layers] == [
        ((1, 5, 4), (1, 5, 17, 25))
    ] * 2


def test_children_have_the_names_of_published_weights() -> None:
    neck = FPN(in_channels=(8, 16, 32, 64), out_channels=16, num_outs=4)
    model = MaskClassifier(backbone=backbone(), neck=neck, decode_head=head((16,) * 4))
    assert {name.partition(".")[0] for name in model.state_dict()} == {"backbone", "neck", "decode_head"}
    with torch.no_grad():
        assert model.eval()(torch.randn(1, 3, 64, 64)).shape == (1, 3, 64, 64)


def test_head_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match=r"decode_head MaskFormerHead expects in_channels=9 at level 3.* gives 64"):
        MaskClassifier(backbone=backbone(), decode_head=head((8, 16, 32, 9)))
