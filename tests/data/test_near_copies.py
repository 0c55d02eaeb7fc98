"""Pictures that are nearly the same: which distortions a hash survives, the index, and what the doctor says."""

from __future__ import annotations

import io
import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from painted import areas, kinds, one, save
from PIL import Image

from intarsia.data.doctor.examine import examine
from intarsia.data.doctor.near_copies import NEAR, near_pairs, picture_hash


def scene(seed: int, size: tuple[int, int] = (240, 320)) -> np.ndarray:
    """Large and small blobs of colour, as in a photo."""
    rng = np.random.default_rng(seed)
    total = np.zeros((*size, 3))
    for cells, weight in (((4, 5), 1.0), ((12, 16), 0.5), ((48, 64), 0.2)):
        noise = rng.uniform(-100, 100, (*cells, 3))
        total += weight * cv2.resize(noise, size[::-1], interpolation=cv2.INTER_CUBIC)
    return np.clip(total + 128, 0, 255).astype(np.uint8)


def jpeg(image: np.ndarray, quality: int) -> np.ndarray:
    data = io.BytesIO()
    Image.fromarray(image).save(data, "JPEG", quality=quality)
    return np.asarray(Image.open(data))


DISTORTED = {
    "jpeg": lambda image: jpeg(image, 30),
    "half": lambda image: cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA),
    "larger": lambda image: cv2.resize(image, None, fx=1.7, fy=1.7, interpolation=cv2.INTER_CUBIC),
    "darker": lambda image: (image * 0.7 + 8).astype(np.uint8),
    "noise": lambda image: np.clip(image + np.random.default_rng(0).normal(0, 8, image.shape), 0, 255).astype(np.uint8),
    "grey": lambda image: np.repeat(image.mean(2, keepdims=True).astype(np.uint8), 3, axis=2),
    "16 bits": lambda image: image.astype(np.uint16) * 257,
    "real numbers": lambda image: image.astype(np.float64) / 255,
    "six bands": lambda image: np.concatenate([image, image], axis=2),
}


def bits(first: np.ndarray, second: np.ndarray) -> int:
    one, two = picture_hash(first), picture_hash(second)
    assert one is not None
    assert two is not None
    return bin(one ^ two).count("1")


@pytest.mark.parametrize("name", DISTORTED)
def test_a_hash_survives(name: str):
    assert max(bits(scene(seed), DISTORTED[name](scene(seed))) for seed in range(10)) <= NEAR


def test_other_pictures_are_far_away():
    hashes = [picture_hash(scene(seed)) for seed in range(40)]
    assert min(bin(a ^ b).count("1") for i, a in enumerate(hashes) for b in hashes[:i]) > NEAR + 4
    assert 28 <= np.mean([bin(a ^ b).count("1") for i, a in enumerate(hashes) for b in hashes[:i]]) <= 36


def test_blank_pictures_have_none():
    assert picture_hash(np.full((50, 60, 3), 200, np.uint8)) is None
    assert picture_hash(np.zeros((50, 60, 1), np.float32)) is None
    nearly = np.full((64, 64, 3), 90, np.uint8)
    nearly[5, 5] = 96
    assert picture_hash(nearly) is None
    assert picture_hash(np.full((8, 8, 1), np.nan, np.float32)) is None


def test_the_index_finds_all_pairs_and_no_others():
    rng = np.random.default_rng(1)
    hashes = [int(number) for number in rng.integers(0, 2**64, 300, dtype=np.uint64)]
    for start in range(60):  # relatives that differ in 0 to 9 bits, in any of them
        flipped = sum(1 << int(bit) for bit in rng.permutation(64)[: start % 10])
        hashes.append(hashes[start] ^ flipped)
    expected = [
        (i, j, bin(hashes[i] ^ hashes[j]).count("1"))
        for i in range(len(hashes))
        for j in range(i + 1, len(hashes))
        if bin(hashes[i] ^ hashes[j]).count("1") <= NEAR
    ]
    assert len(expected) > 40
    assert near_pairs(hashes) == expected


@pytest.mark.parametrize("hashes", [[], [5], [5, 5, 5]])
def test_few_hashes(hashes: list[int]):
    assert near_pairs(hashes) == [(i, j, 0) for i in range(len(hashes)) for j in range(i + 1, len(hashes))]


# --- What the doctor says -----------------------------------------------------------------------------------------


def streets(root: Path, *, same: bool) -> Path:
    """Frames of four streets: two of each in training, one in validation; the last frame is another view or not."""
    for street in range(4):
        for frame in range(3):
            image = scene(100 * street + (0 if same and street == 2 and frame != 1 else frame), (96, 128))
            split = "val" if frame == 2 else "train"
            if same and street == 2 and frame == 2:
                image = jpeg(image, 60)
            save(root / split / "images" / f"street{street}_{frame}.png", image)
            save(root / split / "masks" / f"street{street}_{frame}.png", areas(street + 10 * frame, size=(96, 128)))
    return root


def test_a_saved_again_picture_in_another_split_is_named_with_the_way_out(tmp_path: Path):
    found = examine(streets(tmp_path, same=True))
    finding = one(found.warnings, "near duplicates")
    assert "1 pair of nearly the same picture in different splits (1 of train, 1 of val)" in finding.text
    assert re.fullmatch(
        r"train: train/images/street2_0.png ~ val: val/images/street2_2.png \(\d of 64 bits differ\)", finding.files[0]
    )
    assert f"intarsia data split {tmp_path} --pool train,val --by '" in finding.advice
    assert "leak" not in kinds(found.warnings)
    by = finding.advice.split("--by '")[1].split("'")[0]
    assert re.search(by, "train/images/street2_0.png")[0] == re.search(by, "val/images/street2_2.png")[0] == "street2"


def test_views_of_one_street_are_no_copies(tmp_path: Path):
    assert not kinds(examine(streets(tmp_path, same=False)).warnings) & {"near duplicates", "leak"}


def test_where_names_tell_nothing_the_pictures_themselves_are_compared(tmp_path: Path):
    streets(tmp_path, same=True)
    for folder in ("images", "masks"):
        (tmp_path / "val" / folder / "street2_2.png").rename(tmp_path / "val" / folder / "other.png")
    finding = one(examine(tmp_path).warnings, "near duplicates")
    assert finding.advice.endswith(f"intarsia data split {tmp_path} --pool train,val --by copies -o OUT")


def test_an_exact_copy_is_a_leak_and_not_a_near_one_as_well(tmp_path: Path):
    streets(tmp_path, same=False)
    Image.open(tmp_path / "train/images/street1_0.png").save(tmp_path / "val/images/street1_2.png", compress_level=0)
    warnings = examine(tmp_path).warnings
    finding = one(warnings, "leak")
    assert finding.files == ("train: train/images/street1_0.png = val: val/images/street1_2.png",)
    assert "1 picture in more than one split (1 of train, 1 of val)" in finding.text
    assert "--by" in finding.advice
    assert "near duplicates" not in kinds(warnings)
