"""Files for benchmark servers: written, read back, checked and scored; and what a `test_evaluator` asks for."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from intarsia.cli.main import main
from intarsia.config.build import build_task
from intarsia.config.language.reader import Config
from intarsia.config.lowering.lower import lower
from intarsia.contracts import Sample, SampleMeta
from intarsia.data.datasets import ade20k, aerial, cityscapes
from intarsia.distributed.runtime import FabricRuntime
from intarsia.evaluation.evaluate import evaluate
from intarsia.evaluation.submission import ServerFiles
from intarsia.inference.outputs.label_values import server_values
from intarsia.inference.outputs.writer import Outputs
from intarsia.inference.prediction import Prediction
from intarsia.metrics.cityscapes import CityscapesMetric
from intarsia.weights.file import WeightsMeta, save_weights
from intarsia.workflows.trained_model import labelled_images, open_model

sys.path.append(str(Path(__file__).parent.parent / "metrics"))
import official_cityscapes as official

FIGURES = json.loads(official.FILE.read_text(encoding="utf-8"))
BENCHMARKS = {
    "cityscapes": (cityscapes.CLASSES, cityscapes.PALETTE),
    "ade20k": (ade20k.CLASSES, ade20k.PALETTE),
    "loveda": (aerial.LOVEDA_CLASSES, aerial.LOVEDA_PALETTE),
    "isaid": (aerial.ISAID_CLASSES, aerial.ISAID_PALETTE),
}


def frame(number: int) -> str:
    return f"town_{number:06}_000019"


@pytest.fixture
def layout(tmp_path: Path) -> Path:
    """The images of the case "classes" as Cityscapes has them, for validation, and as unlabelled test images."""
    root = tmp_path / "cityscapes"
    index = np.full(34, 255, np.uint8)
    index[list(official.CLASSES)] = np.arange(19)
    for number, (label, objects, _) in enumerate(official.images("classes")):
        for split in ("train", "val", "test"):
            folder = root / f"leftImg8bit/{split}/town"
            folder.mkdir(parents=True, exist_ok=True)
            picture = np.stack([label * 7, label * 3, label], -1).astype(np.uint8)
            Image.fromarray(picture).save(folder / f"{frame(number)}_leftImg8bit.png")
        for split in ("train", "val"):
            folder = root / f"gtFine/{split}/town"
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(index[label]).save(folder / f"{frame(number)}_gtFine_labelTrainIds.png")
            Image.fromarray(objects.astype(np.uint16)).save(folder / f"{frame(number)}_gtFine_instanceIds.png")
    return root


@pytest.fixture
def sent(tmp_path: Path) -> Path:
    """What was predicted, in folders and names that the server allows."""
    folder = tmp_path / "sent"
    for number, (_, _, predicted) in enumerate(official.images("classes")):
        below = folder / ("some" if number % 2 else "more")
        below.mkdir(parents=True, exist_ok=True)
        Image.fromarray(predicted.astype(np.uint8)).save(below / f"{frame(number)}{'_x' * number}.png")
    return folder


def score(sent: Path, data: Path, *more: str) -> int:
    return main(["eval", "--predictions", str(sent), "--data", str(data), "--pictures", "1", *more])


def scores(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "eval.json").read_text(encoding="utf-8"))
    return found


def test_a_submission_is_scored_as_the_server_does(layout: Path, sent: Path, tmp_path: Path) -> None:
    file = next(sent.rglob(f"{frame(2)}*.png"))
    predicted = np.array(Image.open(file))
    assert score(sent, layout, "--format", "cityscapes") == 0
    found = scores(tmp_path / "sent_eval")
    assert {key: found[key] for key in official.KEYS} == {key: FIGURES["classes"][key] for key in official.KEYS}
    assert found["images"] == 4
    assert not (sent / "eval.json").exists(), "what is sent stays as it is"
    predicted[:5] = 30  # a trailer: the format has it, and it is wrong
    Image.fromarray(predicted).save(file)
    assert score(sent, layout, "--format", "cityscapes") == 0
    assert scores(tmp_path / "sent_eval")["averageScoreClasses"] < found["averageScoreClasses"]


def test_other_scores_of_a_submission(layout: Path, sent: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert score(sent, layout, "--format", "cityscapes", "--metrics", "mIoU", "--out", str(sent.parent / "out")) == 0
    found = scores(sent.parent / "out")
    assert found["mIoU"] == pytest.approx(FIGURES["classes"]["averageScoreClasses"], rel=1e-12)
    file = next(sent.rglob("*.png"))
    Image.fromarray(np.zeros((42, 72), np.uint8)).save(file)
    assert score(sent, layout, "--format", "cityscapes", "--metrics", "mIoU") == 2
    said = " ".join(capsys.readouterr().err.split())
    assert f"{file} holds 0, 3,024 pixels; --format cityscapes has 7-8, 11-13" in said
    assert "0 says nothing of a pixel" in said
    assert "`--metrics cityscapes` scores the other ids" in said


def test_everything_that_is_wrong_is_named(layout: Path, sent: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = [next(sent.rglob(f"{frame(number)}*.png")) for number in range(4)]
    files[0].unlink()
    Image.fromarray(np.zeros((40, 72), np.uint8)).save(files[1])
    Image.fromarray(np.full((42, 72), 34, np.uint8)).save(files[2])
    Image.fromarray(np.full((42, 72), 7, np.uint16)).save(files[3])
    Image.new("L", (72, 42)).save(sent / "other_000000_000019.png")
    (sent / "notes.txt").write_text("x")
    (sent / "intarsia.json").write_text("{}")
    assert score(sent, layout, "--format", "cityscapes") == 2
    said = " ".join(capsys.readouterr().err.split())
    assert f"there is no file for it: expected {frame(0)}*.png in {sent}" in said
    assert f"{files[1]} has 40 x 72 pixels (height x width), its image 42 x 72" in said
    assert f"{files[2]} holds 34, 3,024 pixels; --format cityscapes has" in said
    assert f"{files[3]} holds one number of 16 bits a pixel" in said
    assert "2 files in" in said
    assert "belong to no image: notes.txt, other_000000_000019.png" in said
    Image.new("L", (72, 42), 7).save(sent / f"{frame(1)}_again.png")
    assert score(sent, layout, "--format", "cityscapes") == 2
    assert "there are 2 files for it" in capsys.readouterr().err


def test_options_that_do_not_fit(layout: Path, sent: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for more, message in (
        (("--format", "source"), "--format is indices, cityscapes, ade20k, loveda, isaid"),
        (("--format", "ade20k"), "--format ade20k has no class"),
        (("--format", "cityscapes", "--metrics", "cityscapes,mIoU"), "name it alone"),
    ):
        assert score(sent, layout, *more) == 2
        assert message in " ".join(capsys.readouterr().err.split())
    assert main(["eval", str(sent), "--format", "cityscapes"]) == 2
    assert "--format says what the files of --predictions hold" in " ".join(capsys.readouterr().err.split())


def test_without_objects_their_scores_are_left_out(
    layout: Path, sent: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for file in (layout / "gtFine/val").rglob(f"{frame(1)}_gtFine_instanceIds.png"):
        file.unlink()
    assert score(sent, layout, "--format", "cityscapes") == 0
    assert "1 of 4 images have no *_instanceIds.png" in " ".join(capsys.readouterr().err.split())
    found = scores(sent.parent / "sent_eval")
    assert found["averageScoreCategories"] == FIGURES["classes"]["averageScoreCategories"]
    assert "averageScoreInstClasses" not in found


# --- A model ------------------------------------------------------------------------------------------------------


def config(root: Path, **values: Any) -> dict[str, Any]:
    """A small network, validation images, and test images without labels."""

    def stream(split: str, *labels: dict[str, str]) -> dict[str, Any]:
        folders = {"img_path": f"leftImg8bit/{split}", "seg_map_path": f"gtFine/{split}"}
        pipeline = [{"type": "LoadImageFromFile"}, *labels, {"type": "PackSegInputs"}]
        return {
            "batch_size": 1,
            "dataset": {
                "type": "CityscapesDataset", "data_root": str(root), "data_prefix": folders, "pipeline": pipeline
            },
        }  # fmt: skip

    return {
        "model": {
            "type": "EncoderDecoder",
            "data_preprocessor": {"type": "SegDataPreProcessor", "mean": [100.0] * 3, "std": [60.0] * 3},
            "backbone": {
                "type": "MixVisionTransformer", "in_channels": 3, "embed_dims": 8, "num_stages": 4,
                "num_layers": [1, 1, 1, 1], "num_heads": [1, 2, 2, 2], "patch_sizes": [7, 3, 3, 3],
                "sr_ratios": [8, 4, 2, 1], "out_indices": [0, 1, 2, 3], "mlp_ratio": 2, "qkv_bias": True,
            },
            "decode_head": {
                "type": "SegformerHead", "in_channels": [8, 16, 16, 16], "in_index": [0, 1, 2, 3], "channels": 16,
                "num_classes": 19, "norm_cfg": {"type": "BN"}, "align_corners": False,
                "loss_decode": {"type": "CrossEntropyLoss"},
            },
            "test_cfg": {"mode": "whole"},
        },
        "val_dataloader": stream("val", {"type": "LoadAnnotations"}),
        "val_evaluator": {"type": "IoUMetric", "iou_metrics": ["mIoU"]},
        "test_dataloader": stream("test"),
        "test_evaluator": {"type": "IoUMetric", "iou_metrics": ["mIoU"]},
    } | values  # fmt: skip


def weights_of(values: dict[str, Any], folder: Path) -> Path:
    torch.manual_seed(5)
    task = build_task(lower(Config.from_values(values, file="test")))
    state = {k: v * 6 if k.endswith("conv_seg.weight") else v for k, v in task.model.state_dict().items()}
    file = folder / "weights.safetensors"
    save_weights(file, state, WeightsMeta(config=values, classes=cityscapes.CLASSES, palette=cityscapes.PALETTE))
    return file


def test_the_metric_of_the_test_data_is_used_for_them(layout: Path, tmp_path: Path) -> None:
    """And a network's own predictions have the scores of the files that hold them, whatever the batches."""
    values = config(layout)
    values |= {"test_dataloader": values["val_dataloader"]}
    values |= {"test_evaluator": {"type": "CityscapesMetric", "output_dir": "x"}}
    weights = weights_of(values, tmp_path)
    run = ["eval", str(weights), "--pictures", "0", "--out"]
    assert main([*run, str(tmp_path / "val")]) == 0
    assert "averageScoreClasses" not in scores(tmp_path / "val")
    assert main([*run, str(tmp_path / "test"), "--split", "test", "--batch", "3", "--workers", "1"]) == 0
    found = scores(tmp_path / "test")
    assert found["averageScoreInstClasses"] > 0
    page = ("--report", str(tmp_path / "page"))
    assert main([*run, str(tmp_path / "asked"), "--metrics", "cityscapes", "--workers", "0", *page]) == 0
    assert (tmp_path / "page/report.html").is_file()
    assert {key: scores(tmp_path / "asked")[key] for key in official.KEYS} == {key: found[key] for key in official.KEYS}
    assert main([*run, str(tmp_path / "other"), "--split", "test", "--metrics", "mIoU"]) == 0
    assert scores(tmp_path / "other")["mIoU"] == scores(tmp_path / "val")["mIoU"]
    images = str(layout / "leftImg8bit/val")
    assert main(["predict", str(weights), images, "-o", str(tmp_path / "sent"), "--format", "cityscapes"]) == 0
    assert score(tmp_path / "sent", layout, "--format", "cityscapes", "--out", str(tmp_path / "files")) == 0
    files = scores(tmp_path / "files")
    assert {key: files[key] for key in official.KEYS} == {key: found[key] for key in official.KEYS}


def test_two_processes_see_what_one_sees(layout: Path, tmp_path: Path) -> None:
    """Each a part of the images with their objects; only the order in which objects are added is another."""
    model = open_model(weights_of(config(layout), tmp_path), config=None, device="cpu")
    pipeline = labelled_images(model, None, "val")

    def evaluated(runtime: FabricRuntime) -> None:
        metric = CityscapesMetric(classes=pipeline.dataset.classes)
        report = evaluate(model.predictor(pipeline.dataset.classes), pipeline, metric, runtime=runtime)
        file = tmp_path / f"{runtime.world_size}_{runtime.rank}.json"
        file.write_text(json.dumps([dict(report.summary), report.images]))

    evaluated(FabricRuntime(accelerator="cpu"))
    FabricRuntime(accelerator="cpu", devices=2, start="fork").spawn(evaluated)
    one, *two = (json.loads((tmp_path / f"{name}.json").read_text()) for name in ("1_0", "2_0", "2_1"))
    assert one[1] == 4
    assert one[0]["averageScoreInstClasses"] > 0
    for summary, images in two:
        assert images == 4
        assert summary == pytest.approx(one[0], rel=1e-14, abs=0)
        assert summary["averageScoreClasses"] == one[0]["averageScoreClasses"]


def test_test_images_that_are_only_written(layout: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As `format_only` of a config says; the files are then what the check of a submission wants."""
    out = tmp_path / "for the server"
    only = {"type": "CityscapesMetric", "output_dir": str(out), "format_only": True, "keep_results": True}
    values = config(layout, test_evaluator=only)
    weights = weights_of(values, tmp_path)
    assert main(["eval", str(weights), "--split", "test"]) == 0
    assert {file.name for file in out.glob("*.png")} == {f"{frame(n)}_leftImg8bit.png" for n in range(4)}
    assert np.isin(np.array(Image.open(next(out.glob("*.png")))), official.CLASSES).all()
    assert "format_only: 4 test images are written, and not scored" in " ".join(capsys.readouterr().err.split())

    (tmp_path / "config.json").write_text(json.dumps(values))
    check = ["eval", "--predictions", str(out), "--format", "cityscapes", "--config", str(tmp_path / "config.json")]
    assert main([*check, "--split", "test"]) == 0
    assert f"4 label maps in {out} are as --format cityscapes wants them" in " ".join(capsys.readouterr().err.split())
    next(out.glob("*.png")).unlink()
    assert main([*check, "--split", "test"]) == 2
    assert main(["eval", str(weights), "--pictures", "0", "--out", str(tmp_path / "val")]) == 0
    assert "mIoU" in scores(tmp_path / "val")


# --- Every format -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", BENCHMARKS)
def test_what_is_written_is_read_back(name: str, tmp_path: Path) -> None:
    classes, palette = BENCHMARKS[name]
    label = np.arange(len(classes), dtype=np.uint8)[None].repeat(2, 0)
    outputs = Outputs(tmp_path, frozenset({"label"}), values=server_values(name, classes))
    outputs.write(Prediction(label, classes, palette, name="below/P0001"))
    sample = Sample(np.zeros((*label.shape, 3), np.uint8), label, meta=SampleMeta(image_path="test/below/P0001.jpg"))
    files = ServerFiles(tmp_path, name, classes)
    found, truth = files.read(files.of(sample.meta), sample)
    assert np.array_equal(found.numpy(), label)
    assert truth is not None
    assert np.array_equal(truth.numpy(), label)
    assert not files.left_over([files.of(sample.meta)])
    assert len(files.left_over([])) == 1
    turned = ServerFiles(tmp_path, name, classes[::-1])
    assert np.array_equal(turned.read(files.of(sample.meta), sample)[0].numpy(), label[:, ::-1])


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("ade20k", np.array([[1, 151, 200]], np.uint8), r"holds 151, 200, 2 pixels; --format ade20k has 1-150$"),
        ("ade20k", np.array([[1, 0]], np.uint8), r"holds 0, 1 pixels.*0 says nothing of a pixel"),
        ("loveda", np.array([[7]], np.uint8), r"holds 7, 1 pixels; --format loveda has 0-6$"),
        ("loveda", np.zeros((1, 1, 3), np.uint8), "holds colours; --format loveda has one number of 8 bits"),
        ("isaid", np.array([[[0, 0, 63], [1, 2, 3]]], np.uint8), r"holds \(1, 2, 3\), which are no colours of .*isaid"),
        ("isaid", np.array([[3]], np.uint8), "holds one number of 8 bits a pixel; --format isaid has a colour"),
    ],
)
def test_values_that_a_format_does_not_have(name: str, values: np.ndarray, message: str, tmp_path: Path) -> None:
    file = tmp_path / "P0001.png"
    Image.fromarray(values).save(file)
    files = ServerFiles(tmp_path, name, BENCHMARKS[name][0])
    sample = Sample(np.zeros((*values.shape[:2], 3), np.uint8), meta=SampleMeta(image_path="P0001.png"))
    with pytest.raises(ValueError, match=message) as caught:
        files.read(files.of(sample.meta), sample)
    assert str(file) in str(caught.value)


def test_folders_without_label_maps(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="there is no such folder"):
        ServerFiles(tmp_path / "nowhere", "ade20k", ade20k.CLASSES)
    with pytest.raises(ValueError, match=r"there is no \.png in it"):
        ServerFiles(tmp_path, "ade20k", ade20k.CLASSES)
    (tmp_path / "other.png").write_bytes(b"x")
    with pytest.raises(ValueError, match=r"expected P0001_instance_color_RGB\.png in"):
        ServerFiles(tmp_path, "isaid", aerial.ISAID_CLASSES).of(SampleMeta(image_path="P0001.png"))
