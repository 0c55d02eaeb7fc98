"""DDRNet and PIDNet: what the contracts and the figures do not see."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from intarsia.config.build import build_task
from intarsia.config.language.reader import Config
from intarsia.config.lowering.lower import lower
from intarsia.contracts import Batch, FeatureSpec
from intarsia.layers.activation import RELU
from intarsia.layers.norm import BN
from intarsia.methods.ddrnet import DDRHead, DDRNet
from intarsia.methods.pidnet import (
    BoundaryFusion,
    EdgeMap,
    LabelsAtEdges,
    LightBoundaryFusion,
    PIDHead,
    PIDNet,
    PixelAttention,
)

ODD = (97, 65)


def levels(*specs: tuple[int, int]) -> list[Tensor]:
    """Maps of (channels, stride) each, of images of 64 x 96."""
    return [torch.randn(2, channels, 64 // stride, 96 // stride) for channels, stride in specs]


def shapes(maps: Any) -> list[tuple[int, ...]]:
    return [tuple(level.shape) for level in maps]


@pytest.mark.parametrize("network", [DDRNet, PIDNet])
def test_exported_for_any_size_that_its_pooling_sees_two_cells_of(network: Any) -> None:
    module = network(channels=2, ppm_channels=2).eval()
    dynamic = ({0: torch.export.Dim.DYNAMIC, 2: torch.export.Dim.DYNAMIC, 3: torch.export.Dim.DYNAMIC},)
    exported = torch.export.export(module, (torch.randn(2, 3, 640, 704),), dynamic_shapes=dynamic)
    program = exported.module(check_guards=False)
    for size in ((1, 3, 641, 768), (3, 3, 704, 640)):
        images = torch.randn(size)
        with torch.no_grad():
            for found, expected in zip(program(images), module(images), strict=True):
                torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_pidnet_of_three_blocks_is_of_the_heavy_kind() -> None:
    light, heavy = (PIDNet(channels=4, ppm_channels=4, num_stem_blocks=blocks) for blocks in (2, 3))
    assert isinstance(light.dfm, LightBoundaryFusion)
    assert isinstance(heavy.dfm, BoundaryFusion)
    assert (light.spp.parallel, heavy.spp.parallel) == (True, False)
    assert [len(network.stem[2]) for network in (light, heavy)] == [2, 3]
    assert light.d_branch_layers[0].conv1.conv.out_channels == 4
    assert heavy.d_branch_layers[0].conv1.conv.out_channels == 8
    assert heavy.features == light.features == (FeatureSpec(8, 8), FeatureSpec(8, 8), FeatureSpec(16, 8))
    assert shapes(heavy.double()(torch.randn(2, 3, *ODD).double())) == [(2, 8, 13, 9), (2, 8, 13, 9), (2, 16, 13, 9)]
    outputs = heavy(torch.randn(2, 3, 96, 128).double())
    torch.stack([(output * torch.randn_like(output)).sum() for output in outputs]).sum().backward()
    assert all(parameter.grad is not None for parameter in heavy.parameters())
    for conv in (module for module in heavy.modules() if isinstance(module, nn.Conv2d)):
        expected = (2 / (conv.out_channels * conv.weight[0, 0].numel())) ** 0.5
        assert conv.weight.std().item() == pytest.approx(expected, rel=0.6)


def test_pixel_attention_takes_what_agrees() -> None:
    module = PixelAttention(3, 2, norm=BN).eval()
    with torch.no_grad():
        for layer in (module.f_i, module.f_p):
            layer.conv.weight.fill_(1.0)
    detail, context = torch.ones(1, 3, 4, 4), 5 * torch.ones(1, 3, 2, 2)
    torch.testing.assert_close(module(detail, context), context.new_full((1, 3, 4, 4), 5.0), rtol=1e-3, atol=0)
    torch.testing.assert_close(module(-detail, context), -detail, rtol=1e-3, atol=0)


def test_boundary_fusion_takes_detail_at_edges_and_context_elsewhere() -> None:
    detail, context = torch.rand(1, 2, 1, 1) + 1, torch.rand(1, 2, 1, 1) + 1
    heavy, light = BoundaryFusion(2, norm=BN, activation=RELU).eval(), LightBoundaryFusion(2, norm=BN).eval()
    with torch.no_grad():
        heavy.conv.conv.weight.copy_(F.pad(torch.eye(2)[..., None, None], (1, 1, 1, 1)))
        light.f_p.conv.weight.copy_(torch.eye(2)[..., None, None])
        light.f_i.conv.weight.copy_(2 * torch.eye(2)[..., None, None])
    edge = torch.full_like(detail, 50.0)
    for module, at_edges, elsewhere in (
        (heavy, detail, context),
        (light, detail + 2 * (context + detail), context + detail + 2 * context),
    ):
        torch.testing.assert_close(module(detail, context, edge), at_edges, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(module(detail, context, -edge), elsewhere, rtol=1e-4, atol=1e-4)


def test_training_outputs_begin_with_the_logits() -> None:
    given = levels((8, 8), (8, 8), (16, 8))
    head = PIDHead(in_channels=16, channels=4, num_classes=5).eval()
    outputs: Any = head.training_outputs(given)
    assert {name: tuple(output.shape) for name, output in outputs.items()} == {
        "": (2, 5, 8, 12), "p": (2, 5, 8, 12), "d": (2, 1, 8, 12),
    }  # fmt: skip
    assert next(iter(outputs)) == ""
    assert outputs[""].equal(head(given))
    assert outputs["p"].equal(head.p_cls_seg(head.p_head(given[0])))
    assert outputs["d"].equal(head.d_cls_seg(head.d_head(given[1])))
    ddr = DDRHead(in_channels=16, channels=4, num_classes=5).eval()
    outputs = ddr.training_outputs(given[1:])
    assert list(outputs) == ["", "spatial"]
    assert outputs[""].equal(ddr(given[1:]))


@pytest.mark.parametrize(("head", "in_index"), [(DDRHead, (0,)), (PIDHead, (0, 1))])
def test_heads_of_several_branches_read_them_all(head: Any, in_index: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="lists of equal length"):
        head(in_channels=16, channels=4, num_classes=5, in_index=in_index)


# --- Targets of PIDNet --------------------------------------------------------------------------------------------


def test_labels_at_edges() -> None:
    labels = torch.tensor([[[1, 2, 255, 3]]])
    edges = torch.tensor([0.81, 0.79, 0.99, 0.8]).logit().view(1, 1, 1, 4)
    found = LabelsAtEdges()(labels, edges, {"d": edges}, {})
    assert found.tolist() == [[[1, 255, 255, 255]]]
    assert LabelsAtEdges(ignore_index=9)(labels, edges, {"d": edges}, {}).tolist() == [[[1, 9, 255, 9]]]


def test_edges_come_from_the_batch() -> None:
    labels, logits = torch.zeros(1, 2, 2, dtype=torch.long), torch.zeros(1, 1, 2, 2)
    edge = torch.tensor([[[True, False], [False, True]]])
    assert EdgeMap()(labels, logits, {}, {"edge": edge}).equal(edge.long())
    with pytest.raises(ValueError, match=r"needs the map 'edge'; this one has depth\. .*GenerateEdge"):
        EdgeMap()(labels, logits, {}, {"depth": edge})


def pidnet(**head: Any) -> dict[str, Any]:
    losses = [{"type": "CrossEntropyLoss"}, {"type": "OhemCrossEntropy", "min_kept": 10, "ignore_label": 7},
              {"type": "BoundaryLoss", "loss_weight": 20.0},
              {"type": "OhemCrossEntropy", "min_kept": 10, "ignore_label": 7}]  # fmt: skip
    return {
        "type": "EncoderDecoder",
        "backbone": {"type": "PIDNet", "channels": 4, "ppm_channels": 4},
        "decode_head": {"type": "PIDHead", "in_channels": 16, "channels": 4, "num_classes": 5, "loss_decode": losses,
                        **head},
    }  # fmt: skip


def test_the_ignored_label_of_the_head_is_that_of_the_labels_at_edges() -> None:
    task: Any = build_task(lower(Config.from_values({"model": pidnet(ignore_index=7)}, file="own")))
    [head] = task.losses
    assert [term.target.ignore_index for term in head.terms if isinstance(term.target, LabelsAtEdges)] == [7]


def test_padding_is_no_edge() -> None:
    """Images of two sizes: outside of the smaller one, the edge branch learns nothing."""
    values = pidnet()
    for loss in values["decode_head"]["loss_decode"]:
        loss.pop("ignore_label", None)
    torch.manual_seed(0)
    task: Any = build_task(lower(Config.from_values({"model": values}, file="own"))).eval()
    images, labels = torch.randint(0, 256, (2, 3, 64, 96)), torch.randint(0, 5, (2, 64, 96))
    edge = (torch.rand(2, 64, 96) < 0.3).byte()
    sizes = ((64, 96), (40, 56))
    found = {}
    for name in ("clean", "dirty"):
        if name == "dirty":
            edge[1, 40:] = 1
            edge[1, :, 56:] = 1
        terms = task.training_terms(Batch(images, labels, sizes, (), {"edge": edge}))
        found[name] = {term.name: term.value for term in terms}
    assert list(found["clean"]) == ["decode.loss_sem_p", "decode.loss_sem_i", "decode.loss_bd", "decode.loss_sem_bd",
                                    "decode.acc_seg"]  # fmt: skip
    assert found["clean"]["decode.loss_bd"] == found["dirty"]["decode.loss_bd"]
