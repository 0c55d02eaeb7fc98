"""U-Net and autoencoder of latent diffusion against those of diffusers, with the same random weights.

There are no reference numbers of MMSegmentation for them.
"""

from __future__ import annotations

import importlib.util
from typing import Any

import pytest
import torch
from stable_diffusion_names import encoder_name, encoder_value, unet_name
from torch import Tensor, nn

from intarsia.layers.diffusion_unet import CrossAttention, DiffusionUNet, time_embedding
from intarsia.layers.latent_encoder import LatentEncoder, padded

WITHOUT = importlib.util.find_spec("diffusers") is None
NEEDS_DIFFUSERS = pytest.mark.skipif(WITHOUT, reason="diffusers is not installed (pip install intarsia[dev])")
SMALL = {"model_channels": 32, "channel_mult": (1, 2, 3, 3), "context_dim": 24, "num_heads": 4}


def randomised(module: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn_like(parameter) * (0.05 if parameter.dim() > 1 else 0.3))
    return module.double().eval()


@pytest.fixture(scope="module")
def theirs() -> Any:
    from diffusers import UNet2DConditionModel

    down, up = ["CrossAttnDownBlock2D"] * 3 + ["DownBlock2D"], ["UpBlock2D"] + ["CrossAttnUpBlock2D"] * 3
    return randomised(
        UNet2DConditionModel(
            sample_size=16, in_channels=4, out_channels=4, down_block_types=tuple(down), up_block_types=tuple(up),
            block_out_channels=(32, 64, 96, 96), layers_per_block=2, cross_attention_dim=24, attention_head_dim=4,
        )
    )  # fmt: skip


def converted(theirs: nn.Module) -> dict[str, Tensor]:
    attends = {0: False, 1: True, 2: True, 3: True}
    names = {name: unet_name(name, attends=attends) for name in theirs.state_dict()}
    return {ours: theirs.state_dict()[name] for name, ours in names.items() if ours is not None}


@NEEDS_DIFFUSERS
@pytest.mark.parametrize(("size", "checkpoint"), [((16, 8), False), ((15, 13), False), ((8, 8), True)])
def test_the_unet_is_that_of_diffusers(theirs: Any, size: tuple[int, int], checkpoint: bool) -> None:
    ours = DiffusionUNet(**SMALL, checkpoint_activations=checkpoint).double()  # type: ignore[arg-type]
    ours.load_state_dict(converted(theirs))
    latents, context = torch.randn(2, 4, *size).double(), torch.randn(2, 5, 24).double()
    times = torch.tensor([1.0, 37.0])  # diffusers has no other precision for them
    found: list[Tensor] = []
    # Behind each level's last block but one, and behind everything.
    parts = [theirs.up_blocks[0].resnets[1], theirs.up_blocks[1].attentions[1], theirs.up_blocks[2].attentions[1]]
    parts.append(theirs.up_blocks[3])

    def keep(_module: nn.Module, _inputs: Any, output: Any) -> None:
        found.append(output if isinstance(output, Tensor) else output[0])

    hooks = [part.register_forward_hook(keep) for part in parts]
    with torch.no_grad():
        theirs(latents, times, context)
    for hook in hooks:
        hook.remove()
    levels = ours(latents, times, context)
    assert [level.shape[1] for level in levels] == list(ours.channels) == [32, 64, 96, 96]
    for level, expected in zip(levels, reversed(found), strict=True):
        torch.testing.assert_close(level.detach(), expected, rtol=1e-9, atol=1e-9)


@NEEDS_DIFFUSERS
@pytest.mark.parametrize(
    ("ways", "finest", "checkpoint"),
    [(("up", "down"), 1, False), (("down",), 0, False), (("up",), 2, False), (("down", "up"), 0, True)],
)
def test_maps_of_cross_attention_are_those_of_diffusers(
    theirs: Any, ways: tuple[Any, ...], finest: int, checkpoint: bool
) -> None:
    """The mean of the probabilities that each attention of theirs computes for itself, level by level."""
    ours = DiffusionUNet(**SMALL, attention_maps=ways, finest_map_level=finest, checkpoint_activations=checkpoint)  # type: ignore[arg-type]
    plain = DiffusionUNet(**SMALL)  # type: ignore[arg-type]
    for made in (ours, plain):
        made.double().load_state_dict(converted(theirs))
    latents, context = torch.randn(2, 4, 16, 12).double(), torch.randn(2, 5, 24).double()
    blocks = {"down": theirs.down_blocks, "up": theirs.up_blocks[::-1]}  # finest first
    found: dict[int, list[Tensor]] = {0: [], 1: [], 2: []}
    hooks = []
    for level, maps in found.items():
        for transformer in (transformer for way in ways for transformer in blocks[way][level].attentions):

            def keep(module: Any, args: Any, options: Any, maps: list[Tensor] = maps) -> None:
                words = options["encoder_hidden_states"]
                query, key = (
                    module.head_to_batch_dim(module.to_q(args[0])),
                    module.head_to_batch_dim(module.to_k(words)),
                )
                maps.append(module.get_attention_scores(query, key).unflatten(0, (2, -1)).mean(dim=1))  # (N, L, T)

            attention = transformer.transformer_blocks[0].attn2
            hooks.append(attention.register_forward_pre_hook(keep, with_kwargs=True))
    with torch.no_grad():
        theirs(latents, torch.ones(2), context)
    for hook in hooks:
        hook.remove()
    levels, without = ours(latents, torch.ones(2), context), plain(latents, torch.ones(2), context)
    assert ours.map_levels == tuple(range(finest, 3))
    for number, (level, bare) in enumerate(zip(levels, without, strict=True)):
        assert level.shape[1] == bare.shape[1] + 5 * (number in ours.map_levels)
        torch.testing.assert_close(level[:, : bare.shape[1]], bare, rtol=1e-9, atol=1e-9)
        if number in ours.map_levels:
            assert len(found[number]) == sum({"down": 2, "up": 3}[way] for way in ways)
            expected = torch.stack(found[number]).mean(dim=0).transpose(1, 2).reshape(2, 5, *level.shape[2:])
            torch.testing.assert_close(level[:, bare.shape[1] :], expected, rtol=1e-9, atol=1e-9)


@NEEDS_DIFFUSERS
def test_the_latents_are_those_of_diffusers() -> None:
    from diffusers import AutoencoderKL

    torch.manual_seed(0)
    theirs: Any = randomised(
        AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
            block_out_channels=(32, 64, 96, 96), layers_per_block=2, latent_channels=4,
        )
    )  # fmt: skip
    ours = LatentEncoder(channels=32, channel_mult=(1, 2, 3, 3)).double()
    names = {name: encoder_name(name) for name in theirs.state_dict()}
    ours.load_state_dict({o: encoder_value(o, theirs.state_dict()[t]) for t, o in names.items() if o is not None})
    for size in ((32, 32), (24, 56), (37, 50)):
        images = torch.randn(2, 3, *size).double()
        with torch.no_grad():
            found, expected = ours(images), theirs.encode(images).latent_dist.mode()
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)
        assert found.shape == (2, 4, size[0] // 8, size[1] // 8)


# --- What needs no other library ----------------------------------------------------------------------------------


def test_a_unet_starts_with_blocks_that_are_their_shortcuts() -> None:
    unet = DiffusionUNet(**SMALL).double()  # type: ignore[arg-type]
    latents, times = torch.randn(1, 4, 8, 8).double(), torch.ones(1).double()
    one, other = (unet(latents, times * 500 * i, torch.randn(1, 2, 24).double()) for i in range(2))
    for a, b in zip(one, other, strict=True):
        torch.testing.assert_close(a, b)


def test_time_is_told_by_cosines_and_sines() -> None:
    found = time_embedding(torch.tensor([0.0, 2.0]).double(), 8)
    expected = 2 * 10_000.0 ** (-torch.arange(4).double() / 4)
    torch.testing.assert_close(found[0], torch.tensor([1.0] * 4 + [0.0] * 4).double())
    torch.testing.assert_close(found[1], torch.cat([expected.cos(), expected.sin()]))


def test_images_are_padded_below_and_to_the_right() -> None:
    image = torch.rand(1, 1, 5, 9)
    found = padded(image, (12, 4), 8, -1.0)
    assert found.shape == (1, 1, 16, 16)
    assert found[..., :5, :9].equal(image)
    assert (found[..., 5:, :] == -1).all()
    assert (found[..., 9:] == -1).all()


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one residual block"):
        DiffusionUNet(num_res_blocks=0)
    with pytest.raises(ValueError, match="cannot be split among num_heads=3"):
        CrossAttention(8, 8, num_heads=3)
    with pytest.raises(ValueError, match=r"of the ways 'down' and 'up'; got \('mid',\)"):
        DiffusionUNet(attention_maps=("mid",))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="pairs of cosines and sines; got 7"):
        time_embedding(torch.ones(1), 7)
