"""SAN: where CLIP's levels come in, what queries may look at, and what training sees."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from intarsia.contracts import TokenLevel
from intarsia.methods.san import UNSEEN, BiasedRecognition, SideAdapterCLIPHead

SMALL: dict[str, Any] = {
    "num_classes": 5, "clip_channels": 8, "embed_dims": 12, "num_queries": 7, "num_layers": 4, "num_heads": 2,
    "mlp_ratio": 2, "bias_heads": 2, "mask_channels": 8, "mask_hidden": 8, "clip_layers": 2, "clip_heads": 2,
    "clip_mlp_ratio": 2, "out_dims": 6, "deep_supervision_idxs": (2, 3),
}  # fmt: skip
Given = tuple[Tensor, list[TokenLevel], Tensor]


def head(**arguments: Any) -> SideAdapterCLIPHead:
    torch.manual_seed(0)
    return SideAdapterCLIPHead(**{**SMALL, **arguments}).double()


def given(size: tuple[int, int] = (64, 96), levels: int = 4) -> Given:
    torch.manual_seed(1)
    height, width = size[0] // 32, size[1] // 32
    images = torch.randn(2, 3, *size).double()
    maps = [TokenLevel(torch.randn(2, 8, height, width).double(), torch.randn(2, 8).double()) for _ in range(levels)]
    return images, maps, torch.randn(6, 6).double()


def test_training_looks_at_more_layers_and_the_last_is_the_answer() -> None:
    part = head()
    found = part.queries(*given())
    assert len(found) == 3
    (answer,) = part(*given())
    assert answer.class_logits.equal(found[-1].class_logits)
    assert answer.mask_logits.equal(found[-1].mask_logits)
    assert answer.mask_logits.shape == (2, 7, 4, 6)
    assert len(head(deep_supervision_idxs=()).queries(*given())) == 1


@pytest.mark.parametrize("place", [1, 2, 3, 4])
def test_a_level_is_seen_from_its_place_on(place: int) -> None:
    """Masks found before it are as they were; the last level also tells CLIP what is there."""
    part = head(fusion_index=(0, place), in_index=(0, 1), deep_supervision_idxs=(1, 2, 3))
    images, levels, classes = given(levels=3)
    before = part.queries(images, levels, classes)
    levels[1] = TokenLevel(levels[1].map + 1.0 + torch.randn_like(levels[1].map), levels[1].token)
    after = part.queries(images, levels, classes)
    changed = [not a.mask_logits.equal(b.mask_logits) for a, b in zip(before, after, strict=True)]
    assert changed == [layer >= place for layer in (1, 2, 3, 4)]
    levels[2] = TokenLevel(levels[2].map + 1.0, levels[2].token)
    last = part.queries(images, levels, classes)
    assert all(a.mask_logits.equal(b.mask_logits) for a, b in zip(after, last, strict=True)), "a level that is not read"


def test_positions_are_added_before_every_layer() -> None:
    part = head(fusion_index=(4,), in_index=(0,), deep_supervision_idxs=())
    network = part.side_adapter_network
    inputs: list[Tensor] = []
    outputs: list[Tensor] = []

    def keep(layer: Any, args: tuple[Tensor], output: Tensor) -> None:
        inputs.append(args[0])
        outputs.append(output)

    for layer in network.encode_layers:
        layer.register_forward_hook(keep)
    images, levels, _ = given()
    network(images, [levels[0].map], (4,))
    patches = network.patch_embed(images).flatten(1, 2)
    start = torch.cat([network.query_embed.expand(2, -1, -1), patches], dim=1)
    positions = inputs[0] - start
    torch.testing.assert_close(positions[:, :7], network.query_pos_embed.expand(2, -1, -1))
    for after, before in zip(inputs[1:], outputs[:-1], strict=True):
        torch.testing.assert_close(after - before, positions)


# --- What queries' tokens may look at ------------------------------------------------------------------------------


def recognition(heads: int = 2) -> BiasedRecognition:
    torch.manual_seed(0)
    from intarsia.layers.activation import GELU
    from intarsia.layers.norm import Norm

    return BiasedRecognition(8, 6, num_queries=3, num_layers=2, num_heads=heads, mlp_ratio=2, qkv_bias=True,
                             final_norm=False, norm=Norm("LN"), activation=GELU).double()  # fmt: skip


def level(height: int = 2, width: int = 3) -> TokenLevel:
    torch.manual_seed(2)
    return TokenLevel(torch.randn(2, 8, height, width).double(), torch.randn(2, 8).double())


def test_the_mask_of_the_attention() -> None:
    added = torch.arange(2 * 2 * 3 * 4 * 6, dtype=torch.float64).view(2, 2, 3, 4, 6)
    mask = recognition()._attention_mask(added, level().map)
    assert mask.shape == (2, 2, 10, 10)
    itself = torch.eye(3, dtype=torch.bool).expand(2, 2, 3, 3)
    assert (mask[:, :, :3, :3][itself] == 0).all()
    assert (mask[:, :, :3, :3][~itself] == UNSEEN).all()
    assert (mask[:, :, :3, 3] == UNSEEN).all(), "CLIP's own class token"
    assert mask[:, :, :3, 4:].equal(added[..., 1::2, 1::2].flatten(3)), "the largest of each four"
    assert (mask[:, :, 3:, :3] == UNSEEN).all()
    assert (mask[:, :, 3:, 3:] == 0).all()


def test_a_query_that_is_told_of_one_place_sees_that_place_alone() -> None:
    part = recognition()
    added = torch.full((2, 1, 3, 2, 3), -1e4, dtype=torch.float64)
    added[..., 1, 2] = 0.0
    here = level()
    elsewhere = TokenLevel(here.map.clone(), here.token)
    elsewhere.map[..., 0, 0] += 1.0
    torch.testing.assert_close(recognised(part, here, added, layers=1), recognised(part, elsewhere, added, layers=1))
    there = TokenLevel(here.map.clone(), here.token)
    there.map[..., 1, 2] += 1.0 + torch.randn(8)
    assert not torch.allclose(recognised(part, here, added, layers=1), recognised(part, there, added, layers=1))


def recognised(part: BiasedRecognition, of: TokenLevel, added: Tensor, *, layers: int) -> Tensor:
    """What the queries' tokens are, after so many layers."""
    seen: list[Tensor] = []
    hook = part.layers[layers - 1].register_forward_hook(lambda layer, args, output: seen.append(output))
    part(of, [added])
    hook.remove()
    return seen[0][:, :3]


def test_other_queries_are_not_seen() -> None:
    part = recognition()
    added = torch.randn(2, 2, 3, 2, 3).double()
    other = added.clone()
    other[:, :, 1] += 1.0 + torch.randn(2, 2, 2, 3)
    found, changed = part(level(), [added]), part(level(), [other])
    torch.testing.assert_close(found[:, [0, 2]], changed[:, [0, 2]])
    assert not torch.allclose(found[:, 1], changed[:, 1])


def test_every_layer_may_be_told_something_else() -> None:
    part = recognition()
    first, second = torch.randn(2, 2, 2, 3, 2, 3).double()
    both = part(level(), [first, second])
    assert part(level(), [first, first]).equal(part(level(), [first]))
    assert not torch.allclose(both, part(level(), [first]))
    assert not torch.allclose(both, part(level(), [second]))


def test_one_for_all_heads_and_one_for_each() -> None:
    for heads, layers in ((1, 1), (2, 1), (1, 2), (2, 2)):
        part = head(bias_heads=heads, bias_layers=layers)
        with torch.no_grad():
            ((_, added),) = part.side_adapter_network(given()[0], [one.map for one in given()[1]], (4,))
        assert [tuple(one.shape) for one in added] == [(2, heads, 7, 4, 6)] * layers
        part(*given())


def test_what_is_added_is_scaled_where_that_is_wanted() -> None:
    images, levels, _ = given()
    maps = [one.map for one in levels]
    plain, scaled = head(rescale_bias=False), head()
    scaled.load_state_dict(plain.state_dict(), strict=False)
    ((masks, added),) = plain.side_adapter_network(images, maps, (4,))
    ((same, changed),) = scaled.side_adapter_network(images, maps, (4,))
    layer = scaled.side_adapter_network.mask_decoder.bias_scaling
    assert same.equal(masks)
    torch.testing.assert_close(changed[0], added[0] * layer.weight.squeeze() + layer.bias)


def test_classes_are_compared_by_direction_alone() -> None:
    part = head()
    (answer,) = part(*given())
    images, levels, classes = given()
    lengths = answer.class_logits.abs().amax() / classes.norm(dim=1).max()
    assert lengths <= 1.0
    (free,) = head(final_norm=False)(images, levels, classes)
    assert not torch.allclose(free.class_logits, answer.class_logits)


# --- What learns ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("excluded", "learns"), [((), False), (("all",), True), (("ln_post",), {"ln_post.weight", "ln_post.bias"})]
)
def test_clips_layers_keep_their_weights(excluded: tuple[str, ...], learns: Any) -> None:
    part = head(frozen_exclude=excluded)
    found = {name for name, parameter in part.rec_with_attnbias.named_parameters() if parameter.requires_grad}
    everything = {name for name, _ in part.rec_with_attnbias.named_parameters()}
    assert found == (everything if learns is True else learns or set())
    assert all(parameter.requires_grad for parameter in part.side_adapter_network.parameters())


def test_the_side_network_learns_through_clips_layers() -> None:
    part = head()
    (answer,) = part(*given())
    answer.class_logits.square().sum().backward()
    assert part.side_adapter_network.query_embed.grad.abs().sum() > 0
    assert part.rec_with_attnbias.proj.weight.grad is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"fusion_index": (0, 1, 2, 5)}, "fusion_index counts layers from 0 to 4; got 5"),
        ({"fusion_index": (0, 2, 1, 3)}, r"fusion_index ascends; got \[0, 2, 1, 3\]"),
        ({"fusion_index": (0, 1, 1, 3)}, "fusion_index ascends"),
        ({"fusion_index": (0, 1)}, "fusion_index has 2 entries, but in_index names 4 levels"),
        ({"deep_supervision_idxs": (4,)}, "deep_supervision_idxs counts layers from 1 to 3; got 4"),
        ({"deep_supervision_idxs": (0,)}, "deep_supervision_idxs counts layers from 1 to 3; got 0"),
        ({"fusion_index": (), "in_index": ()}, "in_index names no level"),
        ({"bias_heads": 3}, "bias_heads is 1, or 2 as many as the recognition has; got 3"),
        ({"bias_layers": 3}, "bias_layers is 1, or 2"),
    ],
)
def test_arguments_that_contradict_each_other(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        head(**arguments)


def test_images_of_any_size_and_what_is_left_of_a_patch_is_left_out() -> None:
    part = head()
    images, levels, classes = given((64, 96))
    wide = torch.nn.functional.pad(images, (0, 15, 0, 7), value=9.0)
    assert part(wide, levels, classes)[0].mask_logits.equal(part(images, levels, classes)[0].mask_logits)
