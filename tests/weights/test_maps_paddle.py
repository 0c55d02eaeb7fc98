"""Paddle's files: how they are read, and PP-LiteSeg of one, with the logits that PaddleSeg itself gives.

``small*.pdparams`` were written by paddle.save of paddlepaddle 3.3.1, by both protocols: the state of a convolution of
2 to 3 channels and a norm. Names and sizes are those of PaddleSeg 2.8.0 (models/pp_liteseg.py, layers/tensor_fusion.py,
backbones/stdcnet.py), written down by its classes. The logits are its own, in double precision, with the weights of
`number`.
"""

from __future__ import annotations

import math
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from intarsia.config.build import build_task
from intarsia.config.language.reader import Config
from intarsia.config.lowering.lower import lower
from intarsia.weights.foreign import ForeignFileError, open_foreign
from intarsia.weights.maps import recognise
from intarsia.workflows.trained_model import open_model
from tests.golden.filling import stream
from tests.recipes.test_recipes import own
from tests.weights.authors import Shapes, conv, under

HERE = Path(__file__).parent
LOGITS = (
    0.100069969978,
    -0.135800908567,
    0.115126295854,
    -0.0126788655538,
    -0.196109757501,
    0.025257427318,
    0.0402720239249,
    -0.193161222046,
    -0.0395437897308,
    -0.013819484956,
    0.359741811892,
    0.138765465053,
    -0.103327527364,
    -0.0356702332896,
    -0.0777980673059,
    -0.0462388470037,
    -0.179158730714,
    0.110622928297,
    0.0488049221133,
    -0.0166409392977,
    -0.0719069493438,
    0.0679709538456,
    0.16243610876,
    0.0867968878905,
)
"""Of T, at the places that `stream("index:logits")` draws."""


# --- What PaddleSeg has --------------------------------------------------------------------------------------------


def norm(width: int) -> Shapes:
    return {"weight": (width,), "bias": (width,), "_mean": (width,), "_variance": (width,)}


def layer(out: int, before: int, kernel: int, *, bias: bool = False) -> Shapes:
    return under("_conv.", conv(out, before, kernel, bias=bias)) | under("_batch_norm.", norm(out))


def stdc(blocks: tuple[int, ...]) -> Shapes:
    def plain(out: int, before: int, kernel: int) -> Shapes:
        return under("conv.", conv(out, before, kernel)) | under("bn.", norm(out))

    found, place, width = under("0.", plain(32, 3, 3)) | under("1.", plain(64, 32, 3)), 2, 64
    for out, count in zip((256, 512, 1024), blocks, strict=True):
        for number in range(count):
            block = under("conv_list.0.", plain(out // 2, width, 1))
            for depth, (after, before) in enumerate(((4, 2), (8, 4), (8, 8)), start=1):
                block |= under(f"conv_list.{depth}.", plain(out // after, out // before, 3))
            if number == 0:
                block |= under("avd_layer.0.", conv(out // 2, 1, 3)) | under("avd_layer.1.", norm(out // 2))
            found |= under(f"{place}.", block)
            place, width = place + 1, out
    return under("backbone.features.", found)


def pp_liteseg(size: str) -> Shapes:
    """Of Cityscapes. Convolutions of the pooling have biases, classifiers none."""
    channels, inner = {"t": ((32, 64, 128), (32, 64, 64)), "b": ((64, 96, 128), (64, 64, 64))}[size]
    found = stdc((2, 2, 2) if size == "t" else (4, 5, 3))
    for stage in range(3):
        found |= under(f"ppseg_head.cm.stages.{stage}.1.", layer(128, 1024, 1, bias=True))
    found |= under("ppseg_head.cm.conv_out.", layer(128, 128, 3, bias=True))
    for level, (low, high, out) in enumerate(zip((256, 512, 1024), (*channels[1:], 128), channels, strict=True)):
        found |= under(
            f"ppseg_head.arm_list.{level}.",
            {"_scale": (1,)},
            under("conv_x.", layer(high, low, 3)),
            under("conv_out.", layer(out, high, 3)),
            under("conv_xy_atten.0.", layer(2, 4, 3)),
            under("conv_xy_atten.1.", layer(1, 2, 3)),
        )
        found |= under(f"seg_heads.{level}.conv.", layer(inner[level], out, 3))
        found |= under(f"seg_heads.{level}.conv_out.", conv(19, inner[level]))
    return found


def number(name: str, shape: tuple[int, ...]) -> Any:
    """Values of a tensor as a function of its name there."""
    noise, leaf = stream(name).standard_normal(shape), name.rpartition(".")[2]
    if leaf == "_scale":
        return np.ones(shape)
    if leaf == "_variance":
        return 1.0 + 0.1 * np.tanh(noise)
    if noise.ndim > 1:
        return noise / math.sqrt(math.prod(shape[1:]))
    return (1.0 if leaf == "weight" else 0.0) + 0.1 * noise


def saved(path: Path, size: str, dtype: str) -> None:
    """As paddle.save does: arrays by name, and other names for them."""
    values: dict[str, Any] = {name: number(name, shape).astype(dtype) for name, shape in pp_liteseg(size).items()}
    path.write_bytes(pickle.dumps(values | {"StructuredToParameterName@@": {"a": "b"}}, protocol=4))


# --- Tests ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("file", ["small.pdparams", "small_protocol_2.pdparams"])
def test_files_of_paddle_are_read(file: str) -> None:
    found = open_foreign(HERE / file)
    state = found.load()
    assert list(state) == ["0.weight", "0.bias", "1.weight", "1.bias", "1._mean", "1._variance"]
    for name, value in state.items():
        expected = torch.arange(value.numel(), dtype=torch.float32).view(value.shape) + len(name)
        assert torch.equal(value, expected), name
    assert state["0.weight"].shape == (3, 2, 1, 1)
    assert found.entries[-1] == "StructuredToParameterName@@"
    assert not found.left_out


def test_the_logits_are_those_of_paddleseg(tmp_path: Path) -> None:
    assert len(pp_liteseg("t")) == 250
    saved(tmp_path / "model.pdparams", "t", "float64")
    state = open_foreign(tmp_path / "model.pdparams").load()
    found = recognise(state)
    assert found is not None
    assert found.name == "PP-LiteSeg-T of PaddleSeg"
    converted, unknown = found.convert(state)
    assert not unknown
    task: Any = build_task(lower(Config.from_values(own("ppliteseg-t", num_classes=19), file="test")))
    network = task.model.double().eval()
    kept = network.load_state_dict(converted, strict=False)
    assert [name for name in kept.missing_keys if "num_batches" not in name] == kept.unexpected_keys == []
    images = torch.from_numpy(stream("image").standard_normal((1, 3, 64, 96)))
    with torch.no_grad():
        logits = torch.nn.functional.interpolate(network(images), size=(64, 96), mode="bilinear")
    places = stream("index:logits").integers(0, logits.numel(), len(LOGITS))
    torch.testing.assert_close(logits.flatten()[places], torch.tensor(LOGITS).double(), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("size", ["t", "b"])
def test_a_published_recipe_opens_a_file_and_normalises_as_paddleseg(size: str, tmp_path: Path) -> None:
    saved(tmp_path / "model.pdparams", size, "float32")
    recipe = f"ppliteseg-{size}_4xb4-160k_cityscapes-512x1024"
    found = open_model(tmp_path / "model.pdparams", config=recipe, device="cpu")
    assert found.report.complete, found.report
    assert not found.report.unexpected
    mean: Any = found.task.preprocess.mean
    assert mean.flatten().tolist() == [127.5] * 3


class Copy:
    """Pickled as an array whose bytes stand in the file once, for all of them."""

    data = bytes(4000)

    def __reduce__(self) -> Any:
        made, arguments, _ = np.zeros(1).__reduce__()  # type: ignore[misc]
        return made, arguments, (1, (1000,), np.dtype("f4"), False, self.data)


def test_what_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.pdparams"
    path.write_bytes(pickle.dumps({"epoch": 3}))
    with pytest.raises(ForeignFileError, match="a dict without tensors or arrays"):
        open_foreign(path)
    path.write_bytes(pickle.dumps({str(i): Copy() for i in range(9)}, protocol=4))
    assert path.stat().st_size < 10_000
    with pytest.raises(ForeignFileError, match="its arrays claim more bytes than the file has"):
        open_foreign(path)
    one = np.zeros(1000, np.float32)
    path.write_bytes(pickle.dumps({"a": one, "b": one}, protocol=4))
    assert open_foreign(path).load().keys() == {"a", "b"}, "the same array is written once, and counted once"
