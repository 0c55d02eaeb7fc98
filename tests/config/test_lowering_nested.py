"""Dicts within single parts: UNet's upsampling and the factorisation of LightHamHead."""

from __future__ import annotations

from typing import Any

import pytest

from intarsia.config.checking.check import check
from intarsia.config.language.reader import Config
from intarsia.config.lowering.lower import lower

HEAD = {"type": "FCNHead", "in_channels": 64, "channels": 8, "num_classes": 2}


def unet(**keys: Any) -> Config:
    backbone = {"type": "UNet", **keys}
    return Config.from_values(
        {"model": {"type": "EncoderDecoder", "backbone": backbone, "decode_head": HEAD}}, file="x"
    )


def ham(settings: Any) -> Config:
    head = {"type": "LightHamHead", "in_channels": [256, 512], "in_index": [1, 0], "channels": 8, "num_classes": 2,
            "ham_channels": 8, "ham_kwargs": settings}  # fmt: skip
    model = {"type": "EncoderDecoder", "backbone": {"type": "UNet"}, "decode_head": head}
    return Config.from_values({"model": model}, file="x")


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ({"type": "InterpConv"}, {"upsample": "interpolation"}),
        (
            {"type": "InterpConv", "kernel_size": 3, "stride": 1, "padding": 1, "conv_first": True,
             "upsample_cfg": {"scale_factor": 2, "mode": "bilinear", "align_corners": True}},
            {"upsample": "interpolation", "upsample_kernel_size": 3, "upsample_conv_first": True,
             "upsample_align_corners": True},
        ),
        ({"type": "DeconvModule"}, {"upsample": "deconvolution"}),
        (
            {"type": "DeconvModule", "kernel_size": 2, "scale_factor": 2},
            {"upsample": "deconvolution", "upsample_kernel_size": 2},
        ),
    ],
)  # fmt: skip
def test_upsampling_of_a_unet(written: dict[str, Any], expected: dict[str, Any]) -> None:
    config = unet(upsample_cfg=written)
    assert check(config) == []
    assert dict(lower(config).model.args["backbone"].args) == expected


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ({"type": "PixelShuffle"}, "expected 'InterpConv' or 'DeconvModule', found 'PixelShuffle'"),
        ({"kernel_size": 3}, "type"),
        ({"type": "InterpConv", "kernel_size": 3, "padding": 0}, "half of kernel_size"),
        ({"type": "DeconvModule", "scale_factor": 4}, "halves and doubles"),
        ({"type": "InterpConv", "upsample_cfg": {"mode": "nearest"}}, "resized bilinearly"),
        ({"type": "InterpConv", "kernel": 3}, "kernel"),
        ("InterpConv", "expected dict, found 'InterpConv'"),
    ],
)
def test_upsampling_that_there_is_not(written: Any, message: str) -> None:
    problems = check(unet(upsample_cfg=written))
    assert problems
    assert message in "\n".join(map(str, problems))


def test_settings_of_the_factorisation() -> None:
    config = ham({"MD_S": 1, "MD_R": 16, "train_steps": 3, "eval_steps": 4, "inv_t": 100, "rand_init": True})
    assert check(config) == []
    args = lower(config).model.args["decode_head"].args
    assert {key: args[key] for key in ("num_bases", "train_steps", "eval_steps")} == {
        "num_bases": 16, "train_steps": 3, "eval_steps": 4,
    }  # fmt: skip
    assert "ham_kwargs" not in args


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"MD_S": 2}, "all channels are factorised together"),
        ({"rand_init": False}, "bases begin at random"),
        ({"MD_D": 512}, "MD_D"),
        (16, "expected dict, found 16"),
    ],
)
def test_factorisations_that_there_are_not(settings: Any, message: str) -> None:
    problems = check(ham(settings))
    assert problems
    assert message in "\n".join(map(str, problems))
