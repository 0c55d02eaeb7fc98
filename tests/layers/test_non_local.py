"""Every comparison of the non-local block against the sums of its paper, written out."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from intarsia.layers.non_local import Mode, NonLocal2d
from intarsia.layers.norm import BN

MODES: tuple[Mode, ...] = ("gaussian", "embedded_gaussian", "dot_product", "concatenation")


def block(mode: Mode, *, use_scale: bool = True) -> NonLocal2d:
    torch.manual_seed(0)
    made = NonLocal2d(6, reduction=2, mode=mode, use_scale=use_scale).double()
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter)
    return made


def weights(made: NonLocal2d, x: Tensor, *, use_scale: bool) -> Tensor:
    """(P, P): of pixel j in the sum of pixel i."""
    theta, phi = (x if layer is None else layer(x) for layer in (made.theta, made.phi))
    theta, phi = theta.flatten(2)[0].T, phi.flatten(2)[0].T  # (P, D)
    if made.concat_project is not None:
        pairs = [[made.concat_project.conv.weight[0, :, 0, 0] @ torch.cat([a, b]) for b in phi] for a in theta]
        return torch.stack([torch.stack(row) for row in pairs]).relu() / len(theta)
    products = theta @ phi.T
    if made.mode == "dot_product":
        return products / len(theta)
    return (products / 3**0.5 if use_scale and made.mode == "embedded_gaussian" else products).softmax(dim=1)


@pytest.mark.parametrize("use_scale", [True, False])
@pytest.mark.parametrize("mode", MODES)
def test_pixels_are_summed_as_they_compare(mode: Mode, use_scale: bool) -> None:
    made, x = block(mode, use_scale=use_scale), 0.3 * torch.randn(1, 6, 3, 4, dtype=torch.float64)
    y = weights(made, x, use_scale=use_scale) @ made.g(x).flatten(2)[0].T  # (P, D)
    torch.testing.assert_close(made(x), x + made.conv_out(y.T.reshape(1, 3, 3, 4)))


@pytest.mark.parametrize("norm", [None, BN])
@pytest.mark.parametrize("mode", MODES)
def test_starts_as_the_identity(mode: Mode, norm: object) -> None:
    x = torch.randn(2, 6, 3, 4)
    assert NonLocal2d(6, mode=mode, norm=norm).eval()(x).equal(x)  # type: ignore[arg-type]


def test_an_unknown_comparison_is_refused() -> None:
    with pytest.raises(ValueError, match=r"unknown mode 'cosine'.*embedded_gaussian"):
        NonLocal2d(6, mode="cosine")  # type: ignore[arg-type]
