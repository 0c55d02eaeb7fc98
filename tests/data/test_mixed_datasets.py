"""Several data sets with classes of their own in one list of classes: what a pixel means, what is refused, the file."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from intarsia.data.datasets.mixed import MixedDataset, mixed_in, order_of
from intarsia.data.datasets.region import RegionDataset
from intarsia.data.datasets.wrappers import ConcatDataset, RepeatDataset
from intarsia.data.description.mixed import MixedDescription
from intarsia.data.description.read import read_description
from intarsia.data.description.write import write_description
from intarsia.data.doctor.examine import examine
from intarsia.data.pipeline import Pipeline
from intarsia.data.sampling import Order, WeightedOrder
from intarsia.data.value_range import Scale
from intarsia.engine.training.environment import fingerprint

COLOURS = {"meadow": (0, 128, 0), "asphalt": (90, 90, 90), "lake": (0, 0, 200), "haze": (250, 250, 250)}
CLASSES = ("background", "road", "grass", "water")


def save(path: Path, array: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)
    return path


def numbers(root: Path) -> Path:
    """PNG of numbers, 20 x 24."""
    rng = np.random.default_rng(1)
    for split, count in (("train", 4), ("val", 2)):
        for i in range(count):
            save(root / f"images/{split}/n{i}.png", rng.integers(0, 256, (20, 24, 3), dtype=np.uint8))
            save(root / f"labels/{split}/n{i}.png", rng.choice([0, 3, 7, 255], (20, 24)).astype(np.uint8))
    text = """
classes: [street, pavement, other]
labels: {3: street, 7: pavement, 0: other, 255: ignore}
splits:
  train: {images: images/train, labels: labels/train}
  val: {images: images/val, labels: labels/val}
"""
    (root / "data.yaml").write_text(text)
    return root / "data.yaml"


def colours(root: Path) -> Path:
    """JPEG with labels in colours, 16 x 30."""
    rng = np.random.default_rng(2)
    table = np.array(list(COLOURS.values()), np.uint8)
    for i in range(3):
        save(root / f"photos/c{i}.jpg", rng.integers(0, 256, (16, 30, 3), dtype=np.uint8))
        save(root / f"painted/c{i}.png", table[rng.integers(0, 4, (16, 30))])
    labels = "\n".join(f'  "#{r:02x}{g:02x}{b:02x}": {name}' for name, (r, g, b) in COLOURS.items())
    classes = ", ".join(COLOURS)
    (root / "land.yaml").write_text(
        f"classes: [{classes}]\nlabels:\n{labels}\nsplits:\n  train: {{images: photos, labels: painted}}\n"
    )
    return root / "land.yaml"


def shapes(root: Path) -> Path:
    """One class, by boxes of an annotation file, 30 x 30; no file of it says what lies outside the boxes."""
    images, annotations = [], []
    for i in range(2):
        save(root / f"pictures/s{i}.png", np.full((30, 30, 3), 40 * i, np.uint8))
        images.append({"id": i, "file_name": f"s{i}.png", "width": 30, "height": 30})
        box = [4 + i, 6, 18 + i, 6, 18 + i, 20, 4 + i, 20]
        annotations.append({"id": i, "image_id": i, "category_id": 5, "segmentation": [box], "iscrowd": 0})
    file = {"images": images, "annotations": annotations, "categories": [{"id": 5, "name": "pond"}]}
    (root / "instances.json").write_text(json.dumps(file))
    (root / "data.yaml").write_text(
        "classes: [pond]\nlabels: {0: background, 1: pond}\nsplits:\n"
        "  train: {images: pictures, annotations: {format: coco, file: instances.json}}\n"
    )
    return root / "data.yaml"


@pytest.fixture
def places(tmp_path: Path) -> Path:
    numbers(tmp_path / "town")
    colours(tmp_path / "land")
    shapes(tmp_path / "ponds")
    return tmp_path


def mixed(folder: Path, **changes: object) -> Path:
    """The usual description of all three; an entry of None leaves a key out."""
    entries = [
        {"data": "town/data.yaml", "classes": {"street": "road", "pavement": "road", "other": "background"}},
        {
            "data": "land/land.yaml",
            "classes": {"meadow": "grass", "asphalt": "road", "lake": "water", "haze": "ignore"},
        },
        {"data": "ponds/data.yaml", "classes": {"pond": "water", "background": "ignore"}},
    ]
    tree: dict[str, object] = {"classes": list(CLASSES), "datasets": entries}
    for key, value in changes.items():
        number, _, name = key.partition("_")
        if number[1:].isdigit():
            entries[int(number[1:])][name] = value
        else:
            tree[key] = value
    file = folder / "mixed.yaml"
    file.write_text(yaml.safe_dump(tree, sort_keys=False))
    return file


def test_every_pixel_means_what_an_independent_remap_says(places: Path) -> None:
    dataset = read_description(mixed(places)).dataset("train")
    assert (dataset.classes, len(dataset)) == (CLASSES, 4 + 3 + 2)
    for i in range(4):
        stored = np.asarray(Image.open(places / f"town/labels/train/n{i}.png"))
        expected = np.select([stored == 3, stored == 7, stored == 0], [1, 1, 0], 255)
        sample = dataset.load(i)
        assert np.array_equal(sample.label, expected)
        assert np.array_equal(sample.image, np.asarray(Image.open(places / f"town/images/train/n{i}.png")))
        assert sample.meta.name.startswith("town/")
    for i in range(3):
        stored = np.asarray(Image.open(places / f"land/painted/c{i}.png")).astype(int)
        green, grey, blue = (np.all(stored == COLOURS[name], axis=2) for name in ("meadow", "asphalt", "lake"))
        assert np.array_equal(dataset.load(4 + i).label, np.select([green, grey, blue], [2, 1, 3], 255))
    for i in range(2):
        label = dataset.load(7 + i).label
        assert set(np.unique(label)) == {3, 255}  # unlabelled is ignored, never background
        assert np.all(label[7:19, 6 + i : 17 + i] == 3)
        assert np.all(label[:5] == 255)


def test_a_class_of_the_same_name_needs_no_word(places: Path) -> None:
    file = mixed(places, d0_classes={"pavement": "street"}, classes=["street", "other", "grass", "water"],
                 d1_classes={"meadow": "grass", "asphalt": "street", "lake": "water", "haze": "other"})  # fmt: skip
    stored = np.asarray(Image.open(places / "town/labels/train/n0.png"))
    found = read_description(file).dataset("train").load(0).label
    assert np.array_equal(found, np.select([stored == 3, stored == 7, stored == 0], [0, 0, 1], 255))


def test_one_common_class_has_the_rest_as_background(places: Path) -> None:
    file = mixed(places, classes=["water"], d0_classes=dict.fromkeys(("street", "pavement", "other"), "background"),
                 d1_classes={"meadow": "background", "asphalt": "background", "lake": "water", "haze": "ignore"},
                 d2_classes={"pond": "water"})  # fmt: skip
    dataset = read_description(file).dataset("train")
    assert set(np.unique(dataset.load(0).label)) == {0, 255}
    assert set(np.unique(dataset.load(4).label)) == {0, 1, 255}
    assert set(np.unique(dataset.load(8).label)) == {0, 1}  # its background means background unless it is said


def test_what_is_ignored_has_the_index_of_the_common_list(places: Path) -> None:
    dataset = read_description(mixed(places, ignore_index=200)).dataset("train")
    assert dataset.ignore_index == 200
    for i in range(len(dataset)):
        assert set(np.unique(dataset.load(i).label)) <= {0, 1, 2, 3, 200}
        assert np.array_equal(dataset.label(i), dataset.load(i).label)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"d0_classes": {"street": "road"}}, r"yaml:\d+: datasets.0: town has classes .* not have: pavement, other"),
        ({"d0_classes": {"stret": "road"}}, r"yaml:\d+: datasets.0.classes.stret: town has no class 'stret'.*'street'"),
        ({"d0_classes": {"street": "roads"}}, r"classes.street: 'roads' is no class .*did you mean 'road'"),
        ({"d1_data": "town/data.yaml", "d1_classes": {"street": "road", "pavement": "road", "other": "background"}},
         "a second data set is called 'town'"),
        ({"d0_weight": 2}, "town has a weight, and there is none for land, ponds"),
        ({"d0_weight": 0, "d1_weight": 1, "d2_weight": 1}, r"yaml:\d+: datasets.0.weight: expected a number above 0"),
        ({"d0_weight": "2"}, "datasets.0.weight: expected a number above 0, found the text '2'"),
        ({"draw": "equal", "d0_weight": 1, "d1_weight": 1, "d2_weight": 1}, "beside `draw: equal`"),
        ({"draw": "equally"}, "draw: expected size or equal"),
        ({"labels": {0: "road"}}, "labels: unknown key beside `datasets`; it belongs into the description of each"),
        ({"datasets": [{"data": "town/data.yaml"}] * 1001}, "at most 1000 data sets, found 1,001"),
        ({"datasets": []}, "datasets: expected a list of data sets"),
        ({"d0_wieght": 1}, r"yaml:\d+: datasets.0.wieght: unknown key beside `datasets`; did you mean 'weight'"),
        ({"d0_name": "a/b"}, "expected a name without slashes"),
        ({"d0_data": "town"}, "is a folder; expected its description.*data check"),
        ({"d0_data": "mixed.yaml"}, r"mixed.yaml:\d+: datasets: it is itself made of several data sets"),
        ({"d0_data": "nowhere.yaml"}, "nowhere.yaml"),
        ({"d0_data": {"classes": ["street"]}}, "needs a `name:`"),
        ({"d0_data": {"classes": ["street"]}, "d0_name": "x"}, r"datasets.0.data: the key 'splits' is missing"),
    ],
)  # fmt: skip
def test_mistakes_are_named_with_their_line(places: Path, changes: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        read_description(mixed(places, **changes))


def test_bands_and_values_that_do_not_fit_are_refused_with_both_names(places: Path) -> None:
    text = (places / "land/land.yaml").read_text()
    (places / "land/land.yaml").write_text(text + "image: {bands: raw, channels: 4}\n")
    with pytest.raises(ValueError, match=r"town has 3 bands \(rgb\), land has 4 \(raw\)"):
        read_description(mixed(places))
    for name, low_high in (
        ("town/data", "{type: uint16, low: 0, high: 60000}"),
        ("land/land", "{type: uint16, low: 0, high: 250}"),
    ):
        body = (places / f"{name}.yaml").read_text().partition("image:")[0]
        (places / f"{name}.yaml").write_text(f"{body}image: {{bands: raw, channels: 3, values: {low_high}}}\n")
    body = (places / "ponds/data.yaml").read_text()
    (places / "ponds/data.yaml").write_text(body + "image: {bands: raw, channels: 3}\n")
    with pytest.raises(
        ValueError, match=r"town holds uint16 numbers from 0 to 60000, land uint16 numbers from 0 to 250"
    ):
        read_description(mixed(places))


def test_the_file_that_is_written_says_the_same_and_needs_no_other(places: Path) -> None:
    description = read_description(mixed(places, d0_weight=2, d1_weight=1, d2_weight=0.5))
    assert isinstance(description, MixedDescription)
    run = places / "run"
    run.mkdir()
    write_description(description, run / "data.yaml")
    for file in ("mixed.yaml", "town/data.yaml", "land/land.yaml", "ponds/data.yaml"):
        (places / file).unlink()
    again = read_description(run / "data.yaml")
    assert isinstance(again, MixedDescription)
    assert replace(again, root=description.root) == description
    assert [member.weight for member in again.members] == [2, 1, 0.5]
    assert len(again.dataset("train")) == 9


def test_channels_computed_of_bands_are_the_same_in_all(places: Path) -> None:
    image = "image: {bands: raw, channels: 4, names: [red, green, blue], indices: {ratio: red / (green + 1)}}\n"
    for name in ("town/data", "land/land", "ponds/data"):
        file = places / f"{name}.yaml"
        file.write_text(file.read_text() + image)
    description = read_description(mixed(places))
    assert description.indices == (("ratio", "red / (green + 1)"),)
    assert description.dataset("train").load(0).image.shape == (20, 24, 4)
    file = places / "land/land.yaml"
    file.write_text(file.read_text().replace("red / (green + 1)", "red / (blue + 1)"))
    with pytest.raises(ValueError, match="the `indices` of town and land differ"):
        read_description(mixed(places))


def test_draws_are_by_size_by_weight_or_equal(places: Path) -> None:
    assert read_description(mixed(places)).dataset("train").weights is None  # type: ignore[attr-defined]
    for changes, weights in (
        ({"draw": "equal"}, (1, 1, 1)),
        ({"d0_weight": 5, "d1_weight": 1, "d2_weight": 2}, (5, 1, 2)),
    ):
        description = read_description(mixed(places, **changes))
        assert isinstance(description, MixedDescription)
        found = description.dataset("train")
        assert isinstance(found, MixedDataset)
        assert found.weights == weights
        assert description.dataset("val").weights is None  # type: ignore[attr-defined]  # every image once
        total = sum(weights)
        assert description.shares_of("train") == dict(
            zip(("town", "land", "ponds"), (w / total for w in weights), strict=True)
        )


def test_mixing_transforms_draw_by_weight_too(places: Path) -> None:
    dataset = read_description(mixed(places, d0_weight=8, d1_weight=1, d2_weight=1)).dataset("train")
    drawn = dataset.draw_indices(np.random.default_rng(0), 4000)  # type: ignore[attr-defined]
    shares = np.histogram(drawn, [0, 4, 7, 9])[0] / 4000
    assert np.allclose(shares, [0.8, 0.1, 0.1], atol=0.02)
    assert set(drawn) == set(range(9))

    class Asks:
        others = 400

        def __call__(self, sample, rng, others):
            seen.extend(other.meta.name.split("/")[0] for other in others)
            return sample

    seen: list[str] = []
    Pipeline(dataset, [Asks()]).get(0, np.random.default_rng(1))
    assert 0.7 < seen.count("town") / 400 < 0.9


def test_the_order_is_by_weights_where_there_are_any(places: Path) -> None:
    plain = read_description(mixed(places)).dataset("train")
    assert order_of(plain, seed=1, shuffle=True) == Order(9, seed=1, shuffle=True)
    assert order_of(RepeatDataset(plain, 2), seed=1, shuffle=True) == Order(18, seed=1, shuffle=True)
    weighted = read_description(mixed(places, d0_weight=3, d1_weight=2, d2_weight=1)).dataset("train")
    expected = WeightedOrder((4, 3, 2), (3.0, 2.0, 1.0), seed=1, shuffle=False)
    assert order_of(weighted, seed=1, shuffle=False) == expected
    for around in (RepeatDataset(weighted, 2), ConcatDataset([plain, RepeatDataset(weighted, 2)])):
        with pytest.raises(ValueError, match=f"which the {type(around).__name__} around them would lose"):
            order_of(around, seed=1, shuffle=True)

    class Own(list):  # of a user, with attributes of another meaning
        weights, datasets, dataset = (0.5, 0.5), "train", "folder"

    assert order_of(Own([1, 2]), seed=0, shuffle=False) == Order(2, seed=0, shuffle=False)
    assert mixed_in(Own([1, 2])) is None


def test_a_scale_that_all_have_is_that_of_the_weights(places: Path) -> None:
    for name, scale in (("town/data", "[0, 200]"), ("land/land", "[0, 200]"), ("ponds/data", "[0, 100]")):
        file = places / f"{name}.yaml"
        file.write_text(file.read_text() + f"image: {{scale: {scale}}}\n")
    description = read_description(mixed(places))
    assert description.image_spec.scale is None
    parts = description.dataset("train").datasets  # type: ignore[attr-defined]
    assert [part.image_spec.scale for part in parts] == [Scale.of((0, top)) for top in (200.0, 200.0, 100.0)]
    file = places / "ponds/data.yaml"
    file.write_text(file.read_text().replace("[0, 100]", "[0, 200]"))
    spec = read_description(mixed(places)).image_spec
    assert spec.scale == Scale.of((0.0, 200.0))


def test_samples_are_found_through_what_changes_them_but_not_their_order(places: Path) -> None:
    dataset = read_description(mixed(places)).dataset("train")
    assert mixed_in(RegionDataset(dataset, masks=str(places / "town/labels/train/n0.png"))) is dataset
    assert mixed_in(RepeatDataset(dataset, 2)) is None
    assert mixed_in(object()) is None
    assert len(fingerprint(dataset)) == 16


# --- The doctor ---------------------------------------------------------------------------------------------------


def test_the_doctor_says_what_is_in_each_and_what_they_are_together(places: Path) -> None:
    found = examine(mixed(places, d0_weight=1, d1_weight=1, d2_weight=2))
    assert found.ok
    assert [(split.name, split.pairs) for split in found.splits] == [
        ("town train", 4), ("town val", 2), ("land train", 3), ("ponds train", 2)
    ]  # fmt: skip
    rows = {row.name: row for row in found.values}
    stored = np.stack([np.asarray(Image.open(places / f"town/labels/train/n{i}.png")) for i in range(4)])
    assert rows["road"].pixels["town train"] == np.isin(stored, (3, 7)).sum()
    assert rows["ignore"].pixels["town train"] == (stored == 255).sum()
    assert rows["water"].pixels.get("town train", 0) == 0
    assert rows["background"].pixels.get("ponds train", 0) == 0
    description = found.proposal()
    assert isinstance(description, MixedDescription)
    parts = {member.name: member.description for member in description.members}
    weights = {"town": 0.25, "land": 0.25, "ponds": 0.5}
    mean = sum(weights[name] * np.array(parts[name].mean) for name in parts)
    square = sum(weights[name] * (np.array(parts[name].std) ** 2 + np.array(parts[name].mean) ** 2) for name in parts)
    assert np.allclose(description.mean, mean, rtol=1e-5)
    assert np.allclose(description.std, np.sqrt(square - mean**2), rtol=1e-4)
    assert description.values is not None
    assert description.values.dtype == "uint8"
    assert description.shares is not None
    assert sum(description.shares.values()) == pytest.approx(1, abs=1e-3)
    assert "training samples are drawn by weight: town 25.0%, land 25.0%, ponds 50.0%" in found.notes
    assert any(note.endswith("how well they are learned: land, ponds") for note in found.notes)
    equal = "training samples are drawn equally often: town 33.3%, land 33.3%, ponds 33.3%"
    assert equal in examine(mixed(places, draw="equal")).notes
    assert any("by size: town 44.4%" in note for note in examine(mixed(places)).notes)


def test_classes_that_a_data_set_lacks_are_learned_as_its_background_and_that_is_said(places: Path) -> None:
    found = examine(mixed(places, d2_classes={"pond": "water"}))
    texts = [finding.text for finding in found.warnings if finding.kind == "class learned as background"]
    assert any(text.startswith("ponds has no road, grass") and "'background'" in text for text in texts)
    assert any(text.startswith("town has no grass, water") and "'other'" in text for text in texts)
    kept = examine(mixed(places))
    assert not any(
        "ponds" in finding.text for finding in kept.warnings if finding.kind == "class learned as background"
    )


def test_a_class_of_no_data_set_and_images_in_both_splits_are_warned_of(places: Path) -> None:
    found = examine(mixed(places, classes=[*CLASSES, "bus"]))
    assert any("no data set has bus" in finding.text for finding in found.warnings)
    other = places / "again.yaml"
    text = (places / "town/data.yaml").read_text().replace("images/train", "town/images/val")
    other.write_text(text.replace("labels/train", "town/labels/val").partition("  val:")[0])
    tree = yaml.safe_load((places / "mixed.yaml").read_text())
    tree["datasets"].append({"data": "again.yaml", "classes": tree["datasets"][0]["classes"]})
    (places / "mixed.yaml").write_text(yaml.safe_dump(tree))
    leak = next(
        finding for finding in examine(places / "mixed.yaml").warnings if finding.text.startswith("2 images are in")
    )
    assert set(leak.files) == {"town/n0", "town/n1"}


def test_measured_values_that_do_not_fit_are_a_problem(places: Path) -> None:
    for name, factor in (("town", 1), ("land", 200)):
        for file in sorted((places / name).rglob("*.tif*")) + sorted((places / name).rglob("[nc]?.[pj]*g")):
            if "labels" not in str(file) and "painted" not in str(file):
                array = np.asarray(Image.open(file))[:, :, 0].astype(np.uint16) * factor
                file.unlink()
                Image.fromarray(array).save(file.with_suffix(".tif"))
        description = places / ("town/data.yaml" if name == "town" else "land/land.yaml")
        description.write_text(description.read_text() + "image: {bands: raw, channels: 1}\n")
    file = mixed(places)
    tree = yaml.safe_load(file.read_text())
    tree["datasets"].pop()
    file.write_text(yaml.safe_dump(tree))
    found = examine(file)
    assert any("town holds uint16 numbers from 0 to 255, land uint16" in problem.text for problem in found.problems)


# --- Training and scores ------------------------------------------------------------------------------------------


def test_a_training_that_goes_on_sees_what_it_would_have_seen(places: Path) -> None:
    from intarsia.data.loader import train_loader
    from intarsia.data.transforms.geometry import RandomCrop

    dataset = read_description(mixed(places, d0_weight=3, d1_weight=2, d2_weight=1)).dataset("train")
    pipeline = Pipeline(dataset, [RandomCrop((8, 8))])

    def names(start: int, count: int, *, rank: int = 0, processes: int = 1, batch: int = 4) -> list[str]:
        batches = train_loader(
            pipeline, batch_size=batch, seed=7, workers=0, start_step=start, rank=rank, world_size=processes
        )
        return [meta.name for _ in range(count) for meta in next(batches).metas]

    whole = names(0, 30)
    assert names(13, 17) == whole[13 * 4 :]
    split = [names(0, 30, rank=rank, processes=2, batch=2) for rank in (0, 1)]
    assert [split[rank][2 * step + i] for step in range(30) for rank in (0, 1) for i in (0, 1)] == whole
    assert {name.split("/")[0] for name in whole} == {"town", "land", "ponds"}
