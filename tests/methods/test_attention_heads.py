"""Heads with attention beyond what the figures cover: optional parts, formulas, odd sizes, what is refused."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from intarsia.layers.activation import RELU
from intarsia.layers.global_context import GlobalContextBlock
from intarsia.layers.non_local import Mode
from intarsia.layers.norm import BN
from intarsia.methods.ann import ANNHead, grid_means
from intarsia.methods.ccnet import CCHead, CrissCrossAttention
from intarsia.methods.danet import ChannelAttention, DAHead, PositionAttention
from intarsia.methods.dnlnet import DisentangledNonLocal2d
from intarsia.methods.gcnet import GCHead
from intarsia.methods.isanet import ISAHead, SelfAttention


def randomised(module: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.5)
    return module.double().eval()


def noise(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


# --- ANN ------------------------------------------------------------------------------------------------------------


def test_cells_of_all_grids_lie_side_by_side() -> None:
    x = noise(1, 2, 4, 6)
    found = grid_means(x, (1, 2))
    assert found.shape == (1, 2, 5)
    torch.testing.assert_close(found[:, :, 0], x.mean(dim=(2, 3)))
    torch.testing.assert_close(found[:, :, 2], x[:, :, :2, 3:].mean(dim=(2, 3)))


def test_the_last_block_of_ann_makes_keys_and_queries_by_one_layer_under_both_names() -> None:
    head = ANNHead(in_channels=(4, 6), channels=4, project_channels=2, num_classes=3)
    shared, own = head.context.stages[0], head.fusion.stages[0]
    assert shared.key_project is shared.query_project
    assert own.key_project is not own.query_project
    assert "context.stages.0.query_project.conv.weight" in head.state_dict()


def test_ann_reads_two_levels() -> None:
    with pytest.raises(ValueError, match=r"ANNHead reads two levels.*\(0, 1, 2\)"):
        ANNHead(in_channels=(2, 4, 6), in_index=(0, 1, 2), channels=4, project_channels=2, num_classes=3)


# --- CCNet ----------------------------------------------------------------------------------------------------------


def test_a_pixel_sees_its_row_and_column_and_itself_once() -> None:
    attention = randomised(CrissCrossAttention(8))
    x = noise(1, 8, 3, 4)
    query, key, value = attention.query_conv(x), attention.key_conv(x), attention.value_conv(x)
    found = attention(x)
    for row, column in ((0, 0), (2, 1)):
        places = [(row, j) for j in range(4)] + [(i, column) for i in range(3) if i != row]
        weights = torch.stack([query[0, :, row, column] @ key[0, :, i, j] for i, j in places]).softmax(dim=0)
        context = sum(weight * value[0, :, i, j] for weight, (i, j) in zip(weights, places, strict=True))
        torch.testing.assert_close(found[0, :, row, column], attention.gamma.scale * context + x[0, :, row, column])


@pytest.mark.parametrize(("recurrence", "seen"), [(0, False), (1, False), (2, True)])
def test_twice_a_pixel_sees_the_whole_image(recurrence: int, seen: bool) -> None:
    head = randomised(CCHead(in_channels=4, channels=8, num_classes=2, recurrence=recurrence, kernel_size=1))
    x = noise(1, 4, 5, 6).requires_grad_()
    head([x])[0, :, 0, 0].sum().backward()
    assert x.grad is not None
    assert bool(x.grad[0, :, 4, 5].any()) is seen


# --- DANet ----------------------------------------------------------------------------------------------------------


def test_positions_are_compared_without_a_scale() -> None:
    attention = randomised(PositionAttention(4, 2))
    x = noise(1, 4, 2, 3)
    query, key, value = (
        layer(x).flatten(2)[0] for layer in (attention.query_project, attention.key_project, attention.value_project)
    )
    context = value @ (query.T @ key).softmax(dim=1).T  # (C, P)
    torch.testing.assert_close(attention(x), attention.gamma.scale * context.view(1, 4, 2, 3) + x)


def test_channels_look_at_those_that_differ() -> None:
    attention = randomised(ChannelAttention())
    x = noise(1, 4, 2, 3)
    pixels = x.flatten(2)[0]
    products = pixels @ pixels.T
    weights = (products.max(dim=1, keepdim=True).values - products).softmax(dim=1)
    torch.testing.assert_close(attention(x), attention.gamma.scale * (weights @ pixels).view(1, 4, 2, 3) + x)


def test_channel_attention_of_a_large_map_in_half_precision() -> None:
    """Products of channels are sums over pixels, beyond the largest number of float16."""
    attention = ChannelAttention()
    nn.init.ones_(attention.gamma.scale)
    x = torch.cat([torch.full((1, 1, 256, 320), 2.0), torch.randn(1, 3, 256, 320)], dim=1)
    found = attention.half()(x.half())
    torch.testing.assert_close(found.float(), attention.float()(x.half().float()), rtol=0, atol=0.01)


def test_inference_reads_the_sum_of_both_attentions() -> None:
    head = randomised(DAHead(in_channels=4, channels=4, pam_channels=2, num_classes=3))
    x = [noise(1, 4, 3, 5)]
    outputs = head.training_outputs(x)
    assert list(outputs) == ["", "pam", "cam"]
    assert outputs[""].equal(head(x))
    assert not outputs["pam"].allclose(outputs["cam"])


# --- DNLNet ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["gaussian", "embedded_gaussian", "dot_product", "concatenation"])
def test_what_all_pixels_share_is_not_compared(mode: Mode) -> None:
    """Biases of what is compared are shared by all pixels."""
    made = DisentangledNonLocal2d(6, reduction=2, use_scale=True, mode=mode, temperature=0.5, norm=None)
    block, x = randomised(made), noise(1, 6, 3, 4)
    expected = block(x)
    for layer in (block.theta, block.phi):
        if layer is not None:
            layer.conv.bias.data += 3.0
    torch.testing.assert_close(block(x), expected)


@pytest.mark.parametrize(("use_scale", "scale"), [(True, 3**-0.5), (False, 1.0)])
def test_disentangled_terms_are_those_of_the_paper(use_scale: bool, scale: float) -> None:
    made = DisentangledNonLocal2d(
        6, reduction=2, use_scale=use_scale, mode="embedded_gaussian", temperature=0.5, norm=None
    )
    block, x = randomised(made), noise(1, 6, 3, 4)
    theta, phi, values = (layer(x).flatten(2)[0] for layer in (block.theta, block.phi, block.g))  # (D, P)
    theta, phi = theta - theta.mean(dim=1, keepdim=True), phi - phi.mean(dim=1, keepdim=True)
    pairwise = (theta.T @ phi * scale / 0.5).softmax(dim=1) @ values.T  # (P, D)
    unary = block.conv_mask(x).flatten().softmax(dim=0) @ values.T  # (D,)
    expected = x + block.conv_out((pairwise + unary).T.reshape(1, 3, 3, 4))
    torch.testing.assert_close(block(x), expected)


# --- GCNet ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pooling", ["att", "avg"])
@pytest.mark.parametrize("fusions", [("channel_add",), ("channel_mul",), ("channel_add", "channel_mul")])
def test_the_context_is_multiplied_then_added(pooling: str, fusions: tuple[str, ...]) -> None:
    made = GlobalContextBlock(8, ratio=0.25, pooling_type=pooling, fusion_types=fusions)  # type: ignore[arg-type]
    block, x = randomised(made), noise(2, 8, 3, 4)
    weights = torch.full((2, 1, 3, 4), 1 / 12, dtype=torch.float64)
    if pooling == "att":
        weights = block.conv_mask(x).flatten(2).softmax(dim=2).view(2, 1, 3, 4)
    context = (weights * x).sum(dim=(2, 3), keepdim=True)
    expected = x
    if "channel_mul" in fusions:
        expected = expected * block.channel_mul_conv(context).sigmoid()
    if "channel_add" in fusions:
        expected = expected + block.channel_add_conv(context)
    torch.testing.assert_close(block(x), expected)
    assert (block.conv_mask is None) is (pooling == "avg")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"fusion_types": ()}, r"fusion_types must name .* got \[\]"),
        ({"fusion_types": ("channel_div",)}, "channel_div"),
        ({"pooling_type": "max"}, "'att' or 'avg', not 'max'"),
        ({"ratio": 0.1}, "ratio=0.1 of 8 channels leaves none"),
    ],
)
def test_contexts_that_there_are_not(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        GCHead(in_channels=4, channels=8, num_classes=2, **changes)  # type: ignore[arg-type]


# --- ISANet ---------------------------------------------------------------------------------------------------------


def identity_attention(head: ISAHead) -> list[torch.Size]:
    """Lets both attentions pass everything; what they are called with is noted."""
    sizes: list[torch.Size] = []

    class Passing(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            sizes.append(x.shape)
            return x

    head.global_relation, head.local_relation = Passing(), Passing()  # type: ignore[assignment]
    return sizes


@pytest.mark.parametrize(("size", "groups"), [((6, 8), (2, 2)), ((5, 9), (2, 3)), ((1, 1), (1, 1)), ((7, 3), (3, 1))])
def test_pixels_come_back_to_their_places(size: tuple[int, int], groups: tuple[int, int]) -> None:
    head = ISAHead(in_channels=2, channels=2, isa_channels=2, num_classes=2, down_factor=(3, 4))
    sizes, x = identity_attention(head), torch.randn(2, 2, *size)
    assert head._related(x).equal(x)
    rows, columns = groups
    assert [tuple(shape) for shape in sizes] == [(2 * 12, 2, rows, columns), (2 * rows * columns, 2, 3, 4)]


def test_pixels_attend_across_groups_then_within() -> None:
    """6 x 8 pixels in groups of 3 x 4: pixel (0, 0) meets the first of each group, then those of its own."""
    head = randomised(ISAHead(in_channels=2, channels=2, isa_channels=2, num_classes=2, down_factor=(3, 4)))
    head.local_relation = nn.Identity()
    x = noise(1, 2, 6, 8).requires_grad_()
    head._related(x)[0, :, 0, 0].sum().backward()
    assert x.grad is not None
    assert x.grad.abs().sum(dim=1)[0].nonzero().tolist() == [[0, 0], [0, 4], [3, 0], [3, 4]]


def test_interlaced_attention_is_divided_by_the_root_of_its_channels() -> None:
    attention = randomised(SelfAttention(4, 3, norm=BN, activation=RELU))
    x = noise(1, 4, 2, 3)
    query, key, value = (
        layer(x).flatten(2)[0] for layer in (attention.query_project, attention.key_project, attention.value_project)
    )
    context = value @ (query.T @ key / 3**0.5).softmax(dim=1).T  # (C, P)
    torch.testing.assert_close(attention(x), attention.output_project(context.view(1, 4, 2, 3)))
