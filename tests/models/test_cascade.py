"""The cascade: names, what each head gets, and that every head runs once."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, nn

from intarsia.backbones.resnet import ResNet
from intarsia.contracts import Batch
from intarsia.layers.norm import BN
from intarsia.losses.cross_entropy import CrossEntropyLoss
from intarsia.methods.fcn import FCNHead
from intarsia.models.cascade import CascadeEncoderDecoder
from intarsia.spec import PreprocessSpec
from intarsia.tasks.preprocess import Preprocess
from intarsia.tasks.semantic import HeadLoss, HeadTerm, SemanticSegmentation


class Doubling(nn.Module):
    """A refining head that shows what it was given."""

    in_index, in_channels, num_classes, align_corners = -1, 32, 3, False

    def forward(self, features: Sequence[Tensor], coarse_logits: Tensor) -> Tensor:
        assert features[-1].shape[1] == 32
        return 2 * coarse_logits


def first_head(in_channels: int = 16) -> FCNHead:
    return FCNHead(in_channels=in_channels, channels=4, num_classes=3, in_index=2, num_convs=1, norm=BN)


def cascade(**more: nn.Module) -> CascadeEncoderDecoder:
    backbone = ResNet(18, base_channels=4, stem_channels=4)
    return CascadeEncoderDecoder(backbone=backbone, decode_head=[first_head(), Doubling(), Doubling()], **more)


def test_each_head_refines_the_one_before() -> None:
    model = cascade(auxiliary_head=first_head()).eval()
    images = torch.randn(2, 3, 64, 96)
    outputs = model.training_outputs(images)
    assert list(outputs) == ["decode_0", "decode_1", "decode_2", "aux"]
    assert outputs["decode_2"].equal(4 * outputs["decode_0"])
    assert model(images).equal(outputs["decode_2"])
    names = {name.partition(".conv_seg")[0] for name in model.state_dict() if "conv_seg" in name}
    assert names == {"decode_head.0", "auxiliary_head"}


def test_batch_norms_of_the_first_head_see_a_batch_once() -> None:
    model = cascade().train()
    model.training_outputs(torch.randn(2, 3, 64, 64))
    counts = {name: int(count) for name, count in model.state_dict().items() if name.endswith("num_batches_tracked")}
    assert any(name.startswith("decode_head.0.") for name in counts)
    assert set(counts.values()) == {1}


def test_gradients_reach_the_first_head_through_the_last() -> None:
    model = cascade().train()
    model.training_outputs(torch.randn(2, 3, 64, 64))["decode_2"].sum().backward()
    gradient = model.decode_head[0].conv_seg.weight.grad
    assert gradient is not None
    assert gradient.abs().max() > 0


def test_validation_loss_is_the_last_heads() -> None:
    losses = [
        HeadLoss(
            f"decode_{i}", [HeadTerm("loss_ce", CrossEntropyLoss(), weight)], ignore_index=255, align_corners=False
        )
        for i, weight in enumerate((0.4, 0.7, 1.0))
    ]
    preprocess = Preprocess(PreprocessSpec((0.0,) * 3, (1.0,) * 3))
    task = SemanticSegmentation(cascade(), preprocess=preprocess, losses=losses, num_classes=3, ignore_index=255).eval()
    images, labels = torch.randn(2, 3, 64, 96), torch.randint(0, 3, (2, 64, 96))
    with torch.no_grad():
        terms = {term.name: term for term in task.training_terms(Batch(images, labels, ((64, 96),) * 2, ()))}
        value = task.validation_loss(task.logits(images, ((64, 96),) * 2), labels)
    assert terms["decode_0.loss_ce"].weight == 0.4
    torch.testing.assert_close(value, terms["decode_2.loss_ce"].value)


def test_what_is_no_cascade_is_refused() -> None:
    backbone = ResNet(18, base_channels=4, stem_channels=4)
    with pytest.raises(ValueError, match="two decode heads or more; got 1"):
        CascadeEncoderDecoder(backbone=backbone, decode_head=[first_head()])
    with pytest.raises(ValueError, match=r"decode_head\.0 FCNHead expects in_channels=99 at level 2"):
        CascadeEncoderDecoder(backbone=backbone, decode_head=[first_head(99), Doubling()])
