"""What the page is made of: maps, scores, names, and nothing read before it is asked for."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from viewed_scenes import CLASSES, PALETTE, Counting, predictor

from intarsia.contracts import Sample
from intarsia.data.datasets.wrappers import ConcatDataset, RepeatDataset, SubsetDataset
from intarsia.data.description.read import read_description
from intarsia.metrics.per_image import image_iou as reference
from intarsia.viewer import pictures
from intarsia.viewer.cache import Bounded, Turns
from intarsia.viewer.measures import Query, image_iou
from intarsia.viewer.pictures import pack, shown_map, unpack
from intarsia.viewer.samples import Collection, Run, with_background
from intarsia.viewer.survey import Survey

Make = Callable[..., Collection]


def test_a_map_is_packed_and_unpacked_with_what_is_no_class() -> None:
    label = np.array([[0, 1, 255], [2, -1, 3]], np.int16)
    sure = np.arange(6, dtype=np.uint8).reshape(2, 3)
    found, confidence = unpack(pack(label, 3, sure))
    assert found.tolist() == [[0, 1, 255], [2, 255, 255]]
    assert found.dtype == np.uint8
    assert confidence is not None
    assert confidence.tolist() == sure.tolist()
    wide, none = unpack(pack(np.array([[0, 299, 300]], np.uint16), 300))
    assert wide.tolist() == [[0, 299, 65535]]
    assert none is None


@pytest.mark.parametrize("values", [3, 300])
def test_large_maps_and_pictures_are_reduced_together(values: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "LONGEST", 10)
    label = np.repeat(np.arange(20) % 3, 10).reshape(20, 10).astype(np.uint8)
    label[2] = 200
    small, sure = unpack(shown_map(pack(label, values, label)))
    void = 255 if values == 3 else 200
    assert small[:, 0].tolist() == [0, void, *(label[4::2, 0].tolist())]
    assert small.shape == (10, 5)
    assert sure is not None
    assert sure[1].tolist() == [200] * 5
    data, kind = pictures.shown_image(np.zeros((20, 10, 3), np.uint8))
    assert kind == "image/png"
    monkeypatch.setattr(pictures, "LOSSLESS", 10)
    assert pictures.shown_image(np.zeros((20, 10, 3), np.uint8))[1] == "image/jpeg"
    assert data.startswith(b"\x89PNG")


def test_the_iou_of_an_image_is_that_of_the_evaluation() -> None:
    rng = np.random.default_rng(0)
    truth, said = rng.integers(0, 4, (2, 30, 40), dtype=np.uint8)
    said[said == 3] = 2
    truth[:5] = 255
    matrix = torch.zeros(5, 5, dtype=torch.int64)
    for true, predicted in zip(truth[truth < 5].tolist(), said[truth < 5].tolist(), strict=True):
        matrix[true, predicted] += 1
    each, mean = image_iou(truth, said, 5)
    assert mean == pytest.approx(reference(matrix))
    assert np.isnan(each[4])
    assert each[3] == 0
    assert image_iou(np.full((2, 2), 255, np.uint8), np.full((2, 2), 255, np.uint8), 256)[1] == 1
    nothing, none = image_iou(np.full((2, 2), 65535, np.uint16), np.zeros((2, 2), np.uint8), 256)
    assert np.isnan(none)
    assert np.isnan(nothing).all()


def test_nothing_is_read_to_list_a_hundred_thousand_images() -> None:
    dataset = Counting(count=100_000)
    collection = Collection(dataset, [Run("a", predictor(), dataset)])
    assert len(collection.find(Query())) == 100_000
    assert collection.find(Query(text="X09999")).tolist() == list(range(99_990, 100_000))
    assert collection.find(Query(sort="name", descending=True))[0] == 99_999
    assert len(collection.find(Query(label=1))) == 0
    assert collection.find(Query(sort="score")).tolist() == list(range(100_000))
    assert dataset.loaded == []


def test_an_image_is_read_once_and_its_prediction_made_once(data: Path) -> None:
    dataset = Counting(read_description(data).dataset("train"))
    asked: list[int] = []
    model = predictor()
    real = model.predict_sample
    model.predict_sample = lambda *a, **k: asked.append(1) or real(*a, **k)  # type: ignore[method-assign, assignment, func-returns-value]
    collection = Collection(dataset, [Run("a", model, dataset)])
    threads = [threading.Thread(target=collection.prediction_map, args=(0, 2)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    collection.measure(2)
    collection.measure(2)
    assert asked == [1]
    dataset.loaded.clear()
    collection.image(3)
    collection.truth_map(3)
    collection.thumbnail(3)
    collection.thumbnail(3)
    assert dataset.loaded == [3]


def test_predictions_and_their_confidence(collected: Make) -> None:
    collection = collected(115)
    label, sure = unpack(collection.prediction_map(0, 0))
    expected = np.repeat(np.arange(60) >= 20, 40).reshape(60, 40).T.astype(np.uint8)
    expected[:4] = 0
    np.testing.assert_array_equal(label, expected)
    assert sure is not None
    assert sure[0, 0] == round(255 / (1 + np.exp(-2 * 15 / 30)))


def test_scores_are_counted_as_they_are_defined(collected: Make) -> None:
    collection = collected(115)
    collection.measure(2)
    measures = collection.measures
    labelled = 40 * 55
    wrong = 4 * 30 + 100  # the grey stripe, where the label is bright, and the square
    assert measures.disagreement[2] == pytest.approx(wrong / labelled)
    dark, bright = 40 * 25 + 100, 40 * 30 - 100
    said_bright = 36 * 30
    both = said_bright - 100
    expected = (both / (said_bright + bright - both) + (dark - 100) / (dark + wrong - 100)) / 2
    assert measures.iou[0, 2] == pytest.approx(expected)
    assert measures.truth_shows[2].tolist() == [True, True]
    assert 0.5 < measures.confidence[0, 2] < 1


def test_two_runs_disagree_with_each_other(collected: Make) -> None:
    collection = collected(115, 90)
    collection.measure(0)
    assert collection.measures.disagreement[0] == pytest.approx(4 / 40)
    assert collection.measures.iou[1, 0] != collection.measures.iou[0, 0]


def test_labels_alone_are_measured_without_the_images(data: Path) -> None:
    dataset = read_description(data).dataset("train")
    read: list[int] = []
    load = dataset.load
    dataset.load = lambda index: read.append(index) or load(index)  # type: ignore[method-assign, func-returns-value]
    collection = Collection(ConcatDataset([dataset, dataset]))
    for index in range(12):
        collection.measure(index)
    assert read == []
    assert collection.measures.truth_shows.all()
    assert np.isnan(collection.measures.disagreement).all()


def surveyed(collection: Collection) -> Collection:
    survey = Survey(collection)
    survey.start()
    assert survey._thread is not None
    survey._thread.join()
    assert survey.state() == {"done": len(collection), "total": len(collection), "failed": 0, "running": False}
    return collection


def test_images_are_sorted_and_chosen_by_what_was_measured(collected: Make) -> None:
    collection = surveyed(collected(115))
    iou = collection.measures.iou[0]
    by_score = collection.find(Query(sort="score"))
    assert iou[by_score].tolist() == sorted(iou.tolist())
    assert collection.find(Query(sort="score", descending=True)).tolist() == by_score.tolist()[::-1]
    assert collection.find(Query(low=float(iou[2]) - 0.001, high=float(iou[2]) + 0.001)).tolist() == [2]
    worst = collection.find(Query(sort="disagreement", descending=True))[0]
    assert worst == np.nanargmax(collection.measures.disagreement)
    least = float(np.sort(collection.measures.disagreement)[-2])
    assert len(collection.find(Query(least=least))) == 2
    assert collection.find(Query(sort="confidence"))[0] == np.argmin(collection.measures.confidence[0])
    assert collection.find(Query(text="X3")).tolist() == [3]
    with pytest.raises(ValueError, match="expected a sort of"):
        Query(sort="size")


def test_images_are_chosen_by_a_class(tmp_path: Path) -> None:
    class Four(Counting):
        """Truth and prediction show bright, in both, one or none of them."""

        def load(self, index: int) -> Sample:
            label = np.full((4, 4), index // 2, np.uint8)
            image = np.full((4, 4, 3), 200 * (index % 2), np.uint8)
            return Sample(image, label)

    dataset = Four(count=4)
    collection = surveyed(Collection(dataset, [Run("a", predictor(), dataset)]))
    found = {
        place: collection.find(Query(label=1, place=place)).tolist()
        for place in ("truth", "prediction", "any", "wrong")
    }
    assert found == {"truth": [2, 3], "prediction": [1, 3], "any": [1, 2, 3], "wrong": [1, 2]}
    assert collection.measures.score(Query(label=1))[1:].tolist() == [0, 0, 1]
    assert np.isnan(collection.measures.score(Query(label=1))[0])


def test_a_broken_image_is_noted_and_the_others_are_measured(data: Path, collected: Make) -> None:
    (data.parent / "masks" / "x1.png").write_bytes(b"no image")
    collection = collected(115)
    survey = Survey(collection)
    survey.start()
    assert survey._thread is not None
    survey._thread.join()
    assert survey.state()["failed"] == 1
    assert survey.state()["done"] == 6
    assert "x1.png" in collection.measures.failed[1]
    assert collection.find(Query(sort="score"))[-1] == 1
    with pytest.raises(ValueError, match=r"x1\.png"):
        collection.sample(1)


def test_a_survey_stops_and_goes_on(data: Path) -> None:
    dataset = Counting(read_description(data).dataset("train"))
    collection = Collection(dataset)
    survey = Survey(collection)
    reached = threading.Event()
    measure = collection.measure

    def slowly(index: int) -> None:
        measure(index)
        if index == 1:
            reached.set()
            survey._stop.wait(30)

    collection.measure = slowly  # type: ignore[method-assign]
    survey.start()
    assert reached.wait(30)
    survey.start()  # once more: nothing
    survey.stop()
    assert not survey.running
    assert dataset.loaded == [0, 1]
    survey.start()
    assert survey._thread is not None
    survey._thread.join()
    assert dataset.loaded == list(range(6))


def test_names_of_data_sets_of_data_sets(data: Path) -> None:
    inner = Counting(count=6)
    both = ConcatDataset([SubsetDataset(inner, most=2), RepeatDataset(inner, 2)])
    collection = Collection(both)
    assert [collection.name(index)[-1] for index in (0, 1, 2, 7, 8, 13)] == ["0", "3", "0", "5", "0", "5"]
    assert inner.loaded == []

    class Nameless:
        classes, palette, ignore_index = CLASSES, PALETTE, 255

        def __len__(self) -> int:
            return 3

        def load(self, index: int) -> Sample:
            raise AssertionError

    assert Collection(Nameless()).name(2) == "image 3"


def test_runs_are_of_the_same_images(data: Path) -> None:
    with pytest.raises(ValueError, match=r"b: expected the 4 images, found 5"):
        Collection(Counting(count=4), [Run("b", predictor(), Counting(count=5))])


def test_a_single_class_has_a_background() -> None:
    assert with_background(("crack",), ((1, 2, 3),)) == (("background", "crack"), ((0, 0, 0), (1, 2, 3)))
    assert with_background(CLASSES, PALETTE) == (CLASSES, PALETTE)


def test_ignored_pixels_are_no_class_even_if_their_number_is_one() -> None:
    class Ignoring(Counting):
        ignore_index = 1

        def load(self, index: int) -> Sample:
            return Sample(np.zeros((1, 2, 3), np.uint8), np.array([[0, 1]], np.uint8))

    packed = Collection(Ignoring(count=1)).truth_map(0)
    assert packed is not None
    assert unpack(packed)[0].tolist() == [[0, 255]]


# --- What is kept -------------------------------------------------------------------------------------------------


def test_what_is_kept_is_bounded_and_the_oldest_goes() -> None:
    cache = Bounded[bytes](100, len)
    for key in range(10):
        cache.get(key, lambda: b"x" * 30)
        cache.get(0, lambda: b"never")
    assert cache.held == 90
    assert len(cache) == 3
    assert cache.peek(0) == b"x" * 30
    assert cache.peek(7) is None
    assert cache.get("large", lambda: b"y" * 101) == b"y" * 101
    assert (len(cache), cache.held) == (1, 101)  # an image is asked for more than once, however large
    cache.get("small", lambda: b"z")
    assert (len(cache), cache.held) == (1, 1)


def test_an_error_is_not_kept() -> None:
    cache = Bounded[bytes](100, len)
    with pytest.raises(ZeroDivisionError):
        cache.get("a", lambda: bytes(1 // 0))
    assert cache.get("a", lambda: b"now") == b"now"


def test_nobody_takes_a_turn_past_who_waits() -> None:
    """A thread that takes it again and again lets another in after the one that it holds."""
    turns, order, waits = Turns(), [], threading.Event()

    def other() -> None:
        waits.set()
        with turns.taken():
            order.append("other")

    thread = threading.Thread(target=other)
    with turns.taken():
        thread.start()
        waits.wait(30)
        while not turns._door.locked():
            pass
    with turns.taken():
        order.append("again")
    thread.join()
    assert order == ["other", "again"]


def test_thumbnails_are_small(tmp_path: Path) -> None:
    picture = pictures.thumbnail(np.zeros((500, 1000, 3), np.uint8))
    (tmp_path / "a.jpg").write_bytes(picture)
    assert Image.open(tmp_path / "a.jpg").size == (128, 64)
