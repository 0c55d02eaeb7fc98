"""Files of each format: right at sizes and in batches that they were not exported with, and what they say."""

from __future__ import annotations

import json
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from made import SIZES, Made, image, predictor_of
from torch import nn

from intarsia import consent
from intarsia.contracts import Size
from intarsia.export import runtime
from intarsia.export.certificate import Sample, compare, drawn, of_several_shapes
from intarsia.export.contract import Contract, ExportMeta
from intarsia.export.formats import onnx, openvino, pt2, tensorrt
from intarsia.export.program import exported
from intarsia.export.task import ExportedPredictor, ExportedTask, inference_of
from intarsia.inference.predictor import Predictor
from intarsia.metrics.iou import IoUMetric


@pytest.mark.parametrize("output", ["label", "logits"])
def test_onnx_files_are_right_at_any_size_and_in_any_batch(make: Any, onnx_file: Any, output: str) -> None:
    made = make(eval_size_divisor=16)
    path = onnx_file(made, made.deployable(output))
    opened = runtime.open_file(path, threads=1)
    module = made.deployable(output)
    for size in SIZES:
        for batch in (1, 3):
            pixels = np.stack([image(size, seed=seed) for seed in range(batch)])
            with torch.no_grad():
                (expected,) = module(torch.from_numpy(pixels))
            (found,) = opened.run(pixels).values()
            assert found.dtype == expected.numpy().dtype
            np.testing.assert_allclose(found, expected.numpy(), atol=2e-5, err_msg=str((size, batch)))


def test_graphs_of_networks_that_pool_to_one_cell_end_at_no_size(
    make: Any, onnx_file: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a map of one cell, torch follows another way than of several, and is then right for small images alone."""

    class Pooled(type(make().task.model)):  # type: ignore[misc]
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            x = self.first(images)
            cells = torch.nn.functional.avg_pool2d(x, 65, stride=32, padding=32)
            narrow = self.between(cells)
            whole = torch.nn.functional.interpolate(narrow, size=x.shape[2:], mode="bilinear")
            out: torch.Tensor = self.decode_head(x + whole)
            return out

    made = make()
    made.task.model.__class__ = Pooled
    made.task.model.between = torch.nn.Conv2d(8, 8, 1)
    module = made.deployable("logits").eval()
    sides = exported(module).range_constraints.values()
    assert all(bool(found.upper > 10**4) for found in sides)
    monkeypatch.setenv(consent.TRUST, "pt2")
    pt2.write(exported(module, for_torch=True), tmp_path / "model.pt2", made.meta(module.contract))
    for path in (onnx_file(made, module), tmp_path / "model.pt2"):
        opened = runtime.open_file(path, threads=1)
        for size in [(64, 96), (128, 160), (300, 410), (1, 1)]:
            if size == (1, 1) and path.suffix == ".pt2" and torch.__version__ < "2.14":
                continue  # torch 2.12 still asks there whether the cells are one
            pixels = image(size)[None]
            with torch.no_grad():
                (expected,) = module(torch.from_numpy(pixels))
            np.testing.assert_allclose(opened.run(pixels)["logits"], expected.numpy(), atol=1e-4)


class Bessel(nn.Module):
    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return torch.special.bessel_j0(image)


def test_an_operator_that_onnx_does_not_have_is_named(make: Any, tmp_path: Path) -> None:
    made = make()
    module = made.deployable("logits", size=(48, 64), why="--size", batch=1)
    program = torch.export.export(Bessel(), (torch.rand(1, 3, 48, 64),))
    with pytest.raises(ValueError, match=r"^ONNX: it has nothing for torch's operator prims\.bessel_j0\.default$"):
        onnx.write(program, tmp_path / "model.onnx", made.meta(module.contract))
    assert not list(tmp_path.iterdir())


def test_onnx_files_use_no_operators_of_our_own(make: Any, onnx_file: Any) -> None:
    import onnx as library

    made = make()
    model = library.load(onnx_file(made, made.deployable()))
    assert {(one.domain, one.version) for one in model.opset_import if one.domain == ""} == {("", onnx.OPSET)}
    assert {node.domain for node in model.graph.node} == {""}
    library.checker.check_model(model, full_check=True)


def test_weights_too_large_for_one_file_lie_beside_it(
    make: Any, onnx_file: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnx, "LARGEST", 100)
    made = make()
    path = onnx_file(made, made.deployable())
    assert path.with_name("model.onnx.data").is_file()
    compared = compare(made.predictor(), predictor_of(made, path), [Sample("a", image((40, 50)))], what="", runtime="")
    assert compared.passed
    monkeypatch.undo()
    onnx_file(made, made.deployable())
    assert not path.with_name("model.onnx.data").exists()


def test_weights_beside_a_file_go_where_it_goes_without_being_read(
    make: Any, onnx_file: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With more than 2 GiB inside, onnx can neither measure a model nor infer its types nor write it."""
    from onnx import external_data_helper

    def refused(*_: Any) -> None:
        raise AssertionError("the weights were read into the model")

    monkeypatch.setattr(onnx, "LARGEST", 100)
    made, module = make(), make().deployable()
    goal = tmp_path / "there.onnx"
    for name in ("first.onnx", "second.onnx"):  # and an earlier file is replaced, not added to
        source = onnx_file(made, module, name)
        weights = onnx.weights_of(source).read_bytes()
        with monkeypatch.context() as patched:
            patched.setattr(external_data_helper, "load_external_data_for_model", refused)
            tensorrt.prepare(source, goal, made.meta(module.contract))
            onnx.describe(goal, made.meta(module.contract))
        assert onnx.weights_of(goal).read_bytes() == weights
        assert not onnx.weights_of(source).exists()
    found = compare(made.predictor(), predictor_of(made, goal), [Sample("a", image((40, 50)))], what="", runtime="")
    assert found.passed
    onnx.weights_of(goal).unlink()
    with pytest.raises(ValueError, match=r"there\.onnx\.data"):
        runtime.open_file(goal)


def test_openvino_gives_the_same_labels(make: Any, onnx_file: Any, tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    made = make()
    module = made.deployable("scores")
    openvino.write(onnx_file(made, module), tmp_path / "model.xml", made.meta(module.contract))
    opened = runtime.open_file(tmp_path / "model.xml", threads=1)
    assert opened.meta.weights.classes == made.classes
    for size in SIZES:
        pixels = image(size)[None]
        with torch.no_grad():
            label, confidence = module(torch.from_numpy(pixels))
        found = opened.run(pixels)
        np.testing.assert_array_equal(found["label"], label.numpy())
        np.testing.assert_allclose(found["confidence"], confidence.numpy(), atol=1e-5)


def test_torchs_archives_are_opened_by_consent_alone(
    make: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, path = make(), tmp_path / "model.pt2"
    module = made.deployable("logits")
    pt2.write(exported(module, for_torch=True), path, made.meta(module.contract))
    monkeypatch.delenv(consent.TRUST, raising=False)
    assert runtime.read_meta(path).contract == module.contract  # which opens nothing
    with pytest.raises(consent.ConsentError, match="--trust pt2"):
        runtime.open_file(path)
    monkeypatch.setenv(consent.TRUST, "pt2")
    opened = runtime.open_file(path)
    for size in SIZES:
        pixels = image(size)[None]
        with torch.no_grad():
            (expected,) = module(torch.from_numpy(pixels))
        np.testing.assert_allclose(opened.run(pixels)["logits"], expected.numpy(), atol=2e-5)
    pt2.describe(path, replace(made.meta(module.contract), weights_hash="other"))
    assert runtime.read_meta(path).weights_hash == "other"
    assert runtime.open_file(path).run(image((40, 40))[None])["logits"].shape == (1, 3, 40, 40)


@pytest.mark.slow
def test_compiled_archives_give_the_same(make: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made, path = make(), tmp_path / "model.pt2"
    module = made.deployable("label")
    pt2.compile_to(exported(module, for_torch=True), path, made.meta(module.contract))
    monkeypatch.setenv(consent.TRUST, "pt2")
    with zipfile.ZipFile(path) as archive:
        assert any(name.endswith(".so") for name in archive.namelist())
    compared = compare(made.predictor(), predictor_of(made, path), drawn(3, 3, "uint8", (0, 255)), what="", runtime="")
    assert compared.passed
    for size in SIZES:
        expected = made.predictor().predict(image(size)).label
        np.testing.assert_array_equal(predictor_of(made, path).predict(image(size)).label, expected)


def test_large_images_are_right_and_too_large_ones_say_what_to_do(
    make: Any, onnx_file: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = make()
    ours = predictor_of(made, onnx_file(made, made.deployable("label")))
    pixels = image((3000, 4000))
    assert (ours.predict(pixels).label == made.predictor().predict(pixels).label).mean() > 0.99999

    def fail(*_: Any) -> None:
        raise RuntimeError("Failed to allocate memory for requested buffer of size 1")

    task: Any = ours.task
    monkeypatch.setattr(task.model.runtime, "_session", type("Full", (), {"run": fail})())
    with pytest.raises(ValueError, match=r"40 x 24 pixels at once need more memory than there is.*--slide 512 341"):
        ours.predict(image((24, 40)))


def test_archives_of_torch_say_so_too(make: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(consent.TRUST, "pt2")
    made = make()
    pt2.write(exported(made.deployable()), tmp_path / "model.pt2", made.meta(made.deployable().contract))
    ours = predictor_of(made, tmp_path / "model.pt2")

    def fail(*_: Any) -> None:
        raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")

    task: Any = ours.task
    monkeypatch.setattr(task.model.runtime, "_call", fail)
    with pytest.raises(ValueError, match=r"40 x 24 pixels at once need more memory than there is.*--slide 512 341"):
        ours.predict(image((24, 40)))


def test_files_of_one_size_are_shown_windows_of_it(make: Any, onnx_file: Any) -> None:
    made = make()
    path = onnx_file(made, made.deployable("logits", size=(48, 64), why="--size", batch=1))
    ours = predictor_of(made, path)
    windows = {"mode": "slide", "crop_size": (48, 64), "stride": (32, 42)}
    for size in [(48, 64), (100, 130), (48, 71)]:
        expected = made.predictor(**windows).predict(image(size), logits=True)
        np.testing.assert_allclose(ours.predict(image(size), logits=True).logits, expected.logits, atol=2e-5)
    small = ours.predict(image((20, 28)), logits=True).logits  # filled up, so that only what is near the border differs
    alone = made.predictor().predict(image((20, 28)), logits=True).logits
    assert small.shape == alone.shape
    np.testing.assert_allclose(small[:, :12, :20], alone[:, :12, :20], atol=2e-5)


def test_a_fixed_batch_is_filled_up(make: Any, onnx_file: Any) -> None:
    made = make()
    ours = predictor_of(made, onnx_file(made, made.deployable("logits", batch=3)))
    for seed in range(2):  # one image at a time
        pixels = image((40, 52), seed=seed)
        found, expected = (one.predict(pixels, logits=True).logits for one in (ours, made.predictor()))
        np.testing.assert_allclose(found, expected, atol=2e-5)
    batch = torch.from_numpy(np.stack([image((40, 52), seed=seed) for seed in range(4)])).permute(0, 3, 1, 2)
    scores = ours.task.model(batch)
    assert scores.shape == (4, 3, 40, 52)
    (last,) = made.deployable("logits")(batch[3:].permute(0, 2, 3, 1))
    np.testing.assert_allclose(scores[3:], last.detach(), atol=2e-5)


@pytest.mark.parametrize(("classes", "outputs"), [(3, ("label", "probs")), (12, ("scores",))])
def test_files_of_sets_say_what_the_predictor_says(
    make: Any, onnx_file: Any, classes: int, outputs: tuple[str, ...]
) -> None:
    thresholds = tuple(0.4 + 0.02 * k for k in range(classes))
    made = make(logits=classes)
    names, palette = tuple(f"c{k}" for k in range(classes)), [(0, 0, k) for k in range(classes)]
    inference = replace(made.inference, answer="classes", class_thresholds=thresholds)
    made = Made(made.task, inference)
    theirs = Predictor(made.task, inference=inference, classes=names, palette=palette)
    for output in outputs:
        path = onnx_file(made, made.deployable(output, answer="classes"), f"{output}.onnx")
        opened = runtime.open_file(path, threads=1)
        task = ExportedTask(opened, num_classes=classes, thresholds=thresholds)
        ours = ExportedPredictor(
            task.eval(), inference=inference_of(inference, opened.meta.contract), classes=names, palette=palette
        )
        assert ours.inference.thresholds == thresholds
        for size in SIZES[:3]:
            pixels = image(size)
            expected = theirs.predict(pixels, confidence=True, probabilities=True)
            np.testing.assert_array_equal(ours.predict(pixels).label, expected.label, err_msg=output)
            if output == "scores":
                found = opened.run(pixels[None])["confidence"][0]
                np.testing.assert_allclose(found, expected.confidence, atol=1e-5)
            if output == "probs":
                again = ours.predict(pixels, probabilities=True).probabilities
                np.testing.assert_allclose(again, expected.probabilities, atol=1e-5)
        assert len(np.unique(expected.label)) > 2


def test_windows_of_sets_are_decided_by_majority(make: Any, onnx_file: Any) -> None:
    made = make(logits=3)
    inference = replace(made.inference, answer="classes", class_thresholds=(0.2, 0.5, 0.9))
    made = Made(made.task, inference)
    opened = runtime.open_file(onnx_file(made, made.deployable("label", answer="classes")), threads=1)
    windows = replace(inference, mode="slide", crop_size=(32, 32), stride=(16, 16))
    colours = [(0, 0, 0)] * 3
    task = ExportedTask(opened, num_classes=3, thresholds=inference.thresholds)
    ours = ExportedPredictor(task.eval(), inference=windows, classes=made.classes, palette=colours)
    whole = Predictor(made.task, inference=inference, classes=made.classes, palette=colours)
    pixels = image((48, 64))
    votes, count = np.zeros((3, 48, 64)), np.zeros((48, 64))
    for top in (0, 16):
        for left in (0, 16, 32):
            part = np.s_[top : top + 32, left : left + 32]
            votes[(slice(None), *part)] += whole.predict(np.ascontiguousarray(pixels[part])).labels
            count[part] += 1
    agreed = np.abs(votes / count - 0.5) > 1e-6  # of a draw neither is the majority
    found = ours.predict(pixels).labels
    np.testing.assert_array_equal(found[agreed], (votes / count > 0.5)[agreed])
    assert 0 < agreed.mean() <= 1


def test_labels_of_windows_are_their_majority(make: Any, onnx_file: Any) -> None:
    made = make()
    ours = predictor_of(made, onnx_file(made, made.deployable("label")))
    ours.inference = replace(ours.inference, mode="slide", crop_size=(32, 32), stride=(16, 16))
    pixels = image((64, 80))
    votes = np.zeros((3, 64, 80))
    for top in range(0, 64 - 16, 16):
        for left in range(0, 80 - 16, 16):
            part = np.s_[top : top + 32, left : left + 32]
            label = made.predictor().predict(np.ascontiguousarray(pixels[part])).label
            votes[(slice(None), *part)] += label == np.arange(3)[:, None, None]
    np.testing.assert_array_equal(ours.predict(pixels).label, votes.argmax(0))


# --- The certificate ----------------------------------------------------------------------------------------------


def test_a_certificate_says_what_differs(make: Any, onnx_file: Any) -> None:
    made = make()
    path = onnx_file(made, made.deployable("logits"))
    samples = list(of_several_shapes(drawn(2, 3, "uint8", (0, 255))))
    assert len({sample.image.shape for sample in samples}) >= 4
    assert all(sample.image.shape[0] != sample.image.shape[1] for sample in samples)
    right = compare(
        made.predictor(), predictor_of(made, path), samples, what="drawn", runtime="onnxruntime", compared="logits"
    )
    assert right.passed
    assert right.equal > 0.9999
    assert right.largest_difference is not None
    assert right.largest_difference < 1e-4
    assert len(right.sizes) >= 4
    assert right.pixels == sum(sample.image.shape[0] * sample.image.shape[1] for sample in samples)
    with torch.no_grad():
        made.task.model.decode_head.bias[0] += 1.0  # the original moves away from its file
    wrong = compare(
        made.predictor(), predictor_of(made, path), samples, what="drawn", runtime="onnxruntime", compared="logits"
    )
    assert not wrong.passed
    assert wrong.largest_difference == pytest.approx(1.0, abs=1e-4)
    assert wrong.lowest[1] <= wrong.equal < 0.999


def test_a_file_that_fails_has_a_certificate_that_says_so(make: Any) -> None:
    class Failing:
        meta = ExportMeta(Contract("label", "NHWC", 3), make().meta(Contract("label", "NHWC", 3)).weights)

        def run(self, image: Any, size: Size | None = None) -> Any:
            raise ValueError("no such kernel")

    made = make()
    task = ExportedTask(Failing(), num_classes=3)
    ours = ExportedPredictor(task.eval(), inference=made.inference, classes=made.classes, palette=[(0, 0, 0)] * 3)
    found = compare(made.predictor(), ours, drawn(1, 3, "uint8", (0, 255)), what="drawn", runtime="none")
    assert not found.passed
    assert "drawn 1, 256 x 192 pixels: no such kernel" in found.failure


@pytest.mark.parametrize("wrong", [float("nan"), float("inf")])
def test_numbers_that_are_none_are_a_failure(make: Any, wrong: float) -> None:
    """Half precision overflows: one such pixel is no 0.0 as largest difference, nor within a share of equal labels."""

    class Overflowing:
        meta = ExportMeta(Contract("logits", "NHWC", 3), make().meta(Contract("logits", "NHWC", 3)).weights)

        def run(self, image: Any, size: Size | None = None) -> Any:
            with torch.no_grad():
                (logits,) = make().deployable("logits")(torch.from_numpy(image))
            logits[:, 1, 0, 0] = wrong
            return {"logits": logits.numpy()}

    made = make()
    task = ExportedTask(Overflowing(), num_classes=3)
    ours = ExportedPredictor(task.eval(), inference=made.inference, classes=made.classes, palette=[(0, 0, 0)] * 3)
    samples = list(drawn(2, 3, "uint8", (0, 255)))
    found = compare(made.predictor(), ours, samples, what="drawn", runtime="x", compared="logits")
    assert found.equal > 0.999
    assert not found.passed
    assert "drawn 1, 256 x 192 pixels: its logits are no numbers" in found.failure
    json.dumps(found.to_json(), allow_nan=False)


def test_labels_that_say_nothing_give_no_score(make: Any, onnx_file: Any) -> None:
    made = make()
    ours = predictor_of(made, onnx_file(made, made.deployable()))
    pixels = image((30, 40))
    found = compare(
        made.predictor(), ours, [Sample("a", pixels, np.full((30, 40), 255, np.uint8))], what="", runtime="",
        metric=lambda: IoUMetric(num_classes=3, classes=made.classes),
    )  # fmt: skip
    assert found.passed
    assert (found.mean_iou, found.labelled) == (None, 0)
    json.dumps(found.to_json(), allow_nan=False)


# --- What a file says ---------------------------------------------------------------------------------------------


def test_descriptions_are_read_as_they_were_written(make: Any) -> None:
    meta = make().meta(Contract("probs", "NCHW", 4, "float32", size=(48, 64), why="x", batch=2, precision="fp16"))
    assert ExportMeta.from_json(meta.to_json()) == meta


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 99}, "exported by a later Intarsia"),
        ({"contract": {"output": "boxes", "layout": "NHWC", "channels": 3}}, "damaged"),
        ({"contract": {"output": "label", "layout": "NHWC", "channels": "3"}}, "damaged"),
        ({"contract": 7}, "damaged"),
        ({"weights": []}, "damaged"),
        ({"contract": {"output": "label", "layout": "NHWC", "channels": 3, "size": [4]}}, "damaged"),
    ],
)
def test_a_damaged_description_is_an_error(make: Any, change: dict[str, Any], message: str) -> None:
    values = json.loads(make().meta(Contract("label", "NHWC", 3)).to_json())
    with pytest.raises(ValueError, match=message):
        ExportMeta.from_json(json.dumps({**values, **change}))
    with pytest.raises(ValueError, match="damaged"):
        ExportMeta.from_json("[1, 2")


@pytest.mark.parametrize("suffix", [".onnx", ".xml", ".pt2"])
def test_files_that_are_none_are_refused_by_name(tmp_path: Path, suffix: str) -> None:
    pytest.importorskip({".onnx": "onnxruntime", ".xml": "openvino", ".pt2": "torch"}[suffix])
    path = tmp_path / f"some{suffix}"
    path.write_bytes(b"nothing of the kind")
    path.with_suffix(".bin").write_bytes(b"")
    with pytest.raises(ValueError, match="some"):
        runtime.read_meta(path)


# --- Fewer bits ---------------------------------------------------------------------------------------------------


def test_eight_bits_change_few_labels_and_leave_the_head(make: Any, onnx_file: Any, tmp_path: Path) -> None:
    import onnx as library

    from intarsia.export.quantise import quantise, shown

    made = make()
    path, out = onnx_file(made, made.deployable("logits")), tmp_path / "int8.onnx"
    meta = runtime.read_meta(path)
    images = [sample.image for sample in drawn(6, 3, "uint8", (0, 255))]
    assert quantise(path, out, meta, shown(images, meta, 4), large=False) == 1
    onnx.describe(out, meta)
    kept = {tuple(one.dims): one.data_type for one in library.load(out).graph.initializer if len(one.dims) == 4}
    assert kept == {(8, 3, 5, 5): library.TensorProto.INT8, (3, 8, 3, 3): library.TensorProto.FLOAT}
    (small,) = (one for one in library.load(out).graph.initializer if tuple(one.dims) == (8, 3, 5, 5))
    most = np.abs(library.numpy_helper.to_array(small).astype(int)).max()
    assert 2 * 255 * most < 2**15  # no processor's sum of two products overflows
    samples = [Sample(str(n), pixels, made.predictor().predict(pixels).label) for n, pixels in enumerate(images)]
    found = compare(
        made.predictor(), predictor_of(made, out), samples, what="", runtime="", at_least=0.95, compared="logits",
        metric=lambda: IoUMetric(num_classes=3, classes=made.classes),
    )  # fmt: skip
    assert found.passed
    assert found.equal < 1
    assert 1e-4 < (found.largest_difference or 0) < 0.2
    assert found.labelled == 6
    before, after = found.mean_iou or (0.0, 0.0)  # the labels are the original's own
    assert before == 1.0
    assert 0.5 < after < 1.0


def test_eight_bits_of_a_file_whose_weights_lie_beside_it(
    make: Any, onnx_file: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from intarsia.export.quantise import quantise, shown

    made = make()
    meta = made.meta(made.deployable("logits").contract)
    images = [sample.image for sample in drawn(4, 3, "uint8", (0, 255))]
    found = []
    for name, largest in (("one", onnx.LARGEST), ("two", 100)):
        monkeypatch.setattr(onnx, "LARGEST", largest)
        path, out = onnx_file(made, made.deployable("logits"), f"{name}.onnx"), tmp_path / f"{name}_int8.onnx"
        assert onnx.weights_of(path).is_file() == (name == "two")
        assert quantise(path, out, meta, shown(images, meta, 4), large=name == "two") == 1
        onnx.move(out, tmp_path / f"{name}_moved.onnx", meta)
        found.append(runtime.open_file(tmp_path / f"{name}_moved.onnx", threads=1).run(images[0][None])["logits"])
    np.testing.assert_array_equal(*found)
    monkeypatch.undo()
    onnx.move(path, tmp_path / "small.onnx", meta)  # few enough weights for one file
    assert not onnx.weights_of(path).exists()
    assert not onnx.weights_of(tmp_path / "small.onnx").exists()
    runtime.open_file(tmp_path / "small.onnx", threads=1)


def test_half_precision_halves_the_file(make: Any, onnx_file: Any) -> None:
    made = make()
    module = made.deployable("logits", precision="fp16")
    whole = onnx_file(made, made.deployable("logits"), "whole.onnx")
    original = made.predictor().predict(image((50, 70)), logits=True).logits
    module.model = module.model.half()
    half = onnx_file(made, module, "half.onnx")
    (found,) = runtime.open_file(half, threads=1).run(image((50, 70))[None]).values()
    assert found.dtype == np.float32
    np.testing.assert_allclose(found[0], original, atol=0.02)
    assert not np.array_equal(found[0], original)
    assert half.stat().st_size < whole.stat().st_size
