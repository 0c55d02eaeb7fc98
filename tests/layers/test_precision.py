"""What stays in float32 under mixed precision, at the sizes at which half precision fails.

Each is compared with the same in float32: autocast on the processor, and a network that is in half precision itself.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from intarsia.catalog import resolve
from intarsia.layers import precision
from intarsia.layers.deformable_attention import DeformableAttention
from intarsia.layers.norm import Norm
from intarsia.layers.positions import centres, sine_positions
from intarsia.methods.fcn import FCNHead
from intarsia.methods.knet import IterativeDecodeHead, KernelUpdateHead, KernelUpdator
from intarsia.methods.mask2former import PixelDecoder, _attention_mask
from intarsia.methods.ocrnet import object_regions
from intarsia.methods.point_rend import most_uncertain_pixels

HALF = [torch.bfloat16, torch.float16]


# --- Coordinates --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", HALF)
def test_centres_of_a_wide_map_are_all_different(dtype: torch.dtype) -> None:
    """2048 pixels wide at stride 8."""
    points = centres(1, 256, like=torch.zeros(1, dtype=dtype))
    expected = (torch.arange(256, dtype=torch.float64) + 0.5) / 256
    torch.testing.assert_close(points[:, 0].double(), expected, rtol=0, atol=1e-7)
    assert centres(1, 4, like=torch.zeros(1, dtype=torch.float64)).dtype == torch.float64


@pytest.mark.parametrize("dtype", HALF)
def test_position_vectors_of_a_wide_map_are_those_of_float32(dtype: torch.dtype) -> None:
    positions = sine_positions(2, 512, 16, like=torch.zeros(1, dtype=dtype))
    assert positions.equal(sine_positions(2, 512, 16, like=torch.zeros(1)))


@pytest.mark.parametrize("dtype", HALF)
@pytest.mark.parametrize("name", ["MaskFormerHead", "Mask2FormerHead"])
def test_mask_classifiers_run_in_half_precision_themselves(name: str, dtype: torch.dtype) -> None:
    small = {"channels": 16, "mask_channels": 8, "num_queries": 3, "num_heads": 2, "num_layers": 2, "hidden": 8}
    norm = Norm("GN", num_groups=4)
    own = {"encoder_layers": 1, "encoder_heads": 2, "encoder_hidden": 8} if name == "Mask2FormerHead" else {}
    torch.manual_seed(0)
    head = resolve("head", name)(in_channels=(8,) * 4, num_classes=2, norm=norm, **small, **own).eval()
    levels = [torch.randn(1, 8, 128 // stride, 512 // stride) for stride in (4, 8, 16, 32)]
    expected = head(levels)[-1]
    found = head.to(dtype)([level.to(dtype) for level in levels])[-1]
    assert found[1].dtype == dtype
    torch.testing.assert_close(found[0].float(), expected[0], rtol=0, atol=0.1)


def stripes(width: int, channels: int) -> Tensor:
    """(1, 2 * width, channels): columns of -1 and 1 in turn, so that half a pixel to the side is another value."""
    return (2.0 * (torch.arange(width) % 2) - 1).repeat(2)[None, :, None].expand(1, -1, channels).contiguous()


def looking_at_itself(channels: int) -> DeformableAttention:
    """Attention that gives what lies one pixel to the right of each query."""
    attention = DeformableAttention(channels, 1, num_levels=1, num_points=1)
    with torch.no_grad():
        attention.sampling_offsets.bias.copy_(torch.tensor([1.0, 0.0]))
        for layer in (attention.value_proj, attention.output_proj):
            layer.weight.copy_(torch.eye(channels))
    return attention


@pytest.mark.parametrize("dtype", HALF)
@pytest.mark.parametrize("whole", [False, True], ids=["autocast", "network in half"])
def test_deformable_attention_looks_where_it_means_to(dtype: torch.dtype, whole: bool) -> None:
    """On a map of 512 columns: 2048 pixels at stride 4."""
    width, channels = 512, 4
    attention, memory = looking_at_itself(channels), stripes(width, channels)
    points = centres(2, width, like=memory.to(dtype))
    if whole:
        found = attention.to(dtype)(memory.to(dtype), memory.to(dtype), points, [(2, width)])
    else:
        with torch.autocast("cpu", dtype=dtype):
            found = attention(memory.to(dtype), memory.to(dtype), points, [(2, width)])
    assert found.dtype == dtype
    inside = found.float().view(2, width, channels)[:, :-1]
    torch.testing.assert_close(inside, -memory.view(2, width, channels)[:, :-1], rtol=0, atol=0.02)


@pytest.mark.parametrize("dtype", HALF)
def test_gradients_reach_the_offsets_in_half_precision(dtype: torch.dtype) -> None:
    attention, memory = looking_at_itself(4), stripes(256, 4)
    with torch.autocast("cpu", dtype=dtype):
        found = attention(memory, memory, centres(2, 256, like=memory.to(dtype)), [(2, 256)])
    found.float().square().sum().backward()
    for name, parameter in attention.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


@pytest.mark.parametrize("dtype", HALF)
def test_the_pixel_decoder_agrees_with_float32_on_a_wide_image(dtype: torch.dtype) -> None:
    """64 x 2048 pixels. What is left is the rounding of the values themselves."""
    torch.manual_seed(0)
    decoder = PixelDecoder(
        (8, 8, 8, 8), 32, 16, num_layers=2, num_heads=4, num_points=4, hidden=32, norm=Norm("GN", num_groups=8)
    ).eval()
    levels = [torch.randn(1, 8, 64 // stride, 2048 // stride) for stride in (4, 8, 16, 32)]
    with torch.no_grad():
        expected, _ = decoder(levels)
        with torch.autocast("cpu", dtype=dtype):
            found, _ = decoder(levels)
    error = (found.float() - expected).square().mean().sqrt() / expected.std()
    assert error < (0.03 if dtype is torch.bfloat16 else 0.004)


@pytest.mark.parametrize("dtype", HALF)
def test_pixels_are_found_again_by_their_points(dtype: torch.dtype) -> None:
    logits = torch.randn(1, 3, 4, 2048).to(dtype)
    index, points = most_uncertain_pixels(logits, 500)
    torch.testing.assert_close((points[..., 0] * 2048).floor().long(), index % 2048)


@pytest.mark.parametrize("dtype", HALF)
def test_where_a_query_looks_is_decided_in_float32(dtype: torch.dtype) -> None:
    masks = (0.05 * torch.randn(1, 4, 64, 512)).to(dtype)
    assert _attention_mask(masks, (16, 128)).equal(_attention_mask(masks.float(), (16, 128)))


# --- Sums over pixels ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", HALF)
@pytest.mark.parametrize("side", [128, 256])
@pytest.mark.parametrize("whole", [False, True], ids=["autocast", "network in half"])
def test_kernels_gather_large_maps(dtype: torch.dtype, side: int, whole: bool) -> None:
    """The sum passes 65,504, where float16 ends, and is multiplied before it is normalised."""
    torch.manual_seed(0)
    updator = KernelUpdator(in_channels=16, feat_channels=8)
    update = KernelUpdateHead(kernel_updator=updator, in_channels=16, num_heads=2, feedforward_channels=16)
    x, kernels = 20 + torch.rand(1, 16, side, side), torch.randn(1, 3, 16)
    logits = torch.randn(1, 3, side, side)
    expected_kernels, expected = update(x, kernels, logits)
    if whole:
        update = update.to(dtype)
        found_kernels, found = update(x.to(dtype), kernels.to(dtype), logits.to(dtype))
    else:
        with torch.autocast("cpu", dtype=dtype):
            found_kernels, found = update(x.to(dtype), kernels, logits.to(dtype))
    digits = 0.06 if dtype is torch.bfloat16 else 0.01
    torch.testing.assert_close(found_kernels.float(), expected_kernels, rtol=0, atol=digits)
    assert (found.float() - expected).abs().max() / expected.abs().max() < digits
    found.float().mean().backward()
    assert all(parameter.grad.isfinite().all() for parameter in update.parameters() if parameter.grad is not None)


def test_all_rounds_stay_finite_in_float16() -> None:
    torch.manual_seed(0)
    updates = [
        KernelUpdateHead(
            kernel_updator=KernelUpdator(in_channels=16, feat_channels=8), in_channels=16, num_heads=2,
            feedforward_channels=16, feat_transform=True,
        )
        for _ in range(3)
    ]  # fmt: skip
    head = FCNHead(in_channels=8, channels=16, num_classes=5, in_index=0, num_convs=1, concat_input=False)
    network = IterativeDecodeHead(kernel_generate_head=head, kernel_update_head=updates).train()
    with torch.autocast("cpu", dtype=torch.float16):
        stages = network.training_outputs([50 * torch.rand(1, 8, 128, 128)])
    for logits in stages.values():
        assert logits.isfinite().all()


@pytest.mark.parametrize("dtype", HALF)
@pytest.mark.parametrize("autocast", [False, True])
def test_object_regions_are_means_of_large_maps(dtype: torch.dtype, autocast: bool) -> None:
    """Each of 128 x 256 pixels weighs a few millionths, less than float16 has digits for."""
    torch.manual_seed(0)
    pixels, logits = torch.rand(1, 8, 128, 256).to(dtype), (4 * torch.randn(1, 5, 128, 256)).to(dtype)
    with torch.autocast("cpu", dtype=dtype, enabled=autocast):
        regions = object_regions(pixels, logits)
    assert regions.dtype == dtype
    expected = object_regions(pixels.float(), logits.float())
    torch.testing.assert_close(regions.float(), expected, rtol=0, atol=torch.finfo(dtype).eps)


def test_wider_numbers_stay_as_they_are() -> None:
    x = torch.randn(2, 3, dtype=torch.float64)
    assert precision.full_precision(x) is x
    layer = nn.Linear(3, 2).double()
    assert precision.linear(layer, x).equal(layer(x))
    norm = nn.LayerNorm(3, elementwise_affine=False)
    assert precision.layer_norm(norm, x).equal(norm(x))
