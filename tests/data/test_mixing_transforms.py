"""Copy-paste, class-mix and cut-mix: every pixel comes with its own label and maps, and from one of the samples."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from intarsia.contracts import Sample, SampleMeta
from intarsia.data.datasets.folder import FolderDataset
from intarsia.data.loader import train_loader
from intarsia.data.pipeline import Pipeline
from intarsia.data.transforms.geometry import RandomCrop
from intarsia.data.transforms.mixing import ClassMix, CopyPaste, CutMix

SEEDS = st.integers(0, 10**6)
SIDES = st.integers(4, 40)
rng_of = np.random.default_rng


def painted(number: int, height: int, width: int, seed: int, *, dtype: Any = np.uint8, bands: int = 3) -> Sample:
    """Blobs of classes 0 to 3 and of ignored pixels; image and maps say which sample and which class a pixel is of."""
    rng = rng_of(seed)
    noise = [cv2.GaussianBlur(rng.random((height, width)), (0, 0), 2) for _ in range(5)]
    label = np.array([0, 1, 2, 3, 255], np.uint8)[np.argmax(noise, axis=0)]
    code = label.astype(int) + 1000 * number if dtype != np.uint8 else np.minimum(label, 9) + 10 * number
    image = np.repeat(code[..., None], bands, axis=2).astype(dtype)
    return Sample(
        image, label, {"code": code.astype(np.int32), "real": code.astype(np.float32)}, SampleMeta(str(number))
    )


def consistent(after: Sample, first: Sample) -> None:
    """Image, label and maps tell of the same sample and class."""
    assert after.image.shape[:2] == after.label.shape
    assert after.image.dtype == first.image.dtype
    assert (after.image == after.maps["code"][..., None].astype(after.image.dtype)).all()
    base = 10 if first.image.dtype == np.uint8 else 1000
    classes = after.maps["code"] % base
    assert (np.where(after.label == 255, classes, after.label) == classes).all()


TRANSFORMS = {
    "copy-paste": CopyPaste((1, 2), 1.0, min_area=1, scale=(1, 1), others=1),
    "class-mix": ClassMix(1.0),
    "cut-mix": CutMix(1.0),
}


@pytest.mark.parametrize("name", TRANSFORMS)
@settings(max_examples=25)
@given(
    SIDES, SIDES, SIDES, SIDES, SEEDS, st.sampled_from([np.uint8, np.uint16, np.float32]), st.sampled_from([1, 3, 6])
)
def test_pixels_come_with_their_labels_and_maps(name, height, width, high, wide, seed, dtype, bands):
    first = painted(1, height, width, seed, dtype=dtype, bands=bands)
    other = painted(2, high, wide, seed + 1, dtype=dtype, bands=bands)
    before = [part.image.copy() for part in (first, other)]
    after = TRANSFORMS[name](first, rng_of(seed), [other])
    assert after.image.shape == first.image.shape
    consistent(after, first)
    base = 10 if dtype == np.uint8 else 1000
    stays = after.maps["code"] // base == 1
    np.testing.assert_array_equal(after.label[stays], first.label[stays])
    assert all((one == part.image).all() for one, part in zip(before, (first, other), strict=True))


# --- Copy-paste ---------------------------------------------------------------------------------------------------


def blank(height: int = 60, width: int = 80, value: int = 0) -> Sample:
    return Sample(np.full((height, width, 1), 7, np.uint8), np.full((height, width), value, np.uint8))


def with_shapes() -> Sample:
    """Two pieces of class 1, of 6 x 9 and 5 x 5 pixels, one of class 2, and one pixel of class 1."""
    sample = blank()
    sample.label[5:11, 10:19] = 1
    sample.label[30:35, 40:45] = 1
    sample.label[20:28, 60:63] = 2
    sample.label[50, 70] = 1
    sample.image[sample.label > 0] = 200
    return sample


def pieces(label: Any, value: int) -> list[tuple[int, int]]:
    found = ndimage.find_objects(ndimage.label(label == value)[0])
    return sorted((rows.stop - rows.start, columns.stop - columns.start) for rows, columns in found)


def test_regions_are_pasted_whole_and_those_asked_for_alone():
    seen = set()
    for seed in range(60):
        after = CopyPaste((1,), 1.0, 1, 16, (1, 1), others=1)(blank(), rng_of(seed), [with_shapes()])
        (size,) = pieces(after.label, 1)
        assert not (after.label == 2).any()
        np.testing.assert_array_equal(after.image[..., 0], np.where(after.label == 1, 200, 7))
        seen.add(size)
    assert seen == {(6, 9), (5, 5)}  # not the single pixel


def test_several_regions_up_to_the_most():
    counts = set()
    for seed in range(60):
        after = CopyPaste((1, 2), 1.0, 3, 16, (1, 1), others=1)(blank(200, 200), rng_of(seed), [with_shapes()])
        counts.add(len(pieces(after.label, 1)) + len(pieces(after.label, 2)))
    assert counts == {1, 2, 3}


def test_regions_are_scaled_and_mirrored():
    slope = blank()
    slope.label[10:20, 10:20] = np.tri(10, dtype=np.uint8)  # wide at its lower left
    areas, mirrored = [], 0
    for seed in range(80):
        after = CopyPaste((1,), 1.0, 1, 16, (0.5, 2.0), others=1)(blank(), rng_of(seed), [slope])
        rows, columns = np.nonzero(after.label == 1)
        areas.append(np.ptp(rows) + 1)
        top = columns[rows == rows.min()].mean()
        mirrored += top > columns.mean()
    assert min(areas) <= 7
    assert max(areas) >= 17
    assert 25 < mirrored < 55
    straight = CopyPaste((1,), 1.0, 1, 16, (1, 1), flip=False, others=1)
    for seed in range(10):
        after = straight(blank(), rng_of(seed), [slope])
        rows, columns = np.nonzero(after.label == 1)
        np.testing.assert_array_equal(
            after.label[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1], np.tri(10)
        )


def test_what_is_larger_than_the_sample_is_cut_and_padding_stays_free():
    huge = blank(100, 100, 1)
    after = CopyPaste((1,), 1.0, 1, others=1)(blank(20, 30), rng_of(0), [huge])
    assert (after.label == 1).all()
    padded = Sample(np.zeros((40, 40, 1), np.uint8), np.zeros((40, 40), np.uint8), meta=SampleMeta(valid=(20, 25)))
    covered = CopyPaste((1,), 1.0, 1, others=1)(padded, rng_of(0), [huge]).label
    assert covered[:20, :25].all()
    assert covered.sum() == 20 * 25
    for seed in range(20):
        after = CopyPaste((1,), 1.0, 3, others=1)(padded, rng_of(seed), [with_shapes()])
        assert (after.label == 1).any()
        assert not after.label[20:].any()
        assert not after.label[:, 25:].any()


def test_the_rarest_class_of_the_other_by_default():
    shapes = with_shapes()  # 80 pixels of class 1, 24 of class 2
    for seed in range(5):
        after = CopyPaste(None, 1.0, 3, others=1)(blank(), rng_of(seed), [shapes])
        assert set(np.unique(after.label)) == {0, 2}
    shapes.label[0, :] = 9
    shapes.label[1, :10] = 255
    ignoring = CopyPaste(None, 1.0, 3, 1, (1, 1), others=1, ignore_index=2)  # then 255 is the rarest
    assert set(np.unique(ignoring(blank(), rng_of(0), [shapes]).label)) == {0, 255}
    sample = blank()
    assert CopyPaste(None, 1.0, others=1)(sample, rng_of(0), [blank(value=3)]) is sample  # nothing is rare


class Counted(Sequence[Sample]):
    """Others that remember which of them were looked at."""

    def __init__(self, parts: list[Sample]) -> None:
        self.parts, self.seen = parts, list[int]()

    def __len__(self) -> int:
        return len(self.parts)

    def __getitem__(self, index: Any) -> Any:
        part = self.parts[index]
        self.seen.append(index)
        return part


def test_others_are_looked_at_until_one_has_the_class():
    others = Counted([blank(), with_shapes(), blank()])
    after = CopyPaste((2,), 1.0, others=3)(blank(), rng_of(0), others)
    assert (after.label == 2).any()
    assert others.seen == [0, 1]
    sample = blank()
    assert CopyPaste((2,), 1.0, others=2)(sample, rng_of(0), [blank(), blank()]) is sample
    untouched = Counted([with_shapes()])
    assert CopyPaste((1,), 0.0, others=1)(sample, rng_of(0), untouched) is sample
    assert untouched.seen == []


# --- Class-mix and cut-mix ----------------------------------------------------------------------------------------


def test_half_of_the_classes_cover_the_sample_where_they_are():
    other = painted(2, 40, 40, 1)
    first = painted(1, 40, 40, 2)
    covered = set()
    for seed in range(40):
        after = ClassMix(1.0)(first, rng_of(seed), [other])
        foreign = after.maps["code"] // 10 == 2
        classes = frozenset(np.unique(other.label[foreign]).tolist())
        np.testing.assert_array_equal(foreign, np.isin(other.label, list(classes)))
        assert len(classes) == 2
        covered.add(classes)
    assert covered == {frozenset(pair) for pair in ((0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3))}


def test_ignored_pixels_are_in_no_class():
    nothing = blank(value=255)
    sample = blank()
    after = ClassMix(1.0)(sample, rng_of(0), [nothing])
    np.testing.assert_array_equal(after.label, sample.label)
    one = ClassMix(1.0, ignore_index=9)(sample, rng_of(0), [blank(value=9)])
    assert not one.label.any()
    assert (ClassMix(1.0)(sample, rng_of(0), [blank(value=3)]).label == 3).all()  # of one class, the half is one


def test_a_rectangle_is_cut_whose_area_is_beta_distributed():
    first, other = blank(100, 200, 0), blank(100, 200, 1)
    areas = []
    corners = np.zeros(4, int)
    for seed in range(300):
        label = CutMix(1.0)(first, rng_of(seed), [other]).label
        corners += label[[0, 0, -1, -1], [0, -1, 0, -1]]
        rows, columns = np.nonzero(label)
        if len(rows):
            assert (np.ptp(rows) + 1) * (np.ptp(columns) + 1) == len(rows)
        areas.append(label.mean())
    # Uniform shares; what reaches beyond the image is cut off, so that their mean lies below one half.
    assert 0.25 < np.mean(areas) < 0.45
    assert corners.min() > 20
    assert corners.max() < 80
    assert min(areas) < 0.02
    assert max(areas) > 0.8
    even = [CutMix(1.0, alpha=1000)(first, rng_of(seed), [other]).label.mean() for seed in range(100)]
    assert max(even) == pytest.approx(0.5, abs=0.05)


def test_sides_of_a_rectangle_that_lies_inside():
    first, other = (Sample(np.zeros((40, 60, 3), np.uint8), np.full((40, 60), number, np.uint8)) for number in (0, 1))
    heights, widths, tops = [], [], []
    for seed in range(300):
        rows, columns = np.nonzero(CutMix(1.0, sides=(0.25, 0.75))(first, rng_of(seed), [other]).label)
        assert len(rows) == (np.ptp(rows) + 1) * (np.ptp(columns) + 1)
        heights.append(np.ptp(rows) + 1)
        widths.append(np.ptp(columns) + 1)
        tops.append(rows.min())
    assert (min(heights), max(heights), min(widths), max(widths)) == (10, 30, 15, 45)
    assert abs(np.corrcoef(heights, widths)[0, 1]) < 0.2
    assert (min(tops), max(tops)) == (0, 29)
    with pytest.raises(ValueError, match=r"CutMix: sides must be two shares of a side, .* got \(0.8, 0.2"):
        CutMix(sides=(0.8, 0.2))


def test_images_without_labels_can_be_cut():
    first, other = (Sample(np.full((9, 9, 1), number, np.uint8)) for number in (1, 2))
    found = {int(value) for seed in range(9) for value in np.unique(CutMix(1.0)(first, rng_of(seed), [other]).image)}
    assert found == {1, 2}
    assert ClassMix(1.0)(first, rng_of(0), [other]) is first


def test_chances_are_kept():
    sample = with_shapes()
    for transform in (CopyPaste((1,), 0.3, others=1), ClassMix(0.3), CutMix(0.3)):
        rng = rng_of(0)
        assert 60 < sum(transform(sample, rng, [sample]) is not sample for _ in range(300)) < 120


def test_the_same_for_every_number_of_workers(tmp_path: Path) -> None:
    for number in range(5):
        sample = painted(number, 30, 30, number)
        cv2.imwrite(str(tmp_path / f"{number}.png"), sample.image)
        cv2.imwrite(str(tmp_path / f"{number}_gt.png"), np.minimum(sample.label, 3))
    folder = FolderDataset(root=str(tmp_path), image_suffix=".png", label_suffix="_gt.png", classes=tuple("abcd"))
    steps = [RandomCrop((20, 24)), CopyPaste((1,), 0.7), ClassMix(0.5), CutMix(0.5)]
    batches: list[Any] = []
    for workers in (0, 2):
        loader = train_loader(Pipeline(folder, steps), batch_size=2, seed=5, workers=workers)
        batches.append([next(loader) for _ in range(3)])
        loader.close()
    for one, other in zip(*batches, strict=True):
        assert bool((one.images == other.images).all())
        assert bool((one.labels == other.labels).all())


def test_what_is_done_where_nothing_is_said():
    assert CopyPaste() == CopyPaste(None, 0.5, 3, 16, (0.8, 1.25), True, 2, 255)
    assert ClassMix() == ClassMix(0.5, 255)
    assert CutMix() == CutMix(0.5, 1.0)
    assert (ClassMix.others, CutMix.others) == (1, 1)
    for make in (CopyPaste, ClassMix, CutMix):
        with pytest.raises(ValueError, match=f"{make.__name__}: prob must be a chance between 0 and 1, got 1.5"):
            make(prob=1.5)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: CopyPaste(()), r"classes must be indices of classes, at least one, got \(\)"),
        (lambda: CopyPaste((1,), others=0), "others must be a whole number of at least 1, got 0"),
        (lambda: CopyPaste((1,), others=65), "others must be at most 64, got 65"),
        (lambda: CopyPaste((1,), scale=(0, 1)), "scale must be"),
        (lambda: CutMix(alpha=0), "alpha must be above 0, got 0"),
        (lambda: ClassMix(-1), "prob must be a chance"),
        (lambda: ClassMix()(blank(), rng_of(0), []), "expected 1 further samples, found 0"),
        (lambda: CutMix(1.0)(blank(), rng_of(0), [painted(1, 60, 80, 0)]), "CutMix: .* agree in their bands, found 1"),
    ],
)
def test_wrong_arguments_are_said(make, message):
    with pytest.raises(ValueError, match=message):
        make()
