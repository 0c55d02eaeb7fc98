"""Samples drawn for rare classes: how many show them, functions of seed and position alone, what is refused."""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from intarsia.contracts import Sample, SampleMeta
from intarsia.data.datasets.folder import FolderDataset
from intarsia.data.datasets.mixed import MixedDataset
from intarsia.data.datasets.wrappers import ConcatDataset, RepeatDataset
from intarsia.data.image_spec import ImageSpec
from intarsia.data.loader import train_loader
from intarsia.data.pipeline import Pipeline
from intarsia.data.rare_classes import images_showing
from intarsia.data.sampling import LEAST_PERIOD, RareClassOrder
from intarsia.data.transforms.geometry import RandomCrop, RandomFlip
from intarsia.data.transforms.resize import RandomResize
from intarsia.spec import RareSpec

SHOWN = {3: "pole", 17: "pole", 29: "sign"}


@dataclass(frozen=True)
class Painted:
    """Forty streets of 64 x 80 pixels; two have a pole in a corner, and one has a sign, of 6 x 6 pixels each."""

    classes: tuple[str, ...] = ("road", "pole", "sign")
    palette: tuple[tuple[int, int, int], ...] = ((0, 0, 0), (255, 0, 0), (0, 255, 0))
    ignore_index: int = 255
    shown: tuple[tuple[int, str], ...] = tuple(SHOWN.items())

    def __len__(self) -> int:
        return 40

    def load(self, index: int) -> Sample:
        label = np.zeros((64, 80), np.uint8)
        name = dict(self.shown).get(index)
        if name is not None:
            label[2:8, 70:76] = self.classes.index(name)
        image = np.random.default_rng(index).integers(0, 256, (64, 80, 3), dtype=np.uint8)
        return Sample(image, label, meta=SampleMeta(name=f"street{index}", original_size=(64, 80)))


def order(images: dict[int, tuple[int, ...]], every: int, *, length: int = 40, seed: int = 0) -> RareClassOrder:
    return RareClassOrder(length, images, every, seed=seed, shuffle=True)


IMAGES = {1: (3, 17), 2: (29,)}


# --- The order ----------------------------------------------------------------------------------------------------


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 3), st.integers(3, 12), st.integers(0, 2**40), st.integers(0, 3))
def test_of_a_thousand_samples_each_class_has_its_share(spare: int, every: int, seed: int, stretch: int) -> None:
    images = {value: tuple(range(value, 40, 7)) for value in range(min(every - 1, spare + 1))}
    found = order(images, every, seed=seed)
    positions = range(stretch * LEAST_PERIOD, (stretch + 1) * LEAST_PERIOD)
    counts = Counter(map(found.wanted, positions))
    assert set(counts) == {-1, *images}
    assert all(abs(counts[value] - LEAST_PERIOD / every) <= 1 for value in images)
    assert all(found.index(p) in images[found.wanted(p)] for p in positions if found.wanted(p) >= 0)


def test_every_image_comes_before_any_comes_again() -> None:
    found = order(IMAGES, 4)
    for value, length in ((-1, 40), (1, 2), (2, 1)):
        drawn = [found.index(p) for p in range(LEAST_PERIOD) if found.wanted(p) == value]
        rounds = [drawn[start : start + length] for start in range(0, len(drawn) - length, length)]
        expected = list(range(40)) if value < 0 else list(IMAGES[value])
        assert all(sorted(one) == expected for one in rounds)


def test_a_position_has_one_sample_whoever_asks_and_whenever() -> None:
    positions = [5, 2999, 0, 1234, 1233]
    forwards = {p: (order(IMAGES, 4).index(p), order(IMAGES, 4).wanted(p)) for p in sorted(positions)}
    assert {p: (order(IMAGES, 4).index(p), order(IMAGES, 4).wanted(p)) for p in reversed(positions)} == forwards
    other = [order(IMAGES, 4, seed=1).index(p) for p in range(50)]
    assert other != [order(IMAGES, 4).index(p) for p in range(50)]


def test_all_images_keep_some_samples() -> None:
    with pytest.raises(ValueError, match="every must be 3 or more"):
        order(IMAGES, 2)


# --- What training sees -------------------------------------------------------------------------------------------

STEPS = (RandomResize((80, 64), (0.8, 1.25), keep_ratio=True), RandomCrop((32, 32)), RandomFlip(0.5))


def shares(rare: RareSpec | None, *, samples: int = LEAST_PERIOD, seed: int = 0) -> dict[int, float]:
    """Class -> the share of crops that show it."""
    batches = train_loader(Pipeline(Painted(), STEPS, rare=rare), batch_size=10, seed=seed, workers=0)
    found: Counter[int] = Counter()
    for batch in itertools.islice(batches, samples // 10):
        for label in np.asarray(batch.labels):
            found.update(np.unique(label).tolist())
    return {value: found[value] / samples for value in (1, 2)}


def test_every_nth_sample_shows_the_class() -> None:
    """Promised one in six of each; the images drawn for none add about a fifth of their own share, by chance."""
    alike, drawn = shares(None), shares(RareSpec((1, 2), 6))
    for value, images in ((1, 2), (2, 1)):
        chance = images / 40  # that an image shows it; a crop of it less often
        deviation = (chance * (1 - chance) / LEAST_PERIOD) ** 0.5
        assert alike[value] <= chance + 3 * deviation
        promised = 1 / 6
        assert promised - 1 / LEAST_PERIOD <= drawn[value] <= promised + 2 / 3 * chance + 3 * deviation


def test_a_class_that_no_image_shows_has_no_turn() -> None:
    """As in a fold that leaves its images out: their samples are drawn from all images."""
    dataset = Painted(shown=((3, "pole"),))
    pipeline = Pipeline(dataset, STEPS, rare=RareSpec((1, 2), 4))
    found = pipeline.order(seed=0, shuffle=True)
    assert isinstance(found, RareClassOrder)
    assert found.images == {1: (3,)}
    assert Counter(map(found.wanted, range(LEAST_PERIOD))) == {1: 250, -1: 750}


def test_the_crop_holds_the_class_whatever_else_it_is_told() -> None:
    sample = Painted().load(3)
    crop = RandomCrop((8, 8), rare=(2,), rare_prob=0.0)
    for seed in range(30):
        wanted = Sample(sample.image, sample.label, meta=SampleMeta(wanted=1))
        assert 1 in crop(wanted, np.random.default_rng(seed)).label  # type: ignore[operator]
    assert not all(1 in crop(sample, np.random.default_rng(seed)).label for seed in range(30))  # type: ignore[operator]
    absent = Sample(sample.image, sample.label, meta=SampleMeta(wanted=2))  # lost on the way here
    assert crop(absent, np.random.default_rng(0)).image.shape == (8, 8, 3)


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_are_a_function_of_seed_and_step(workers: int) -> None:
    """From the middle on, in two processes, and with workers: the same samples."""
    rare = RareSpec((1, 2), 4)

    def batches(start: int, count: int, **how: Any) -> list[tuple[list[str], bytes]]:
        loader = train_loader(Pipeline(Painted(), STEPS, rare=rare), seed=7, start_step=start, **how)
        found = [next(loader) for _ in range(count)]
        loader.close()
        return [([meta.name for meta in batch.metas], np.asarray(batch.images).tobytes()) for batch in found]

    whole = batches(0, 12, batch_size=4, workers=0)
    assert batches(7, 5, batch_size=4, workers=workers) == whole[7:]
    halves = [batches(7, 5, batch_size=2, workers=workers, rank=rank, world_size=2) for rank in range(2)]
    assert [one[0] + other[0] for one, other in zip(*halves, strict=True)] == [names for names, _ in whole[7:]]


# --- Data sets ----------------------------------------------------------------------------------------------------


def folder(root: Path, shown: dict[int, int]) -> FolderDataset:
    from PIL import Image

    for name in ("images", "labels"):
        (root / name).mkdir(parents=True)
    for number in range(4):
        label = np.zeros((8, 8), np.uint8)
        label[0, 0] = shown.get(number, 0)
        Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(root / f"images/{number}.png")
        Image.fromarray(label).save(root / f"labels/{number}.png")
    return FolderDataset(root=str(root), images="images", labels="labels", image_suffix=".png", classes=("a", "b", "c"))


def test_images_of_several_data_sets_are_found(tmp_path: Path) -> None:
    parts = {"x": folder(tmp_path / "x", {1: 1, 2: 2}), "y": folder(tmp_path / "y", {0: 1})}
    expected = {1: (1, 4), 2: (2,)}
    mixed = MixedDataset(parts, spec=ImageSpec())
    assert images_showing(mixed, (1, 2)) == images_showing(ConcatDataset(list(parts.values())), (1, 2)) == expected
    assert images_showing(RepeatDataset(parts["y"], 2), (1, 2)) == {1: (0, 4)}
    weighted = MixedDataset(parts, spec=ImageSpec(), weights=(1, 2))
    for dataset in (weighted, RepeatDataset(weighted, 2)):
        with pytest.raises(ValueError, match=r"drawn by weights; leave those out, or sampler\.rare"):
            Pipeline(dataset, (), rare=RareSpec((1,), 2)).order(seed=0, shuffle=True)


class Moving(Painted):
    """Of each street another window in each draw, as of scenes."""

    def draw(self, index: int, rng: np.random.Generator) -> Sample:
        return self.load(index)


def test_one_foreground_is_value_1() -> None:
    dataset = Painted(classes=("pole",), palette=((255, 0, 0),), shown=())
    assert images_showing(dataset, (0, 1)) == {0: tuple(range(40))}
    with pytest.raises(ValueError, match="labels of 1 classes are 0-1"):
        images_showing(dataset, (2,))


def test_what_cannot_be_drawn_by_class_is_refused(tmp_path: Path) -> None:
    dataset = folder(tmp_path / "x", {})
    with pytest.raises(ValueError, match=r"sampler.rare lists \[3\], but labels of 3 classes are 0-2"):
        images_showing(dataset, (1, 3))
    with pytest.raises(ValueError, match="windows of scenes are at another place each time"):
        images_showing(Moving(), (1,))
    for file in (tmp_path / "x/labels").iterdir():
        file.unlink()
    bare = FolderDataset(
        root=str(tmp_path / "x"), images="images", labels=None, image_suffix=".png", classes=("a", "b")
    )
    with pytest.raises(ValueError, match="image 0 has no label"):
        images_showing(bare, (1,))
