"""Graphs for torch take images of any size where parts of the network cut maps into windows, join what they permuted,
or pool to a few cells: of a small image there is one window, and one cell."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from made import Network, image
from torch import Tensor

from intarsia.backbones.swin import ShiftedWindows, SwinTransformer, WindowAttention
from intarsia.export import program, runtime
from intarsia.export.contract import Contract
from intarsia.export.deployable import Deployable
from intarsia.export.program import exported, sizes_left_open
from intarsia.layers.adaptive_pooling import AdaptiveAvgPool
from intarsia.layers.levels import resize
from intarsia.layers.norm import Norm
from intarsia.layers.patch_embed import to_map
from intarsia.layers.spatial_reduction_attention import SpatialReductionAttention
from intarsia.methods.ocrnet import OCRHead
from intarsia.methods.point_rend import most_uncertain_pixels
from intarsia.methods.psanet import PSAHead
from intarsia.methods.upernet import UPerHead
from intarsia.models.encoder_decoder import EncoderDecoder


class Windowed(Network):
    """The network of the other tests with such parts in between; its map has a side of two and more."""

    least_size = 8

    def __init__(self) -> None:
        super().__init__(3, 3)
        inner = WindowAttention(8, 2, window_size=3, qkv_bias=True, qk_scale=None, dropout=0.0)
        self.windows = ShiftedWindows(inner, window_size=3, shift=1)
        self.coarse = SpatialReductionAttention(
            8, 2, sr_ratio=2, bias=True, attn_dropout=0.0, dropout=0.0, norm=Norm("LN")
        )
        self.pools = torch.nn.ModuleList(AdaptiveAvgPool(cells) for cells in (1, 2))

    def forward(self, images: Tensor) -> Tensor:
        stem = self.first(images)
        x = self.windows(stem.permute(0, 2, 3, 1))  # (N, h, w, C)
        height, width = x.shape[1:3]
        x = to_map(self.coarse(x.flatten(1, 2), height, width), height, width)
        for pool in self.pools:
            x = x + resize(pool(x), (height, width))
        out: Tensor = self.decode_head(stem + x)
        return out


def test_a_graph_for_torch_takes_maps_of_one_window(make: Any) -> None:
    made = make()
    torch.manual_seed(3)
    made.task.model = Windowed()
    module = Deployable(made.task, made.inference, Contract("logits", "NHWC", 3), least_size=8).eval()
    run = exported(module, for_torch=True).module()
    for size in [(1, 1), (9, 61), (33, 80), (97, 50)]:
        for batch in (1, 3):
            pixels = torch.from_numpy(np.stack([image(size, seed=seed) for seed in range(batch)]))
            with torch.no_grad():
                (expected,), (found,) = module(pixels), run(pixels)
            assert len(expected.argmax(1).unique()) > 1 or min(size) < 10
            assert torch.equal(found.argmax(1), expected.argmax(1)), (size, batch)
            torch.testing.assert_close(found, expected, atol=2e-5, rtol=1e-4)


def test_a_graph_for_torch_takes_maps_of_one_cell(make: Any) -> None:
    """Of which the distance between two rows is that between two cells: torch wrote that no image has such."""
    made = make()
    torch.manual_seed(3)
    backbone = SwinTransformer(
        embed_dims=8, depths=(1, 1), num_heads=(1, 2), strides=(4, 2), out_indices=(0, 1), window_size=3
    )
    head = UPerHead(in_channels=(8, 16), in_index=(0, 1), channels=4, num_classes=3, pool_scales=(1, 2))
    made.task.model = EncoderDecoder(backbone=backbone, decode_head=head)
    module = Deployable(made.task, made.inference, Contract("logits", "NHWC", 3)).eval()
    with sizes_left_open():
        run = exported(module).module()
    for size in [(1, 1), (1, 37), (41, 3), (61, 83)]:
        pixels = torch.from_numpy(image(size))[None]
        with torch.no_grad():
            (expected,), (found,) = module(pixels), run(pixels)
        torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-4)


def test_a_graph_for_torch_takes_images_of_one_row(make: Any) -> None:
    """Where corners stay corners there is no distance between the rows of one: torch wrote that no image has one."""
    made = make()
    module = Deployable(
        made.task, replace(made.inference, align_corners=True), Contract("logits", "NHWC", 3), least_size=4
    ).eval()
    run = exported(module, for_torch=True).module()
    for size in [(1, 1), (1, 37), (41, 1), (61, 83)]:
        pixels = torch.from_numpy(np.stack([image(size, seed=seed) for seed in range(2)]))
        with torch.no_grad():
            (expected,), (found,) = module(pixels), run(pixels)
        torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("psa_type", ["bi-direction", "collect", "distribute"])
def test_a_graph_for_torch_takes_attention_within_one_cell(psa_type: Any) -> None:
    torch.manual_seed(3)
    head = PSAHead(in_channels=4, channels=4, num_classes=3, mask_size=(5, 7), psa_type=psa_type).eval()

    class Padded(torch.nn.Module):
        """The head of a level of two cells and more, as it is shown."""

        def __init__(self) -> None:
            super().__init__()
            self.head = head

        def forward(self, x: Tensor) -> Tensor:
            height, width = (torch.sym_max(side, 2) for side in x.shape[2:])
            out: Tensor = self.head([F.pad(x, (0, width - x.shape[3], 0, height - x.shape[2]))])
            return out

    module, shape = Padded(), dict.fromkeys((0, 2, 3), torch.export.Dim.DYNAMIC)
    with sizes_left_open():
        run = torch.export.export(module, (torch.randn(2, 4, 9, 11),), dynamic_shapes=(shape,)).module()
    for batch, *size in ((2, 9, 11), (1, 1, 1), (2, 2, 3), (1, 3, 9), (3, 8, 2)):
        x = torch.randn(batch, 4, *size)
        torch.testing.assert_close(run(x), module(x), atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("cells", [1, 2, 3])
def test_means_of_cells_are_the_same_numbers_in_a_graph(cells: int) -> None:
    x = torch.randn(2, 4, 7, 5)
    shapes = {"x": {0: torch.export.Dim.DYNAMIC, 2: torch.export.Dim.DYNAMIC, 3: torch.export.Dim.DYNAMIC}}
    run = torch.export.export(AdaptiveAvgPool(cells), (x,), dynamic_shapes=shapes).module()
    for size in ((7, 5), (4, 9)):
        x = torch.randn(3, 4, *size)
        torch.testing.assert_close(run(x), torch.nn.functional.adaptive_avg_pool2d(x, cells), atol=1e-6, rtol=0)


@pytest.mark.slow
def test_a_graph_for_torch_takes_regions_of_one_pixel() -> None:
    """OCRNet's pixels were turned for a product, and torch asked whether there is more than one of them."""
    torch.manual_seed(3)

    class Coarse(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = torch.nn.Conv2d(3, 4, 3, stride=4, padding=1)
            self.coarse = torch.nn.Conv2d(4, 3, 1)
            self.head = OCRHead(in_channels=4, channels=4, ocr_channels=4, num_classes=3)

        def forward(self, x: Tensor) -> Tensor:
            for side in x.shape[2:]:
                torch._check(side >= 1)
            level = self.first(x)
            out: Tensor = self.head([level], self.coarse(level))
            return out

    module, shape = Coarse().eval(), dict.fromkeys((0, 2, 3), torch.export.Dim.DYNAMIC)
    with sizes_left_open():
        run = torch.export.export(module, (torch.randn(2, 3, 19, 23),), dynamic_shapes=(shape,)).module()
    for batch, *size in ((1, 1, 1), (2, 1, 9), (1, 9, 2), (3, 41, 17)):
        x = torch.randn(batch, 3, *size)
        torch.testing.assert_close(run(x), module(x), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("rows", [1, 2])
def test_a_size_that_became_a_number_is_told(make: Any, rows: int) -> None:
    """The graph has the number of the example's rows: ONNX would give something else, and say nothing."""

    class Numbered(Network):
        def forward(self, images: Tensor) -> Tensor:
            x = self.first(images)
            out: Tensor = self.decode_head(x / float(x.shape[2] // rows))
            return out

    made = make()
    made.task.model = Numbered(3, 3)
    with pytest.raises(ValueError, match=r"right for images of the size that it was followed with alone: .* == "):
        exported(made.deployable())
    for for_torch in (False, True):
        run = exported(made.deployable(size=(40, 56)), for_torch=for_torch).module()
        pixels = torch.from_numpy(image((40, 56)))[None]
        with torch.no_grad():
            assert torch.equal(run(pixels)[0], made.deployable()(pixels)[0])


def test_following_sizes_comes_to_an_end(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever waits for it gets a file of one size, with the reason: of that no formulas are made."""
    monkeypatch.setattr(program, "PATIENCE", 0.0)
    made = make()
    with pytest.raises(ValueError, match="had not followed the sizes of its maps after 0 seconds, when it came to"):
        exported(made.deployable())
    assert exported(made.deployable(size=(40, 56)))
    assert not torch.nn.modules.module._global_forward_pre_hooks


@pytest.mark.parametrize("indexing", ["ij", "xy"])
def test_positions_of_timm_are_those_of_the_image(indexing: str) -> None:
    pytest.importorskip("timm")
    from timm.layers.pos_embed_sincos import RotaryEmbeddingDinoV3

    from intarsia.backbones.timm_positions import of_any_size

    class Positions(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rope = RotaryEmbeddingDinoV3(16, grid_offset=0.25, grid_indexing=indexing)

        def forward(self, x: Tensor) -> Tensor:
            found: Tensor = self.rope.get_embed(shape=x.shape[2:])
            return found

    module = Positions().eval()
    expected = [module(torch.zeros(1, 1, *size)) for size in ((5, 7), (1, 1), (32, 9))]
    of_any_size(module)
    shape = dict.fromkeys((2, 3), torch.export.Dim.DYNAMIC)
    run = torch.export.export(module, (torch.zeros(1, 1, 5, 7),), dynamic_shapes=(shape,)).module()
    assert torch.equal(run(torch.zeros(1, 1, 5, 7)), expected[0])
    assert torch.equal(run(torch.zeros(1, 1, 32, 9)), expected[2])
    assert torch.equal(module(torch.zeros(1, 1, 1, 1)), expected[1])


@pytest.mark.slow
def test_a_dinov3_is_exported_for_any_size(make: Any, onnx_file: Any) -> None:
    """timm divides places by `float(rows)`, which was the number of rows that the graph was followed with."""
    pytest.importorskip("timm")
    from intarsia.backbones.timm import TIMM
    from intarsia.methods.fcn import FCNHead

    made = make()
    torch.manual_seed(3)
    options = {"depth": 2, "embed_dim": 32, "num_heads": 2}
    backbone = TIMM("vit_small_patch16_dinov3", out_indices=(1,), options=options)
    for name, values in backbone.named_parameters():
        if "gamma" in name or "attn" in name:  # places would matter little
            torch.nn.init.normal_(values, std=0.5)
    head = FCNHead(in_channels=32, in_index=0, channels=32, num_convs=0, concat_input=False, num_classes=3)
    made.task.model = EncoderDecoder(backbone=backbone, decode_head=head)
    module = Deployable(made.task, made.inference, Contract("logits", "NHWC", 3), least_size=16).eval()
    opened = runtime.open_file(onnx_file(made, module), threads=1)
    for size in [(1, 1), (61, 83), (225, 289)]:
        pixels = image(size)[None]
        with torch.no_grad():
            (expected,) = module(torch.from_numpy(pixels))
        np.testing.assert_allclose(opened.run(pixels)["logits"], expected.numpy(), atol=1e-5, rtol=1e-4)


def test_a_graph_takes_fewer_and_more_pixels_than_are_refined() -> None:
    """PointRend was followed with an image of fewer, and the file then took all pixels of larger ones for uncertain."""

    class Points(torch.nn.Module):
        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            return most_uncertain_pixels(x, 100)

    shape = dict.fromkeys((0, 2, 3), torch.export.Dim.DYNAMIC)
    for followed in ((9, 11), (20, 30)):
        run = torch.export.export(Points(), (torch.randn(2, 3, *followed),), dynamic_shapes=(shape,)).module()
        for size in ((9, 11), (20, 30), (3, 2)):
            x = torch.randn(3, 3, *size)
            (index, points), (expected, at) = run(x), most_uncertain_pixels(x, 100)
            assert index.shape == expected.shape == (3, min(100, size[0] * size[1]))
            assert torch.equal(index.sort().values, expected.sort().values)
            assert torch.allclose(points.sum(1), at.sum(1))
