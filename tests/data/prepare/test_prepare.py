"""Small downloads drawn here: what must hold without the reference material."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest
from pycocotools import mask as coco

from intarsia import recipes
from intarsia.catalog import is_known
from intarsia.data.prepare import archives
from intarsia.data.prepare.benchmark import Options
from intarsia.data.prepare.pascal_context import IDS, decoded_runs
from intarsia.data.prepare.run import prepare
from intarsia.data.prepare.table import BENCHMARKS
from intarsia.data.prepare.windows import overlapping, tiles
from intarsia.workflows.prepare_data import benchmark_rows, next_command


def png(value: int = 255, size: tuple[int, int] = (8, 10)) -> bytes:
    return cv2.imencode(".png", np.full(size, value, np.uint8))[1].tobytes()


def jpg() -> bytes:
    return cv2.imencode(".jpg", np.full((8, 10, 3), 90, np.uint8))[1].tobytes()


def chase(path: Path, *, more: dict[str, bytes] | None = None, last: int = 14) -> Path:
    with zipfile.ZipFile(path, "w") as file:
        for number in range(1, last + 1):
            for side in "LR":
                stem = f"Image_{number:02}{side}"
                for name, data in ((".jpg", jpg()), ("_1stHO.png", png()), ("_2ndHO.png", png(127))):
                    file.writestr(stem + name, data)
        for name, data in (more or {}).items():
            file.writestr(name, data)
    return path


def run(name: str, sources: list[Path], out: Path, **more: object):
    return prepare(BENCHMARKS[name], sources, out, **more)


def test_a_complete_download_has_no_warnings(tmp_path: Path) -> None:
    done = run("chase_db1", [chase(tmp_path / "CHASEDB1.zip")], tmp_path / "out")
    assert (done.written, done.kept, done.warnings) == (84, 0, ())
    label = cv2.imread(str(tmp_path / "out/annotations/training/Image_01L_1stHO.png"), cv2.IMREAD_UNCHANGED)
    assert label.tolist() == np.ones((8, 10), int).tolist()


def test_an_unpacked_folder_is_as_good_as_the_archive(tmp_path: Path) -> None:
    with zipfile.ZipFile(chase(tmp_path / "CHASEDB1.zip")) as file:
        file.extractall(tmp_path / "unpacked")
    run("chase_db1", [tmp_path / "unpacked"], tmp_path / "a")
    run("chase_db1", [tmp_path / "CHASEDB1.zip"], tmp_path / "b")
    assert tree(tmp_path / "a") == tree(tmp_path / "b")


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_missing_files_are_a_warning_that_names_them(tmp_path: Path) -> None:
    done = run("chase_db1", [chase(tmp_path / "CHASEDB1.zip", last=13)], tmp_path / "out")
    text = "\n".join(done.warnings)
    assert "images/validation/Image_14L.png" in text
    assert "images/validation: expected 8 files" in text


def test_images_without_labels_are_named(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "Train.zip", "w") as file:
        for name in ("images_png/1", "images_png/2", "masks_png/1", "masks_png/3"):
            file.writestr(f"Train/Rural/{name}.png", png(3))
    done = run("loveda", [tmp_path / "Train.zip"], tmp_path / "out")
    assert done.warnings[:2] == ("images without a label: train/2", "labels without an image: train/3")
    assert "img_dir/train: expected 2,522 files as the publisher's archives give, found 2" in done.warnings[2:]


def test_a_second_run_makes_only_what_is_not_there(tmp_path: Path) -> None:
    archive, out = chase(tmp_path / "CHASEDB1.zip"), tmp_path / "out"
    run("chase_db1", [archive], out)
    before = tree(out)
    (out / "images/training/Image_01L.png").unlink()
    kept = out / "images/training/Image_02L.png"
    kept.write_bytes(b"whole files are not read again")
    leftover = out / "images/training" / ".intarsia-here-1-0.part"
    leftover.write_bytes(b"half")
    done = run("chase_db1", [archive], out)
    assert (done.written, done.kept) == (1, 83)
    assert (out / "images/training/Image_01L.png").read_bytes() == before["images/training/Image_01L.png"]


def test_several_processes_give_the_same_files(tmp_path: Path) -> None:
    archive = chase(tmp_path / "CHASEDB1.zip")
    run("chase_db1", [archive], tmp_path / "one")
    told: list[tuple[int, int]] = []
    run("chase_db1", [archive], tmp_path / "two", processes=2, progress=lambda a, b: told.append((a, b)))
    assert tree(tmp_path / "one") == tree(tmp_path / "two")
    assert told[-1] == (84, 84)


def test_another_archive_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"drive: expected training.zip and test.zip .* found 84 files .*Image_01L"):
        run("drive", [chase(tmp_path / "CHASEDB1.zip")], tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["../evil.png", "/evil.png", "a/../../evil.png", "C:/evil.png", "..\\evil.png"])
def test_paths_that_leave_the_folder_are_refused(name: str, tmp_path: Path) -> None:
    archive = chase(tmp_path / "CHASEDB1.zip", more={name: png()})
    with pytest.raises(ValueError, match="leaves the folder"):
        run("chase_db1", [archive], tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE])
def test_links_and_pipes_are_refused(kind: bytes, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "stare-images.tar", "w") as file:
        info = tarfile.TarInfo("im0001.ppm.gz")
        info.type, info.linkname = kind, "/etc/passwd"
        file.addfile(info)
    with pytest.raises(ValueError, match="a link or device"):
        run("stare", [tmp_path / "stare-images.tar"], tmp_path / "out")


def test_a_link_in_a_zip_is_refused(tmp_path: Path) -> None:
    info = zipfile.ZipInfo("Image_01L.jpg")
    info.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as file:
        file.writestr(info, "/etc/passwd")
    with pytest.raises(ValueError, match="a link"):
        run("chase_db1", [tmp_path / "x.zip"], tmp_path / "out")


def test_absurd_sizes_are_refused_before_anything_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "LARGEST_MEMBER", 1000)
    with zipfile.ZipFile(tmp_path / "x.zip", "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("Image_01L.jpg", bytes(100_000))
    with pytest.raises(ValueError, match="would have 100,000 bytes"):
        run("chase_db1", [tmp_path / "x.zip"], tmp_path / "out")


def test_a_gzip_bomb_inside_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import gzip

    monkeypatch.setattr(archives, "LARGEST_MEMBER", 8000)
    data = gzip.compress(bytes(100_000))
    with tarfile.open(tmp_path / "stare-images.tar", "w") as file:
        info = tarfile.TarInfo("im0001.ppm.gz")
        info.size = len(data)
        file.addfile(info, io.BytesIO(data))
    with pytest.raises(ValueError, match=r"im0001.ppm.gz: refused: unpacks to more than 1,000 bytes"):
        run("stare", [tmp_path / "stare-images.tar"], tmp_path / "out")


@pytest.mark.parametrize("name", ["x.zip", "x.tar", "x.tar.gz"])
def test_cut_off_archives_are_said_to_be(name: str, tmp_path: Path) -> None:
    whole = chase(tmp_path / "whole.zip").read_bytes()
    if name != "x.zip":
        stream = io.BytesIO()
        with tarfile.open(fileobj=stream, mode="w:gz" if name.endswith("gz") else "w") as file:
            info = tarfile.TarInfo("im0001.ppm.gz")
            info.size = len(whole)
            file.addfile(info, io.BytesIO(whole))
        whole = stream.getvalue()
    (tmp_path / name).write_bytes(whole[: len(whole) // 3])
    with pytest.raises(ValueError, match=r"x\.\S+: is damaged, cut off"):
        run("stare", [tmp_path / name], tmp_path / "out")


def test_a_damaged_image_is_named_and_nothing_half_is_left(tmp_path: Path) -> None:
    archive = chase(tmp_path / "CHASEDB1.zip", last=1, more={"Image_02L.jpg": jpg()[:90]})
    with pytest.raises(ValueError, match=r"CHASEDB1.zip: Image_02L.jpg: "):
        run("chase_db1", [archive], tmp_path / "out")
    assert not (tmp_path / "out/images/training/Image_02L.png").exists()


@pytest.mark.parametrize("name", ["x.7z", "x.rar"])
def test_what_needs_another_program_is_said(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"x")
    with pytest.raises(ValueError, match="cannot be read without an extra program"):
        run("potsdam", [tmp_path / name], tmp_path / "out")


def test_names_that_are_no_utf8(tmp_path: Path) -> None:
    stem = os.fsdecode(b"train_\xe9")
    with tarfile.open(tmp_path / "train.tar", "w", format=tarfile.GNU_FORMAT, encoding="latin-1") as file:
        for folder in ("A", "B", "label"):
            info = tarfile.TarInfo(f"{folder}/train_\xe9.png")
            info.size = len(png())
            file.addfile(info, io.BytesIO(png()))
    run("levircd", [tmp_path / "train.tar"], tmp_path / "out")
    assert (tmp_path / f"out/train/A/{stem}_0_0_10_8.png").exists()


def test_a_label_is_one_by_its_own_folder_only(tmp_path: Path) -> None:
    folder = tmp_path / "my label data"
    for part in ("train/A", "train/B", "train/label"):
        (folder / part).mkdir(parents=True)
        (folder / part / "1.png").write_bytes(png())
    run("levircd", [folder], tmp_path / "out")
    assert cv2.imread(str(tmp_path / "out/train/A/1_0_0_10_8.png"), -1).max() == 255
    assert cv2.imread(str(tmp_path / "out/train/label/1_0_0_10_8.png"), -1).max() == 1


def test_windows() -> None:
    assert tiles(6000, 512) == [*range(0, 5121, 512), 5488]
    assert tiles(200, 256) == tiles(256, 256) == [0]
    assert overlapping(1000, 896, 384) == [0, 104]
    assert overlapping(896, 896, 384) == [0]


def test_pascal_context(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    masks = [rng.random((9, 13)) < 0.4 for _ in range(3)]
    runs = [coco.encode(np.asfortranarray(mask.astype(np.uint8))) for mask in masks]
    runs = [{"size": run["size"], "counts": run["counts"].decode()} for run in runs]
    for mask, run_ in zip(masks, runs, strict=True):
        assert np.array_equal(decoded_runs(run_, (9, 13)), mask)
    images = [
        {"image_id": number, "file_name": f"{name}.jpg", "width": 13, "height": 9, "phase": phase}
        for number, (name, phase) in enumerate((("b", "train"), ("a", "train"), ("c", "val"), ("d", "test")))
    ]
    items = [
        {"id": number, "image_id": 0, "category_id": category, "segmentation": run_}
        for number, (category, run_) in enumerate(zip((2, 458, 9), runs, strict=True))
    ]
    (tmp_path / "trainval_merged.json").write_text(json.dumps({"images": images, "annos_segmentation": items}))
    out = tmp_path / "out"
    run("pascal_context", [tmp_path / "trainval_merged.json"], out)
    expected = np.zeros((9, 13), int)
    for mask, category in zip(masks, (2, 458, 9), strict=True):
        expected[mask] = IDS.index(category)
    assert np.array_equal(cv2.imread(str(out / "SegmentationClassContext/b.png"), -1), expected)
    assert (out / "ImageSets/SegmentationContext/train.txt").read_text() == "a\nb\n"
    assert not (out / "SegmentationClassContext/d.png").exists()


def test_the_table() -> None:
    assert len(BENCHMARKS) == 17
    assert len(benchmark_rows()) == 17
    for name, benchmark in BENCHMARKS.items():
        assert is_known("dataset", benchmark.dataset)
        if benchmark.recipe is not None:
            assert f"'{benchmark.root}'" in repr(recipes.get(benchmark.recipe)).replace("/'", "'"), name
            assert benchmark.recipe in str(next_command(name, benchmark.default_out()))


def test_an_option_of_another_benchmark_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="chase_db1 has no option --clip-size; it has none"):
        run("chase_db1", [chase(tmp_path / "x.zip")], tmp_path / "out", options=Options(clip_size=8))


def test_a_killed_run_leaves_whole_files_and_is_gone_on_with(tmp_path: Path) -> None:
    archive, out = chase(tmp_path / "CHASEDB1.zip"), tmp_path / "out"
    command = [sys.executable, "-c", KILLED, str(archive), str(out)]
    assert subprocess.run(command, check=False, env={**os.environ}).returncode == -signal.SIGKILL
    first = tree(out)
    assert len([name for name in first if name.endswith(".png")]) >= 20
    done = run("chase_db1", [archive], out)
    assert (done.kept, done.written, done.warnings) == (20, 64, ())
    run("chase_db1", [archive], tmp_path / "other")
    assert tree(out) == tree(tmp_path / "other")


KILLED = """
import os, signal, sys
from pathlib import Path
from intarsia.data.prepare.run import prepare
from intarsia.data.prepare.table import BENCHMARKS
def tell(done, total):
    if done == 20:
        os.kill(os.getpid(), signal.SIGKILL)
prepare(BENCHMARKS["chase_db1"], [Path(sys.argv[1])], Path(sys.argv[2]), progress=tell)
"""


def test_synapse_without_lists_takes_the_split_of_transunet(tmp_path: Path) -> None:
    sources = archives.Sources([])
    sources.members = [
        archives.Member(tmp_path, "", f"Training/{kind}/{kind}{case:04}.nii.gz", 1)
        for case in range(1, 41)
        for kind in ("img", "label")
    ]
    plan = BENCHMARKS["synapse"].plan(sources, Options())
    assert (len(plan.jobs), plan.missing) == (2 * (18 + 12), ())
    folders = [job.targets.args[0].rpartition("/") for job in plan.jobs]  # type: ignore[attr-defined]
    assert {case for folder, _, case in folders if folder == "img_dir/val"} == {
        f"case{case:04}" for case in (1, 2, 3, 4, 8, 22, 25, 29, 32, 35, 36, 38)
    }
