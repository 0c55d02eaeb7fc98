"""Weights of others on the command line: looked into, converted, evaluated, and trained on."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections import OrderedDict
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from intarsia.cli.main import main
from intarsia.data.description.write import write_description
from intarsia.demo import CLASSES, write_scenes
from intarsia.weights.file import load_state, read_meta, save_weights
from intarsia.weights.origins import Origin
from intarsia.weights.pretrained.table import NVIDIA
from intarsia.workflows.trained_model import open_model

FAST = ["--batch", "2", "--crop", "64", "64", "--workers", "0", "--device", "cpu"]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scenes")
    write_description(write_scenes(folder, train=4, val=2), folder / "data.yaml")
    return folder


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished training of two steps."""
    out = tmp_path_factory.mktemp("runs") / "first"
    words = ["train", "fast_scnn", "--data", str(data / "data.yaml"), "--out", str(out), "--for", "2 steps", *FAST]
    assert main(words) == 0
    return out


class HistoryBuffer:
    """What a trainer keeps beside the weights."""


def checkpoint(
    path: Path, run: Path, *, legacy: bool = False, meta: dict[str, Any] | None = None, **state: Tensor
) -> Path:
    """The run's weights as a trainer of the original would have written them."""
    told = {
        "cfg": (run / "config.py").read_text(),
        "dataset_meta": {"classes": CLASSES, "palette": [[i, i, i] for i in range(len(CLASSES))]},
        "iter": np.int64(2),
        "mmengine_version": "0.10.7",
    }
    content = {
        "meta": told if meta is None else meta,
        "state_dict": OrderedDict(state or load_state(run / "weights.safetensors")),
        "message_hub": {"log_scalars": {"loss": HistoryBuffer()}},
        "optimizer": {"state": {0: {"momentum": torch.zeros(1000)}}},
    }
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    return path


def scores(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "eval.json").read_text())
    return found


# --- convert ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("legacy", [False, True], ids=["archive", "stream"])
def test_a_converted_file_needs_nothing_else(run: Path, data: Path, tmp_path: Path, legacy: bool) -> None:
    """Its folder is empty but for it; scores and label maps are those of the run."""
    source = checkpoint(tmp_path / "iter_2.pth", run, legacy=legacy)
    out = tmp_path / "alone" / "model.safetensors"
    assert main(["weights", "convert", str(source), "-o", str(out)]) == 0
    source.unlink()
    meta = read_meta(out)
    assert meta.classes == CLASSES
    assert meta.palette[3] == (3, 3, 3)
    assert meta.step == 2
    assert load_state(out).keys() == load_state(run / "weights.safetensors").keys()

    words = ["--data", str(data / "data.yaml"), "--device", "cpu", "--pictures", "0"]
    assert main(["eval", str(out), *words, "--out", str(tmp_path / "scores")]) == 0
    assert scores(tmp_path / "scores") == scores(run)

    photo = min((data / "images" / "val").iterdir())
    for weights, folder in ((out, "ours"), (run, "run")):
        assert main(["predict", str(weights), str(photo), "-o", str(tmp_path / folder), "--device", "cpu"]) == 0
    first, second = (np.asarray(Image.open(tmp_path / folder / f"{photo.stem}.png")) for folder in ("ours", "run"))
    assert np.array_equal(first, second)


def test_a_name_with_the_hash_of_the_file(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """No other file is left or touched; the optimizer of a checkpoint is not in it."""
    file = checkpoint(tmp_path / "iter_2.pth", run)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "model.safetensors").write_text("mine")
    out = str(tmp_path / "out" / "model.safetensors")
    assert main(["weights", "convert", str(file), "-o", out, "--name-with-hash"]) == 0
    assert Path(out).read_text() == "mine"
    (named,) = set((tmp_path / "out").iterdir()) - {Path(out)}
    assert named.name == f"model-{hashlib.sha256(named.read_bytes()).hexdigest()[:8]}.safetensors"
    assert named.name in capsys.readouterr().err
    kept, own = load_state(named), load_state(run / "weights.safetensors")
    assert set(kept) == set(own)
    assert all(torch.equal(kept[name], own[name]) for name in own)


def test_a_config_beside_a_bare_state(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, out = tmp_path / "bare.pth", tmp_path / "model.safetensors"
    torch.save({f"module.{name}": value for name, value in load_state(run / "weights.safetensors").items()}, source)
    assert main(["weights", "convert", str(source), "-o", str(out)]) == 2
    assert "--config FILE" in capsys.readouterr().err
    assert main(["weights", "convert", str(source), "-o", str(out), "--config", str(run / "config.py")]) == 0
    assert read_meta(out).classes == tuple(f"class {i}" for i in range(len(CLASSES)))
    assert "does not name its classes" in capsys.readouterr().err
    assert main(["weights", "convert", str(source), "-o", str(out), "--config", str(run / "config.py")]) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert main(["weights", "convert", str(source), "-o", str(tmp_path / "a.pth"), "--config", str(run)]) == 2
    assert "ends in .safetensors" in capsys.readouterr().err


def test_a_checkpoint_is_used_as_it_is(run: Path, data: Path, tmp_path: Path) -> None:
    """Without conversion and without --config, since it carries its own."""
    source = checkpoint(tmp_path / "iter_2.pth", run)
    words = [
        "eval",
        str(source),
        "--data",
        str(data / "data.yaml"),
        "--out",
        str(tmp_path / "scores"),
        "--device",
        "cpu",
    ]
    assert main([*words, "--pictures", "0"]) == 0
    assert scores(tmp_path / "scores") == scores(run)


def test_evaluation_in_64_bits(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["eval", str(run), "--out", str(tmp_path / "scores"), "--device", "cpu", "--pictures", "0", "--precision"]
    assert main([*words, "64"]) == 0
    assert scores(tmp_path / "scores")["mIoU"] == pytest.approx(scores(run)["mIoU"], abs=1e-3)
    assert main([*words, "8"]) == 2
    assert "--precision is one of 32, 16, bf16, 64, found '8'" in capsys.readouterr().err
    pixels = np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8)
    images, sizes = torch.tensor(pixels).permute(2, 0, 1)[None], [(64, 96)]
    with torch.no_grad():
        single, double = (
            open_model(run, config=None, device="cpu", precision=precision).task.eval().logits(images, sizes)  # type: ignore[attr-defined]
            for precision in ("32", "64")
        )
    assert (single.dtype, double.dtype) == (torch.float32, torch.float64)
    assert 0 < (single - double).abs().max() < 1e-4


def test_a_folder_of_the_hub(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    config = transformers.SegformerConfig(
        hidden_sizes=[8, 16, 16, 32], depths=[1, 1, 1, 1], num_attention_heads=[1, 2, 2, 4], decoder_hidden_size=16,
        id2label={0: "sea", 1: "land", 2: "cloud"}, label2id={"sea": 0, "land": 1, "cloud": 2},
    )  # fmt: skip
    torch.manual_seed(0)
    theirs = transformers.SegformerForSemanticSegmentation(config).eval()
    theirs.save_pretrained(tmp_path / "hub")
    out, photo = tmp_path / "model.safetensors", tmp_path / "photo.png"
    assert main(["weights", "convert", str(tmp_path / "hub"), "-o", str(out)]) == 0
    assert read_meta(out).classes == ("sea", "land", "cloud")
    pixels = np.random.default_rng(0).integers(0, 256, (64, 96, 3), np.uint8)
    Image.fromarray(pixels).save(photo)
    assert main(["predict", str(out), str(photo), "-o", str(tmp_path / "o"), "--device", "cpu"]) == 0
    images = (torch.tensor(pixels) - torch.tensor([123.675, 116.28, 103.53])) / torch.tensor([58.395, 57.12, 57.375])
    with torch.no_grad():
        logits = theirs(images.permute(2, 0, 1)[None]).logits
    expected = torch.nn.functional.interpolate(logits, (64, 96), mode="bilinear").argmax(1)[0].numpy()
    found = np.asarray(Image.open(tmp_path / "o" / "photo.png"))
    assert len(np.unique(expected)) > 1
    assert (found != expected).mean() < 0.001


@pytest.mark.parametrize("absent", [("palette",), ("labels",), ("palette", "labels", "scores", "step", "version")])
def test_what_a_file_may_lack_is_not_asked_for_later(
    absent: tuple[str, ...], run: Path, data: Path, tmp_path: Path
) -> None:
    """Converted weights of other libraries have no colours, and no words for the values of label files."""
    empty = {"palette": (), "labels": {}, "scores": {}, "step": None, "version": ""}
    meta = replace(read_meta(run / "weights.safetensors"), **{name: empty[name] for name in absent})
    bare, photos = tmp_path / "bare.safetensors", data / "images"
    save_weights(bare, load_state(run / "weights.safetensors"), meta)
    photo = next(photo for photo in sorted(photos.rglob("*")) if photo.is_file())
    assert main(["weights", "show", str(bare)]) == 0
    for given in (data, data / "data.yaml"):
        words = ["eval", str(bare), "--data", str(given), "--out", str(tmp_path / "e"), "--device", "cpu"]
        assert main([*words, "--report", str(tmp_path / "page")]) == 0
    saved = "label,color,overlay,probs,confidence,entropy,polygons,rle"
    words = ["predict", str(bare), str(photo), "--device", "cpu"]
    assert main([*words, "-o", str(tmp_path / "o"), "--save", saved]) == 0
    again = tmp_path / "again.safetensors"
    assert main(["weights", "convert", str(bare), "-o", str(again)]) == 0
    words = ["train", "fast_scnn", "--data", str(data / "data.yaml"), "--weights", str(again), "--for", "1 steps"]
    assert main([*words, "--out", str(tmp_path / "more"), *FAST]) == 0


def test_configs_in_checkpoints_are_data(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    marker = tmp_path / "marker"
    for text, said in (
        (f"import os\nos.mkdir({str(marker)!r})", "calling `os.mkdir`"),
        ("model = dict(type='EncoderDecoder'", "not valid Python syntax"),
        (
            "model = dict(type='EncoderDecoder')\ndata = dict(train=dict())\noptimizer = dict(lr=1)",
            "of MMSegmentation 0.x",
        ),
    ):
        source = checkpoint(tmp_path / "a.pth", run, meta={"cfg": text})
        assert main(["weights", "convert", str(source), "-o", str(tmp_path / "o.safetensors")]) == 2
        message = capsys.readouterr().err
        assert said in message, message
        assert "a.pth" in message
        assert "--trust-config" not in message
        assert "--config FILE" in message or "not valid Python" in message
    assert not marker.exists()


def test_auxiliary_heads_do_not_matter_for_use(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state = load_state(run / "weights.safetensors")
    kept = {name: value for name, value in state.items() if not name.startswith("auxiliary_head.")}
    assert len(kept) < len(state)
    out = tmp_path / "model.safetensors"
    source = checkpoint(tmp_path / "a.pth", run, **kept)
    assert main(["weights", "convert", str(source), "-o", str(out)]) == 0
    assert "only training needs auxiliary heads" in capsys.readouterr().err
    assert load_state(out).keys() == kept.keys()
    image = tmp_path / "photo.png"
    Image.fromarray(np.full((50, 70, 3), 90, np.uint8)).save(image)
    assert main(["predict", str(out), str(image), "-o", str(tmp_path / "o"), "--device", "cpu"]) == 0

    headless = {name: value for name, value in state.items() if not name.startswith("decode_head.")}
    source = checkpoint(tmp_path / "b.pth", run, **headless, **{"neck.weight": torch.zeros(1)})
    assert main(["weights", "convert", str(source), "-o", str(tmp_path / "b.safetensors")]) == 2
    message = capsys.readouterr().err
    assert "missing in the file" in message
    assert "decode_head." in message
    assert "1 in the file but not in the model:\n  neck.weight" in message
    assert len(message.splitlines()) < 30


# --- show ---------------------------------------------------------------------------------------------------------


def test_show_tells_what_a_file_says(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = checkpoint(tmp_path / "iter_2.pth", run)
    capsys.readouterr()
    for file, words in (
        (run, ["Intarsia", "FastSCNN + DepthwiseSeparableFCNHead", "mIoU", "backbone", "float32"]),
        (source, ["MMEngine 0.10.7", "optimizer", "HistoryBuffer", "decode_head.conv_seg.bias", "pedestrian"]),
    ):
        assert main(["weights", "show", str(file), "--names", "400"]) == 0
        said = " ".join(capsys.readouterr().out.split())
        for word in words:
            assert word in said, said
    parameters = sum(value.numel() for value in load_state(run / "weights.safetensors").values())
    assert f"{parameters:,}" in said
    assert main(["weights", "show", str(source), "--names", "0"]) == 0
    assert "first tensors" not in capsys.readouterr().out


def test_what_a_training_started_from_is_kept_and_shown(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    meta = read_meta(run / "weights.safetensors")
    began = Origin("backbone", "mit_b0", "https://host.org/mit_b0.pth", "7e0f", NVIDIA)
    given, out = tmp_path / "given.safetensors", tmp_path / "converted.safetensors"
    state = load_state(run / "weights.safetensors")
    save_weights(given, state, replace(meta, pretrained=(began, Origin("neck", "n.pth")), licence="Apache-2.0"))
    assert main(["weights", "convert", str(given), "-o", str(out)]) == 0
    assert read_meta(out).pretrained == (began, Origin("neck", "n.pth"))
    assert read_meta(out).licence == "Apache-2.0"
    capsys.readouterr()
    assert main(["weights", "show", str(out)]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "licence Apache-2.0 started from" in said
    assert f"backbone from mit_b0 (https://host.org/mit_b0.pth), licence {NVIDIA} (not for every use)" in said
    assert "started from neck from n.pth, licence not known" in said
    assert main(["weights", "show", str(run)]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "licence not said" in said
    assert "started from" not in said


def test_show_loads_no_torch(run: Path, tmp_path: Path) -> None:
    for file in (run / "weights.safetensors", checkpoint(tmp_path / "iter_2.pth", run)):
        code = (
            "import sys; from intarsia.cli.main import main; "
            f"code = main(['weights', 'show', {str(file)!r}]); sys.exit(code or 'torch' in sys.modules)"
        )
        assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0


# --- Harmful and broken files -------------------------------------------------------------------------------------


class Bomb:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.marker}",)


def test_a_harmful_file_is_refused_everywhere(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    marker, bad = tmp_path / "marker", tmp_path / "bad.pth"
    torch.save({"state_dict": {"a": torch.zeros(1)}, "meta": {"b": Bomb(marker)}}, bad)
    config, photo = str(run / "config.py"), str(run / "curve.png")
    for words in (
        ["weights", "show", str(bad)],
        ["weights", "convert", str(bad), "-o", str(tmp_path / "o.safetensors")],
        ["eval", str(bad), "--config", config, "--out", str(tmp_path / "e")],
        ["predict", str(bad), photo, "--config", config, "-o", str(tmp_path / "p")],
        ["train", config, "--out", str(tmp_path / "r"), "--weights", str(bad), "--device", "cpu"],
    ):
        assert main(words) == 2
        message = capsys.readouterr().err
        for part in ("bad.pth is refused", "posix.system", "torch.save(model.state_dict(), FILE)"):
            assert part in message, message
    assert not marker.exists()


@pytest.mark.parametrize("name", ["a.pth", "a.safetensors"])
def test_files_that_are_no_weights(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / name
    assert main(["weights", "show", str(file)]) == 2
    assert "does not exist" in capsys.readouterr().err
    file.write_bytes(b"nonsense" * 10)
    assert main(["weights", "show", str(file)]) == 2
    assert name in capsys.readouterr().err


# --- Training from them -------------------------------------------------------------------------------------------


def test_weights_must_fit_unless_told_otherwise(
    run: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = checkpoint(tmp_path / "iter_2.pth", run)
    settings = ["--for", "1 step", *FAST]
    same = ["train", "fast_scnn", "--data", str(data / "data.yaml"), "--weights", str(source), *settings]
    assert main([*same, "--out", str(tmp_path / "same")]) == 0

    other = tmp_path / "other"
    for kind in ("images", "masks"):
        shutil.copytree(data / ("images" if kind == "images" else "labels") / "train", other / kind)
    (tmp_path / "other.yaml").write_text(
        "root: other\nclasses: [ground, rest]\nlabels: {0: ground, 1: rest}\noutside: ignore\n"
        "splits:\n  train: {images: images, labels: masks}\n"
    )
    words = ["train", "fast_scnn", "--data", str(tmp_path / "other.yaml"), "--load-from", str(source), *settings]
    capsys.readouterr()
    assert main([*words, "--out", str(tmp_path / "strict")]) == 2
    message = capsys.readouterr().err
    assert "trained for 9 classes, the model has 2" in message
    assert "decode_head.conv_seg.weight: file [9, " in message
    assert "--allow-partial" in message

    assert main([*words, "--out", str(tmp_path / "partial"), "--allow-partial"]) == 0
    notes = " ".join(json.loads((tmp_path / "partial" / "run.json").read_text())["notes"])
    for part in ("tensors loaded", "of another shape", "trained for 9 classes, the model has 2", "conv_seg"):
        assert part in notes, notes
