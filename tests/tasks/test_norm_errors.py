"""A norm with one value to average over: the run is told what it can change, whichever norm it is."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from intarsia.contracts import Batch, FeatureSpec, SampleMeta
from intarsia.layers.norm import BN, Norm
from intarsia.losses.cross_entropy import CrossEntropyLoss
from intarsia.methods.pspnet import PSPHead
from intarsia.models.encoder_decoder import EncoderDecoder
from intarsia.spec import PreprocessSpec
from intarsia.tasks.norm_errors import explained_norms
from intarsia.tasks.preprocess import Preprocess
from intarsia.tasks.semantic import HeadLoss, HeadTerm, SemanticSegmentation


class Backbone(nn.Module):
    features = (FeatureSpec(3, 1),)

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return (images,)


def task(norm: Norm) -> SemanticSegmentation:
    head = PSPHead(in_channels=3, channels=4, num_classes=2, norm=norm)
    preprocess = Preprocess(PreprocessSpec(mean=(0.0,) * 3, std=(1.0,) * 3))
    losses = [HeadLoss("decode", [HeadTerm("loss_ce", CrossEntropyLoss(), 1.0)], ignore_index=255, align_corners=False)]
    model = EncoderDecoder(backbone=Backbone(), decode_head=head)
    return SemanticSegmentation(model, preprocess=preprocess, losses=losses, num_classes=2, ignore_index=255)


def batch(images: int) -> Batch:
    sizes = ((8, 8),) * images
    labels = torch.zeros(images, 8, 8, dtype=torch.uint8)
    return Batch(torch.rand(images, 3, 8, 8), labels, sizes, (SampleMeta(),) * images)


@pytest.mark.parametrize("kind", ["BN", "SyncBN"])
def test_a_batch_of_one_is_explained(kind: str) -> None:
    network = task(Norm(kind))
    with pytest.raises(ValueError, match="two images or more per process in training") as caught:
        network.training_terms(batch(1))
    message = str(caught.value)
    assert "decode_head.psp_modules.0.1.bn (BatchNorm2d)" in message
    assert "batch_size of 2 or more" in message
    assert network.training_terms(batch(2))
    assert network.eval().logits(batch(1).images, batch(1).sizes).isfinite().all()


@pytest.mark.parametrize("norm", [Norm("IN"), Norm("GN", num_groups=4)])
def test_norms_that_look_at_one_image_are_not_helped_by_more(norm: Norm) -> None:
    network = task(norm)
    with pytest.raises(ValueError, match=r"psp_modules.0.1.\w\w \((Instance|Group)Norm.*more images do not help"):
        network.training_terms(batch(1))
    with pytest.raises(ValueError, match="more images do not help"):
        network.eval().logits(batch(1).images, batch(1).sizes)


def test_a_compiled_network_is_explained_too() -> None:
    network = task(BN)
    network.model.training_outputs = torch.compile(network.model.training_outputs, backend="eager")
    with pytest.raises(ValueError, match="two images or more per process in training: a batch norm"):
        network.training_terms(batch(1))


def test_other_errors_pass_as_they_are() -> None:
    error = ValueError("something else")
    with pytest.raises(ValueError, match="something else") as caught, explained_norms(None):
        raise error
    assert caught.value is error
