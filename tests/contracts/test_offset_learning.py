"""Offset learning: the classifier of the paper, and heads that have it in the place of their own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import promises
import pytest
import torch
from cases import Case
from starts import TRUNCATED, Starts
from test_models import CONFIGS, TABLES
from torch import Tensor, nn

from intarsia.config.build import build_task
from intarsia.config.checking.check import check
from intarsia.config.language.reader import Config
from intarsia.config.lowering.lower import lower
from intarsia.contracts import Head
from intarsia.methods.fcn import FCNHead
from intarsia.methods.nnunet import NNUNetHead
from intarsia.methods.offset_learning import OffsetClassifier, offset_classified
from intarsia.methods.point_rend import PointHead
from intarsia.weights.file import apply_state
from intarsia.weights.legacy_names import with_present_names
from tests.recipes.test_recipes import own

CLASSIFIER = {"type": "OffsetClassifier"}
HEADS = ("FCNHead", "SegformerHead", "LightHamHead", "DDRHead", "UNetHead")


class Classified(Case):
    """A head of the catalogue with this classifier."""

    def build(self) -> nn.Module:
        head = super().build()
        torch.manual_seed(1)
        offset_classified(head=cast("Head", head))
        for layer in head.modules():
            if isinstance(
                layer, OffsetClassifier
            ):  # logits that are all alike, as they start, are mostly rounding when normalised
                nn.init.trunc_normal_(layer.cls_repr, std=0.5)
        return head

    def model_config(self) -> tuple[dict[str, Any], str]:
        model, place = super().model_config()
        return {**model, "decode_head": {**model["decode_head"], "classifier": CLASSIFIER}}, place


@pytest.mark.parametrize("name", HEADS)
@pytest.mark.parametrize("promise", promises.EVERY_PART, ids=lambda promise: promise.__name__)
def test_heads_with_it_keep_every_promise(promise: Callable[[Case], None], name: str) -> None:
    promise(Classified("head", name, TABLES, config=CONFIGS.get(name)))


@pytest.mark.parametrize("name", HEADS[:2])
@pytest.mark.parametrize("promise", [promises.is_captured_as_one_graph, promises.is_exported_for_any_size])
def test_heads_with_it_go_through_compilers(promise: Callable[[Case], None], name: str) -> None:
    promise(Classified("head", name, TABLES))


def test_it_computes_what_the_paper_writes() -> None:
    """Equations 4 to 8, with the offsets of pixels projected one by one."""
    layer = OffsetClassifier(6, num_classes=4).double()
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.add_(torch.randn_like(parameter))
    x = torch.randn(2, 6, 3, 5, dtype=torch.float64)
    pixels = x.permute(0, 2, 3, 1).reshape(2, 15, 6)
    expected = torch.stack([paper(layer, image) for image in pixels])  # (N, P, K)
    torch.testing.assert_close(layer(x).permute(0, 2, 3, 1).reshape(2, 15, 4), expected, rtol=1e-12, atol=1e-12)


def paper(layer: OffsetClassifier, pixels: Tensor) -> Tensor:
    classes = layer.cls_repr[0]
    attention = pixels @ classes.T
    moved_classes = classes + (attention.softmax(dim=0).T @ pixels) @ layer.cls_offset_proj.weight.T
    moved_pixels = pixels + (attention.softmax(dim=1) @ classes) @ layer.feat_offset_proj.weight.T
    logits = moved_pixels @ moved_classes.T
    centred = logits - logits.mean(dim=1, keepdim=True)
    scaled = centred / (centred.square().mean(dim=1, keepdim=True) + 1e-5).sqrt()
    return scaled * layer.mask_norm.weight + layer.mask_norm.bias


def test_what_a_classifier_saw_around_a_pixel_is_still_seen() -> None:
    """Without offsets and norm, the logits are those of the convolution whose place it takes."""
    conv = nn.Conv2d(6, 4, 3, padding=1)
    layer = OffsetClassifier(6, num_classes=4, kernel_size=3)
    assert isinstance(layer.gather, nn.Conv2d)
    layer.mask_norm = cast("nn.LayerNorm", nn.Identity())
    with torch.no_grad():
        for offsets in (layer.cls_offset_proj, layer.feat_offset_proj):
            offsets.weight.zero_()
        nn.init.eye_(layer.cls_repr[0])
        for mine, theirs in ((layer.gather.weight, conv.weight), (layer.gather.bias, conv.bias)):
            assert mine is not None
            assert theirs is not None
            mine.zero_()[:4] = theirs
    x = torch.randn(2, 6, 5, 7)
    torch.testing.assert_close(layer(x), conv(x))


def test_all_levels_of_nnunet_have_it() -> None:
    strides = ((1, 1), (2, 2), (2, 2))
    head: Any = NNUNetHead(in_channels=(4, 8, 8), in_index=(0, 1, 2), num_classes=3, strides=strides)
    offset_classified(head=head)
    assert all(isinstance(layer, OffsetClassifier) for layer in head.seg_layers)
    assert [layer.cls_repr.requires_grad for layer in head.seg_layers] == [False, True]


def test_it_starts_as_published() -> None:
    layer = OffsetClassifier(64, num_classes=50)
    assert not list(Starts(linear=TRUNCATED, special={"^cls_repr": TRUNCATED}).misfits(layer))


@pytest.mark.parametrize("name", ["segformer_mit-b0", "segnext_mscan-t"])
def test_it_adds_as_many_parameters_as_published(name: str) -> None:
    """0.13 million to networks of 256 channels with 150 classes; the paper says 0.1 to 0.2."""
    counts = []
    for change in ({}, {"classifier": CLASSIFIER}):
        values = own(name, num_classes=150)
        model = {**values["model"], "decode_head": {**values["model"]["decode_head"], **change}}
        with torch.device("meta"):
            task: Any = build_task(lower(Config.from_values({**values, "model": model}, file=name)))
        counts.append(sum(parameter.numel() for parameter in task.model.parameters()))
    assert counts[1] - counts[0] == 2 * 256**2 + 150


def test_published_files_are_read() -> None:
    """They have the layer under a name of its own, and the classifier whose place it takes."""
    head: Any = FCNHead(in_channels=8, channels=6, num_classes=4)
    offset_classified(head=head)
    state = {f"decode_head.{name}": value for name, value in head.state_dict().items()}
    published = {name.replace("conv_seg", "offset_learning"): value for name, value in state.items()}
    published |= {"decode_head.conv_seg.weight": torch.ones(4, 6, 1, 1), "decode_head.conv_seg.bias": torch.ones(4)}
    found, notes = with_present_names(published)
    assert set(found) == set(state)
    assert notes == ["names of offset learning's own code were brought up to date"]


def test_another_number_of_classes_is_seen() -> None:
    def head(classes: int) -> nn.Module:
        fcn: Any = FCNHead(in_channels=8, channels=6, num_classes=classes)
        return cast("nn.Module", offset_classified(head=fcn))

    report = apply_state(head(5), head(4).state_dict(), allow_partial=True)
    assert report.class_counts() == (4, 5)


def test_what_is_refused() -> None:
    with pytest.raises(ValueError, match="normalises the logits of a pixel against each other"):
        OffsetClassifier(8, num_classes=1)
    points = PointHead(in_channels=(8,), in_index=(0,), channels=4, num_classes=3)
    with pytest.raises(ValueError, match=r"replaces a head's last convolution, .*; PointHead has none"):
        offset_classified(head=points)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="Linear has none"):
        offset_classified(head=nn.Linear(1, 1))  # type: ignore[arg-type]


def problems(head: dict[str, Any]) -> list[str]:
    backbone = {"type": "ResNet", "depth": 18}
    model = {"type": "EncoderDecoder", "backbone": backbone, "decode_head": head}
    return [str(problem) for problem in check(Config.from_values({"model": model}, file="x.py"), shapes=True)]


def test_a_config_says_where_it_does_not_fit() -> None:
    fcn = {"type": "FCNHead", "in_channels": 512, "channels": 8, "num_classes": 3}
    assert problems({**fcn, "classifier": CLASSIFIER}) == []
    [channels] = problems({**fcn, "in_channels": 256, "classifier": CLASSIFIER})
    assert "model.decode_head.in_channels is 256 but backbone level 3 of ResNet gives 512 channels" in channels
    sigmoid = {"type": "CrossEntropyLoss", "use_sigmoid": True}
    one = {"num_classes": 2, "out_channels": 1, "loss_decode": sigmoid}
    [single] = problems({**fcn, **one, "classifier": CLASSIFIER})
    assert "model.decode_head.classifier: OffsetClassifier cannot be built" in single
    [unknown] = problems({**fcn, "classifier": {"type": "OffsetClasifier"}})
    assert "did you mean 'OffsetClassifier'?" in unknown
    case = Case("head", "IterativeDecodeHead", TABLES)
    knet = case.model_config()[0]
    first = {**knet["decode_head"]["kernel_generate_head"], "classifier": CLASSIFIER}
    model = {**knet, "decode_head": {**knet["decode_head"], "kernel_generate_head": first}}
    [kernels] = [str(problem) for problem in check(Config.from_values({"model": model}, file="x.py"))]
    assert "kernels begin as the weights of a convolution" in kernels
