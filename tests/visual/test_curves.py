"""The picture of a training run."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from intarsia.visual.comparison import save_comparison
from intarsia.visual.curves import save_curves, series, smoothed

RUN = [
    record
    for step in range(10, 401, 10)
    for record in (
        {"step": step, "loss": 300 / step, "decode.loss_ce": 200 / step, "aux.loss_ce": 100 / step, "lr": 1e-3},
        {"step": step, "val/mIoU": step / 500, "val/aAcc": 0.9, "val/loss": 1.0},
    )
]


@pytest.mark.parametrize(
    "records",
    [
        [],
        [{"step": 1, "loss": 2.0, "decode.loss_ce": 2.0, "lr": 0.1}],
        [{"step": 5, "val/IoU(crack)": 0.5}],
        [{"step": 1, "loss": None, "lr": 0.0}, {"step": 2, "loss": 1.0, "lr": 0.0}],
        [{"step": 1, "loss": -3.0}, {"step": 2, "loss": -4.0}],
        RUN,
    ],
)
def test_any_log_gives_a_picture_and_always_the_same(tmp_path, records):
    path = save_curves(tmp_path / "deep" / "curve.png", records, title="run")
    first = path.read_bytes()
    assert Image.open(path).size == (1430, 598)
    assert save_curves(path, records, title="run").read_bytes() == first


def test_a_run_shows_losses_and_scores_in_their_colours(tmp_path):
    picture = np.array(Image.open(save_curves(tmp_path / "c.png", RUN)).convert("RGB")).reshape(-1, 3)
    counts = {tuple(colour): int((picture == colour).all(axis=1).sum()) for colour in [(0, 114, 178), (230, 159, 0)]}
    assert min(counts.values()) > 100


def test_missing_numbers_are_left_out():
    steps, values = series([{"step": 1, "a": 2.0}, {"step": 2, "a": None}, {"step": 3}, {"step": 4, "a": 5}], "a")
    assert steps.tolist() == [1, 4]
    assert values.tolist() == [2, 5]


@given(st.lists(st.floats(-10, 10), min_size=1, max_size=200))
def test_smoothing_stays_within_the_values(values):
    array = np.array(values)
    smooth = smoothed(array)
    assert smooth.shape == array.shape
    assert smooth.min() >= array.min() - 1e-9
    assert smooth.max() <= array.max() + 1e-9
    if len(values) < 30:
        np.testing.assert_allclose(smooth, array, atol=1e-9)


def test_runs_compared_have_a_colour_each(tmp_path):
    other = [
        {**record, "loss": 2.0} if "loss" in record else {"step": record["step"], "val/mIoU": 0.3} for record in RUN
    ]
    path = save_comparison(tmp_path / "both.png", {"first": RUN, "second": other, "without scores": RUN[::2]})
    picture = np.array(Image.open(path).convert("RGB")).reshape(-1, 3)
    for colour in [(0, 114, 178), (230, 159, 0), (0, 158, 115)]:
        assert int((picture == colour).all(axis=1).sum()) > 100
    assert save_comparison(path, {"empty": []}).exists()
