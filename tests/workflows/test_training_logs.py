"""Logs of trainings of Intarsia and of MMSegmentation 1.x and 0.x, under the same names."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from intarsia.cli.main import main
from intarsia.visual.comparison import save_series
from intarsia.workflows.training_logs import Summary, found_key, read_log, summary


def write(path: Path, lines: Sequence[dict[str, Any]], *, cut: bool = False) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(line) + "\n" for line in lines)
    path.write_text(text + '{"step": 9, "lo' * cut)
    return path


def engine_line(step: int, loss: float, **more: Any) -> dict[str, Any]:
    return {"base_lr": 0.01, "lr": 0.01, "data_time": 0.1, "decode.loss_ce": loss, "decode.acc_seg": 70.0, "loss": loss,
            "time": 0.4, "iter": step, "memory": 4000, "step": step, **more}  # fmt: skip


def engine_scores(step: int, miou: float) -> dict[str, Any]:
    return {"aAcc": 90.0, "mIoU": miou, "mAcc": 60.0, "ECE": 0.5, "data_time": 0.01, "time": 0.2, "step": step}


def test_a_log_of_1x(tmp_path: Path) -> None:
    lines = [engine_line(50, 2.0), engine_line(100, float("nan")), engine_scores(100, 40.0), engine_scores(0, 41.0)]
    log = read_log(write(tmp_path / "scalars.json", lines, cut=True))
    assert log.records[0] == {
        "step": 50, "base_lr": 0.01, "lr": 0.01, "decode.loss_ce": 2.0, "decode.acc_seg": 70.0, "loss": 2.0,
        "step_seconds": 0.4, "data_wait": 0.25,
    }  # fmt: skip
    assert log.records[1]["loss"] is None
    assert log.records[2] == {"step": 100, "val/aAcc": 0.9, "val/mIoU": 0.4, "val/mAcc": 0.6, "val/ECE": 0.5}
    assert log.series("val/mIoU") == [(100, 0.4), (100, 0.41)], "a test at the end has step 0"
    assert log.series("loss") == [(50, 2.0)]


def test_a_work_dir_whose_training_was_resumed(tmp_path: Path) -> None:
    """The second log begins after step 100 of the first, which had come to 150."""
    first = [engine_line(50, 3.0), engine_line(100, 2.0), engine_line(150, 9.0)]
    second = [engine_line(150, 1.0), engine_line(200, 0.5)]
    write(tmp_path / "20230801_000000" / "vis_data" / "scalars.json", first)
    write(tmp_path / "20230802_000000" / "vis_data" / "scalars.json", second)
    assert read_log(tmp_path).series("loss") == [(50, 3.0), (100, 2.0), (150, 1.0), (200, 0.5)]


def test_a_log_of_0x(tmp_path: Path) -> None:
    def train(epoch: int, iteration: int) -> dict[str, Any]:
        return {"mode": "train", "epoch": epoch, "iter": iteration, "lr": 0.01, "memory": 1, "data_time": 0.0,
                "loss": 1.5, "time": 0.5}  # fmt: skip

    def val(miou: float) -> dict[str, Any]:
        return {"mode": "val", "epoch": 1, "iter": 500, "lr": 0.0, "mIoU": miou, "IoU.road": 0.9}

    lines = [{"env_info": "sys.platform: linux", "seed": 0}, train(1, 50), train(1, 100), val(0.3), train(2, 150)]
    log = read_log(write(tmp_path / "20210303_101010.log.json", lines))
    assert [line["step"] for line in log.records] == [50, 100, 100, 150]
    assert log.records[2] == {"step": 100, "val/mIoU": 0.3, "val/IoU.road": 0.9}
    assert log.records[0]["step_seconds"] == 0.5
    assert read_log(tmp_path).records == log.records, "the folder has it, too"
    by_epoch = [train(1, 50), train(1, 100), train(2, 50), val(0.4), train(3, 50)]
    log = read_log(write(tmp_path / "b.log.json", by_epoch))
    assert [line["step"] for line in log.records] == [50, 100, 150, 150, 200]


def test_a_run_of_ours_has_the_seconds_of_a_step(tmp_path: Path) -> None:
    write(
        tmp_path / "metrics.jsonl", [{"step": 1, "loss": 1.0, "images_per_second": 16.0}, {"step": 1, "val/mIoU": 0.5}]
    )
    assert "step_seconds" not in read_log(tmp_path).keys
    (tmp_path / "run.json").write_text('{"batch": 8}')
    assert read_log(tmp_path).series("step_seconds") == [(1, 0.5)]
    assert read_log(tmp_path / "metrics.jsonl").records == read_log(tmp_path).records


def test_what_is_summed_up(tmp_path: Path) -> None:
    values = [4.0, 1.0, 3.0, 1.0]
    lines = [{"step": n, "loss": v, "lr": v, "val/mIoU": v, "val/rmse": v} for n, v in enumerate(values, 1)]
    log = read_log(write(tmp_path / "metrics.jsonl", lines))
    assert summary(log, "loss") == Summary(4, 4.0, 1.0, (1.0, 2), 2.0)
    assert summary(log, "val/rmse").best == (1.0, 2)
    assert summary(log, "val/mIoU").best == (4.0, 1)
    assert summary(log, "lr").best is None
    assert summary(log, "time") is None
    assert found_key(log.keys, "mIoU") == "val/mIoU"
    assert found_key(log.keys, "loss") == "loss"
    assert found_key(log.keys, "aAcc") is None


@pytest.mark.parametrize("content", ["", "[1, 2]\nno json\n", '{"a": 1}\n'])
def test_what_is_no_log(content: str, tmp_path: Path) -> None:
    (tmp_path / "scalars.json").write_text(content)
    with pytest.raises(ValueError, match="is no log of a training"):
        read_log(tmp_path / "scalars.json")
    with pytest.raises(ValueError, match="holds no log of a training"):
        read_log(tmp_path)


def test_odd_values_in_a_log_are_passed_over(tmp_path: Path) -> None:
    """Texts, lists, booleans, numbers without end and brackets without end: what is left is what can be drawn."""
    odd = [engine_line(50, 2.0, note="warm", shape=[1, 2], flag=True, huge=10**400), {"step": 10**30, "loss": 1.0}]
    file = write(tmp_path / "scalars.json", [*odd, {"step": True, "loss": 1.0}, engine_line(100, 1.0)])
    file.write_text("[" * 100_000 + "\n" + file.read_text())
    log = read_log(file)
    assert log.series("loss") == [(50, 2.0), (100, 1.0)]
    assert log.records[0]["huge"] is None
    assert not {"note", "shape"} & set(log.keys)
    assert summary(log, "flag") is None
    ours = write(tmp_path / "metrics.jsonl", [{"step": 1, "loss": "x"}, {"step": 2, "loss": None, "val/mIoU": 0.5}])
    assert read_log(ours).records == [{"step": 1}, {"step": 2, "loss": None, "val/mIoU": 0.5}]


# --- the command --------------------------------------------------------------------------------------------------


@pytest.fixture
def runs(tmp_path: Path) -> list[str]:
    ours = [
        {"step": n, "loss": 2.0 / n, "lr": 0.1, "images_per_second": 10.0 + n, "data_wait": 0.1} for n in range(1, 41)
    ]
    write(tmp_path / "ours" / "metrics.jsonl", [*ours, {"step": 40, "val/mIoU": 0.6}])
    (tmp_path / "ours" / "run.json").write_text('{"batch": 20}')
    theirs = [engine_line(50, 2.0), engine_scores(50, 40.0)]
    write(tmp_path / "theirs" / "20230801_000000" / "vis_data" / "scalars.json", theirs)
    return [str(tmp_path / "ours"), str(tmp_path / "theirs")]


def table(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines() if "tmp" in line or "/ours" in line]


def test_runs_of_both_in_one_table(runs: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plot", *runs, "-o", str(tmp_path / "both.png")]) == 0
    ours, theirs = table(capsys.readouterr().out)
    median, slow = 20 / 30, 20 / 13  # of rates from 11 to 50; 2 of the 40 lines are slower
    assert ours[1:] == ["40", "0.0500", "0.6000", "40", "30.5", f"{20 / 30:.3f}", f"{slow:.3f}", "10%"]
    assert float(ours[6]) == pytest.approx(median, abs=1e-3)
    assert theirs[1:] == ["50", "2.0000", "0.4000", "50", "-", "0.400", "0.400", "25%"]
    assert (tmp_path / "both.png").is_file()


@pytest.fixture(autouse=True)
def _wide_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """No row is folded, however long the folders of the tests are called."""
    monkeypatch.setenv("COLUMNS", "250")


def test_keys_have_a_row_for_each_run(runs: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plot", *runs, "--keys", "loss, mIoU,decode.loss_ce", "-o", str(tmp_path / "keys.png")]) == 0
    rows = [[row[0], *row[2:]] for row in table(capsys.readouterr().out)]
    assert rows == [
        ["loss", "40", "2", "0.05", "0.05", "40", "0.097619"],
        ["loss", "1", "2", "2", "2", "50", "2"],
        ["val/mIoU", "1", "0.6", "0.6", "0.6", "40", "0.6"],
        ["val/mIoU", "1", "0.4", "0.4", "0.4", "50", "0.4"],
        ["decode.loss_ce", "0", "-", "-", "-", "-", "-"],
        ["decode.loss_ce", "1", "2", "2", "2", "50", "2"],
    ]
    assert main(["plot", *runs, "--keys", "los"]) == 2
    assert "no run logged 'los'; there are: loss, lr" in capsys.readouterr().err


def test_a_panel_for_each_key(tmp_path: Path) -> None:
    """Two runs in their colours in every panel; the size grows with the panels."""
    records = [{"step": n, "loss": 1.0 + n, "lr": 0.1 * n, "val/mIoU": n / 100} for n in range(40)]
    drawn = {"a": records, "b": [{**line, "loss": line["loss"] + 20} for line in records]}
    two = Image.open(save_series(tmp_path / "two.png", drawn, ["loss", "val/mIoU"]))
    three = Image.open(save_series(tmp_path / "three.png", drawn, ["loss", "val/mIoU", "lr"]))
    assert two.width == three.width
    assert three.height > 1.7 * two.height
    picture = np.array(two.convert("RGB"))
    left = picture[:, : two.width // 2]
    for colour in ((0, 114, 178), (230, 159, 0)):
        assert (left == colour).all(axis=2).sum() > 100
