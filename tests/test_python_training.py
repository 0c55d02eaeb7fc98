"""`intarsia.train` and `intarsia.evaluate`: the commands, asked for from Python."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import intarsia
from intarsia.cli import train as command
from intarsia.weights.file import load_state, read_meta
from intarsia.workflows.training_keywords import _KINDS, TrainingKeywords, check_values

pytest.importorskip("timm", reason="timm is not installed")

TRUNK = "test_convnext.r160_in1k"
QUICK: dict[str, Any] = {"batch": 2, "crop": 64, "workers": 0, "device": "cpu", "seed": 3}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Squares of two colours on a ground, six to train on and two to look at."""
    folder = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    for index in range(8):
        split = "train" if index < 6 else "val"
        label = np.kron(rng.integers(0, 3, (4, 4)), np.ones((16, 16), int)).astype(np.uint8)
        image = np.array([[200, 30, 30], [30, 200, 30], [30, 30, 200]], np.uint8)[label]
        for kind, array in (("images", image), ("masks", label)):
            (folder / kind / split).mkdir(parents=True, exist_ok=True)
            Image.fromarray(array).save(folder / kind / split / f"{index}.png")
    (folder / "data.yaml").write_text(
        "root: .\nclasses: [red, green, blue]\nlabels: {0: red, 1: green, 2: blue}\n"
        "splits:\n  train: {images: images/train, labels: masks/train}\n"
        "  val: {images: images/val, labels: masks/val}\n"
    )
    return folder


def made(**arguments: Any) -> intarsia.SegmentationModel:
    torch.manual_seed(0)
    return intarsia.create_model("segformer", trunk=TRUNK, **{"num_classes": 3, "pretrained": False, **arguments})


def test_a_model_is_trained_from_the_weights_that_it_has(data: Path, tmp_path: Path) -> None:
    """It ends with the weights of the file; what is frozen stays to the bit; the loop is that of the command."""
    model = made(mean=(1, 2, 3), std=(50, 60, 70)).freeze("backbone.stem")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    done = intarsia.train(model, data=data / "data.yaml", out=tmp_path / "run", steps=2, lr=1e-3, **QUICK)
    after = model.state_dict()
    same = {name for name in before if after[name].equal(before[name])}
    assert same >= {"backbone.stem.0.weight", "backbone.stem.1.weight"}
    assert len(same) < len(before) // 2
    assert all(value.equal(after[name]) for name, value in load_state(done.weights).items())
    run = json.loads((tmp_path / "run" / "run.json").read_text())
    assert run["status"] == "finished"
    assert run["config"]["optim_wrapper"]["optimizer"]["lr"] == 1e-3
    assert run["config"]["intarsia"]["freeze"] == ["backbone.stem"]
    assert run["config"]["intarsia"]["pretrained"] == "none"
    assert run["config"]["model"]["data_preprocessor"]["mean"] == [1.0, 2.0, 3.0]
    assert "starts from the weights of the given model" in run["notes"]
    assert (done.folder, done.step) == (tmp_path / "run", 2)
    assert done.report is not None
    assert done.best is not None
    assert done.scores["mIoU"] == pytest.approx(done.best.value)
    prediction = done.load(device="cpu").predict(data / "images" / "val" / "6.png")
    assert prediction.classes == ("red", "green", "blue")
    again = intarsia.evaluate(done, device="cpu", out=tmp_path / "eval", workers=0)
    assert again.summary["mIoU"] == pytest.approx(done.scores["mIoU"])
    again = intarsia.evaluate(done.weights, data=data / "data.yaml", device="cpu", out=tmp_path / "eval")
    assert again.summary["mIoU"] == pytest.approx(done.scores["mIoU"])


def test_the_first_step_is_that_of_the_recipe(data: Path, tmp_path: Path) -> None:
    """From the same weights, a given model and the recipe by its name are trained alike, to the bit."""
    start = intarsia.save(made(), tmp_path / "start.safetensors", classes=["red", "green", "blue"])
    arguments = {"data": data / "data.yaml", "steps": 2, **QUICK}
    by_name = intarsia.train(f"segformer_timm:{TRUNK}", out=tmp_path / "named", weights=start, **arguments)
    mean = read_meta(by_name.weights).config["model"]["data_preprocessor"]
    given = intarsia.train(made(mean=mean["mean"], std=mean["std"]), out=tmp_path / "given", **arguments)
    one, other = load_state(by_name.weights), load_state(given.weights)
    assert one.keys() == other.keys()
    assert all(one[name].equal(other[name]) for name in one)


def test_a_model_that_knows_no_normalisation_learns_that_of_the_data(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for kind in ("images", "masks"):
        (tmp_path / "bands" / kind).mkdir(parents=True)
    for index in range(6):
        label = np.kron(rng.integers(0, 2, (4, 4)), np.ones((16, 16), int)).astype(np.uint8)
        np.save(tmp_path / "bands" / "images" / f"{index}.npy", rng.normal(5.0, 2.0, (64, 64, 2)).astype(np.float32))
        Image.fromarray(label).save(tmp_path / "bands" / "masks" / f"{index}.png")
    model = made(num_classes=2, bands=2)
    assert model.mean is None
    intarsia.train(model, data=tmp_path / "bands", out=tmp_path / "run", steps=1, **QUICK)
    assert model.mean is not None
    assert model.mean == pytest.approx((5.0, 5.0), abs=0.5)
    assert model.std == pytest.approx((2.0, 2.0), abs=0.5)


def test_a_published_recipe_on_own_data(data: Path, tmp_path: Path) -> None:
    """A model of it, with other classes, is trained as it says."""
    name = "fast_scnn_8xb4-160k_cityscapes-512x1024"
    model = intarsia.create_model(name, num_classes=3, pretrained=False)
    done = intarsia.train(model, data=data / "data.yaml", out=tmp_path / "run", steps=1, **QUICK)
    config = read_meta(done.weights).config
    assert config["optim_wrapper"]["optimizer"]["type"] == "SGD"
    assert config["model"]["decode_head"]["num_classes"] == 3
    assert "auxiliary_head" not in config["model"]


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"batchsize": 2}, "no option 'batchsize'; did you mean 'batch'"),
        ({"learning_rate": 2}, "no option 'learning_rate'; did you mean 'lr'"),
        ({"num_workers": 2}, "did you mean 'workers'"),
        ({"evalevery": "1"}, "did you mean 'eval_every'"),
        ({"zzz": 1}, r"no option 'zzz'; There are: duration, eval_every"),
    ],
    ids=str,
)
def test_an_option_that_there_is_not(option: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=message):
        intarsia.train("fast_scnn", out=tmp_path / "run", **option)


@pytest.mark.parametrize(
    ("given", "arguments", "message"),
    [
        (
            {"num_classes": 4},
            {},
            r"data have 3 classes \(red, green, blue\), the model has 4: create it with num_c",
        ),
        ({"bands": 4}, {}, "data have 3 bands, the model has 4: create it with bands=3"),
        ({}, {"steps": 1, "duration": "1 epochs"}, "steps and duration both"),
        ({}, {"weights": "a"}, "a model brings its heads, its weights.*leave weights out"),
        (
            {"extra": torch.nn.Conv2d(3, 3, 1)},
            {},
            r"extra\.bias: \(3,\), as described not there; .*go around the model",
        ),
    ],
    ids=str,
)
def test_what_does_not_fit_is_said(
    given: dict[str, Any], arguments: dict[str, Any], message: str, data: Path, tmp_path: Path
) -> None:
    model = made(**{name: value for name, value in given.items() if name != "extra"})
    if "extra" in given:
        model.extra = given["extra"]
    with pytest.raises(ValueError, match=message):
        intarsia.train(model, data=data / "data.yaml", out=tmp_path / "run", **{**QUICK, **arguments})


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"eval_every": 5}, "the duration '5' has no unit; write '5 steps', '5 epochs'"),
        ({"duration": 20}, "'20' has no unit"),
        ({"cache_features": True}, r"cache_features takes PathLike, found True"),
        ({"crop": (64, 64, 3)}, r"crop takes int \| tuple\[int, int\], found \(64, 64, 3\)"),
        ({"batch": "4"}, "batch takes int, found '4'"),
        ({"ema": "0.9"}, "ema takes float, found '0.9'"),
        ({"plain": "sky"}, r"plain takes Sequence\[str\], found 'sky'"),
        ({"deterministic": 1}, "deterministic takes bool, found 1"),
        ({"steps": "2 steps"}, "steps is a whole number, found '2 steps'"),
        ({"steps": 2.5}, "steps is a whole number, found 2.5"),
        ({"lr": 0}, "lr is above 0, found 0"),
        ({"lr": -1e-3}, "lr is above 0"),
        ({"lr": float("nan")}, "lr is above 0"),
        ({"observers": [2.5]}, r"inherits intarsia\.engine\.callbacks\.base\.Observer; found 2.5"),
        ({"data": {"train": "images"}}, "data is a folder of images and masks, or a description .* found a dict"),
    ],
    ids=str,
)
def test_a_value_of_another_kind_is_said(option: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        intarsia.train("fast_scnn", out=tmp_path / "run", **option)


def test_none_is_as_good_as_left_out(data: Path, tmp_path: Path) -> None:
    """A rate of None was written into the config, and None beside `steps` or a model was refused like a value."""
    nothing: dict[str, Any] = {"lr": None, "duration": None, "weights": None, "freeze": None, "set": None}
    done = intarsia.train(made(), data=data / "data.yaml", out=tmp_path / "run", steps=1, **QUICK, **nothing)
    assert done.step == 1
    assert intarsia.train(resume=tmp_path / "run", lr=None).step == 1


def test_splits_are_known_by_name(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="split is train, val or test, found 'valid'"):
        intarsia.evaluate(tmp_path / "run", split="valid")


def test_an_evaluation_takes_values_of_python(data: Path, tmp_path: Path) -> None:
    """Lists, numbers and True were AttributeErrors; the words of the command give the same."""
    done = intarsia.train(made(), data=data / "data.yaml", out=tmp_path / "run", steps=1, **QUICK)
    pairs: list[tuple[dict[str, Any], dict[str, Any]]] = [
        ({"metrics": ["mIoU", "mDice"], "device": torch.device("cpu")}, {"metrics": "mIoU,mDice", "device": "cpu"}),
        ({"slide": 32}, {"slide": "32"}),
        ({"slide": (32, 48)}, {"slide": "32x48"}),
        ({"augment": True}, {"augment": "auto"}),
        ({"augment": [0.5, 1]}, {"augment": "0.5,1"}),
        ({"augment": False}, {}),
    ]
    for values, words in pairs:
        assert intarsia.evaluate(done, workers=0, **values) == intarsia.evaluate(done, workers=0, **words)
    with pytest.raises(ValueError, match=r"evaluate: data is a folder of images and masks, .* found a list"):
        intarsia.evaluate(done, data=[1])  # type: ignore[arg-type]


def test_layers_of_a_trunk_that_stands_still(data: Path, tmp_path: Path) -> None:
    model = intarsia.create_model("linear", trunk="test_vit", num_classes=3, pretrained=False)
    with pytest.raises(ValueError, match="this trunk stands still: leave it out"):
        intarsia.train(model, data=data / "data.yaml", out=tmp_path / "run", steps=1, layer_decay=0.8, **QUICK)


def test_values_that_are_of_a_kind() -> None:
    check_values({"batch": np.int64(2), "crop": [64, 96], "pretrained": False, "weights": Path("a"), "lr": 1})
    check_values({"set": {"a": 1}, "freeze": "backbone", "eval_every": None, "devices": 2})
    kinds = {kind for takes in TrainingKeywords.__annotations__.values() for kind in str(
        getattr(takes, "__forward_arg__", takes)).split(" | ")}  # fmt: skip
    assert kinds == set(_KINDS)


def test_a_model_of_a_file_needs_a_recipe(tmp_path: Path) -> None:
    file = intarsia.save(made(), tmp_path / "w.safetensors", classes=["a", "b", "c"])
    with pytest.raises(ValueError, match=r"read from a file.*train\(RECIPE, weights=FILE\)"):
        intarsia.train(intarsia.create_model(file), out=tmp_path / "run")


def test_options_are_those_of_the_command() -> None:
    """Every one, by the same name, but for what only a command can do."""
    import inspect

    from intarsia.workflows.training_keywords import TrainingKeywords

    of_command = set(inspect.signature(command.train).parameters)
    renamed = {"compiled": "compile", "settings": "set"}
    expected = {renamed.get(name, name) for name in of_command}
    expected -= {"recipe", "data", "out"}  # the arguments themselves
    expected -= {"find", "resume", "trust"}  # find_learning_rate and find_batch, an argument, and intarsia.trust
    assert set(TrainingKeywords.__annotations__) == expected | {"lr", "observers"}


def test_a_head_beside_the_others_learns_which_classes_an_image_shows(data: Path, tmp_path: Path) -> None:
    """By an option of a training, or in the model that is given; what predicts leaves it out."""
    given = made(image_classes=True)
    before = given.auxiliary_head.fc.weight.clone()
    assert given.training_outputs(torch.randn(2, 3, 64, 64))["aux"].shape == (2, 3)
    arguments: dict[str, Any] = {"data": data / "data.yaml", "steps": 1, **QUICK}
    done = intarsia.train(given, out=tmp_path / "given", **arguments)
    assert not given.auxiliary_head.fc.weight.equal(before)
    lines = [json.loads(line) for line in (tmp_path / "given" / "metrics.jsonl").read_text().splitlines()]
    assert any("aux.loss_classes" in name for line in lines for name in line)
    done = intarsia.train(f"segformer_timm:{TRUNK}", out=tmp_path / "named", pretrained=False, image_classes=0.3,
                          **arguments)  # fmt: skip
    head = read_meta(done.weights).config["model"]["auxiliary_head"]
    assert head["type"] == "ImageClassHead"
    assert head["loss_decode"]["loss_weight"] == 0.3
    prediction = done.load(device="cpu").predict(data / "images" / "val" / "6.png")
    assert prediction.label.shape == (64, 64)
    with pytest.raises(ValueError, match="is the weight of its loss, more than 0"):
        intarsia.train(f"segformer_timm:{TRUNK}", out=tmp_path / "none", image_classes=0, **arguments)
