"""The text encoder: what its answer is made of, and when the vectors of the names are computed again."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from intarsia.backbones.clip_text import CLIPTextEncoder

NAMES = ("cat", "potted plant", "sky")


def small(vocabulary: Any = NAMES, **arguments: Any) -> CLIPTextEncoder:
    torch.manual_seed(0)
    settings: dict[str, Any] = {"templates": ("a {}.", "the {} of my dreams"), "context_length": 12, "embed_dims": 8,
                                "output_dims": 6, "num_layers": 2, "num_heads": 2, "mlp_ratio": 2}  # fmt: skip
    return CLIPTextEncoder(vocabulary=vocabulary, **{**settings, **arguments}).double()


def counted(encoder: CLIPTextEncoder) -> list[None]:
    """Grows with every computation of the names' vectors."""
    calls: list[None] = []
    original = encoder._encoded

    def encoded() -> Tensor:
        calls.append(None)
        return original()

    encoder._encoded = encoded  # type: ignore[method-assign]
    return calls


def test_a_class_is_the_mean_of_its_sentences() -> None:
    encoder = small(cat_bg=False)
    alone = torch.stack([small(cat_bg=False, templates=(one,))() for one in ("a {}.", "the {} of my dreams")])
    scale = 1 / 0.07
    torch.testing.assert_close(encoder() / scale, F.normalize((alone / scale).mean(dim=0), dim=-1))


def test_the_background_is_the_last_vector_and_all_have_the_length_of_the_scale() -> None:
    encoder = small()
    found = encoder()
    assert found.shape == (4, 6)
    assert encoder.num_vectors == 4
    torch.testing.assert_close(found[:3], encoder.vectors_of_names() * encoder.logit_scale.exp())
    torch.testing.assert_close(found[3:], F.normalize(encoder.bg_embed.detach(), dim=-1) / 0.07)
    torch.testing.assert_close(found.norm(dim=-1), torch.full((4,), math.exp(encoder.logit_scale), dtype=torch.float64))


def test_names_do_not_look_at_each_other_nor_at_what_comes_later() -> None:
    torch.testing.assert_close(small()()[1], small(("potted plant",))()[0])
    encoder = small(templates=("{}",), vocabulary=("cat", "cat and a dog"))
    seen: list[Tensor] = []
    encoder.transformer[-1].register_forward_hook(lambda layer, given, output: seen.append(output))
    encoder.vectors_of_names()
    torch.testing.assert_close(seen[0][0, :2], seen[0][1, :2])  # the mark before the text, and "cat"
    assert not torch.allclose(seen[0][0, 2], seen[0][1, 2])


def test_only_the_background_learns() -> None:
    encoder = small()
    assert [name for name, parameter in encoder.named_parameters() if parameter.requires_grad] == ["bg_embed"]
    encoder()[:, 0].sum().backward()
    assert encoder.bg_embed.grad is not None


def test_the_vectors_are_computed_once() -> None:
    encoder = small()
    calls = counted(encoder)
    first = encoder()
    assert first.equal(encoder())
    with torch.no_grad():
        encoder.bg_embed.add_(1.0)
    assert not first[3].equal(encoder()[3]), "the background's vector is no part of what is kept"
    assert len(calls) == 1


def test_every_time_without_the_cache() -> None:
    encoder = small(cache_feature=False)
    calls = counted(encoder)
    assert encoder().equal(encoder())
    assert len(calls) == 2


def changed_in_place(encoder: CLIPTextEncoder) -> None:
    with torch.no_grad():
        encoder.text_projection.add_(1.0)


def loaded(encoder: CLIPTextEncoder) -> None:
    encoder.load_state_dict({name: value + 0.1 for name, value in encoder.state_dict().items()})


def loaded_by_assignment(encoder: CLIPTextEncoder) -> None:
    encoder.load_state_dict({name: value + 0.1 for name, value in encoder.state_dict().items()}, assign=True)


def loaded_from_outside(encoder: CLIPTextEncoder) -> None:
    whole = torch.nn.ModuleDict({"text_encoder": encoder})
    whole.load_state_dict({name: value + 0.1 for name, value in whole.state_dict().items()})


def made_single(encoder: CLIPTextEncoder) -> None:
    encoder.float()


@pytest.mark.parametrize("change", [changed_in_place, loaded, loaded_by_assignment, loaded_from_outside, made_single])
def test_other_weights_give_other_vectors(change: Any) -> None:
    encoder = small()
    before = encoder()
    change(encoder)
    fresh = copy.deepcopy(encoder)
    fresh._kept = None
    assert encoder().dtype == encoder.text_projection.dtype
    assert encoder().equal(fresh())
    assert not before.equal(encoder())


def test_a_copy_goes_its_own_way() -> None:
    encoder = small()
    encoder()
    other = copy.deepcopy(encoder)
    changed_in_place(other)
    assert not other().equal(encoder())


def test_what_prediction_keeps_can_be_trained_with() -> None:
    encoder = small()
    with torch.inference_mode():
        encoder()
    encoder().sum().backward()
    assert encoder.bg_embed.grad is not None


def test_autocast_changes_nothing() -> None:
    encoder = small().float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = encoder()
    assert found.equal(small().float()())


def test_a_compiled_network_has_them_and_sees_other_weights() -> None:
    encoder = small()
    encoder()
    calls = counted(encoder)
    torch.compiler.reset()
    compiled = torch.compile(encoder, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(), encoder())
    assert not calls
    loaded(encoder)
    torch.testing.assert_close(compiled(), encoder())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"vocabulary": ()}, r"one or more; got \(\)"),
        ({"vocabulary": "cat"}, "a list of class names, one or more; got 'cat'"),
        ({"vocabulary": ("cat", " ")}, "empty name at index 1"),
        ({"vocabulary": ("cat", "dog", "cat")}, "'cat' twice"),
        ({"templates": "coco"}, "unknown templates 'coco'"),
        ({"total_vocab_size": 100}, "total_vocab_size is 100, but CLIP's texts are made of 49408"),
        ({"embed_dims": 9}, "9 channels cannot be divided among 2"),
    ],
)
def test_arguments_that_make_no_sense(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        small(**arguments)
