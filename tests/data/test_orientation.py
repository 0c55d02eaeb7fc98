"""Planes of the patient, whichever way a volume is stored, against nibabel's closest canonical orientation."""

from __future__ import annotations

import itertools
import struct
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from intarsia.cli.main import main
from intarsia.data.description.read import read_description
from intarsia.data.doctor.examine import examine
from intarsia.data.image_io import read_image, read_label
from intarsia.data.nifti import nifti_header
from intarsia.data.orientation import AXES, PLANES, letters, plane_of
from intarsia.data.slices import count_slices, slice_paths

SHAPE = (9, 7, 5)
SEEN = {
    "axial": lambda v, k: v[::-1, ::-1, k].T,
    "coronal": lambda v, k: v[::-1, -1 - k, ::-1].T,
    "sagittal": lambda v, k: v[-1 - k, ::-1, ::-1].T,
}
"""Of a volume from left to right, back to front and feet to head."""
WAYS = ["".join(way) for order in itertools.permutations(("RL", "AP", "SI")) for way in itertools.product(*order)]


def tilted(seed: int = 0) -> np.ndarray:
    """An affine of a volume that lies from left to right, back to front and feet to head, but for some degrees."""
    random = np.random.default_rng(seed)
    turn, _ = np.linalg.qr(np.eye(3) + random.normal(0, 0.12, (3, 3)))
    turn *= np.sign(np.diag(turn))
    affine = np.eye(4)
    affine[:3, :3] = turn * (0.8, 0.9, 3.0)
    affine[:3, 3] = random.normal(0, 50, 3)
    return affine


def volume(way: str = "RAS", *, seed: int = 0, kind: type = nib.Nifti1Image, labels: bool = False) -> nib.Nifti1Image:
    """The same volume stored in another way."""
    numbers = np.random.default_rng(seed).integers(0, 3 if labels else 1000, SHAPE).astype(np.int16)
    image = kind(numbers, tilted(seed))
    assert nib.aff2axcodes(image.affine) == ("R", "A", "S")
    change = nib.orientations.ornt_transform(
        nib.orientations.axcodes2ornt("RAS"), nib.orientations.axcodes2ornt(tuple(way))
    )
    return image.as_reoriented(change)


@pytest.mark.parametrize("way", WAYS)
def test_planes_of_a_volume_in_all_48_ways(tmp_path: Path, way: str) -> None:
    stored = volume(way)
    nib.save(stored, tmp_path / "a.nii")
    assert letters(nifti_header(tmp_path / "a.nii").raw) == way == "".join(nib.aff2axcodes(stored.affine))
    straight = np.asarray(nib.as_closest_canonical(stored).dataobj)
    for axis, seen in SEEN.items():
        count = count_slices(tmp_path / "a.nii", axis)
        assert count == straight.shape[("sagittal", "coronal", "axial").index(axis)]
        for index, path in enumerate(slice_paths(str(tmp_path / "a.nii"), axis, count)):
            assert np.array_equal(read_image(path, bands="raw")[:, :, 0], seen(straight, index))


def test_the_way_back_is_the_volume(tmp_path: Path) -> None:
    nib.save(volume("PIL"), tmp_path / "a.nii")
    header = nifti_header(tmp_path / "a.nii")
    values = np.asarray(nib.load(tmp_path / "a.nii").dataobj)
    for axis in (*AXES, *PLANES):
        plane, again = plane_of(axis, header.raw), np.zeros_like(values)
        for index, path in enumerate(slice_paths(str(tmp_path / "a.nii"), axis, values.shape[plane.along.axis])):
            place = plane.index(index, values.shape[plane.along.axis])
            again[(slice(None),) * plane.along.axis + (place,)] = plane.stored(read_image(path, bands="raw")[:, :, 0])
        assert np.array_equal(again, values), axis


@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
@pytest.mark.parametrize("way", ["LPS", "SRA", "AIL"])
def test_a_quaternion_says_the_same(tmp_path: Path, kind: type, way: str) -> None:
    stored = volume(way, kind=kind)
    affine = stored.affine.copy()
    stored.set_sform(None, 0)
    stored.set_qform(affine, 1)
    nib.save(stored, tmp_path / "a.nii.gz")
    assert letters(nifti_header(tmp_path / "a.nii.gz").raw) == way


def test_headers_that_say_nothing_or_nonsense(tmp_path: Path) -> None:
    stored = volume("RAS")
    stored.set_sform(None, 0)
    stored.set_qform(None, 0)
    nib.save(stored, tmp_path / "a.nii")
    with pytest.raises(ValueError, match=r"a\.nii: the header does not say how the volume lies"):
        read_image(f"{tmp_path / 'a.nii'}#axial2", bands="raw")
    assert read_image(f"{tmp_path / 'a.nii'}#z2", bands="raw").shape == (7, 9, 1)
    nib.save(volume("RAS"), tmp_path / "b.nii")
    data = bytearray((tmp_path / "b.nii").read_bytes())
    struct.pack_into("<12f", data, 280, *[0.0] * 12)
    (tmp_path / "b.nii").write_bytes(data)
    with pytest.raises(ValueError, match="its affine is no way to lie"):
        read_image(f"{tmp_path / 'b.nii'}#axial2", bands="raw")


def study(root: Path) -> Path:
    """Two scans with labels, each stored in another way."""
    for folder in ("scans", "masks"):
        (root / folder).mkdir(parents=True)
    for number, (own, other) in enumerate((("RAS", "LPS"), ("SPL", "RAI"))):
        nib.save(volume(own, seed=number), root / f"scans/p{number}.nii.gz")
        nib.save(volume(other, seed=number, labels=True), root / f"masks/p{number}.nii.gz")
    return root


def test_volumes_that_lie_in_several_ways_are_seen_in_one(tmp_path: Path) -> None:
    proposal = examine(study(tmp_path)).proposal()
    assert any("the volumes lie in 4 ways, LPS, RAI, RAS, SPL, and are seen in one" in note for note in proposal.notes)
    pairs = [pair for split in proposal.splits for pair in proposal.pairs(split)]
    assert all("#axial" in pair.image and "#axial" in (pair.label or "") for pair in pairs)  # 3 mm apart there
    assert len(pairs) == 10
    for pair in pairs:
        number, index = int(pair.name.split("#")[0][-1]), int(pair.image[-1])
        for path, labels in ((pair.image, False), (pair.label, True)):
            straight = np.asarray(volume(seed=number, labels=labels).dataobj)
            read = read_label(f"{tmp_path / path}") if labels else read_image(f"{tmp_path / path}", bands="raw")[..., 0]
            assert np.array_equal(read, SEEN["axial"](straight, index))


@pytest.mark.slow
def test_a_description_names_the_plane_and_results_lie_where_the_scan_lies(tmp_path: Path) -> None:
    study(tmp_path)
    (tmp_path / "data.yaml").write_text(
        "classes: [a, b, c]\nimage: {bands: raw, channels: 1}\nsplits:\n"
        "  train: {images: scans, labels: masks, slices: coronal}\n  val: {share: 0.5, of: train}\n"
    )
    description = read_description(tmp_path / "data.yaml")
    assert description.image_spec.slices == "coronal"
    run = tmp_path / "run"
    words = ["train", "fcn_r18", "--data", str(tmp_path / "data.yaml"), "--out", str(run), "--for", "1 steps"]
    more = ["--batch", "2", "--crop", "32", "32", "--workers", "0", "--device", "cpu", "--pretrained", "none"]
    assert main([*words, *more]) == 0
    assert main(["predict", str(run), str(tmp_path / "scans"), "-o", str(tmp_path / "out"), "--device", "cpu"]) == 0
    straight = []
    for number in range(2):
        scan, found = (nib.load(tmp_path / folder / f"p{number}.nii.gz") for folder in ("scans", "out"))
        assert found.shape == scan.shape
        assert np.allclose(found.affine, scan.affine)
        straight.append(nib.as_closest_canonical(found))
    # The same scan stored otherwise has the same labels at the same places.
    nib.save(volume("IPR", seed=0), tmp_path / "turned.nii.gz")
    out = tmp_path / "turned_labels.nii.gz"
    assert main(["predict", str(run), str(tmp_path / "turned.nii.gz"), "-o", str(out), "--device", "cpu"]) == 0
    again = nib.as_closest_canonical(nib.load(out))
    assert np.array_equal(np.asarray(again.dataobj), np.asarray(straight[0].dataobj))
