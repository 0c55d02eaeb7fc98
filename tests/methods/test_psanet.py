"""PSANet: where attention lies, written out pixel by pixel; sizes; what is refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from intarsia.export.formats.onnx import OPSET
from intarsia.export.program import quiet
from intarsia.layers.levels import resize
from intarsia.methods.psanet import PSAHead, collected, distributed, enlarged, shrunk


def written_out(relative: Tensor, mask_size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Attention (N, P, P), giver x taker, of pixels that collect and of pixels that distribute."""
    n, _, h, w = relative.shape
    masks = relative.unflatten(1, mask_size)
    collect, distribute = (torch.zeros(n, h, w, h, w, dtype=relative.dtype) for _ in range(2))
    for i in range(mask_size[0]):
        for j in range(mask_size[1]):
            for y in range(h):
                for x in range(w):
                    other_y, other_x = y + i - (mask_size[0] - 1) // 2, x + j - (mask_size[1] - 1) // 2
                    if 0 <= other_y < h and 0 <= other_x < w:
                        collect[:, other_y, other_x, y, x] = masks[:, i, j, y, x]
                        distribute[:, y, x, other_y, other_x] = masks[:, i, j, y, x]
    return collect.flatten(3).flatten(1, 2), distribute.flatten(3).flatten(1, 2)


@pytest.mark.parametrize("mask_size", [(5, 7), (4, 6), (3, 1), (9, 13), (10, 20), (1, 2)])
@pytest.mark.parametrize("size", [(3, 4), (1, 1), (5, 1), (2, 7)])
def test_attention_lies_where_the_mask_says(mask_size: tuple[int, int], size: tuple[int, int]) -> None:
    """Masks that are too small for the map, too large, and of even sides, of which the first middle counts."""
    torch.manual_seed(0)
    relative = torch.randn(2, mask_size[0] * mask_size[1], *size)
    collect, distribute = written_out(relative, mask_size)
    assert collected(relative, mask_size).equal(collect)
    assert distributed(relative, mask_size).equal(distribute)


@pytest.mark.parametrize("written", [collected, distributed])
def test_masks_larger_than_the_map_are_right_in_openvino(written: Any) -> None:
    """It gave the answer to the image before, or none, for a map of fewer cells than half the mask's."""
    openvino = pytest.importorskip("openvino")
    pytest.importorskip("onnxscript")

    class Written(torch.nn.Module):
        def forward(self, relative: Tensor) -> Tensor:
            found: Tensor = written(relative, (6, 9))
            return found

    shape = dict.fromkeys((0, 2, 3), torch.export.Dim.DYNAMIC)
    with quiet():
        graph = torch.export.export(Written(), (torch.randn(2, 54, 9, 11),), dynamic_shapes={"relative": shape})
        program = torch.onnx.export(graph, (), dynamo=True, opset_version=OPSET, verbose=False)
    assert program is not None
    model = openvino.Core().read_model(program.model_proto.SerializeToString())
    run = openvino.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1})
    for batch, *size in ((2, 9, 11), (1, 4, 4), (1, 2, 7), (3, 7, 2), (1, 1, 1)):
        relative = torch.randn(batch, 54, *size)
        assert torch.from_numpy(run(relative.numpy(), share_outputs=False)[0]).equal(written(relative, (6, 9))), size


@pytest.mark.parametrize(
    ("size", "small", "corners"), [((9, 13), (5, 7), True), ((8, 12), (4, 6), False), ((9, 12), (4, 6), False)]
)
def test_levels_that_leave_a_remainder_keep_their_corners(
    size: tuple[int, int], small: tuple[int, int], corners: bool
) -> None:
    x, y = torch.randn(1, 2, *size), torch.randn(1, 3, *small)
    assert shrunk(x, 2).equal(resize(x, small, align_corners=corners))
    for aligned in (False, True):
        assert enlarged(y, x, 2, align_corners=aligned).equal(resize(y, size, align_corners=corners))
        assert enlarged(y, x, 1, align_corners=aligned).equal(resize(y, size, align_corners=aligned))
    assert shrunk(x, 1).equal(x)


def head(**more: Any) -> PSAHead:
    torch.manual_seed(0)
    given = {"in_channels": 6, "channels": 4, "num_classes": 2, "mask_size": (3, 5), "shrink_factor": 1}
    made = PSAHead(**{**given, **more}).double().eval()
    torch.nn.init.normal_(made.attention[1].weight)
    return made


LEVEL = torch.randn(2, 6, 3, 5, generator=torch.Generator().manual_seed(1)).double()


def context(made: PSAHead, weights: Tensor) -> Tensor:
    """The logits of a head in one direction, with this attention (N, P, P), giver x taker."""
    taken = torch.einsum("ncg,ngt->nct", made.reduce(LEVEL).flatten(2), weights)
    return fused(made, taken.unflatten(2, (3, 5)))


def fused(made: PSAHead, taken: Tensor) -> Tensor:
    """The logits of a head whose pixels get this; the projection has a border around it."""
    projected = made.proj.activate(made.proj.conv(taken))
    inside = made.proj.activate(F.conv2d(taken, made.proj.conv.weight, made.proj.conv.bias))
    assert projected.shape[2:] == (5, 7)
    torch.testing.assert_close(projected[:, :, 1:-1, 1:-1], inside)
    projected = resize(projected, (3, 5), align_corners=made.align_corners)
    logits: Tensor = made.conv_seg(made.bottleneck(torch.cat([LEVEL, projected], dim=1)))
    return logits


@pytest.mark.parametrize("softmax", [False, True])
@pytest.mark.parametrize("psa_type", ["collect", "distribute"])
def test_one_direction(psa_type: str, softmax: bool) -> None:
    made = head(psa_type=psa_type, psa_softmax=softmax, normalization_factor=3.0, align_corners=softmax)
    attention = written_out(made.attention(made.reduce(LEVEL)), (3, 5))[psa_type == "distribute"]
    weights = attention.softmax(dim=1) if softmax else attention
    torch.testing.assert_close(made([LEVEL]), context(made, weights / 3))


@pytest.mark.parametrize("psa_type", ["collect", "distribute"])
def test_one_direction_with_a_compact_mask(psa_type: str) -> None:
    """The places of the mask are the pixels; alone, "collect" reads them as those of the taker."""
    made = head(psa_type=psa_type, compact=True)
    said = made.attention(made.reduce(LEVEL)).flatten(2)  # (N, M, P)
    attention = said.transpose(1, 2) if psa_type == "collect" else said
    torch.testing.assert_close(made([LEVEL]), context(made, attention.softmax(dim=1)))


def test_both_directions_have_their_own_layers() -> None:
    for compact in (False, True):
        made = head(compact=compact)
        flows = []
        for reduce, masks, collect in ((made.reduce, made.attention, True), (made.reduce_p, made.attention_p, False)):
            x = reduce(LEVEL)
            said = masks(x)
            if compact:
                weights = said.flatten(2) if collect else said.flatten(2).transpose(1, 2)
            else:
                weights = written_out(said, (3, 5))[not collect]
            flows.append((x.flatten(2) @ weights.softmax(dim=1)).unflatten(2, (3, 5)))
        torch.testing.assert_close(made([LEVEL]), fused(made, torch.cat(flows, dim=1)))


def test_a_compact_mask_fits_one_size_only() -> None:
    with pytest.raises(ValueError, match=r"15 places in its mask .* has 4 x 5 pixels"):
        head(compact=True)([torch.randn(1, 6, 4, 5).double()])


def test_unknown_types_are_refused() -> None:
    with pytest.raises(ValueError, match=r"psa_type must be .* got 'both'"):
        head(psa_type="both")
