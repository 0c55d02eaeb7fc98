"""`intarsia data split` and `train --fold`: lists that read back as they were meant, from every kind of data."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from intarsia.cli.main import main
from intarsia.data.description.model import DataDescription
from intarsia.data.description.read import read_description
from intarsia.data.description.splits import JoinedSplit, ListSplit


def save(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


def patients(root: Path, *, count: int = 6, each: int = 4, split: str = "") -> Path:
    """Pictures of patients, four of each; the third class is seen in the pictures of two patients only."""
    for patient in range(count):
        for number in range(each):
            rng = np.random.default_rng((patient, number, len(split)))
            label = np.zeros((40, 48), np.uint8)
            label[:, :20] = 1
            if patient < 2:
                label[30:, 40:] = 2
            name = f"{split}p{patient}_{number}.png"
            save(root / split / "images" / name, rng.integers(0, 256, (40, 48, 3), dtype=np.uint8))
            save(root / split / "masks" / name, label)
    return root


def images(description: DataDescription, split: str) -> set[str]:
    return {pair.image for pair in description.pairs(split)}


def owners(names: set[str]) -> set[str]:
    return {name.split("/")[-1].split("_")[0] for name in names}


def test_groups_stay_whole_and_the_table_says_what_each_split_has(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, out = patients(tmp_path / "data"), tmp_path / "out"
    words = ["data", "split", str(data), "-o", str(out), "--val", "0.34", "--test", "0.17", "--by", r"p\d+", "--json"]
    assert main(words) == 0
    found = json.loads(capsys.readouterr().out)
    description = read_description(out / "data.yaml")
    parts = {split: images(description, split) for split in ("train", "val", "test")}
    assert sum(map(len, parts.values())) == len(set.union(*parts.values())) == 24
    assert {split: len(names) for split, names in parts.items()} == {"train": 12, "val": 8, "test": 4}
    whole = [owners(names) for names in parts.values()]
    assert sum(map(len, whole)) == len(set.union(*whole)) == 6
    assert description.groups == r"p\d+"
    by_name = {part["name"]: part for part in found["parts"]}
    assert by_name["val"]["groups"] == 2
    assert by_name["train"]["shares"]["class_1"] == pytest.approx(20 / 48)
    seen = {split: sum(owner in ("p0", "p1") for owner in owners(names)) for split, names in parts.items()}
    assert {split: part["images_with"]["class_2"] for split, part in by_name.items()} == {
        split: 4 * count for split, count in seen.items()
    }
    assert main(["data", "check", str(out / "data.yaml")]) == 0


def test_a_table_for_people_names_classes_that_a_split_lacks(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = patients(tmp_path / "data")
    words = ["data", "split", str(data), "-o", str(tmp_path / "out"), "--test", "0.2", "--by", "p[0-9]"]
    assert main(words) == 0
    said = capsys.readouterr()
    assert "groups" in said.out
    assert "classes that are in no image of" in said.err.replace("\n", " ")


def test_folds_take_every_image_once_and_another_seed_others(tmp_path: Path) -> None:
    data = patients(tmp_path / "data")
    for name, seed in (("a", "0"), ("b", "0"), ("c", "1")):
        words = ["data", "split", str(data), "-o", str(tmp_path / name), "--folds", "3", "--by", "p[0-9]"]
        assert main([*words, "--seed", seed]) == 0
    held = [images(read_description(tmp_path / "a" / f"fold_{number}.yaml"), "val") for number in (1, 2, 3)]
    assert len(set.union(*held)) == sum(map(len, held)) == 24
    for number, names in enumerate(held, 1):
        description = read_description(tmp_path / "a" / f"fold_{number}.yaml")
        assert images(description, "train") == set.union(*held) - names
        assert images(read_description(tmp_path / "b" / f"fold_{number}.yaml"), "val") == names
    others = [images(read_description(tmp_path / "c" / f"fold_{number}.yaml"), "val") for number in (1, 2, 3)]
    assert set(map(frozenset, others)) != set(map(frozenset, held))


def test_splits_of_their_own_are_divided_anew_only_when_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "data"
    for split in ("train", "val"):
        patients(data, count=3, split=split)
    assert main(["data", "split", str(data), "-o", str(tmp_path / "out")]) == 2
    assert "--pool train,val" in capsys.readouterr().err.replace("\n", " ")
    assert main(["data", "split", str(data), "-o", str(tmp_path / "test"), "--val", "0", "--test", "0.25"]) == 0
    description = read_description(tmp_path / "test" / "data.yaml")
    assert {name: len(images(description, name)) for name in description.splits} == {"train": 9, "test": 3, "val": 12}
    assert main(["data", "split", str(data), "-o", str(tmp_path / "both"), "--pool", "train,val", "--val", "0.25"]) == 0
    description = read_description(tmp_path / "both" / "data.yaml")
    assert isinstance(description.splits["train"], JoinedSplit)
    assert {name: len(images(description, name)) for name in description.splits} == {"train": 18, "val": 6}
    assert len({name.split("/")[0] for name in images(description, "train")}) == 2


def test_pairs_named_one_by_one_become_tables(tmp_path: Path) -> None:
    data = patients(tmp_path / "data", count=2)
    rows = "".join(f"      - [images/p{p}_{n}.png, masks/p{p}_{n}.png]\n" for p in range(2) for n in range(4))
    file = data / "own.yaml"
    file.write_text(f"root: .\nclasses: [a, b, c]\nsplits:\n  train:\n    pairs:\n{rows}")
    assert main(["data", "split", str(file), "-o", str(data / "lists"), "--val", "0.25"]) == 0
    description = read_description(data / "lists" / "data.yaml")
    assert description.splits["val"] == ListSplit("lists/val.csv")
    assert (len(images(description, "train")), len(images(description, "val"))) == (6, 2)
    assert all(pair.label == pair.image.replace("images", "masks") for pair in description.pairs("val"))


def test_a_test_share_stays_out_of_the_folds(tmp_path: Path) -> None:
    data = patients(tmp_path / "data")
    file = data / "own.yaml"
    file.write_text(
        "root: .\nclasses: [a, b, c]\nsplits:\n  train: {images: images, labels: masks}\n"
        "  test: {share: 0.3, of: train}\n"
    )
    before = images(read_description(file), "test")
    assert main(["data", "split", str(file), "-o", str(tmp_path / "out"), "--folds", "2"]) == 0
    for number in (1, 2):
        description = read_description(tmp_path / "out" / f"fold_{number}.yaml")
        assert images(description, "test") == before
        assert not before & (images(description, "train") | images(description, "val"))


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--val", "0.6", "--test", "0.4"], "leave nothing to train on"),
        (["--val", "20"], "--val is a share of the images from 0 to 1"),
        (["--val", "0"], "nothing to divide"),
        (["--folds", "1"], "--folds is 2 to"),
        (["--folds", "3", "--test", "0.1"], "set a test split aside first"),
        (["--by", "scene"], "24 of 24 images have no such part in their path"),
        (["--folds", "7", "--by", "p[0-9]"], "6 groups cannot be divided into 7 parts"),
        (["--pool", "tset"], "the data has no 'tset' split"),
    ],
)
def test_what_cannot_be_divided_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], text: str
) -> None:
    data = patients(tmp_path / "data")
    assert main(["data", "split", str(data), "-o", str(tmp_path / "out"), *words]) == 2
    assert text in " ".join(capsys.readouterr().err.split())


def test_a_description_is_not_written_over(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = patients(tmp_path / "data", count=2)
    (tmp_path / "data.yaml").write_text("mine")
    assert main(["data", "split", str(data), "-o", str(tmp_path)]) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert (tmp_path / "data.yaml").read_text() == "mine"


def test_a_name_that_no_list_can_hold_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = patients(tmp_path / "data", count=2)
    for folder in ("images", "masks"):
        (data / folder / "p0_0.png").rename(data / folder / "p0_0\nx.png")
    assert main(["data", "split", str(data), "-o", str(tmp_path / "out")]) == 2
    assert "a list cannot name" in capsys.readouterr().err


def test_pictures_that_are_nearly_the_same_stay_together(tmp_path: Path) -> None:
    """Three views of six scenes, two of them darker and one smaller than the first, and names that say nothing."""
    data = tmp_path / "data"
    for scene in range(6):
        rng = np.random.default_rng(scene)
        coarse = Image.fromarray(rng.integers(0, 256, (5, 6, 3), dtype=np.uint8))
        for view in range(3):
            size = (96, 80) if view < 2 else (72, 60)
            image = np.asarray(coarse.resize(size, Image.Resampling.BICUBIC)).astype(np.float64)
            save(data / "images" / f"{(7 * scene + 11 * view) % 97}.png", (image * (1 - 0.1 * view)).astype(np.uint8))
            save(data / "masks" / f"{(7 * scene + 11 * view) % 97}.png", np.eye(*size[::-1], dtype=np.uint8))
    assert main(["data", "split", str(data), "-o", str(tmp_path / "out"), "--folds", "3", "--by", "copies"]) == 0
    held = [images(read_description(tmp_path / "out" / f"fold_{number}.yaml"), "val") for number in (1, 2, 3)]
    scenes = [{f"images/{(7 * scene + 11 * view) % 97}.png" for view in range(3)} for scene in range(6)]
    assert all(sum(scene <= fold for fold in held) == 1 for scene in scenes)
    assert [len(fold) for fold in held] == [6, 6, 6]
    assert read_description(tmp_path / "out" / "fold_1.yaml").groups == "copies"


def test_groups_of_a_description_are_written_read_and_checked(tmp_path: Path) -> None:
    data = patients(tmp_path / "data", count=2)
    by = r"p(\d): [x]?|p\d"
    assert main(["data", "split", str(data), "-o", str(tmp_path / "a"), "--by", by, "--val", "0.5"]) == 0
    description = read_description(tmp_path / "a" / "data.yaml")
    assert description.groups == by
    # Without --by, what the description says holds.
    again = ["data", "split", str(tmp_path / "a" / "data.yaml"), "-o", str(tmp_path / "b"), "--val", "0.5"]
    assert main([*again, "--pool", "train,val"]) == 0
    description = read_description(tmp_path / "b" / "data.yaml")
    assert not owners(images(description, "train")) & owners(images(description, "val"))
    text = (tmp_path / "b" / "data.yaml").read_text()
    line = next(number for number, line in enumerate(text.splitlines(), 1) if line.startswith("groups:"))
    (tmp_path / "b" / "data.yaml").write_text(text.replace("groups: ", "groups: '(' #"))
    with pytest.raises(ValueError, match=rf"data.yaml.*{line}.*groups: groups by '\('"):
        read_description(tmp_path / "b" / "data.yaml")


# --- train --fold -------------------------------------------------------------------------------------------------


def test_a_training_is_validated_on_its_fold(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Up to the moment when the data are prepared; whole trainings are in test_cross_validate.py."""

    def stop(*_: object) -> None:
        raise ValueError("data are ready")

    monkeypatch.setattr("intarsia.workflows.train.run_config", stop)
    data, run = patients(tmp_path / "data"), tmp_path / "run"
    words = ["train", "fast_scnn", "--data", str(data), "--out", str(run), "--fold", "2/3", "--by", "p[0-9]"]
    assert main(words) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "fold 2/3: 16 images to train on, 8 to validate on; 6 groups by 'p[0-9]' stay whole" in said
    assert "data are ready" in said
    description = read_description(run / "data.yaml")
    assert main(["data", "split", str(data), "-o", str(tmp_path / "out"), "--folds", "3", "--by", "p[0-9]"]) == 0
    divided = read_description(tmp_path / "out" / "fold_2.yaml")
    assert images(description, "val") == images(divided, "val")
    assert images(description, "train") == images(divided, "train")


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--fold", "6/5"], "--fold 6/5: expected 1/5 to 5/5"),
        (["--fold", "two"], "--fold is a number and how many folds there are"),
        (["--by", "x"], "8 of 8 images have no such part in their path"),
        (["--by", "copies"], "--by copies compares images"),
    ],
)
def test_folds_that_cannot_be(tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], text: str) -> None:
    data = patients(tmp_path / "data", count=2)
    assert main(["train", "fast_scnn", "--data", str(data), "--out", str(tmp_path / "run"), *words]) == 2
    assert text in " ".join(capsys.readouterr().err.split())
