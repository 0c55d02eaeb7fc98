"""`intarsia export`, and exported files in the place of weights."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import intarsia
from intarsia.cli.main import main
from intarsia.export.certificate import Certificate, describe
from intarsia.export.runtime import read_meta
from intarsia.io.whole_files import DiskFullError
from intarsia.weights.file import WeightsMeta, load_state, save_weights
from intarsia.weights.file import read_meta as weights_meta
from intarsia.workflows import export_model
from intarsia.workflows.export_proof import write_certificates
from intarsia.workflows.export_request import Exported
from intarsia.workflows.export_samples import Samples
from intarsia.workflows.trained_model import open_model

pytest.importorskip("onnxruntime")


@pytest.fixture(scope="module")
def exported(weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exported")
    assert main(["export", str(weights), "-o", str(folder), "--count", "3"]) == 0
    return folder / "model.onnx"


def labels(folder: Path) -> dict[str, np.ndarray[Any, Any]]:
    return {str(file.relative_to(folder)): np.asarray(Image.open(file)) for file in sorted(folder.rglob("*.png"))}


def test_its_certificate_is_beside_it_and_in_it(exported: Path, weights: Path) -> None:
    found = json.loads((exported.parent / "certificate.json").read_text())["model.onnx"]
    meta = read_meta(exported)
    assert meta.certificate == found
    assert found["passed"] is True
    assert found["samples"] == "drawn images"
    assert len(found["sizes"]) >= 4
    assert found["equal"] > 0.999
    assert meta.weights.classes == weights_meta(weights).classes
    assert meta.contract.outputs == ("label",)
    assert {"python", "intarsia", "torch", "onnxruntime"} == set(found["versions"])
    assert found["weights_hash"] == meta.weights_hash == hashlib.sha256(weights.read_bytes()).hexdigest()


def test_it_predicts_what_its_weights_predict(exported: Path, weights: Path, photos: Path, tmp_path: Path) -> None:
    for name, model in (("file", exported), ("weights", weights)):
        words = ["predict", str(model), str(photos), "-o", str(tmp_path / name), "--save", "label"]
        assert main([*words, "--device", "cpu"]) == 0
    found, expected = labels(tmp_path / "file"), labels(tmp_path / "weights")
    assert len(found) == 4
    assert found.keys() == expected.keys()
    for name, label in expected.items():
        np.testing.assert_array_equal(found[name], label, err_msg=name)
    assert len({value for label in expected.values() for value in np.unique(label)}) > 1


def test_images_of_any_shape_and_grey_ones_are_what_they_are_to_the_weights(
    exported: Path, weights: Path, tmp_path: Path
) -> None:
    rng, folder = np.random.default_rng(2), tmp_path / "shapes"
    folder.mkdir()
    for name, shape in {
        "dot": (1, 1, 3),
        "line": (1, 70, 3),
        "odd": (33, 47, 3),
        "grey": (50, 61),
        "ink": (20, 30, 4),
    }.items():
        Image.fromarray(rng.integers(0, 256, shape, dtype=np.uint8)).save(folder / f"{name}.png")
    (folder / "none.png").write_bytes(b"")
    for name, model in (("file", exported), ("weights", weights)):
        words = ["predict", str(model), str(folder), "-o", str(tmp_path / name), "--save", "label", "--device", "cpu"]
        assert main(words) == 1  # one of them is no image
    found, expected = labels(tmp_path / "file"), labels(tmp_path / "weights")
    assert sorted(found) == sorted(expected) == ["dot.png", "grey.png", "ink.png", "line.png", "odd.png"]
    for name, label in expected.items():
        np.testing.assert_array_equal(found[name], label, err_msg=name)


def test_what_the_file_does_not_say_is_refused_once_and_before_anything_is_written(
    exported: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["predict", str(exported), str(photos), "-o", str(tmp_path / "out"), "--device", "cpu"]
    assert main([*words, "--min-confidence", "0.5"]) == 2
    told = " ".join(capsys.readouterr().err.split())
    assert told.count("the file gives label, and no confidence: export it with --output scores") == 1
    assert not labels(tmp_path / "out")


def test_python_loads_it_like_weights(exported: Path, weights: Path, photos: Path) -> None:
    ours, theirs = (intarsia.load(file).predict(photos / "a_1.png") for file in (exported, weights))
    np.testing.assert_array_equal(ours.label, theirs.label)
    assert (ours.classes, ours.palette) == (theirs.classes, theirs.palette)


def test_it_is_verified_again_and_other_weights_are_told(
    exported: Path, weights: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["export", "verify", str(exported), "--samples", str(photos)]
    (photos / "none.png").write_bytes(b"no image")
    assert main([*words, "--against", str(weights)]) == 0
    shown = capsys.readouterr().err
    assert "says what the original says" in shown
    assert shown.count("none.png is not compared") == 1
    state = load_state(weights)
    state["decode_head.conv_seg.weight"] = -state["decode_head.conv_seg.weight"]
    save_weights(tmp_path / "other.safetensors", state, weights_meta(weights))
    assert main([*words, "--against", str(tmp_path / "other.safetensors")]) == 3
    shown = capsys.readouterr().err
    assert "exported from other weights" in shown
    assert "does NOT say" in shown


def test_images_that_calibrate_are_not_those_that_are_compared(
    weights: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nor are they when the file is verified, under other names and beside new ones."""
    words = ["export", str(weights), "-o", str(tmp_path / "out"), "--precision", "int8", "--samples", str(photos)]
    assert main([*words, "--at-least", "0.5"]) == 0
    file = tmp_path / "out" / "model.onnx"
    found = read_meta(file)
    assert found.certificate["names"] == ["a_1", "a_10"]  # in natural order, the first and the third of four
    assert found.certificate["calibrated"] == len(found.calibration) == 2
    assert not found.certificate["calibrated_on_these"]
    assert "ranges of 8 bits were measured on 2 other images" in " ".join(capsys.readouterr().err.split())

    (tmp_path / "others").mkdir()
    for name, photo in {"w": "a_1", "x": "a_2", "y": "b/c"}.items():
        (tmp_path / "others" / f"{name}.png").write_bytes((photos / f"{photo}.png").read_bytes())
    Image.fromarray(np.full((70, 90, 3), 99, np.uint8)).save(tmp_path / "others" / "z.png")
    certificate = export_model.verify(file, against=weights, samples=tmp_path / "others", at_least=0.5)
    assert certificate.names == ("w", "z")
    assert not certificate.calibrated_on_these
    (tmp_path / "others" / "w.png").unlink()
    (tmp_path / "others" / "z.png").unlink()
    certificate = export_model.verify(file, against=weights, samples=tmp_path / "others", at_least=0.5)
    assert certificate.names == ("x", "y")
    assert certificate.calibrated_on_these
    assert "measured on these same images, for want of others" in " ".join(describe(certificate))


def divided(weights: Path, given: Path | None, count: int) -> tuple[list[str], list[str], bool]:
    """Of images: fingerprints of those that calibrate, names of those that are compared, and if these are the same."""
    samples = Samples(open_model(weights, config=None, device="cpu"), given, count)
    seen: list[str] = []
    assert len(list(samples.calibrating(seen))) == len(seen)
    compared = [sample.fingerprint for sample in samples.compared(seen)]
    assert samples.were_seen or not set(compared) & set(seen)
    return seen, samples.names, samples.were_seen


def test_images_are_divided_wherever_there_are_two(weights: Path, photos: Path, tmp_path: Path) -> None:
    seen, names, were_seen = divided(weights, None, 2)  # drawn ones
    assert (len(set(seen)), names, were_seen) == (8, ["drawn 1", "drawn 2"], False)
    folder = tmp_path / "few"
    folder.mkdir()
    for name in ("a", "b"):
        (folder / f"{name}.png").write_bytes(b"no image")
    (folder / "c.png").write_bytes((photos / "a_1.png").read_bytes())
    seen, names, were_seen = divided(weights, folder, 16)  # one that is an image calibrates and is compared
    assert (len(seen), names, were_seen) == (1, ["c"], True)
    (folder / "d.png").write_bytes((photos / "a_2.png").read_bytes())
    assert divided(weights, folder, 16)[1:] == (["c"], False)
    (folder / "e.png").write_bytes((photos / "a_2.png").read_bytes())  # the one that calibrated, once more
    assert divided(weights, folder, 16)[1:] == (["c"], False)


@pytest.mark.parametrize("share", ["0", "-1", "1.5", "nan"])
def test_no_share_of_pixels_is_refused(exported: Path, share: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", "verify", str(exported), "--against", "nothing", f"--at-least={share}"]) == 2
    assert "--at-least is a share of pixels above 0 and up to 1" in " ".join(capsys.readouterr().err.split())


def test_a_labelled_data_set_is_compared_by_its_scores_too(
    exported: Path, weights: Path, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its labels are no photos."""
    meta = weights_meta(weights)
    assert meta.labels
    values = np.array([int(value) for value in meta.labels], np.uint8)
    for file in photos.rglob("*.png"):
        label = photos.parent / "labels" / file.relative_to(photos)
        label.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(values[np.arange(80 * 96).reshape(80, 96) % len(values)]).save(label)
    (photos.parent / "data.yaml").write_text(
        f"root: .\nclasses: [{', '.join(meta.classes)}]\nlabels:\n"
        + "".join(f"  {value}: {name}\n" for value, name in meta.labels.items())
        + "ignore_index: 255\nsplits:\n  val:\n    images: photos\n    labels: labels\n"
    )
    words = ["export", "verify", str(exported), "--against", str(weights), "--samples", str(photos.parent)]
    assert main([*words, "--count", "2"]) == 0
    assert "mIoU on 2 labelled images" in " ".join(capsys.readouterr().err.split())


def test_certificates_of_one_folder_stay_together(tmp_path: Path) -> None:
    """Of files that are still there."""
    for name in ("model.onnx", "streets/1/model.onnx"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    file = tmp_path / "certificate.json"
    for before in ("", "[1]", json.dumps({"model.onnx": {"passed": True}, "gone.xml": {}})):
        file.write_text(before)
        write_certificates([Exported(tmp_path / "streets" / "1" / "model.onnx", Certificate("photos", "x"))], tmp_path)
        found = json.loads(file.read_text())
        assert found.pop("streets/1/model.onnx")["samples"] == "photos"
        assert found == ({"model.onnx": {"passed": True}} if "gone" in before else {})


def resizing_loader(meta: WeightsMeta) -> dict[str, Any]:
    """Of a test pipeline that resizes images."""
    pipeline = [
        {"type": "LoadImageFromFile"}, {"type": "Resize", "scale": (128, 64), "keep_ratio": True},
        {"type": "LoadAnnotations"}, {"type": "PackSegInputs"},
    ]  # fmt: skip
    return {
        "batch_size": 1, "num_workers": 0, "sampler": {"type": "DefaultSampler", "shuffle": False},
        "dataset": {"type": "BaseSegDataset", "metainfo": {"classes": list(meta.classes)}, "data_root": "nowhere",
                    "data_prefix": {"img_path": "a", "seg_map_path": "b"}, "pipeline": pipeline},
    }  # fmt: skip


def test_answers_have_the_size_of_an_image_that_the_pipeline_resizes(
    weights: Path, photos: Path, tmp_path: Path
) -> None:
    meta = weights_meta(weights)
    config = {
        **meta.config, "test_dataloader": resizing_loader(meta), "test_evaluator": {"type": "IoUMetric"}, "test_cfg": {}
    }  # fmt: skip
    save_weights(tmp_path / "resizing.safetensors", load_state(weights), replace(meta, config=config))
    words = ["export", str(tmp_path / "resizing.safetensors"), "-o", str(tmp_path / "out"), "--samples", str(photos)]
    assert main([*words, "--output", "scores"]) == 0
    found = read_meta(tmp_path / "out" / "model.onnx").contract
    assert found.asks_size
    assert "128" in found.resize
    predictions = [
        intarsia.load(tmp_path / name).predict(photos / "b" / "c.png").label
        for name in ("out/model.onnx", "resizing.safetensors")
    ]
    assert predictions[0].shape == (80, 96)
    assert (predictions[0] == predictions[1]).mean() > 0.999


@pytest.mark.parametrize("resizes", [False, True])
def test_a_file_of_one_size_is_compared_on_parts_of_that_size(
    weights: Path, photos: Path, tmp_path: Path, resizes: bool
) -> None:
    """Through windows its labels would be those of most, and the original's of their mean: the file is right."""
    meta = weights_meta(weights)
    model = tmp_path / "model.safetensors"
    config = {**meta.config, "test_dataloader": resizing_loader(meta)} if resizes else meta.config
    config |= {"test_evaluator": {"type": "IoUMetric"}, "test_cfg": {}} if resizes else {}
    save_weights(model, load_state(weights), replace(meta, config=config))
    words = ["export", str(model), "-o", str(tmp_path / "out"), "--samples", str(photos)]
    assert main([*words, "--size", "32", "40"]) == 0
    found = read_meta(tmp_path / "out" / "model.onnx").certificate
    assert found is not None
    assert found["equal"] > 0.9999
    assert found["sizes"] == [[32, 40]]
    assert found["samples"] == f"{photos}, in parts of 32 x 40 pixels"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["--to", "caffe"],
            "--to: expected onnx, openvino, pt2, aoti, tensorrt, executorch, litert, coreml, web, found 'caffe'",
        ),
        (["--output", "boxes"], "--output: expected label, scores, probs, logits, depth, found 'boxes'"),
        (["--to", ","], "--to: expected one of onnx, openvino"),
        (["--layout", "CHWN"], "--layout: expected NHWC, NCHW"),
        (["--at-least", "2"], "--at-least is a share of pixels"),
    ],
)
def test_words_that_mean_nothing_are_refused(
    weights: Path, tmp_path: Path, words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", str(weights), "-o", str(tmp_path), *words]) == 2
    assert message in " ".join(capsys.readouterr().err.split())
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_none_is_named_before_anything_is_computed(
    weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    for out in (tmp_path / "file", tmp_path / "file" / "below", Path("/proc/nowhere")):
        assert main(["export", str(weights), "-o", str(out)]) == 2
        assert f"-o {out}: cannot be written into" in " ".join(capsys.readouterr().err.split())


def test_an_exported_file_is_not_exported_again(
    exported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", str(exported), "-o", str(tmp_path / "out")]) == 2
    assert "is an exported file already: export the weights" in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("written", "left"), [(None, ["model.onnx"]), (b"later", [])])
def test_a_file_that_was_not_compared_does_not_stay(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: bytes | None, left: list[str]
) -> None:
    """Nor does an earlier one go before there is another."""

    def interrupted(*given: Any) -> None:
        if written is not None:
            given[4].write_bytes(written)
        raise KeyboardInterrupt

    monkeypatch.setattr(export_model, "_write", interrupted)
    (tmp_path / "model.onnx").write_bytes(b"earlier")
    assert main(["export", str(weights), "-o", str(tmp_path)]) == 130
    assert [file.name for file in tmp_path.iterdir()] == left


def test_a_full_disk_is_no_reason_for_a_file_of_one_size(
    weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*given: Any) -> None:
        raise DiskFullError(f"no room on the disk for {given[4]}")

    monkeypatch.setattr(export_model, "_write", full)
    assert main(["export", str(weights), "-o", str(tmp_path)]) == 2
    told = " ".join(capsys.readouterr().err.split())
    assert "no room on the disk for" in told
    assert "alone" not in told


def test_help_says_what_there_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", "--help"]) == 0
    shown = capsys.readouterr().out
    assert "--at-least" in shown
    assert "verify" in shown


@pytest.mark.parametrize(
    ("to", "lacks", "said"),
    [
        ("onnx", "onnxscript", "--to onnx: ONNX files need the packages onnx, onnxscript and onnxruntime"),
        ("web", "onnxruntime", "--to web: ONNX files need"),
        ("coreml", "coremltools", "--to coreml: packages of Core ML need the package coremltools"),
        ("openvino", "openvino", "--to openvino: OpenVINO's files need the package openvino"),
    ],
)
def test_a_missing_extra_is_named_before_anything_is_tried(
    to: str, lacks: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And is no reason for a file of one size."""
    monkeypatch.setattr(export_model, "find_spec", lambda name: None if name == lacks else find_spec(name))
    assert main(["export", str(tmp_path / "run"), "--to", to, "-o", str(tmp_path / "out")]) == 2
    words = " ".join(capsys.readouterr().err.split())
    assert said in words
    assert f"pip install 'intarsia[{'coreml' if to == 'coreml' else 'export'}]'" in words
    assert "alone" not in words
    assert not (tmp_path / "out").exists()
