"""PP-LiteSeg, STDC and RegSeg of super-gradients, with the logits that its own classes give.

Names and sizes are those of super-gradients 3.7.1 (segmentation_models/ppliteseg.py, stdc.py, regseg.py), written
down by its classes. The logits are their own, in double precision, with the weights of `golden.filling.values`.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from intarsia.weights.maps import recognise
from intarsia.workflows.convert_weights import convert_weights
from intarsia.workflows.trained_model import open_model
from tests.golden.filling import stream, values
from tests.weights.authors import Shapes, batch_norm, conv, under

CLASSES, SIZE = 7, (64, 96)
QUICK = ("ppliteseg-t", "regseg", "stdc1")
LOGITS: dict[str, tuple[float, ...]] = {
    "regseg": (
        0.465702108559, -0.753558413411, 0.205703014466, -0.037389420514, -0.878099117542, -0.306824446665,
        -0.185268501256, -0.204720056875, -0.374483504999, -0.174959079333, 0.25455646752, 0.419739273815,
        -0.466590093425, -0.126561552134, -0.498881602475, 0.432833504859,
    ),
    "regseg-l": (
        -0.138172070196, -0.154791387269, 0.0576456906017, 0.0053920581888, -0.117516946081, -0.646215555425,
        0.267531190651, 0.255886835463, 0.216169551486, 0.203149823766, 0.0715725254649, -0.104759544351,
        -0.761355683055, 0.285012714149, -0.736700009009, -0.134187280088,
    ),
    "ppliteseg-t": (
        0.0641158917628, -0.250913120663, 0.05655189635, -0.0687103037949, -0.252779051284, 0.148410153929,
        0.174523050001, 0.165683538922, -0.000959801187986, 0.132146005934, 0.0577218692715, 0.0651328943665,
        0.156363272282, 0.101641253787, 0.161831486414, 0.0635870175537,
    ),
    "ppliteseg-b": (
        -0.23447650051, -0.0840946916395, 0.0639518569498, 0.00643540879605, -0.0879439885647, 0.031377267113,
        0.0522043082707, 0.0528118608752, -0.133221623233, -0.0228745377201, 0.0687210541772, -0.22868623004,
        0.158581922794, -0.00171898243063, 0.15091154628, -0.208573822003,
    ),
    "stdc1": (
        0.274290447963, -0.0173238466269, 0.0902441723942, 0.138823660689, -0.0072657036527, -0.148291964942,
        0.0159219295532, 0.0342126416123, -0.23178377249, -0.000744393238259, 0.1065467822, 0.282346174389,
        -0.270488051074, 0.0479801618917, -0.30390382788, 0.233388123895,
    ),
    "stdc2": (
        0.198529637414, -0.0487565406973, 0.0855738904806, 0.112993358025, -0.0562903407035, -0.188975448006,
        0.0737796026455, 0.114219431247, -0.194983057482, 0.123545386224, 0.0916707016797, 0.223308571152,
        -0.182795965117, 0.102046367305, -0.206489549723, 0.219062764323,
    ),
}  # fmt: skip
"""At the places that `stream("index:logits")` draws."""
BLOCKS = {"t": (2, 2, 2), "b": (4, 5, 3), "1": (2, 2, 2), "2": (4, 5, 3)}


def layer(out: int, before: int, kernel: int, *, normed: bool = True) -> Shapes:
    return under("seq.", under("conv.", conv(out, before, kernel)), under("bn.", batch_norm(out)) if normed else {})


def stdc(blocks: tuple[int, ...]) -> Shapes:
    found, width = under("block_s2.0.", layer(32, 3, 3)) | under("block_s4.0.", layer(64, 32, 3)), 64
    for stride, out, count in zip((8, 16, 32), (256, 512, 1024), blocks, strict=True):
        for number in range(count):
            block = under("0.", layer(out // 2, width, 1))
            if number == 0:
                block |= under("1.0.", layer(out // 2, 1, 3)) | under("1.1.", layer(out // 4, out // 2, 3))
            else:
                block |= under("1.", layer(out // 4, out // 2, 3))
            block |= under("2.", layer(out // 8, out // 4, 3)) | under("3.", layer(out // 8, out // 8, 3))
            found |= under(f"block_s{stride}.{number}.conv_list.", block)
            width = out
    return under("stages.", found)


def head(before: int, hidden: int, classes: int = CLASSES) -> Shapes:
    return under("0.seg_head.", under("0.", layer(hidden, before, 3)), under("2.", conv(classes, hidden)))


def pp_liteseg(size: str) -> Shapes:
    projected, behind = {"t": ((64, 128, 128), (128, 64, 32)), "b": ((96, 128, 128), (128, 96, 64))}[size]
    found = under("encoder.backbone.", stdc(BLOCKS[size]))
    for branch in range(3):
        found |= under(f"encoder.context_module.branches.{branch}.1.", layer(128, 1024, 1))
    found |= under("encoder.context_module.conv_out.", layer(128, 128, 3))
    for level, (before, out) in enumerate(zip((256, 512, 1024), projected, strict=True)):
        found |= under(f"encoder.proj_convs.{level}.", layer(out, before, 3))
    width = 128
    for step, out in enumerate(behind):
        parts = under("conv_atten.0.", layer(2, 4, 3)), under("conv_atten.1.", layer(1, 2, 3))
        found |= under(f"decoder.up_stages.{step}.", *parts, under("conv_out.", layer(out, width, 3)))
        width = out
    found |= under("seg_head.", head(width, width))
    for level, (before, hidden) in enumerate(zip(projected, (32, 64, 64), strict=True)):
        found |= under(f"aux_heads.{level}.", head(before, hidden))
    return found


def stdc_seg(size: str) -> Shapes:
    found = under("cp.backbone.", stdc(BLOCKS[size]))
    found |= under("cp.context_embedding.context_embedding.1.", layer(128, 1024, 1))
    for stride, before in ((32, 1024), (16, 512)):
        found |= under(f"cp.arm{stride}.conv_first.", layer(128, before, 3))
        found |= under(f"cp.arm{stride}.attention_block.1.", layer(128, 128, 1))
        found |= under(f"cp.upsample{stride}.1.", layer(128, 128, 3))
    found |= under("ffm.pw_conv.", layer(256, 384, 1))
    found |= under("ffm.attention_block.1.", layer(64, 256, 1, normed=False))
    found |= under("ffm.attention_block.2.", conv(256, 64))
    found |= under("segmentation_head.", head(256, 256))
    for name, before, hidden, count in (
        ("aux_head_s16", 512, 64, 7),
        ("aux_head_s32", 1024, 64, 7),
        ("detail_head8", 256, 64, 1),
    ):
        found |= under(f"{name}.", head(before, hidden, count))
    return found


def regseg(widths: tuple[int, ...], counts: tuple[int, int], group: int, head_width: int) -> Shapes:
    fine, middle, coarse, last = widths
    low = 8 if head_width == 64 else 16

    def block(number: int, before: int, out: int, dilations: list[int], stride: int) -> Shapes:
        width = out // len(dilations)
        dilated = conv(width, group, 3)
        found = under("0.", layer(out, before, 1)) | under("2.", batch_norm(out))
        if len(dilations) == 1:
            found |= under("1.", dilated)
        else:
            found |= under("1.convs.0.", dilated) | under("1.convs.1.", dilated)
        found |= under("4.se_block.", under("1.", conv(before // 4, out, bias=True)))
        found |= under("4.se_block.", under("3.", conv(out, before // 4, bias=True)))
        found = under("d_block_path.", found | under("5.", layer(out, out, 1)))
        if before != out or stride != 1:
            found |= under("shortcut.shortcut.1.", layer(out, before, 1))
        return under(f"DBlock_in{before}_out{out}_d{dilations}_gw{group}_s{stride}_se4#{number}.", found)

    def stage(before: int, outs: list[tuple[int, list[int]]]) -> Shapes:
        found: Shapes = {}
        for number, (out, dilations) in enumerate(outs):
            found |= block(number, before, out, dilations, 1 if number else 2)
            before = out
        return found

    stem = under("stem.seq.", under("conv.", conv(32, 3, 3, bias=True)), under("bn.", batch_norm(32)))
    far = [[1], [1], [1, 2], *[[1, 4]] * 4, *[[1, 14]] * 6]
    stages = (
        stage(32, [(fine, [1])] * counts[0]),
        stage(fine, [(middle, [1])] * counts[1]),
        stage(middle, [*((coarse, dilations) for dilations in far), (last, [1, 14])]),
    )
    found = stem
    for number, one in enumerate(stages):
        found |= under(f"backbone.stages.{number}.", one)
    for level, (before, out) in enumerate(((fine, low), (middle, 2 * head_width), (last, 2 * head_width))):
        found |= under(f"decoder.projections.{level}.", layer(out, before, 1))
    found |= under("decoder.conv_bn_relu.", layer(head_width, 2 * head_width, 3))
    found |= under("head.head.0.", layer(head_width, head_width + low, 3))
    return found | under("head.head.1.", conv(CLASSES, head_width, bias=True))


MODELS = {
    "regseg": regseg((48, 128, 256, 320), (1, 3), 16, 64),
    "regseg-l": regseg((48, 120, 336, 384), (2, 6), 24, 128),
    "ppliteseg-t": pp_liteseg("t"),
    "ppliteseg-b": pp_liteseg("b"),
    "stdc1": stdc_seg("1"),
    "stdc2": stdc_seg("2"),
}


def state_of(shapes: Shapes) -> dict[str, torch.Tensor]:
    return {
        name: torch.tensor(0) if name.endswith("num_batches_tracked") else torch.from_numpy(values(name, shape))
        for name, shape in shapes.items()
    }


def saved(file: Path, name: str) -> None:
    """A checkpoint as its trainer writes it."""
    state = {
        key: value.float() if value.is_floating_point() else value for key, value in state_of(MODELS[name]).items()
    }
    torch.save({"net": state, "acc": 0.7, "epoch": 3, "optimizer_state_dict": {"state": {}}}, file)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in QUICK else [pytest.mark.slow]) for name in LOGITS]
)
def test_the_logits_are_those_of_super_gradients(name: str, tmp_path: Path) -> None:
    saved(tmp_path / "ckpt_best.pth", name)
    opened = open_model(tmp_path / "ckpt_best.pth", config=name, device="cpu")
    state = state_of(MODELS[name])
    library = recognise(state)
    assert library is not None
    converted, unknown = library.convert(state)
    assert not unknown
    network = opened.task.model.double().eval()  # type: ignore[attr-defined]
    kept = network.load_state_dict(converted, strict=False)
    assert not kept.unexpected_keys
    assert all(key.startswith("auxiliary_head.") for key in kept.missing_keys)
    images = torch.from_numpy(stream("image").standard_normal((1, 3, *SIZE)))
    with torch.no_grad():
        logits = torch.nn.functional.interpolate(
            network(images), size=SIZE, mode="bilinear", align_corners=opened.spec.inference.align_corners
        )
    places = stream("index:logits").integers(0, logits.numel(), len(LOGITS[name]))
    torch.testing.assert_close(logits.flatten()[places], torch.tensor(LOGITS[name]).double(), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("name", ["ppliteseg-t", "stdc1"])
def test_a_checkpoint_becomes_a_weights_file_with_its_own_number_of_classes(name: str, tmp_path: Path) -> None:
    saved(tmp_path / "ckpt_best.pth", name)
    file = convert_weights(tmp_path / "ckpt_best.pth", tmp_path / "model.safetensors", config=name)
    found = open_model(file, config=None, device="cpu")
    assert found.spec.inference.num_classes == CLASSES
    assert not found.report.unexpected
    assert all(key.startswith("auxiliary_head.") for key in found.report.missing)
