"""What prediction writes: every kind of file read back, values for servers, the writer's order and failures."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from intarsia.colours import distinct_colours
from intarsia.data.datasets import ade20k, cityscapes
from intarsia.data.image_io import read_label
from intarsia.data.labels import LabelTable
from intarsia.inference.logits import scratch as scratch_module
from intarsia.inference.logits.lazy import HeadLogits, Resized
from intarsia.inference.logits.postprocess import RequestedFields, postprocess
from intarsia.inference.logits.scratch import Scratch
from intarsia.inference.outputs.areas import AreaTable
from intarsia.inference.outputs.label_values import server_values, source_values
from intarsia.inference.outputs.writer import KINDS, Look, Outputs, OutputWriter, check_kinds
from intarsia.inference.prediction import Prediction
from intarsia.io.whole_files import aside_name, sweep

CLASSES = ("road", "car", "sky")
PALETTE = ((128, 64, 128), (0, 0, 142), (70, 130, 180))
SIZE = (40, 60)


@pytest.fixture
def found() -> Prediction:
    """A prediction with everything in it."""
    rng = np.random.default_rng(0)
    logits = (4 * rng.standard_normal((3, *SIZE))).astype(np.float32)
    shares = np.exp(logits) / np.exp(logits).sum(axis=0)
    return Prediction(
        logits.argmax(axis=0).astype(np.uint8),
        CLASSES,
        PALETTE,
        image=rng.integers(0, 256, (*SIZE, 3), dtype=np.uint8),
        name="day/street",
        probabilities=shares,
        confidence=shares.max(axis=0),
        entropy=-(shares * np.log(shares)).sum(axis=0),
        logits=logits,
    )


# --- Files --------------------------------------------------------------------------------------------------------


def test_every_kind_reads_back_as_documented(found: Prediction, tmp_path: Path) -> None:
    outputs = Outputs(tmp_path, frozenset(KINDS), classes=found.classes)
    assert not outputs.finished(found.name)
    outputs.write(found)
    assert outputs.finished(found.name)
    files = outputs.files(found.name)
    assert sorted(tmp_path.rglob("*.*")) == sorted(files.values())
    assert files["label"] == tmp_path / "day" / "street.png"

    assert np.array_equal(np.array(Image.open(files["label"])), found.label)
    assert np.array_equal(np.array(Image.open(files["color"])), np.array(PALETTE, np.uint8)[found.label])
    with Image.open(files["overlay"]) as overlay:
        assert overlay.format == "JPEG"
        assert overlay.size[1] == SIZE[0] * 8  # small images are enlarged, so that the legend can be read
    assert found.probabilities is not None
    assert found.confidence is not None
    assert found.entropy is not None
    probs, logits = np.load(files["probs"]), np.load(files["logits"])
    assert probs.dtype == np.float16
    assert np.abs(probs - found.probabilities).max() < 2**-11
    assert logits.dtype == np.float32
    assert np.array_equal(logits, found.logits)
    confidence, entropy = (np.array(Image.open(files[kind])) for kind in ("confidence", "entropy"))
    assert confidence.dtype == entropy.dtype == np.uint16
    assert np.abs(confidence / 65535 - found.confidence).max() <= 0.51 / 65535
    assert np.abs(entropy / 65535 * np.log(3) - found.entropy).max() <= 0.51 / 65535 * np.log(3)
    masks = [np.array(Image.open(files[f"masks:{k}"])) for k in range(len(found.classes))]
    assert np.array_equal(np.stack(masks) == 255, found.labels)
    assert np.array_equal(np.argmax(masks, axis=0), found.label)
    regions = json.loads(files["polygons"].read_text())["features"]
    assert sum(region["properties"]["pixels"] for region in regions) == found.label.size
    annotations = json.loads(files["rle"].read_text())["annotations"]
    assert [one["area"] for one in annotations] == np.bincount(found.label.ravel()).tolist()


def test_what_is_no_number_has_no_confidence(found: Prediction, tmp_path: Path) -> None:
    assert found.confidence is not None
    found.confidence[0, 0] = np.nan
    Outputs(tmp_path, frozenset({"confidence"})).write(found)
    assert np.array(Image.open(tmp_path / "day" / "street_confidence.png"))[0, 0] == 0
    assert found.uncertain(0.0)[0, 0]


def test_a_bug_in_one_kind_is_no_failure_of_a_file(found: Prediction, tmp_path: Path) -> None:
    """But of by-products, which are made of the label map and may fail in any way."""

    class Broken(Outputs):
        def write_one(self, prediction: Prediction, kind: str, file: Path, **_: object) -> None:
            raise ZeroDivisionError("x")

    with pytest.raises(ZeroDivisionError):
        Broken(tmp_path, frozenset({"label"})).write(found)
    with pytest.raises(ValueError, match=r"^rle cannot be made: ZeroDivisionError: x$"):
        Broken(tmp_path, frozenset({"rle"})).write(found)


@pytest.mark.parametrize(("count", "value"), [(3, 255), (17, 255), (255, 255), (256, 65535), (300, 65535)])
def test_uncertain_pixels_in_label_files(count: int, value: int, tmp_path: Path) -> None:
    """Also for few classes, where a file with a palette of four colours would have room for two bits."""
    dtype = np.uint8 if count <= 256 else np.uint16
    label = (np.arange(2400).reshape(SIZE) % count).astype(dtype)
    confidence = np.random.default_rng(0).random(SIZE, dtype=np.float32)
    found = Prediction(label, tuple(map(str, range(count))), distinct_colours(count), confidence=confidence)
    Outputs(tmp_path, frozenset({"label"}), min_confidence=0.6).write(found)
    expected = np.where(confidence < np.float32(0.6), value, label.astype(np.int64))
    for read in (lambda path: np.array(Image.open(path)), read_label):
        assert np.array_equal(read(tmp_path / "image.png"), expected)
    assert int(found.pixels(min_confidence=0.6).sum()) == (confidence >= 0.6).sum()


def test_uncertain_needs_a_value_and_a_confidence() -> None:
    label = np.zeros(SIZE, np.uint8)
    ones = np.ones(SIZE, np.float32)
    names = tuple(map(str, range(65536)))
    full = Prediction(label.astype(np.uint16), names, ((0, 0, 0),) * 65536, confidence=ones)
    with pytest.raises(ValueError, match="65535, which is the class '65535'"):
        full.label_with_uncertain(0.5)
    with pytest.raises(ValueError, match="confidence=True"):
        Prediction(label, CLASSES, PALETTE).uncertain(0.5)
    with pytest.raises(ValueError, match=r"from 0 to 1, found 1\.5"):
        full.uncertain(1.5)


def test_uncertain_pixels_are_hatched_and_in_the_legend(found: Prediction) -> None:
    plain = found.overlay(1.0, legend=False, contours=False)
    hatched = found.overlay(1.0, legend=False, contours=False, min_confidence=0.6)
    mask = found.uncertain(0.6)
    assert 0 < mask.sum() < mask.size
    assert np.array_equal(plain[~mask], hatched[~mask])
    greys = hatched[mask]
    assert (greys == greys[:, :1]).all()
    assert len(np.unique(greys)) == 2
    assert np.array_equal(hatched, found.coloured(min_confidence=0.6))
    assert not np.array_equal(found.overlay(min_confidence=0.6)[:, 480:], found.overlay()[:, 480:])


def test_the_class_255_of_many_is_coloured_like_the_others() -> None:
    found = Prediction(np.full(SIZE, 255, np.uint16), tuple(map(str, range(300))), distinct_colours(300))
    assert np.array_equal(found.overlay(legend=False)[0, 0], distinct_colours(300)[255])


def test_kinds_and_looks_are_checked(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"--save takes label, color.*found 'mask'"):
        check_kinds(["label", "mask"])
    with pytest.raises(ValueError, match="found none"):
        Outputs(tmp_path, frozenset())
    with pytest.raises(ValueError, match=r"opacity.*found 2"):
        Look(opacity=2)
    with pytest.raises(ValueError, match="--save masks: masks of the classes are written of images into a folder"):
        Outputs(tmp_path, frozenset({"masks"}))
    with pytest.raises(ValueError, match=r"--areas .* is a folder; give the name of a file"):
        AreaTable(tmp_path, CLASSES)


# --- Values for servers and of sources ----------------------------------------------------------------------------


def test_cityscapes_and_ade_by_name(tmp_path: Path) -> None:
    ids = server_values("cityscapes", cityscapes.CLASSES)
    label = np.arange(19, dtype=np.uint8).reshape(1, 19)
    expected = [7, 8, 11, 12, 13, 17, *range(19, 29), 31, 32, 33]
    assert ids.applied(label)[0].tolist() == expected
    backwards = server_values("cityscapes", cityscapes.CLASSES[::-1])
    assert backwards.applied(label)[0].tolist() == expected[::-1]
    assert ids.applied(label, label > 16)[0].tolist() == [*expected[:17], 0, 0]
    unnamed = server_values("ade20k", tuple(f"class {index}" for index in range(150)))
    assert unnamed.table.tolist() == list(range(1, 151)) == server_values("ade20k", ade20k.CLASSES).table.tolist()

    found = Prediction(label, cityscapes.CLASSES, cityscapes.PALETTE, name="bonn/bonn_000000_000019_leftImg8bit")
    Outputs(tmp_path, frozenset({"label"}), values=ids).write(found)
    with Image.open(tmp_path / "bonn_000000_000019_leftImg8bit.png") as image:  # no folder of the city
        assert image.mode == "L"
        assert np.array(image)[0].tolist() == expected


def test_loveda_counts_from_zero() -> None:
    """Its label files count from 1, its server does not (mmsegmentation issue 3279)."""
    names = ("background", "building", "road", "water", "barren", "forest", "agricultural")
    assert server_values("loveda", names).table.tolist() == list(range(7))
    with pytest.raises(ValueError, match="no value for uncertain"):
        server_values("loveda", names, with_uncertain=True)


def test_classes_of_another_benchmark_are_refused() -> None:
    with pytest.raises(ValueError, match=r"cityscapes has no class 'cat'.*--format source"):
        server_values("cityscapes", ("road", "cat"))


@settings(max_examples=60, deadline=None)
@given(st.data(), st.integers(1, 30))
def test_source_values_are_the_inverse_of_the_table(data: st.DataObject, count: int) -> None:
    keys = data.draw(st.lists(st.integers(0, 4000), min_size=count, max_size=count + 5, unique=True))
    table = LabelTable({key: index % count for index, key in enumerate(keys)} | {5000: 255})
    values = source_values(table, tuple(map(str, range(count))), with_uncertain=True)
    label = data.draw(st.lists(st.integers(0, count - 1), min_size=1, max_size=20))
    uncertain = np.array([data.draw(st.booleans()) for _ in label])[None]
    array = np.array([label], np.uint8)
    written = values.applied(array, uncertain)
    assert np.array_equal(table.apply(written, file="x"), np.where(uncertain, 255, array))


def test_source_colours_and_what_has_no_inverse() -> None:
    table = LabelTable(None, {(0, 0, 0): 255, (192, 128, 0): 0, (0, 128, 192): 1})
    values = source_values(table, ("a", "b"), with_uncertain=True)
    written = values.applied(np.array([[0, 1, 1]], np.uint8), np.array([[False, False, True]]))
    assert written.tolist() == [[[192, 128, 0], [0, 128, 192], [0, 0, 0]]]
    with pytest.raises(ValueError, match="no value of the label files stands for c"):
        source_values(LabelTable({0: 0, 1: 1}), ("a", "b", "c"))
    masks = LabelTable({0: 0, 255: 1})
    assert source_values(masks, ("background", "crack")).table.tolist() == [0, 255]
    with pytest.raises(ValueError, match="255 is a class"):
        source_values(masks, ("background", "crack"), with_uncertain=True)
    with pytest.raises(ValueError, match="no colour of the label files stands for c"):
        source_values(table, ("a", "b", "c"))
    without = LabelTable(None, {(192, 128, 0): 0, (0, 128, 192): 1})
    assert source_values(without, ("a", "b")).uncertain is None
    with pytest.raises(ValueError, match="no colour of the label files says that nothing is known"):
        source_values(without, ("a", "b"), with_uncertain=True)
    for value in (-1, 65536):
        with pytest.raises(ValueError, match=f"label files of 16 bits hold 0 to 65535, not .*{value}"):
            source_values(LabelTable({value: 0, 7: 1}), ("a", "b"))


# --- The writer ---------------------------------------------------------------------------------------------------


def test_the_writer_works_beside_the_caller_and_waits_when_it_is_full() -> None:
    order: list[int] = []
    gate = threading.Event()

    def job(number: int) -> None:
        gate.wait(10)
        order.append(number)

    writer = OutputWriter(ahead=2)
    for number in range(3):  # one is being written, two wait
        writer.put(str(number), lambda number=number: job(number))
    late = threading.Thread(target=lambda: writer.put("3", lambda: job(3)))
    late.start()
    late.join(0.2)
    assert late.is_alive(), "a fourth has no room"
    assert order == []
    gate.set()
    late.join(10)
    writer.close()
    assert order == [0, 1, 2, 3]
    assert writer.done == 4


def test_failures_are_named_and_the_rest_is_written() -> None:
    def full() -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    written: list[int] = []
    with OutputWriter() as writer:
        writer.put("a.jpg", full)
        writer.put("b.jpg", lambda: written.append(1))
    assert writer.failures == [("a.jpg", "cannot be written: No space left on device")]
    assert (written, writer.done) == ([1], 1)


def test_a_bug_is_raised_where_it_is_seen() -> None:
    with pytest.raises(ZeroDivisionError), OutputWriter() as writer:
        writer.put("a", lambda: 1 / 0)


def test_an_interruption_lets_the_writer_finish() -> None:
    written: list[int] = []

    def slow(number: int) -> None:
        time.sleep(0.05)
        written.append(number)

    def work() -> None:
        with OutputWriter(ahead=3) as writer:
            for number in range(3):
                writer.put(str(number), lambda number=number: slow(number))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        work()
    assert written == [0, 1, 2]


def test_what_a_killed_process_began_is_swept_away(tmp_path: Path) -> None:
    code = (
        "import os, sys\nfrom pathlib import Path\nfrom intarsia.io.whole_files import aside_name\n"
        "Path(sys.argv[1], aside_name()).write_bytes(b'half')\nos.kill(os.getpid(), 9)"
    )
    inner = tmp_path / "inner"
    inner.mkdir()
    assert subprocess.run([sys.executable, "-c", code, str(inner)]).returncode == -9
    assert len(list(inner.iterdir())) == 1
    ours = inner / aside_name()
    ours.write_bytes(b"being written")
    (inner / ".hidden").write_bytes(b"of somebody else")
    assert sweep(tmp_path) == 1
    assert sorted(inner.iterdir()) == sorted([inner / ".hidden", ours])


# --- Arrays that are filled in files ------------------------------------------------------------------------------


def test_arrays_in_files_are_those_in_memory(tmp_path: Path) -> None:
    torch.manual_seed(0)
    views = [Resized(HeadLogits(torch.randn(5, 9, 11)), (70, 90), align_corners=False)]
    plain = postprocess(views, wanted=RequestedFields(probabilities=True, logits=True, confidence=True))
    place = Scratch(tmp_path)
    wanted = RequestedFields(probabilities=True, logits=True, confidence=True, place=place)
    found = postprocess(views, wanted=wanted, budget=4000)
    files = place.take()
    assert plain.probabilities is not None
    assert plain.logits is not None
    assert np.array_equal(np.load(files["logits"]), plain.logits.numpy())
    assert np.array_equal(np.load(files["probabilities"]), plain.probabilities.numpy().astype(np.float16))
    assert found.confidence is not None
    assert found.confidence.dtype == torch.float32
    place.close()
    assert len(list(tmp_path.iterdir())) == 2, "what was taken is its taker's"


def test_a_full_disk_is_told_before_anything_is_filled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(scratch_module, "_reserve", full)
    with pytest.raises(ValueError, match=r"no file for its logits in .*No space left"):
        Scratch(tmp_path)("logits", (3, 4, 5))
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    place = Scratch(tmp_path / "absent")
    with pytest.raises(ValueError, match=r"no file for its logits in .*absent: No such file or directory"):
        place("logits", (3, 4, 5))
    assert place.take() == {}


def test_an_array_that_nobody_took_is_removed(tmp_path: Path) -> None:
    place = Scratch(tmp_path)
    assert place("entropy", (4, 5)) is None
    place("logits", (3, 4, 5))
    place("logits", (3, 4, 5))
    assert len(list(tmp_path.iterdir())) == 1
    place.close()
    assert list(tmp_path.iterdir()) == []


# --- Areas --------------------------------------------------------------------------------------------------------


def test_areas(found: Prediction, tmp_path: Path) -> None:
    path = tmp_path / "areas.csv"
    table = AreaTable(path, CLASSES, min_confidence=0.6)
    table.add(found)
    table.save()
    header, row = path.read_text().splitlines()
    assert header.split(",")[:5] == ["image", "width", "height", "road pixels", "road share"]
    cells = dict(zip(header.split(","), row.split(","), strict=True))
    assert (cells["image"], cells["width"], cells["height"]) == ("day/street", "60", "40")
    assert sum(int(cells[f"{name} pixels"]) for name in (*CLASSES, "uncertain")) == found.label.size
    assert int(cells["uncertain pixels"]) == found.uncertain(0.6).sum()
    assert sum(float(cells[f"{name} share"]) for name in (*CLASSES, "uncertain")) == pytest.approx(1, abs=4e-6)

    again = AreaTable(path, CLASSES, min_confidence=0.6, resume=True)
    assert found.name in again
    again.save()
    assert path.read_text().splitlines() == [header, row]
    with pytest.raises(ValueError, match="other columns"):
        AreaTable(path, CLASSES[:2], min_confidence=0.6, resume=True)
    assert found.name not in AreaTable(path, CLASSES, min_confidence=0.6)


def test_a_table_that_was_saved_by_something_else_is_gone_on_with(found: Prediction, tmp_path: Path) -> None:
    path = tmp_path / "areas.csv"
    table = AreaTable(path, CLASSES)
    table.add(found)
    table.save()
    whole = path.read_bytes()
    for saved in (whole + b"\n", b"\n" + whole.replace(b"\n", b"\r\n"), b"\xef\xbb\xbf" + whole):
        path.write_bytes(saved)
        again = AreaTable(path, CLASSES, resume=True)
        assert found.name in again
        again.save()
        assert path.read_bytes() == whole
    for lost in (b"", b"\n", whole[:-20]):
        path.write_bytes(lost)
        assert found.name not in AreaTable(path, CLASSES, resume=True), "and so the image is done again"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match=r"areas\.csv"):
        AreaTable(path, CLASSES, resume=True)


def test_a_table_knows_names_that_are_no_text_again(found: Prediction, tmp_path: Path) -> None:
    table = AreaTable(tmp_path / "areas.csv", CLASSES)
    table.put("stra\udcdfe", table.row(found))
    table.save()
    again = AreaTable(table.path, CLASSES, resume=True)
    assert "stra\udcdfe" in again
    again.put("stra\udcdfe", again.row(found))
    again.save()
    assert len(table.path.read_text(encoding="utf-8").splitlines()) == 2


def test_a_table_is_written_from_time_to_time(
    found: Prediction, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "areas.csv"
    table = AreaTable(path, CLASSES)
    table.add(found)
    assert not path.exists()
    monkeypatch.setattr("intarsia.inference.outputs.tables.SAVE_EVERY", -1.0)
    table.add(found)
    assert [line.split(",")[0] for line in path.read_text().splitlines()] == ["image", "day/street"]
