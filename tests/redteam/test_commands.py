"""Whatever opens a stranger's file: each command and `intarsia.load`, with a trick in each kind of place."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from attacks import MODULE, Attack, Trap
from PIL import Image
from type_places import at, changed
from whole_configs import pixels

import intarsia
from intarsia.cli.main import main
from intarsia.config.dump import dump
from intarsia.config.language.reader import Config
from intarsia.weights.file import WeightsMeta, save_weights

PLACES: tuple[tuple[Any, ...], ...] = (
    ("model", "backbone"), ("model", "neck"), ("model", "decode_head"), ("model", "auxiliary_head", 1),
    ("model", "decode_head", "loss_decode", 0), ("model", "decode_head", "sampler"), ("val_dataloader", "dataset"),
    ("test_dataloader", "dataset", "pipeline", 1), ("train_dataloader", "dataset", "dataset", "datasets", 0),
    ("val_evaluator",), ("optim_wrapper", "optimizer"), ("custom_hooks", 2), ("default_hooks", "logger"),
    ("optim_wrapper", "constructor"), ("custom_imports",), ("tta_pipeline", 1), ("model",),
)  # fmt: skip


def written(trap: Trap, number: int, path: tuple[Any, ...]) -> dict[str, Any]:
    """A config with one of the tricks that would work if it were followed, in one place."""
    tricks = [
        Attack("intarsia.config.language.reader:read_file", {"path": str(trap.folder / "payload.py"), "trust": True}),
        Attack(f"{MODULE}:Evil"),
        Attack("os:system", {"command": f"touch {trap.canary}"}),
        Attack(f"{MODULE}:run"),
    ]
    attack, values = tricks[number % len(tricks)], pixels()
    if path == ("custom_imports",):
        return changed(values, path, {"imports": [MODULE]})
    if path[-1] == "constructor":
        return changed(values, path, attack.type)
    return changed(values, path, attack.values(at(values, path)))


def weights(folder: Path, config: dict[str, Any]) -> Path:
    """A weights file of ours that a stranger made."""
    file = folder / "model.safetensors"
    save_weights(file, {"a": torch.zeros(1)}, WeightsMeta(json.loads(json.dumps(config)), ("a", "b", "c")))
    return file


def checkpoint(folder: Path, config: dict[str, Any]) -> Path:
    """A checkpoint of MMEngine: it carries its config as a text."""
    file = folder / "iter_1.pth"
    torch.save({"state_dict": {"a": torch.zeros(1)}, "meta": {"cfg": dump(config), "mmengine_version": "0.10.4"}}, file)
    return file


def config_file(folder: Path, config: dict[str, Any]) -> Path:
    file = folder / "config.py"
    file.write_text(dump(config))
    return file


def run_folder(folder: Path, config: dict[str, Any]) -> Path:
    run = folder / "run"
    (run / "checkpoints").mkdir(parents=True)
    config_file(run, config)
    state = {"status": "interrupted", "step": 1, "processes": 1, "batch_per_process": 2, "accumulate": 1}
    (run / "run.json").write_text(json.dumps({**state, "trust": "*", "INTARSIA_TRUST": "*"}))
    weights(run, config).rename(run / "weights.safetensors")
    return run


Made = Callable[[Path, dict[str, Any]], Path]
COMMANDS: dict[str, tuple[Made, list[str]]] = {
    "predict weights": (weights, ["predict", "{}", "image.png", "-o", "out"]),
    "predict checkpoint": (checkpoint, ["predict", "{}", "image.png", "-o", "out"]),
    "predict run": (run_folder, ["predict", "{}", "image.png", "-o", "out"]),
    "predict with a config": (config_file, ["predict", "plain.pth", "image.png", "-o", "out", "--config", "{}"]),
    "eval weights": (weights, ["eval", "{}", "--device", "cpu"]),
    "eval checkpoint": (checkpoint, ["eval", "{}", "--data", "data"]),
    "eval run": (run_folder, ["eval", "{}", "--device", "cpu"]),
    "eval predictions": (config_file, ["eval", "--predictions", "data", "--config", "{}"]),
    "convert weights": (weights, ["weights", "convert", "{}", "-o", "new.safetensors"]),
    "convert checkpoint": (checkpoint, ["weights", "convert", "{}", "-o", "new.safetensors"]),
    "train": (config_file, ["train", "{}", "--out", "new", "--device", "cpu"]),
    "train with data": (config_file, ["train", "{}", "--data", "data", "--out", "new", "--device", "cpu"]),
    "find": (config_file, ["train", "{}", "--out", "new", "--device", "cpu", "--find", "lr"]),
    "resume": (run_folder, ["train", "--resume", "{}", "--device", "cpu"]),
    "check": (config_file, ["config", "check", "{}"]),
    "check weights": (weights, ["config", "check", "{}"]),
    "check run": (run_folder, ["config", "check", "{}"]),
}
LOOKING: dict[str, tuple[Made, list[str]]] = {
    "show weights": (weights, ["weights", "show", "{}"]),
    "show checkpoint": (checkpoint, ["weights", "show", "{}"]),
    "show config": (config_file, ["config", "show", "{}"]),
    "show run": (run_folder, ["config", "show", "{}", "--origins"]),
    "dump": (weights, ["config", "dump", "{}"]),
    "diff": (config_file, ["config", "diff", "{}", "fcn_r50-d8_4xb2-40k_cityscapes-512x1024"]),
}


@pytest.fixture
def downloads(trap: Trap) -> Trap:
    Image.fromarray(np.zeros((64, 64, 3), np.uint8)).save(trap.folder / "image.png")
    torch.save({"a": torch.zeros(1)}, trap.folder / "plain.pth")
    for folder, shape in (("images", (64, 64, 3)), ("labels", (64, 64))):
        (trap.folder / "data" / folder).mkdir(parents=True)
        for name in ("a", "b", "c"):
            Image.fromarray(np.zeros(shape, np.uint8)).save(trap.folder / "data" / folder / f"{name}.png")
    return trap


@pytest.mark.parametrize("command", COMMANDS)
def test_no_command_runs_code(command: str, downloads: Trap, capsys: pytest.CaptureFixture[str]) -> None:
    make, words = COMMANDS[command]
    first = list(COMMANDS).index(command)
    for number, path in enumerate(PLACES[first % 3 :: 3]):
        folder = downloads.folder / str(number)
        folder.mkdir()
        given = make(folder, written(downloads, first + number, path))
        assert main([word.format(given) for word in words]) == 2, path
        said = capsys.readouterr()
        assert "Traceback" not in said.err, path
        assert not downloads.sprung(), path


@pytest.mark.parametrize("command", LOOKING)
def test_looking_runs_nothing(command: str, downloads: Trap, capsys: pytest.CaptureFixture[str]) -> None:
    make, words = LOOKING[command]
    for number, path in enumerate(PLACES[::4]):
        folder = downloads.folder / str(number)
        folder.mkdir()
        given = make(folder, written(downloads, number, path))
        assert main([word.format(given) for word in words]) == 0
        capsys.readouterr()
        assert not downloads.sprung(), path


@pytest.mark.parametrize("path", PLACES)
def test_load_runs_no_code(path: tuple[Any, ...], downloads: Trap) -> None:
    """It does not check first, as the commands do."""
    for number in range(4):
        file = weights(downloads.folder, written(downloads, number, path))
        with pytest.raises(ValueError, match=r"model|dataset|catalogue|observer|hook|fit"):
            intarsia.load(file, device="cpu")
        assert not downloads.sprung()


def test_the_question_lists_all_places(downloads: Trap, capsys: pytest.CaptureFixture[str]) -> None:
    values = pixels()
    for path in PLACES[:4]:
        values = changed(values, path, {**at(values, path), "type": f"{MODULE}:Evil"})
    file = weights(downloads.folder, values)
    assert main(["predict", str(file), "image.png", "-o", "out"]) == 2
    with pytest.raises(ValueError, match="--trust") as caught:
        intarsia.load(file, device="cpu")
    for said in (" ".join(capsys.readouterr().err.split()), " ".join(str(caught.value).split())):
        assert "4 places name code outside of Intarsia's catalogue" in said
        assert f"--trust {MODULE}" in said
        for path in PLACES[:4]:
            assert f"{'.'.join(map(str, path))}.type: {MODULE}:Evil" in said


def test_trust_in_a_file_is_none(downloads: Trap) -> None:
    """Keys that look like consent, wherever a file may have them."""
    values = {**pixels(), "trust": "*", "INTARSIA_TRUST": "*", "trust_config": True, "intarsia": {"trust": "*"}}
    values = changed(values, ("model", "decode_head"), {"type": f"{MODULE}:Evil", "trust": True})
    config = Config.from_values(values, file="x")
    assert main(["config", "check", str(config_file(downloads.folder, config.values))]) == 2
