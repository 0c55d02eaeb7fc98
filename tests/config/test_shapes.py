"""The second stage of `config check`: necks and heads against the levels that they get, losses against outputs."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from intarsia.config.build import build_task
from intarsia.config.checking.check import check
from intarsia.config.checking.shapes import shape_problems
from intarsia.config.language.reader import Config
from intarsia.config.lowering.lower import lower
from intarsia.spec import HeadLossSpec

BACKBONE = {"type": "ResNet", "depth": 18, "base_channels": 4, "stem_channels": 4}
PYRAMID: dict[str, Any] = {
    "type": "EncoderDecoder",
    "backbone": {**BACKBONE, "strides": [1, 2, 2, 2], "dilations": [1, 1, 1, 1]},
    "neck": {"type": "FPN", "in_channels": [4, 8, 16, 32], "out_channels": 8, "num_outs": 4},
    "decode_head": {
        "type": "FPNHead", "in_channels": [8, 8, 8, 8], "in_index": [0, 1, 2, 3], "channels": 4, "num_classes": 3,
        "feature_strides": [4, 8, 16, 32],
    },
}  # fmt: skip
FCN = {"type": "FCNHead", "in_channels": 32, "in_index": 3, "channels": 4, "num_classes": 3}


def pyramid(change: Callable[[dict[str, Any]], None] = lambda model: None) -> Config:
    model = copy.deepcopy(PYRAMID)
    change(model)
    return Config.from_values({"model": model}, file="pyramid.py")


def test_what_fits_has_no_problems() -> None:
    assert check(pyramid(), shapes=True) == []


def test_strides_of_a_dilated_backbone_reach_the_head() -> None:
    def dilate(model: dict[str, Any]) -> None:
        model["backbone"] |= {"strides": [1, 2, 1, 1], "dilations": [1, 1, 2, 4]}

    [problem] = check(pyramid(dilate), shapes=True)
    assert problem.path == "model.decode_head.feature_strides"
    assert problem.message.endswith("is [4, 8, 16, 32] but the neck FPN gives strides [4, 8, 8, 8]")
    assert problem.hint == "Set feature_strides=[4, 8, 8, 8]"

    def mend(model: dict[str, Any]) -> None:
        dilate(model)
        model["decode_head"]["feature_strides"] = [4, 8, 8, 8]

    assert check(pyramid(mend), shapes=True) == []


@pytest.mark.parametrize(
    ("section", "changes", "path", "message"),
    [
        ("neck", {"in_channels": [4, 8, 16, 64]}, "model.neck.in_channels",
         "model.neck.in_channels is 64 but backbone level 3 of ResNet gives 32 channels"),
        ("neck", {"in_channels": [4, 8, 16], "num_outs": 3}, "model.neck.in_channels",
         "model.neck.in_channels has 3 entries but the backbone ResNet gives 4 levels"),
        ("neck", {"in_strides": [4, 8, 8, 8]}, "model.neck", "FPN expects in_strides=(4, 8, 8, 8), but the"),
        ("neck", {"out_channels": 6}, "model.decode_head.in_channels",
         "model.decode_head.in_channels is 8 but neck level 0 of FPN gives 6 channels"),
        ("decode_head", {"feature_strides": [4, 8, 16, 64]}, "model.decode_head.feature_strides",
         "model.decode_head.feature_strides is [4, 8, 16, 64] but the neck FPN gives strides [4, 8, 16, 32]"),
        ("decode_head", {"in_index": [0, 1, 2, 4]}, "model.decode_head.in_index",
         "model.decode_head.in_index is 4 but the neck FPN gives 4 levels"),
    ],
)  # fmt: skip
def test_levels_that_are_not_given(section: str, changes: dict[str, Any], path: str, message: str) -> None:
    problems = check(pyramid(lambda model: model[section].update(changes)), shapes=True)
    assert problems[0].path == path
    assert problems[0].message.startswith(message)


@pytest.mark.parametrize("heads", [[FCN], FCN])
def test_the_number_of_heads_fits_the_network(heads: Any) -> None:
    name = "EncoderDecoder" if isinstance(heads, list) else "CascadeEncoderDecoder"
    model = {"type": name, "backbone": BACKBONE, "decode_head": heads}
    problems = check(Config.from_values({"model": model}, file="heads.py"), shapes=True)
    assert problems
    assert any("decode_head" in problem.path or "model" in problem.path for problem in problems)


def test_losses_that_are_for_no_output() -> None:
    """Of a network whose heads are called otherwise, or of a run that was put together by hand."""
    model = {"type": "EncoderDecoder", "backbone": BACKBONE, "decode_head": FCN,
             "auxiliary_head": {**FCN, "in_channels": 16, "in_index": 2}}  # fmt: skip
    spec = lower(Config.from_values({"model": model}, file="heads.py"))
    assert shape_problems(spec, (), lambda path: None) == []
    decode, auxiliary = spec.losses
    renamed = replace(spec, losses=(decode, replace(auxiliary, head="auxiliary")))
    claims = [problem.message for problem in shape_problems(renamed, (), lambda path: None)]
    assert claims == [
        "EncoderDecoder: there are losses for 'auxiliary', but the network has no such output; it has decode, aux",
        "EncoderDecoder: no loss is for the output 'aux' of the network; there are losses for decode, auxiliary",
    ]
    with pytest.raises(ValueError, match="there are losses for 'auxiliary'"):
        build_task(renamed)
    left_out = replace(spec, losses=(decode,))
    [problem] = shape_problems(left_out, (), lambda path: None)
    assert problem.path == "model"
    assert isinstance(decode, HeadLossSpec)


def plain(token: bool, head: dict[str, Any]) -> Config:
    backbone = {"type": "VisionTransformer", "embed_dims": 8, "num_heads": 2, "num_layers": 4, "img_size": 64,
                "out_indices": [0, 1, 2, 3], "output_cls_token": token}  # fmt: skip
    model = {"type": "EncoderDecoder", "backbone": backbone, "decode_head": head}
    return Config.from_values({"model": model}, file="plain.py")


DPT = {"type": "DPTHead", "in_channels": [8] * 4, "channels": 4, "num_classes": 3, "in_index": [0, 1, 2, 3],
       "post_process_channels": [4] * 4}  # fmt: skip


@pytest.mark.parametrize(
    ("given", "head", "message"),
    [
        (False, DPT, "reads a class token with each level, but the backbone VisionTransformer gives maps alone"),
        (True, {**FCN, "in_channels": 8},
         "reads maps alone, but the backbone VisionTransformer gives a class token with each level"),
    ],
)  # fmt: skip
def test_class_tokens_are_for_those_who_read_them(given: bool, head: dict[str, Any], message: str) -> None:
    [problem] = check(plain(given, head), shapes=True)
    assert problem.path == "model.decode_head"
    assert problem.message == f"model.decode_head {message}"
    assert problem.hint == f"Set output_cls_token={not given} in the backbone"
    assert check(plain(not given, head), shapes=True) == []


def test_a_sampler_of_pixels_beside_a_loss_of_images_is_found() -> None:
    def sampled(model: dict[str, Any]) -> None:
        model["decode_head"] |= {
            "loss_decode": {"type": "LovaszLoss", "reduction": "none"},
            "sampler": {"type": "OHEMPixelSampler", "thresh": 0.7, "min_kept": 100},
        }

    assert check(pyramid(sampled)) == []
    [problem] = check(pyramid(sampled), shapes=True)
    assert problem.path == "model.decode_head.sampler"
    assert "takes no weights for them; leave one of the two out" in problem.message
