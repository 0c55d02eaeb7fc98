"""What belongs together falls to one side: slices of series and patients by their headers, pages of stacks, groups."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from intarsia.cli.main import main
from intarsia.data import dicom_identity
from intarsia.data.description.divide import divide_in_blocks
from intarsia.data.description.model import DataDescription
from intarsia.data.description.read import read_description
from intarsia.data.description.splits import FolderSplit
from intarsia.data.description.together import belong_together
from intarsia.data.dicom_identity import identity_of
from intarsia.data.doctor.examine import examine
from intarsia.data.slices import file_of, part_of
from tests.data.test_dicom import save

SIDE = 24


def slice_at(root: Path, name: str, place: int, **tags: object) -> None:
    """One slice with its mask; that of a lesion (255) in every other."""
    rng = np.random.default_rng(abs(hash_of(name)))
    mask = np.zeros((SIDE, SIDE), np.uint8)
    mask[6:12, 6 : 9 + place % 9] = 255 * (place % 2)
    stored = (1024 + 90 * (mask > 0) + rng.normal(0, 9, mask.shape)).astype(np.uint16)
    position = {"ImagePositionPatient": [0, 0, 5 * place], "ImageOrientationPatient": [1, 0, 0, 0, 1, 0]}
    save(root / f"images/{name}.dcm", stored, RescaleSlope=1, RescaleIntercept=-1024, **{**position, **tags})
    (root / f"masks/{name}.png").parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(mask).save(root / f"masks/{name}.png")


def hash_of(name: str) -> int:
    return int.from_bytes(name.encode()[-6:], "little")


def clinic(root: Path, *, patients: int = 6, series: int = 2, slices: int = 7, **tags: object) -> Path:
    """All files in one folder, as exported: their names say nothing, headers say everything."""
    number = 0
    for patient in range(patients):
        for one in range(series):
            for place in range(slices):
                own = {"PatientID": f"P{patient}", "StudyInstanceUID": f"1.2.{patient}"}
                own |= {"SeriesInstanceUID": f"1.2.{patient}.{one}", "InstanceNumber": place + 1}
                slice_at(root, f"IM{(number * 37) % 1009:04}", place, **{**own, **tags})
                number += 1
    return root


def tags_of(description: DataDescription, tag: str) -> dict[str, set[str]]:
    """The values of a tag in each split, read by pydicom."""
    return {
        split: {
            str(pydicom.dcmread(description.root / file_of(pair.image)).get(tag)) for pair in description.pairs(split)
        }
        for split in description.splits
    }


def neighbours(places: list[int], other: list[int]) -> int:
    """How many places lie next to one of the other split."""
    return sum(place + step in set(other) for place in places for step in (-1, 1))


# --- DICOM --------------------------------------------------------------------------------------------------------


def test_slices_of_a_patient_stay_together(tmp_path: Path) -> None:
    found = examine(clinic(tmp_path))
    description = found.proposal()
    patients = tags_of(description, "PatientID")
    assert not patients["train"] & patients["val"]
    assert len(patients["train"] | patients["val"]) == 6
    assert 0.1 <= len(description.pairs("val")) / 84 <= 0.4
    (note,) = [note for note in found.notes if note.startswith("there is no validation split")]
    assert note.endswith("by a hash; 6 patients (by PatientID of the DICOM headers) stay whole")
    assert not [finding for finding in found.warnings if finding.kind.startswith("torn")]


@pytest.mark.parametrize(
    ("tags", "kept", "words"),
    [
        ({"PatientID": "ANON"}, "StudyInstanceUID", "6 studies"),
        ({"PatientID": ""}, "StudyInstanceUID", "6 studies"),
        ({"PatientID": "ANON", "StudyInstanceUID": "1.2"}, "SeriesInstanceUID", "12 series"),
    ],
)
def test_where_no_patient_is_named_the_next_narrower_counts(
    tmp_path: Path, tags: dict[str, str], kept: str, words: str
) -> None:
    found = examine(clinic(tmp_path, **tags))
    values = tags_of(found.proposal(), kept)
    assert not values["train"] & values["val"]
    assert any(f"{words} (by {kept} of the DICOM headers) stay whole" in note for note in found.notes)


def test_patients_that_take_a_series_apart_are_not_believed(tmp_path: Path) -> None:
    for place in range(12):
        own = {"SeriesInstanceUID": f"1.2.{place // 4}", "PatientID": f"R{place}"}
        slice_at(tmp_path, f"{place:02}", place, **own)
    found = belong_together(tmp_path, [f"images/{place:02}.dcm" for place in range(12)])
    assert found.count == 3


@pytest.mark.parametrize("names", ["shuffled", "in order"])
def test_of_one_series_a_block_of_neighbours_is_taken(tmp_path: Path, names: str) -> None:
    for place in range(30):
        name = f"{place * 7 % 30}" if names == "shuffled" else f"{place}"
        slice_at(tmp_path, name, place, PatientID="A", SeriesInstanceUID="1.2")
    found = examine(tmp_path)
    description = found.proposal()
    places = {}
    for split in ("train", "val"):
        images = [pydicom.dcmread(description.root / pair.image) for pair in description.pairs(split)]
        places[split] = sorted(round(image.ImagePositionPatient[2] / 5) for image in images)
    assert len(places["val"]) == 6
    assert places["val"] == list(range(places["val"][0], places["val"][0] + 6))
    assert sorted(places["train"] + places["val"]) == list(range(30))
    assert any(
        "all 30 images are of one DICOM series, so about a fifth is taken out as one block" in n for n in found.notes
    )


def test_instance_numbers_order_slices_without_a_place(tmp_path: Path) -> None:
    for number in range(12):
        slice_at(
            tmp_path, f"{number * 5 % 12}", 0, SeriesInstanceUID="1", InstanceNumber=number, ImagePositionPatient=None
        )
    images = [f"images/{number}.dcm" for number in range(12)]
    together = belong_together(tmp_path, images)
    order = [images[index] for index in together.in_order(range(12))]
    assert order == [f"images/{number * 5 % 12}.dcm" for number in range(12)]


def test_files_without_an_identity_are_told_by_their_folders(tmp_path: Path) -> None:
    for patient in range(4):
        for place in range(6):
            slice_at(tmp_path, f"x{patient}/{place}", place)
    (warning,) = [w for w in examine(tmp_path).warnings if w.kind == "torn apart?"]
    assert "folders of DICOM files whose series is not known" in warning.text
    assert f"intarsia data split {tmp_path} --by folder -o OUT" in warning.advice


def test_the_users_groups_win(tmp_path: Path) -> None:
    root = clinic(tmp_path)
    description = examine(root, groups=r"\d(?=\.dcm)").proposal()
    digits = {split: {pair.image[-5] for pair in description.pairs(split)} for split in ("train", "val")}
    assert not digits["train"] & digits["val"]
    patients = tags_of(description, "PatientID")
    assert patients["train"] & patients["val"]  # as the user wanted


def test_headers_are_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, asked = clinic(tmp_path, patients=3, slices=4), []
    read = dicom_identity.dicom_header

    def counted(path: Path, **options: object) -> object:
        asked.append(path)
        return read(path, **options)

    monkeypatch.setattr(dicom_identity, "dicom_header", counted)
    description = examine(root).proposal()
    for split in ("train", "val", "train"):
        description.pairs(split)
    assert len(asked) == len(set(asked)) == 24


def test_what_is_no_dicom_says_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.dcm").write_bytes(b"no image")
    for name in ("a.dcm", "missing.dcm"):
        assert identity_of(tmp_path / name) == dicom_identity.Identity()


def test_series_in_two_splits_of_the_users_are_told(tmp_path: Path) -> None:
    for split, places in (("train", range(6)), ("val", range(6, 9))):
        for patient in range(3):
            for place in places:
                own = {"PatientID": f"P{patient}", "SeriesInstanceUID": f"1.{patient}"}
                slice_at(tmp_path / split, f"p{patient}_{place}", place, **own)
    (warning,) = [w for w in examine(tmp_path).warnings if w.kind == "torn apart"]
    assert "3 of 3 patients (by PatientID of the DICOM headers) are in more than one split (18 of train, 9 of val)" in (
        warning.text
    )
    command = f"intarsia data split {tmp_path} --pool train,val -o OUT"
    assert warning.advice.endswith(command)
    assert main([*command.removeprefix("intarsia ").split()[:-1], str(tmp_path / "out")]) == 0
    patients = tags_of(read_description(tmp_path / "out/data.yaml"), "PatientID")
    assert not patients["train"] & patients["val"]


def test_splits_folds_and_cross_validation_keep_patients_whole(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = clinic(tmp_path / "data")
    words = ["data", "split", str(root), "-o", str(tmp_path / "out"), "--val", "0.34", "--test", "0.17", "--json"]
    assert main(words) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["kept_together"] == ["6 patients (by PatientID of the DICOM headers) stay whole"]
    assert {part["name"]: part["groups"] for part in found["parts"]} == {"train": 3, "val": 2, "test": 1}
    patients = tags_of(read_description(tmp_path / "out/data.yaml"), "PatientID")
    assert sum(map(len, patients.values())) == 6
    assert main(["data", "split", str(root), "-o", str(tmp_path / "folds"), "--folds", "3"]) == 0
    assert "kept together: 6 patients (by PatientID of the DICOM headers) stay whole" in capsys.readouterr().err
    held = [tags_of(read_description(tmp_path / f"folds/fold_{n}.yaml"), "PatientID")["val"] for n in (1, 2, 3)]
    assert sorted(patient for fold in held for patient in fold) == [f"P{n}" for n in range(6)]
    assert main(["data", "split", str(root), "-o", str(tmp_path / "many"), "--folds", "7"]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "6 groups cannot be divided into 7 parts" in said
    assert "6 patients (by PatientID of the DICOM headers) stay whole" in said


# --- Volumes and stacks -------------------------------------------------------------------------------------------


def volume(root: Path, name: str, depth: int = 20) -> None:
    rng = np.random.default_rng(hash_of(name))
    label = np.zeros((20, 20, depth), np.uint8)
    label[5:12, 5:14, 2 : depth - 2] = 1
    image = (60 * label + rng.normal(0, 9, label.shape)).astype(np.int16)
    for folder, values in (("images", image), ("labels", label)):
        (root / folder).mkdir(parents=True, exist_ok=True)
        nib.save(nib.Nifti1Image(values, np.eye(4)), root / folder / f"{name}.nii")


def stack(root: Path, name: str, depth: int = 20) -> None:
    rng = np.random.default_rng(hash_of(name))
    label = (rng.random((depth, 20, 20)) < 0.3).astype(np.uint8)
    image = (rng.normal(90, 9, label.shape) + 60 * label).astype(np.uint8)
    for folder, pages in (("images", image), ("labels", label)):
        (root / folder).mkdir(parents=True, exist_ok=True)
        first, *others = [Image.fromarray(page) for page in pages]
        first.save(root / folder / f"{name}.tif", save_all=True, append_images=others)


def indices(description: DataDescription, split: str) -> list[int]:
    parts = [part_of(pair.image)[1] for pair in description.pairs(split)]
    return sorted(part.index for part in parts if part is not None)


@pytest.mark.parametrize("make", [volume, stack])
def test_volumes_and_stacks_stay_whole(tmp_path: Path, make: object) -> None:
    for number in range(5):
        make(tmp_path, f"case{number}", 6)
    description = examine(tmp_path).proposal()
    files = {split: {file_of(pair.image) for pair in description.pairs(split)} for split in ("train", "val")}
    assert not files["train"] & files["val"]
    assert len(files["train"] | files["val"]) == 5


@pytest.mark.parametrize(("make", "noun"), [(volume, "volume"), (stack, "file")])
def test_of_one_volume_or_stack_a_block_is_taken(tmp_path: Path, make: object, noun: str) -> None:
    """A hash of each slice left every one of them between two that were trained on."""
    make(tmp_path, "only")
    found = examine(tmp_path)
    held, trained = indices(found.proposal(), "val"), indices(found.proposal(), "train")
    assert held == list(range(held[0], held[0] + 4))
    assert neighbours(held, trained) <= 2
    assert any(f"all 20 images are of one {noun}, so about a fifth" in note for note in found.notes)


def test_a_list_of_slices_takes_these_alone(tmp_path: Path) -> None:
    """It took all slices of a volume of which it named one."""
    for name in ("a", "b", "c"):
        volume(tmp_path, name, 12)
    (tmp_path / "train.txt").write_text("images/a.nii#z03\nimages/a.nii#z11\nb.nii\n")
    (tmp_path / "val.txt").write_text("images/a.nii#z3\nimages/a.nii#z12\n")
    (tmp_path / "data.yaml").write_text(
        "root: .\nclasses: [a, b]\nsplits:\n  train: {images: images, labels: labels, slices: z, list: train.txt}\n"
        "  val: {images: images, labels: labels, slices: z, list: val.txt, missing: skip}\n"
    )
    description = read_description(tmp_path / "data.yaml")
    expected = ["images/a.nii#z03", "images/a.nii#z11", *(f"images/b.nii#z{index:02}" for index in range(12))]
    assert [pair.image for pair in description.pairs("train")] == expected
    assert [pair.image for pair in description.pairs("val")] == ["images/a.nii#z03"]
    assert description.listing("val").lost == ("images/a.nii#z12",)


def test_one_volume_is_divided_into_blocks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`data split` and folds refused it: 1 group cannot be divided into 2 parts."""
    volume(tmp_path / "data", "only")
    assert main(["data", "split", str(tmp_path / "data"), "-o", str(tmp_path / "out"), "--test", "0.2"]) == 0
    assert "all 20 images are of one volume, of which each part has a block of neighbours" in capsys.readouterr().err
    description = read_description(tmp_path / "out/data.yaml")
    parts = {split: indices(description, split) for split in ("train", "val", "test")}
    assert {split: len(held) for split, held in parts.items()} == {"train": 12, "val": 4, "test": 4}
    assert sorted(itertools.chain(*parts.values())) == list(range(20))
    assert sum(neighbours(parts[a], parts[b]) for a, b in (("train", "val"), ("train", "test"), ("val", "test"))) <= 3
    assert main(["data", "split", str(tmp_path / "data"), "-o", str(tmp_path / "folds"), "--folds", "4"]) == 0
    held = [indices(read_description(tmp_path / f"folds/fold_{n}.yaml"), "val") for n in range(1, 5)]
    assert sorted(itertools.chain(*held)) == list(range(20))
    assert all(len(fold) == 5 and neighbours(fold, fold) >= 6 for fold in held)


@given(st.integers(3, 60), st.lists(st.floats(0.05, 1), min_size=2, max_size=4), st.integers(0, 9), st.booleans())
def test_blocks_hold_their_share_and_have_one_border_each(
    count: int, shares: list[float], seed: int, stratified: bool
) -> None:
    if count < len(shares):
        return
    pixels = np.random.default_rng(seed).integers(0, 9, (count, 3)) if stratified else None
    parts = divide_in_blocks(count, {str(n): share for n, share in enumerate(shares)}, seed=seed, pixels=pixels)
    assert set(parts) == {str(n) for n in range(len(shares))}
    borders = sum(a != b for a, b in zip(parts, parts[1:] + parts[:1], strict=True))
    assert borders == len(shares)
    for number, share in enumerate(shares):
        assert abs(parts.count(str(number)) - count * share / sum(shares)) < len(shares) + 1


def test_blocks_are_where_every_part_has_its_share_of_the_classes() -> None:
    pixels = np.zeros((40, 2), np.int64)
    pixels[:, 0] = 90
    pixels[16:24, 1] = 10  # in the middle alone
    parts = divide_in_blocks(40, {"train": 0.5, "val": 0.5}, pixels=pixels)
    assert sum(part == "val" for part in parts[16:24]) == 4


# --- Groups of the description ------------------------------------------------------------------------------------


def tiles(root: Path, names: list[str], splits: dict[str, list[str]] | None = None) -> Path:
    """Unlike pictures with two classes; one folder, or one for each split."""
    for folder, chosen in (splits or {"": names}).items():
        for name in chosen:
            rng = np.random.default_rng(names.index(name))
            for kind, values in (
                ("images", rng.integers(0, 256, (20, 20, 3))),
                ("masks", rng.integers(0, 2, (20, 20))),
            ):
                (root / folder / kind / name).parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(values.astype(np.uint8)).save(root / folder / kind / f"{name}.png")
    return root


def test_a_share_honours_the_groups_of_its_description(tmp_path: Path) -> None:
    """They were said to stay together when images are divided, and a share divided them one by one."""
    root = tiles(tmp_path, [f"p{patient}_{number}" for patient in range(8) for number in range(5)])
    file = tmp_path / "data.yaml"
    file.write_text(
        "root: .\nclasses: [a, b]\ngroups: 'p\\d+'\n"
        "splits:\n  train: {images: images, labels: masks}\n  val: {share: 0.3, of: train}\n"
        "  test: {share: 0.2, of: train}\n"
    )
    description = read_description(file)
    groups = {split: {pair.name[:2] for pair in description.pairs(split)} for split in description.splits}
    assert sum(map(len, groups.values())) == 8
    assert all(groups.values())
    assert root == description.root
    assert examine(file).notes == ("shares are taken out of train by a hash; 8 groups by 'p\\d+' stay whole",)


def test_groups_that_leave_nothing_are_refused(tmp_path: Path) -> None:
    tiles(tmp_path, [f"p_{number}" for number in range(6)])
    with pytest.raises(ValueError, match="all 6 images are in one, so that none can be set aside"):
        examine(tmp_path, groups="folder")


def test_groups_in_two_splits_of_the_users_are_told(tmp_path: Path) -> None:
    names = [f"p{patient}_{number}" for patient in range(4) for number in range(4)]
    tiles(tmp_path, names, {"train": names[:-3], "val": names[-3:]})
    file = tmp_path / "data.yaml"
    file.write_text(
        "root: .\nclasses: [a, b]\ngroups: 'p\\d+'\nsplits:\n"
        "  train: {images: train/images, labels: train/masks}\n  val: {images: val/images, labels: val/masks}\n"
    )
    (warning,) = [w for w in examine(file).warnings if w.kind == "torn apart"]
    assert "1 of 4 groups by 'p\\d+' are in more than one split (1 of train, 3 of val)" in warning.text


@pytest.mark.parametrize(
    ("names", "by"),
    [
        ([f"patient{p:02}_{n}" for p in range(5) for n in range(6)], r"'(?i)(?<![a-z])patient[-_ ]?\d+'"),
        ([f"clip_{p}_frame{n:04}" for p in range(5) for n in range(6)], r"'(?i)(?<![a-z])clip[-_ ]?\d+'"),
        ([f"TCGA_{k}/TCGA_{k}_{n}" for k in ("CS_41", "DU_7", "HT_83A") for n in range(9)], "folder"),
        ([f"P{p:03}/{n}" for p in range(5) for n in range(6)], "folder:2"),
        ([f"{s}_{r}_{c}" for s in ("north", "south", "west") for r in range(3) for c in range(3)],
         r"'.+(?=[_-]\d+[_-]\d+\.\w+$)'"),
    ],
)  # fmt: skip
def test_names_that_seem_to_say_what_belongs_together_are_told_with_the_command(
    tmp_path: Path, names: list[str], by: str
) -> None:
    tiles(tmp_path / "data", names)
    (warning,) = [w for w in examine(tmp_path / "data").warnings if w.kind == "torn apart?"]
    command = f"intarsia data split {tmp_path / 'data'} --by {by} -o OUT"
    assert warning.advice.endswith(command)
    assert main(["data", "split", str(tmp_path / "data"), "--by", by.strip("'"), "-o", str(tmp_path / "out")]) == 0
    assert not [w for w in examine(tmp_path / "out/data.yaml").warnings if w.kind.startswith("torn")]


@pytest.mark.parametrize(
    "names",
    [
        [f"IMG_2026{day:04}_{101010 + 7 * n}" for day in (1101, 1102, 1103) for n in range(8)],
        [f"{kind}_{n:03}" for kind in ("cat", "dog", "cow") for n in range(8)],
        [f"case{n:03}" for n in range(24)],
        [f"frame_{n:06}" for n in range(24)],
    ],
)
def test_names_of_single_pictures_are_not_suspected(tmp_path: Path, names: list[str]) -> None:
    tiles(tmp_path, names)
    assert not [w for w in examine(tmp_path).warnings if w.kind.startswith("torn")]


def test_a_training_takes_its_share_by_group(tmp_path: Path) -> None:
    tiles(tmp_path / "data", [f"p{patient}_{number}" for patient in range(6) for number in range(4)])
    words = ["train", "fast_scnn", "--data", str(tmp_path / "data"), "--out", str(tmp_path / "run"), "--by", r"p\d+"]
    small = ["--for", "1 steps", "--batch", "2", "--crop", "32", "32", "--workers", "0", "--eval-every", "1 steps"]
    assert main([*words, *small]) == 0
    description = read_description(tmp_path / "run/data.yaml")
    assert description.groups == r"p\d+"
    groups = {split: {pair.name[:2] for pair in description.pairs(split)} for split in ("train", "val")}
    assert not groups["train"] & groups["val"]
    assert isinstance(description.splits["train"], FolderSplit)
    tiles(tmp_path / "own", ["p0_0", "p1_0", "p2_0"], {"train": ["p0_0", "p1_0"], "val": ["p2_0"]})
    words[3], words[5] = str(tmp_path / "own"), str(tmp_path / "other")
    assert main([*words, *small]) == 2


def test_a_column_of_a_table_says_what_belongs_together(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A folds.csv with the patient of every image was passed over without a word."""
    names = [f"{number * 37 % 101:03}" for number in range(40)]
    patient = {name: number // 5 for number, name in enumerate(names)}
    tiles(tmp_path / "data", names)
    lines = [f"ID{patient[name]},images/{name}.png,{patient[name] % 4}" for name in sorted(names)]
    (tmp_path / "data/folds.csv").write_text("Patient_ID,image,fold\n" + "\n".join(lines) + "\n")
    (warning,) = [w for w in examine(tmp_path / "data").warnings if w.kind == "torn apart?"]
    assert "8 groups by the column Patient_ID of folds.csv are in more than one split" in warning.text
    words = ["data", "split", str(tmp_path / "data"), "--by"]
    assert warning.advice.endswith(f"intarsia {' '.join(words)} folds.csv:Patient_ID -o OUT")
    assert main([*words, "folds.csv:Patient_ID", "-o", str(tmp_path / "out"), "--val", "0.25"]) == 0
    description = read_description(tmp_path / "out/data.yaml")
    sides = {s: {patient[pair.name] for pair in description.pairs(s)} for s in ("train", "val")}
    assert sorted([*sides["train"], *sides["val"]]) == list(range(8))
    assert main([*words, "folds.csv:fold", "-o", str(tmp_path / "folds"), "--folds", "4"]) == 0
    for number in range(1, 5):
        held = read_description(tmp_path / f"folds/fold_{number}.yaml").pairs("val")
        assert len({patient[pair.name] % 4 for pair in held}) == 1
    capsys.readouterr()
    assert main([*words, "folds.csv:doctor", "-o", str(tmp_path / "no")]) == 2
    assert "whose first line names a column 'doctor'" in " ".join(capsys.readouterr().err.split())
    (tmp_path / "data/folds.csv").write_text("patient,image\n" + "\n".join(f"{i % 3},{i}.png" for i in range(9)) + "\n")
    assert main([*words, "folds.csv:patient", "-o", str(tmp_path / "no")]) == 2


def test_copies_of_roboflow_are_told_when_they_are_torn_apart(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = [f"IMG_{photo:04}_jpg.rf.{photo * 7919 + copy * 104729:08x}" for photo in range(12) for copy in range(3)]
    tiles(tmp_path / "data", names)
    (warning,) = [w for w in examine(tmp_path / "data").warnings if w.kind == "torn apart?"]
    assert "of 12 photos that Roboflow has made copies of are in more than one split" in warning.text
    words = ["data", "split", str(tmp_path / "data"), "-o", str(tmp_path / "out")]
    assert main(words) == 0  # which says it, too, and not only the next check
    assert "photos that Roboflow has made copies of are in more than one split" in capsys.readouterr().err
    assert main([*words, "--overwrite", "--by", r".+(?=\.rf\.\w+\.\w+$)"]) == 0
    description = read_description(tmp_path / "out/data.yaml")
    sides = {s: {pair.name[:8] for pair in description.pairs(s)} for s in ("train", "val")}
    assert not sides["train"] & sides["val"]


def test_sessions_of_a_person_are_told(tmp_path: Path) -> None:
    for person in range(4):
        for session in (1, 2):
            volume(tmp_path, f"sub-{person:02}_ses-{session}", 5)
    (warning,) = [w for w in examine(tmp_path).warnings if w.kind == "torn apart?"]
    assert "images called sub with a number" in warning.text


def test_slices_of_different_patients_are_no_copies_to_keep_together(tmp_path: Path) -> None:
    """`--by copies` was advised, which would have put neighbours on both sides."""
    for patient in range(4):
        for place in range(5):
            slice_at(tmp_path, f"same{place}", place, PatientID="A")  # the noise is a function of the name
            source = tmp_path / f"images/same{place}.dcm"
            header = pydicom.dcmread(source)
            header.PatientID, header.SeriesInstanceUID = f"P{patient}", f"1.{patient}"
            stored = header.pixel_array.copy()
            stored[0, 0] += patient
            header.PixelData = stored.tobytes()
            header.save_as(tmp_path / f"images/{patient}_{place}.dcm")
            (tmp_path / f"masks/same{place}.png").rename(tmp_path / f"masks/{patient}_{place}.png")
            source.unlink()
    (near,) = [w for w in examine(tmp_path).warnings if w.kind == "near duplicates"]
    assert "copies" not in near.advice
    assert near.advice.endswith(
        "4 patients (by PatientID of the DICOM headers) stay whole, and these are of different ones"
    )
