"""A convolution of resized maps side by side: numbers and gradients of the plain way, and when it is left to that."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.fx.experimental.proxy_tensor import make_fx

from intarsia.guide.counting import flop_counter, peak_counter
from intarsia.layers import resized_concat
from intarsia.layers.conv import ConvNormAct
from intarsia.layers.levels import resize
from intarsia.layers.norm import BN
from intarsia.layers.resized_concat import conv_of_resized


def plain(conv: nn.Module, maps: Sequence[Tensor], small: Sequence[int], align_corners: bool) -> Tensor:
    size = next(x.shape[2:] for i, x in enumerate(maps) if i not in small)
    resized = [resize(x, size, align_corners=align_corners) if i in small else x for i, x in enumerate(maps)]
    return conv(torch.cat(resized, dim=1))  # type: ignore[no-any-return]


def value_and_gradients(
    conv: nn.Module, maps: Sequence[Tensor], compute: Callable[[list[Tensor]], Tensor]
) -> list[Tensor]:
    conv.zero_grad()
    own = [x.detach().clone().requires_grad_() for x in maps]
    out = compute(own)
    (out * torch.linspace(-1, 1, out.numel(), dtype=out.dtype).view_as(out)).sum().backward()
    found = [x.grad for x in own] + [x.grad for x in conv.parameters()]
    assert all(gradient is not None for gradient in found)
    return [out.detach(), *(gradient for gradient in found if gradient is not None)]


SIZES = st.tuples(st.integers(1, 4), st.integers(1, 4))


@settings(max_examples=60)
@given(
    size=st.tuples(st.integers(4, 17), st.integers(4, 17)), smaller=st.lists(SIZES, min_size=1, max_size=3),
    kernel=st.sampled_from([(1, 1), (3, 3), (1, 3), (5, 1)]), padded=st.booleans(), dilation=st.integers(1, 2),
    first=st.booleans(), align_corners=st.booleans(), norm=st.booleans(), channels_last=st.booleans(),
)  # fmt: skip
def test_numbers_and_gradients_are_those_of_the_plain_way(
    size: tuple[int, int], smaller: list[tuple[int, int]], kernel: tuple[int, int], padded: bool, dilation: int,
    first: bool, align_corners: bool, norm: bool, channels_last: bool,
) -> None:  # fmt: skip
    padding = (kernel[0] // 2 * dilation, kernel[1] // 2 * dilation) if padded else (0, 0)
    if not padded and any(dilation * (k - 1) >= n for k, n in zip(kernel, size, strict=True)):
        return
    generator = torch.Generator().manual_seed(0)
    small = [torch.randn(2, 3 + i, *each, generator=generator).double() for i, each in enumerate(smaller)]
    large = torch.randn(2, 5, *size, generator=generator).double()
    if channels_last:
        large = large.contiguous(memory_format=torch.channels_last)
    maps = [large, *small] if first else [*small, large]
    places = [i for i, x in enumerate(maps) if x is not large]
    channels = sum(x.shape[1] for x in maps)
    conv = ConvNormAct(channels, 7, kernel, padding=padding, dilation=dilation, norm=BN if norm else None).double()
    if channels_last:
        conv = conv.to(memory_format=torch.channels_last)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(resized_concat, "MOST_WORK", 1e9)
        patch.setattr(resized_concat, "LEAST_SAVED", -1e9)
        found = value_and_gradients(
            conv, maps, lambda own: conv_of_resized(conv, own, small=places, align_corners=align_corners)
        )
    expected = value_and_gradients(conv, maps, lambda own: plain(conv, own, places, align_corners))
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-11 * max(1.0, float(other.abs().max())))


def pyramid(dtype: torch.dtype = torch.float32) -> tuple[ConvNormAct, list[Tensor]]:
    """What PSPNet fuses, with fewer channels."""
    torch.manual_seed(0)
    maps = [torch.randn(2, 256, 32, 32), *(torch.randn(2, 64, cells, cells) for cells in (1, 2, 3, 6))]
    return ConvNormAct(512, 64, 3, padding=1).to(dtype), [x.to(dtype) for x in maps]


def test_half_of_the_work_and_no_concatenation() -> None:
    conv, maps = pyramid()

    def cost(compute: Callable[[], Any]) -> tuple[int, int]:
        with torch.no_grad(), flop_counter() as counter:
            compute()
        with torch.no_grad(), peak_counter(maps) as memory:
            before = memory.alive
            compute()
        return counter.get_total_flops(), memory.peak - before

    work, memory = cost(lambda: conv_of_resized(conv, maps))
    plain_work, plain_memory = cost(lambda: plain(conv, maps, range(1, 5), False))
    assert work < 0.6 * plain_work
    assert memory < 0.6 * plain_memory


def test_maps_in_channels_last_stay_so() -> None:
    conv, maps = pyramid(torch.float64)
    conv = conv.to(memory_format=torch.channels_last)
    found = conv_of_resized(conv, [x.contiguous(memory_format=torch.channels_last) for x in maps])
    assert found.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(found, conv_of_resized(*pyramid(torch.float64)), rtol=0, atol=1e-12)


def test_in_single_precision_they_are_as_near_as_rounding_leaves_them() -> None:
    """To what they are in double precision, from which a convolution is away by 2.5e-6 itself without AVX-512."""
    conv, maps = pyramid()
    with torch.no_grad():
        found, expected = conv_of_resized(conv, maps), plain(conv, maps, range(1, 5), False)
        truth = plain(*pyramid(torch.float64), range(1, 5), False)
    assert not found.equal(expected), "then nothing was computed in another order"
    own = float((expected - truth).abs().max())
    torch.testing.assert_close(found.double(), truth, rtol=0, atol=max(own, 1e-6 * float(truth.abs().max())))


def test_what_gains_nothing_is_plain_to_the_last_bit() -> None:
    torch.manual_seed(0)
    maps = [torch.randn(1, 8, 16, 16), torch.randn(1, 8, 8, 8)]  # half of the size
    conv = ConvNormAct(16, 4, 3, padding=1)
    assert conv_of_resized(conv, maps).equal(plain(conv, maps, [1], False))
    maps = [torch.randn(1, 8, 16, 16), torch.randn(1, 8, 1, 1)]  # so little work that all of it is nothing
    assert conv_of_resized(conv, maps).equal(plain(conv, maps, [1], False))


class Doubled(nn.Conv2d):
    """Stands for an adapter."""

    def forward(self, x: Tensor) -> Tensor:
        return 2 * super().forward(x)


def test_convolutions_that_are_more_than_their_weights_are_called() -> None:
    conv, maps = pyramid()
    expected = plain(conv, maps, range(1, 5), False)
    seen: list[int] = []
    for module in (conv, conv.conv):
        handle = module.register_forward_hook(lambda module, args, out: seen.append(args[0].shape[1]))
        assert conv_of_resized(conv, maps).equal(expected)
        handle.remove()
    assert seen == [512, 512]
    nn.utils.parametrizations.weight_norm(conv.conv)
    assert conv_of_resized(conv, maps).equal(plain(conv, maps, range(1, 5), False))
    conv, maps = pyramid()
    adapted = Doubled(512, 64, 3, padding=1)
    adapted.load_state_dict(conv.conv.state_dict())
    conv.conv = adapted
    assert conv_of_resized(conv, maps).equal(plain(conv, maps, range(1, 5), False))


def test_half_precision_is_plain() -> None:
    conv, maps = pyramid()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert conv_of_resized(conv, maps).equal(plain(conv, maps, range(1, 5), False))
    conv, maps = pyramid(torch.bfloat16)
    assert conv_of_resized(conv, maps).equal(plain(conv, maps, range(1, 5), False))


def test_graphs_are_plain() -> None:
    conv, maps = pyramid()
    conv.requires_grad_(False)

    class Head(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = conv

        def forward(self, *maps: Tensor) -> Tensor:
            return conv_of_resized(self.conv, maps)

    expected = plain(conv, maps, range(1, 5), False)
    exported = torch.export.export(Head(), tuple(maps))
    followed = make_fx(Head())(*maps)
    traced = torch.jit.trace(Head(), tuple(maps))  # type: ignore[no-untyped-call]
    for graph in (exported.graph, followed.graph):
        assert "baddbmm" not in str(graph)
    assert "baddbmm" not in str(traced.graph)
    for made in (exported.module(), followed, traced):
        torch.testing.assert_close(made(*maps), expected, rtol=0, atol=1e-6)
