"""Dividing images: shares, groups, classes, and what it depends on."""

from __future__ import annotations

import random

import numpy as np
import pytest

from intarsia.data.description.divide import divide, group_names

TARGETS = {"train": 0.7, "val": 0.2, "test": 0.1}
NAMES = [f"images/p{index // 4}/x{index:03}.png" for index in range(200)]


def pixels_with_a_rare_class(seed: int = 0) -> np.ndarray:
    """200 images of three classes: everywhere, in half of them, in ten of them."""
    rng = np.random.default_rng(seed)
    pixels = np.zeros((200, 3), np.int64)
    pixels[:, 0] = rng.integers(1000, 2000, 200)
    pixels[rng.permutation(200)[:100], 1] = rng.integers(10, 900, 100)
    pixels[rng.permutation(200)[:10], 2] = rng.integers(50, 100, 10)
    return pixels


def counts(parts: list[str]) -> dict[str, int]:
    return {name: parts.count(name) for name in sorted(set(parts))}


def shares(parts: list[str], pixels: np.ndarray) -> np.ndarray:
    """Of each class's pixels, what each of train, val and test holds."""
    held = np.stack([pixels[[part == name for part in parts]].sum(0) for name in TARGETS])
    return held / pixels.sum(0)


class TestDivide:
    def test_every_part_has_its_share_of_the_images(self):
        assert counts(divide(NAMES, TARGETS)) == {"test": 20, "train": 140, "val": 40}

    def test_another_seed_is_another_split_and_the_same_seed_the_same(self):
        first = divide(NAMES, TARGETS, seed=1)
        assert divide(NAMES, TARGETS, seed=1) == first
        assert divide(NAMES, TARGETS, seed=2) != first

    @pytest.mark.parametrize("stratified", [False, True])
    def test_the_order_of_the_files_changes_nothing(self, stratified: bool):
        pixels = pixels_with_a_rare_class()
        order = list(range(200))
        random.Random(3).shuffle(order)
        plain = divide(NAMES, TARGETS, seed=5, pixels=pixels if stratified else None)
        shuffled = divide([NAMES[i] for i in order], TARGETS, seed=5, pixels=pixels[order] if stratified else None)
        assert {NAMES[i]: part for i, part in zip(order, shuffled, strict=True)} == dict(zip(NAMES, plain, strict=True))

    def test_groups_stay_whole(self):
        groups = group_names(NAMES, "folder")
        parts = divide(groups, TARGETS, pixels=pixels_with_a_rare_class())
        for group in set(groups):
            assert len({part for part, own in zip(parts, groups, strict=True) if own == group}) == 1
        found = counts(parts)
        assert abs(found["train"] - 140) <= 4
        assert abs(found["val"] - 40) <= 4

    @pytest.mark.parametrize("seed", range(4))
    def test_stratified_parts_have_their_share_of_every_class(self, seed: int):
        pixels = pixels_with_a_rare_class(seed)
        targets = np.array(list(TARGETS.values()))[:, None]
        by_class = np.abs(shares(divide(NAMES, TARGETS, seed=seed, pixels=pixels), pixels) - targets).max(0)
        at_random = np.abs(shares(divide(NAMES, TARGETS, seed=seed), pixels) - targets).max(0)
        assert by_class[0] < 0.02
        assert by_class[1] < 0.02
        assert by_class[2] < 0.1 / 2  # one of the ten images that show it holds about a tenth
        assert by_class.max() < at_random.max()
        stratified = counts(divide(NAMES, TARGETS, seed=seed, pixels=pixels))
        assert all(abs(stratified[name] - 200 * share) <= 2 for name, share in TARGETS.items())

    def test_ten_images_of_a_class_are_two_in_each_of_five_folds(self):
        pixels = pixels_with_a_rare_class()
        parts = divide(NAMES, {f"fold {n}": 0.2 for n in range(5)}, pixels=pixels)
        rare = [part for part, row in zip(parts, pixels, strict=True) if row[2]]
        assert counts(rare) == {f"fold {n}": 2 for n in range(5)}
        assert set(counts(parts).values()) <= {39, 40, 41}

    def test_no_part_is_empty(self):
        assert counts(divide(["a", "b", "c"], {"train": 0.98, "val": 0.01, "test": 0.01})) == {
            "train": 1, "val": 1, "test": 1,
        }  # fmt: skip

    def test_a_class_that_no_image_shows_is_no_matter(self):
        assert counts(divide(NAMES, TARGETS, pixels=np.zeros((200, 2), np.int64)))["train"] == 140

    def test_fewer_groups_than_parts_are_refused(self):
        with pytest.raises(ValueError, match="1 group cannot be divided into 3 parts: train, val, test"):
            divide(["a", "a", "a"], TARGETS)


class TestGroups:
    @pytest.mark.parametrize(
        ("by", "expected"),
        [
            (None, "scans/p07/left_3.png"),
            ("folder", "scans/p07"),
            ("folder:1", "scans"),
            ("folder:-1", "p07"),
            (r"p\d+", "p07"),
            (r"/p(\d+)/(\w+)_", "07\0left"),
            (r"slide(\d+)|p\d+", "p07"),
        ],
    )
    def test_what_makes_a_group(self, by: str | None, expected: str):
        assert group_names(["scans/p07/left_3.png"], by) == [expected]

    def test_an_image_of_no_group_is_named(self):
        with pytest.raises(ValueError, match=r"2 of 3 images have no such part in their path: a.png, b.png"):
            group_names(["b.png", "p1/x.png", "a.png"], "folder:1")

    def test_a_broken_expression_says_what_is_expected(self):
        with pytest.raises(ValueError, match=r"groups by 'p\(': no regular expression"):
            group_names(["a.png"], "p(")
