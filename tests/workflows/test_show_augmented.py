"""``intarsia data show --augmented``: the draws are those of a training, as a picture and as a page."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from intarsia.cli.main import main
from intarsia.config.build import build_pipeline
from intarsia.config.language.reader import read_file
from intarsia.config.lowering.lower import lower
from intarsia.data.description.write import write_description
from intarsia.data.loader import train_loader
from intarsia.data.sampling import Order
from intarsia.demo import write_scenes
from intarsia.visual.picture import as_picture, ends_of
from intarsia.workflows import show_augmented as shown
from intarsia.workflows.training_config import TrainingRequest, training_config


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "scenes"
    write_description(write_scenes(folder, train=5, val=2), folder / "data.yaml")
    return folder


def test_draws_are_what_a_training_with_this_seed_sees(scenes: Path, tmp_path: Path) -> None:
    asked = TrainingRequest(name="fast_scnn", out=tmp_path, data=scenes, augment="strong")
    spec = lower(training_config(asked, tmp_path / "data.yaml"))
    assert spec.train is not None
    pipeline = build_pipeline(replace(spec.train, workers=0))
    found = shown.drawn(pipeline, Order(5, seed=3, shuffle=True), [0, 4], 2, seed=3)
    batches = train_loader(pipeline, batch_size=5, seed=3, workers=0)
    epochs = [next(batches) for _ in range(2)]
    batches.close()
    names = [pipeline.dataset.load(index).meta.name for index in (0, 4)]
    for name, draws in zip(names, found, strict=True):
        assert len(draws) == 2
        for epoch, draw in zip(epochs, draws, strict=True):
            place = [meta.name for meta in epoch.metas].index(name)
            height, width = draw.image.shape[:2]
            np.testing.assert_array_equal(epoch.images[place, :, :height, :width], draw.image.transpose(2, 0, 1))
    assert not np.array_equal(found[0][0].image[:32, :32], found[0][1].image[:32, :32])


def test_a_sheet_of_a_folder(scenes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "sheet.png"
    words = ["data", "show", str(scenes), "--augmented", "--augment", "strong", "--count", "3", "--draws", "2"]
    assert main([*words, "-o", str(file)]) == 0
    said = " ".join(capsys.readouterr().err.split())
    assert "3 of 5 training images, 2 draws each (seed 0)" in said
    assert "augmentation (strong): adds" in said
    picture = np.asarray(Image.open(file))
    assert picture.shape[1] > 3 * 200  # the image and its draws
    assert main([*words[:-4], "--count", "3", "--draws", "2", "--seed", "9", "-o", str(tmp_path / "other.png")]) == 0
    assert not np.array_equal(picture, np.asarray(Image.open(tmp_path / "other.png")))
    again = tmp_path / "again.png"
    assert main([*words, "-o", str(again)]) == 0
    assert np.array_equal(picture, np.asarray(Image.open(again)))


def test_a_page_of_a_run_closed_in_itself(scenes: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    asked = TrainingRequest(name="fast_scnn", out=run, data=scenes, augment="light")
    from intarsia.config.dump import dump

    (run / "config.py").write_text(dump(training_config(asked, run / "data.yaml").values))
    file = tmp_path / "page.html"
    assert main(["data", "show", str(run), "--augmented", "--count", "2", "--draws", "3", "-o", str(file)]) == 0
    page = file.read_text()
    steps = re.findall(r"<li>(\w+) <code>(.*?)</code>", page)
    written = read_file(run / "config.py").values["train_dataloader"]["dataset"]["pipeline"]
    plumbing = ("LoadImageFromFile", "LoadAnnotations", "PackSegInputs")
    assert [name for name, _ in steps] == [step["type"] for step in written if step["type"] not in plumbing]
    assert [name for name, _ in steps][-2:] == ["GaussianBlur", "GaussianNoise"]
    assert dict(steps)["GaussianBlur"] == "prob=0.2, sigma=(0.1, 1.0)"
    assert page.count("<figure>") == 2 * 4
    assert page.count('src="data:image/jpeg;base64,') == 2 * 2 * 4  # without and with labels
    assert not re.search(r'(src|href)="(?!data:|#)', page)
    assert "<figcaption>draw 3</figcaption>" in page
    assert 'id="labels" checked' in page
    body = page[page.index("<main>") : page.index("</main>") + 7].replace(" checked>", ' checked="">')
    ET.fromstring(re.sub(r"<(img|input)([^>]*)>", r"<\1\2/>", body))  # every element is closed


def test_names_of_files_that_nobody_gave(scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    few = ["--count", "2", "--draws", "1"]
    for words, file in (([], "samples.png"), (few, "augmented.png"), ([*few, "--html"], "augmented.html")):
        assert main(["data", "show", str(scenes), *(["--augmented", *words] if words else [])]) == 0
        assert (tmp_path / file).stat().st_size > 1000


def test_a_recipe_with_data_and_a_description(scenes: Path, tmp_path: Path) -> None:
    for place, more in (("pidnet-s", ["--data", str(scenes)]), (str(scenes / "data.yaml"), ["--crop", "64", "96"])):
        file = tmp_path / f"{Path(place).stem}.png"
        assert main(["data", "show", place, *more, "--augmented", "--count", "1", "--draws", "1", "-o", str(file)]) == 0
        assert file.exists()


def test_configs_in_yaml_are_no_descriptions(scenes: Path, tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("model: {type: EncoderDecoder}\ntrain_dataloader: {batch_size: 2}\n")
    assert not shown._is_data(str(config))
    assert shown._is_data(str(scenes / "data.yaml"))
    assert shown._is_data(str(scenes))
    assert not shown._is_data("fast_scnn")
    assert not shown._is_data("no/such/folder")
    assert read_file(config).values["train_dataloader"] == {"batch_size": 2}


def test_numbers_of_other_types_are_stretched_as_the_original_is() -> None:
    image = np.linspace(0, 4000, 100).reshape(10, 10, 1).astype(np.uint16)
    ends = ends_of(image)
    assert 0 < ends[0] < 100
    assert 3900 < ends[1] < 4000
    before, after = (as_picture(one, ends) for one in (image, image // 2))
    assert before.shape == (10, 10, 3)
    assert before.max() == 255
    assert 120 < after.max() < 130  # darker is seen as darker
    with pytest.raises(ValueError, match="expected an image"):
        as_picture(np.zeros((2, 3, 4, 1)), ends)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--html"], "--html: only with --augmented"),
        (["--augmented", "--split", "val"], "which is the train split, and not val"),
        (["--augmented", "--html", "-o", "x.png"], "expected a name that ends in .html, found x.png"),
        (["--augmented", "--augment", "heavy"], "there is no file 'heavy'"),
    ],
)
def test_what_cannot_be_is_said(scenes: Path, words: list[str], message: str, capsys) -> None:
    assert main(["data", "show", str(scenes), *words]) == 2
    assert message in " ".join(capsys.readouterr().err.split())
