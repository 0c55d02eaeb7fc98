"""What is chosen from own data: where classes are rare, and only there."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from intarsia import recipes
from intarsia.cli.main import main
from intarsia.config.build import build_pipeline, head_loss
from intarsia.config.checking.check import check
from intarsia.config.language.reader import Config, read_file
from intarsia.config.lowering.lower import lower
from intarsia.data.description.model import DataDescription
from intarsia.data.description.pairing import Source
from intarsia.data.description.read import read_description
from intarsia.data.description.splits import FolderSplit
from intarsia.data.description.write import write_description
from intarsia.data.sampling import RareClassOrder, sample_rng
from intarsia.spec import RareSpec
from intarsia.workflows.adjust import TrainingOptions
from intarsia.workflows.own_defaults import CHOICES, RARE, Amount, choose, rare_classes
from intarsia.workflows.training_config import TrainingRequest, training_config
from tests.recipes.test_recipes import own

FOLDERS = {"train": FolderSplit(Source("images", "labels", (".png",), (".png",)))}


CLASSES = ("road", "car", "pole")
NAMES = (*recipes.own_names(), *recipes.shown_names())
ONE_OF_EACH_METHOD = {recipes.method(name): name for name in reversed(NAMES)}.values()


def described(shares: dict[str, float] | None, *, classes: tuple[str, ...] = CLASSES) -> DataDescription:
    return DataDescription(Path(), classes, FOLDERS, shares=shares)


def config_of(name: str, num_classes: int = 3) -> Config:
    data = {split: {"type": "DescribedDataset", "file": "data.yaml", "split": split} for split in ("train", "val")}
    return Config.from_values(own(name, num_classes=num_classes, data=data), file=f"recipe {name}")


def chosen(name: str, shares: dict[str, float] | None, plain: tuple[str, ...] = ()) -> dict[str, tuple[str, ...]]:
    return {choice.name: choice.settings for choice in choose(config_of(name), described(shares), plain=plain)}


RARE_POLE = {"road": 0.9, "car": 0.08, "pole": 0.02}


def test_the_rarest_come_first_and_absent_classes_are_not_rare() -> None:
    found = rare_classes(described({"road": 0.03, "car": 0.0, "pole": 0.01}))
    assert list(found.items()) == [("pole", 0.01), ("road", 0.03)]
    assert rare_classes(described({"road": 1 - RARE, "pole": RARE})) == {}
    assert rare_classes(described(None)) == {}


@pytest.mark.parametrize("name", ["small_r18", "fcn_r18", "segformer_mit-b0", "pointrend_r50", "icnet_r18"])
def test_settings_make_a_config_without_problems(name: str) -> None:
    config = config_of(name)
    choices = choose(config, described(RARE_POLE))
    assert [choice.name for choice in choices] == ["loss", "sizes", "crops"]
    for choice in choices:
        config = config.override(choice.settings)
        assert f"--plain {choice.name}" in choice.line
    assert check(config, shapes=False) == []
    head = config.values["model"]["decode_head"]
    losses = (head[-1] if isinstance(head, list | tuple) else head)["loss_decode"]
    assert [loss["type"] for loss in losses] == ["CrossEntropyLoss", "LovaszLoss"]
    steps = config.values["train_dataloader"]["dataset"]["pipeline"]
    assert [step["rare"] for step in steps if step["type"] == "RandomCrop"] == [[2]]
    assert [step["ratio_range"] for step in steps if step["type"] == "RandomScale"] == [(0.8, 1.25)]


@pytest.mark.parametrize("name", ONE_OF_EACH_METHOD)
@pytest.mark.parametrize("num_classes", [1, 3])
def test_every_recipe_takes_what_is_chosen(name: str, num_classes: int) -> None:
    """STDC's choice of hard pixels fits no loss that is not a sum over pixels."""
    try:
        config = config_of(name, num_classes)
    except ValueError as error:
        pytest.skip(f"{name} has no config for a single logit: {error}")
    named = ("crack",) if num_classes == 1 else CLASSES
    shares = {"background": 0.98, "crack": 0.02} if num_classes == 1 else RARE_POLE
    for choice in choose(config, described(shares, classes=named)):
        config = config.override(choice.settings)
    assert check(config, shapes=False) == []
    for loss in lower(config).losses:
        head_loss(loss)  # a sampler of pixels goes with few losses


@pytest.mark.parametrize("name", ["mask2former_r50", "maskformer_r50"])
def test_heads_that_have_their_own_objective_keep_it(name: str) -> None:
    assert list(chosen(name, RARE_POLE)) == ["sizes", "crops"]


def test_one_foreground_has_one_logit() -> None:
    description = described({"background": 0.98, "crack": 0.02}, classes=("crack",))
    loss, sizes, crops = choose(config_of("small_r18", 1), description)
    assert "'loss_type': 'binary'" in loss.settings[0]
    assert crops.settings[0].endswith("rare=[1]")
    assert "background covers 98.0%" in loss.line
    assert "0.8 to 1.25 times their size, since background covers 98.0%" in sizes.line
    assert "crack 2.00%" in crops.line


@pytest.mark.parametrize(
    ("classes", "splits", "wanted"),
    [
        (("crack",), ("train", "val"), True),
        (("background", "crack"), ("train", "val"), True),
        (("background", "crack"), ("train",), False),
        (("road", "pavement"), ("train", "val"), False),
        (("background", "crack", "leaf"), ("train", "val"), False),
    ],
)
def test_a_threshold_is_chosen_for_a_foreground(
    classes: tuple[str, ...], splits: tuple[str, ...], wanted: bool
) -> None:
    description = replace(described(None, classes=classes), splits=dict.fromkeys(splits, FOLDERS["train"]))
    config = config_of("small_r18", len(classes))
    choices = choose(config, description)
    assert [choice.name for choice in choices] == ["threshold"] * wanted
    assert choose(config, description, plain=("threshold",)) == []
    for choice in choices:
        assert f"a pixel is {classes[-1]}, for its largest IoU" in choice.line
        config = config.override(choice.settings)
    assert lower(config).safeguards.choose_threshold == wanted


def test_nothing_is_chosen_for_even_classes_unmeasured_ones_or_on_wish() -> None:
    assert chosen("small_r18", {"road": 0.5, "car": 0.3, "pole": 0.2}) == {}
    assert chosen("small_r18", {"road": 0.84, "car": 0.15, "pole": 0.01}) == {}  # rare, but there is more to learn
    assert list(chosen("small_r18", {"road": 0.86, "car": 0.07, "pole": 0.07})) == ["loss", "sizes"]
    assert chosen("small_r18", None) == {}
    assert chosen("small_r18", RARE_POLE, plain=("all",)) == {}
    assert list(chosen("small_r18", RARE_POLE, plain=("loss",))) == ["sizes", "crops"]
    assert list(chosen("small_r18", RARE_POLE, plain=("crops", "sizes"))) == ["loss"]
    with pytest.raises(ValueError, match="--plain takes loss, sizes, crops, threshold, steps, all, found 'losses'"):
        chosen("small_r18", RARE_POLE, plain=("losses",))


@pytest.mark.parametrize(
    ("given", "made"),
    [
        ("model.decode_head.loss_decode.class_weight=[1.0, 2.0, 9.0]", ["sizes", "crops"]),  # below
        ("model.decode_head.loss_decode={'type': 'DiceLoss'}", ["sizes", "crops"]),  # the same
        ("model.decode_head.loss_decode.use_sigmoid-", ["sizes", "crops"]),
        ("model={'type': 'EncoderDecoder'}", ["sizes", "crops"]),  # above
        ("model.decode_head.channels=8", ["loss", "sizes", "crops"]),
        ("model.decode_head.loss=1", ["loss", "sizes", "crops"]),
        ("train_dataloader.dataset.pipeline.-4.rare=[1]", ["loss", "sizes"]),
        ("train_dataloader.dataset.pipeline.3.crop_size=(64, 64)", ["loss", "sizes", "crops"]),
        ("train_dataloader.dataset.pipeline.2={'type': 'RandomScale', 'ratio_range': (0.5, 2.0)}", ["loss", "crops"]),
        ("a..b=1", ["loss", "sizes", "crops"]),
    ],
)
def test_what_the_user_sets_is_not_chosen(given: str, made: list[str]) -> None:
    choices = choose(config_of("small_r18"), described(RARE_POLE), given=["x.y=1", given])
    assert [choice.name for choice in choices if choice.settings] == made
    path = given.partition("=")[0].removesuffix("-")
    said = [choice.line for choice in choices if not choice.settings]
    others = [
        name for name in CHOICES if name not in (*made, "threshold", "steps")
    ]  # none has a threshold, or a length
    assert said == [f"{name}: as the recipe has it, since --set changes {path}" for name in others]


def test_samples_are_drawn_for_rare_classes_where_that_is_asked_for() -> None:
    shares = {"road": 0.5, "car": 0.04, "pole": 0.02}
    (choice,) = choose(config_of("small_r18"), described(shares), rare_every=6)
    assert choice.line == "drawing: of every 6 samples one is drawn for pole and one for car, and shows it"
    config = config_of("small_r18").override(choice.settings)
    assert check(config, shapes=False) == []
    spec = lower(config)
    assert spec.train is not None
    assert spec.train.rare == RareSpec((2, 1), every=6)
    (own,) = choose(config_of("small_r18"), described(shares), given=["train_dataloader.sampler.every=3"], rare_every=6)
    assert own.line == "drawing: as the recipe has it, since --set changes train_dataloader.sampler.every"
    with pytest.raises(ValueError, match=r"each of 2 rare classes \(pole, car\), .* write 3 or more"):
        choose(config_of("small_r18"), described(shares), rare_every=2)
    with pytest.raises(ValueError, match="less than 5% of the labelled training pixels, of which these data have none"):
        choose(config_of("small_r18"), described(None), rare_every=2)


# --- Length -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("images", "size", "batch", "steps", "plain", "said"),
    [
        (400, 512, 8, 3000, 3000, "3,000, in which each of 400 images comes 60 times, 8 a step (--plain steps: 3,000;"),
        (400, 512, 2, 12_000, 3000, "comes 60 times, 2 a step (--plain steps: 3,000;"),
        (400, 1024, 16, 6000, 3000, "comes 60 times in 4 crops, 16 a step"),
        (400, 4000, 16, 6000, 3000, "in 4 crops"),  # not in 61
        (400, 100, 8, 3000, 3000, "60 times, 8"),
        (3, 512, 3, 500, 500, "500, the least, in which each of 3 images comes 500 times"),
        (9000, 512, 8, 20_000, 20_000, "20,000, the most, in which each of 9,000 images comes 18 times"),
    ],
)  # fmt: skip
def test_the_length_shows_each_crop_so_often(
    images: int, size: int, batch: int, steps: int, plain: int, said: str
) -> None:
    amount = Amount.of(images, (size, size), (512, 512), batch)
    assert (amount.steps, amount.plain_steps) == (steps, plain)
    (choice,) = choose(config_of("small_r18"), described(None), amount=amount)
    assert said in choice.line
    assert choose(config_of("small_r18"), described(None), plain=("steps",), amount=amount) == []
    given = ["train_cfg.max_iters=40"]
    (own,) = choose(config_of("small_r18"), described(None), given=given, amount=amount)
    assert own.line == "steps: as the recipe has it, since --set changes train_cfg.max_iters"
    assert own.settings == ()


def test_heads_in_a_row_have_their_place() -> None:
    def made(given: str) -> list[str]:
        choices = choose(config_of("pointrend_r50"), described(RARE_POLE), given=[given])
        return [choice.name for choice in choices if choice.settings]

    assert made("model.decode_head.-1.loss_decode.loss_weight=2.0") == ["sizes", "crops"]
    assert made("model.decode_head.0.loss_decode.loss_weight=2.0") == ["loss", "sizes", "crops"]


def test_shares_are_read_as_they_are_written(tmp_path: Path) -> None:
    file = tmp_path / "data.yaml"
    """Also the smallest: YAML would take 1e-05 for text."""
    description = described({"road": 0.7, "car": 0.29999, "pole": 1e-05})
    description = replace(description, mean=(1e-07, 2.5, 3e20), std=(1e-09, 1.0, 2.0))
    write_description(description, file)
    found = read_description(file)
    assert (found.shares, found.mean, found.std) == (description.shares, description.mean, description.std)
    assert "as measured" in file.read_text()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("shares: {tree: 0.5}", r"shares.tree: is no class; there are road, car"),
        ("shares: {road: 1.5}", r"shares.road: expected a share of the pixels, 0 to 1, found 1.5"),
        ("shares: {road: many}", r"shares.road: expected numbers, found 'many'"),
        ("shares: {road: [0.1]}", r"shares.road: expected a number, found \[0.1\]"),
        ("shares: 0.5", r"shares: expected keys with values"),
    ],
)
def test_wrong_shares_are_named(line: str, message: str, tmp_path: Path) -> None:
    file = tmp_path / "data.yaml"
    file.write_text(f"classes: [road, car]\n{line}\nsplits: {{train: {{images: i, labels: l}}}}\n")
    with pytest.raises(ValueError, match=r"data.yaml:2: " + message):
        read_description(file)


@pytest.fixture(scope="module")
def cracks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Grey pictures with a dark line of one pixel in 64."""
    folder = tmp_path_factory.mktemp("cracks")
    rng = np.random.default_rng(0)
    for number in range(5):
        image = rng.integers(120, 140, (64, 64, 3)).astype(np.uint8)
        label = np.zeros((64, 64), np.uint8)
        row = int(rng.integers(64))
        image[row], label[row] = 20, 1
        for kind, array in (("images", image), ("labels", label)):
            (folder / kind).mkdir(exist_ok=True)
            Image.fromarray(array).save(folder / kind / f"{number}.png")
    return folder


@pytest.mark.parametrize(("words", "lines"), [((), 4), (("--plain", "crops"), 3), (("--plain", "all"), 0)])
def test_the_command_says_each_choice_and_writes_it(
    words: tuple[str, ...], lines: int, cracks: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    short = ("--for", "1 steps", "--batch", "2", "--crop", "64", "64", "--workers", "0", "--device", "cpu")
    assert main(["train", "small_r18", "--data", str(cracks), "--out", str(out), *short, *words]) == 0
    said = "".join(capsys.readouterr())
    assert said.count("(--plain ") == lines
    assert read_description(out / "data.yaml").shares == {"background": 0.9844, "foreground": 0.01562}
    config = read_file(out / "config.py").values
    loss = config["model"]["decode_head"]["loss_decode"]
    assert (isinstance(loss, list)) == (lines > 0)
    steps = {step["type"]: step for step in config["train_dataloader"]["dataset"]["pipeline"]}
    assert steps["RandomCrop"].get("rare") == ([1] if lines == 4 else None)
    assert steps["RandomScale"]["ratio_range"] == ((0.8, 1.25) if lines else (0.5, 2.0))
    assert config.get("intarsia", {}).get("choose_threshold", False) == (lines > 0)


def test_the_command_takes_class_weights_and_goes_on(
    cracks: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    short = ("--for", "1 steps", "--batch", "2", "--crop", "64", "64", "--workers", "0", "--device", "cpu")
    given = ("model.decode_head.loss_decode.class_weight=[1.0,10.0]", "model.decode_head.channels=8")
    words = [word for setting in given for word in ("--set", setting)]
    assert main(["train", "small_r18", "--data", str(cracks), "--out", str(out), *short, *words]) == 0
    said = " ".join("".join(capsys.readouterr()).split())
    assert "loss: as the recipe has it, since --set changes model.decode_head.loss_decode.class_weight" in said
    head = read_file(out / "config.py").values["model"]["decode_head"]
    assert (head["loss_decode"]["class_weight"], head["channels"]) == ([1.0, 10.0], 8)


def test_configs_of_files_choose_for_themselves(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name = next(iter(recipes.names()))
    start = ["train", name, "--data", str(tmp_path), "--out", str(tmp_path / "run")]
    assert main([*start, "--plain", "loss"]) != 0
    assert "has its own choices" in " ".join("".join(capsys.readouterr()).split())
    assert main([*start, "--rare-every", "4"]) != 0
    assert "write train_dataloader.sampler.rare=[...]" in " ".join("".join(capsys.readouterr()).split())


def test_a_fold_draws_from_its_own_images(cracks: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"
    short = ("--for", "1 steps", "--batch", "2", "--crop", "32", "32", "--workers", "0", "--device", "cpu")
    words = ("--plain", "all", "--rare-every", "2", "--fold", "1/3")
    assert main(["train", "small_r18", "--data", str(cracks), "--out", str(out), *short, *words]) == 0
    assert "drawing: of every 2 samples one is drawn for foreground" in "".join(capsys.readouterr())
    spec = lower(read_file(out / "config.py"))
    assert spec.train is not None
    assert spec.train.rare == RareSpec((1,), every=2)
    pipeline = build_pipeline(spec.train)
    order = pipeline.order(seed=0, shuffle=True)
    assert isinstance(order, RareClassOrder)
    assert order.images == {1: tuple(range(len(pipeline)))}
    assert len(pipeline) < 5
    for position in range(10):
        sample = pipeline.get(order.index(position), sample_rng(0, position), wanted=order.wanted(position))
        assert order.wanted(position) < 0 or (sample.label == 1).any()


def test_the_schedule_and_the_evaluations_are_those_of_the_length(
    cracks: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nobody says it; what is said wins, and recipes with a plan of their own keep it."""
    file = tmp_path / "data.yaml"
    words = {"name": "small_r18", "out": tmp_path, "data": cracks}
    monkeypatch.setattr("intarsia.workflows.own_defaults.SMALLEST_RUN", 10)

    def values(**more: object) -> tuple[dict[str, object], str]:
        config = training_config(TrainingRequest(**{**words, **more}), file)  # type: ignore[arg-type]
        return dict(config.values), "".join(capsys.readouterr())

    plain, said = values(plain=("all",))
    assert "steps:" not in said
    assert plain["train_cfg"]["max_iters"] == 4 * 60 // 4  # four images, and as many a step
    found, said = values(training=TrainingOptions(batch=2, crop=(32, 32)))
    assert "steps: 480, in which each of 4 images comes 60 times in 4 crops, 2 a step (--plain steps: 60;" in said
    assert found["train_cfg"]["max_iters"] == 480
    assert found["train_cfg"]["val_interval"] == 8 * plain["train_cfg"]["val_interval"]
    assert found["param_scheduler"][-1]["end"] == 480
    for more in ({"training": TrainingOptions(batch=2, duration="7 steps")}, {"name": "nnunet"}):
        assert "steps:" not in values(**more)[1]
