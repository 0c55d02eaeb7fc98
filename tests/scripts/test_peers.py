"""`benchmarks/peers.py` with a worker that only pretends: tables, resuming, what goes wrong. No environment is made."""

from __future__ import annotations

import ast
import json
import mmap
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))

import peers  # noqa: E402
from peer_parts import checks, environments, measuring, running, worker_intarsia  # noqa: E402
from peer_parts.report import markdown, pictures  # noqa: E402
from peer_parts.running import Results  # noqa: E402
from peer_parts.turns import Worker  # noqa: E402
from peer_parts.works import AREAS, FULL, JOB, OURS, QUICK, TITLES, works  # noqa: E402

Answer = dict[str, Any]


class Pretended:
    """Ours takes 1 s and 100 MB, everybody else 2 s and 400 MB. Counts what it is asked for, but for versions."""

    def __init__(self, *, broken: str = "", stop_after: int = 10**9, version: str = "1") -> None:
        self.broken, self.stop_after, self.version = broken, stop_after, version
        self.asked: list[str] = []

    def __call__(self, who: str, job: Mapping[str, Any], variables: Mapping[str, str]) -> Answer:
        if job["work"] == "versions":
            return {"versions": {"torch": self.version}}
        if len(self.asked) == self.stop_after:
            raise KeyboardInterrupt
        self.asked.append(who)
        if who == self.broken:
            return {"error": "ValueError: broken on purpose"}
        ours = who == OURS
        time = 1.0 if ours else 2.0
        return {"seconds": time, "wall": time, "memory": 100.0 if ours else 400.0, "facts": {"loss": 1.0}}


def run(out: Path, pretended: Pretended, *words: str) -> tuple[int, dict[str, Any], str]:
    """Exit code, results, report."""
    code = peers.main(["--quick", "--only", "step", "--out", str(out), *words], run=pretended)
    return code, json.loads((out / "results.json").read_text()), (out / "report.md").read_text()


STEPS = works(["step"], QUICK)
FIGURES = sum(len(work.who) for work in STEPS)


def test_the_table_has_ratios_machine_and_versions(tmp_path: Path) -> None:
    pretended = Pretended()
    code, results, report = run(tmp_path, pretended)
    assert code == 0
    assert len(pretended.asked) == 2 * FIGURES
    assert pretended.asked[:4] == [OURS, "mmseg", OURS, "mmseg"], "they take turns"
    name = "training step, segformer_mit-b0, 7 classes, 2 x 64 x 64"
    assert f"| {name} | 1 s, 100 MB | 2 s, 400 MB (0.50, 0.25) |  |  |  | 0% |" in report.splitlines()
    assert "- MMSegmentation: torch 1" in report
    assert results["facts"]["machine"] in report
    assert "These figures mean nothing" in report
    assert not (tmp_path / "curves.png").exists()


def test_an_interrupted_run_goes_on_where_it_was(tmp_path: Path) -> None:
    first = Pretended(stop_after=3)
    with pytest.raises(KeyboardInterrupt):
        peers.main(["--quick", "--only", "step", "--out", str(tmp_path)], run=first)
    second = Pretended()
    code, *_ = run(tmp_path, second)
    assert code == 0
    assert len(second.asked) == 2 * FIGURES - 3
    third = Pretended()
    run(tmp_path, third)
    assert third.asked == []
    run(tmp_path, third, "--rounds", "3")
    assert len(third.asked) == FIGURES, "one more round of each"


def test_who_fails_is_named_and_the_others_go_on(tmp_path: Path) -> None:
    code, _, report = run(tmp_path, Pretended(broken="transformers"))
    assert code == 1
    assert "segformer_mit-b0, linear, 7 classes, 2 x 64 x 64, transformers: ValueError: broken on purpose" in report
    linear = next(line for line in report.splitlines() if line.startswith("| training step, segformer_mit-b0, linear"))
    assert linear.endswith("| 1 s, 100 MB |  |  | 2 s, 400 MB (0.50, 0.25) |  | 0% |")
    again = Pretended()
    code, _, report = run(tmp_path, again)
    assert code == 0
    assert again.asked == ["transformers"] * 2, "it is tried again, and nothing else"
    assert "broken on purpose" not in report


def test_figures_of_other_versions_or_sizes_are_not_mixed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(tmp_path, Pretended())
    words = ["--only", "step", "--out", str(tmp_path)]
    assert peers.main(["--quick", *words], run=Pretended(version="2")) == 2
    assert "figures of other versions of intarsia, mmseg" in capsys.readouterr().err
    assert peers.main(words, run=Pretended()) == 2
    assert "figures with quick True, and this run has False" in capsys.readouterr().err


def test_an_environment_that_cannot_be_made_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def make(name: str, place: Path, log: Path) -> None:
        if name == "smp":
            raise OSError("no space left")

    pretended = Pretended()
    monkeypatch.setattr(peers, "make", make)
    monkeypatch.setattr(peers, "run_worker", lambda who, job, variables, **places: pretended(who, job, variables))
    code = peers.main(["--quick", "--only", "step", "--rounds", "1", "--out", str(tmp_path)])
    assert code == 1
    assert "smp" not in pretended.asked
    assert "- segmentation_models.pytorch: **absent**: its environment could not be made (no space left)" in (
        (tmp_path / "report.md").read_text()
    )


def test_an_environment_that_is_whole_is_not_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[list[str]] = []

    def pretend(words: Sequence[str], log: object) -> None:
        (tmp_path / "mmseg").mkdir(exist_ok=True)
        ran.append(list(words))

    monkeypatch.setattr(environments, "_run", pretend)
    for _ in range(2):
        environments.make("mmseg", tmp_path, tmp_path / "log.txt")
    assert len(ran) == 2, "one makes it, one installs"
    assert "mmsegmentation==1.2.2" in ran[1]


def test_photos_of_a_folder_go_through_the_training_pipeline_too(tmp_path: Path) -> None:
    for name in ("images/a.jpg", "images/b.jpg", "labels/a.png", "labels/b.png"):
        (tmp_path / "street" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "street" / name).touch()
    seen = []

    def pretended(who: str, job: Mapping[str, Any], variables: Mapping[str, str]) -> Answer:
        seen.append((who, job["data"], job["count"]))
        return Pretended()(who, job, variables)

    words = ["--quick", "--only", "pipeline", "--named", "street", "--out", str(tmp_path / "out")]
    assert peers.main([*words, "--photos", str(tmp_path / "street")], run=pretended) == 0
    measured = {place for place in seen if place[1]}
    assert measured == {(who, str(tmp_path / "street"), 2) for who in (OURS, "mmseg")}
    assert "2 JPG of street -> " in (tmp_path / "out" / "report.md").read_text()


@pytest.mark.parametrize("position", [0, 4, 7])
def test_samples_are_the_same_in_each_of_our_ways(tmp_path: Path, position: int) -> None:
    """Packed data hold the whole folder, and the others read its first files."""
    rng = np.random.default_rng(0)
    for name in "abcde":
        for folder, shape in (("images", (48, 64, 3)), ("labels", (48, 64))):
            (tmp_path / folder).mkdir(exist_ok=True)
            cv2.imwrite(str(tmp_path / folder / f"{name}.png"), rng.integers(0, 4, shape, np.uint8))
    given = {"data": str(tmp_path), "count": 3, "samples": position + 1, "classes": 3, "suffix": ".png"}
    given |= {"scale": (128, 48), "size": (32, 32)}
    found = {}
    for way in ("files", "packed", "cached"):
        (tmp_path / way).mkdir()
        keep = {"way": way, "out": str(tmp_path / way), "keep": str(tmp_path / f"{way}.npz")}
        worker_intarsia.pipeline(measuring.Job(**{**JOB, **given, **keep}))()
        with np.load(keep["keep"]) as kept:
            found[way] = {name: kept[name] for name in ("image", "label")}
    for way in ("packed", "cached"):
        for name, expected in found["files"].items():
            np.testing.assert_array_equal(found[way][name], expected, f"{name}, {way}")


def test_rounds_that_lie_apart_are_marked(tmp_path: Path) -> None:
    results = Results(tmp_path / "results.json", {"quick": False, "machine": "m", "versions": {}, "absent": {}})
    work = STEPS[0]
    for who, times in ((OURS, (1.0, 1.2)), ("mmseg", (2.0, 2.0))):
        results.figures[work.key(who)] = [
            {"seconds": time, "wall": time, "memory": 1.0, "load": 7.0} for time in times
        ]  # fmt: skip
    text = markdown(results, STEPS)
    assert "| 20%* |" in text
    assert "(0.50, 1.00)" in text, "the fastest counts"
    assert "Load of the machine 7.0 to 7.0." in text


def test_the_curves_are_drawn(tmp_path: Path) -> None:
    results = Results(tmp_path / "results.json", {"quick": False, "machine": "m", "versions": {}, "absent": {}})
    todo = works(["curves"], FULL)
    assert not pictures(results, todo, tmp_path / "curves.png")
    for work in todo:
        for who in work.who:
            one = {"seconds": work.x + 1, "wall": work.x + 1, "memory": 10 * work.x, "load": 0.0}
            results.figures[work.key(who)] = [one]
    assert pictures(results, todo, tmp_path / "curves.png")
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")
    text = markdown(results, todo)
    assert "| images of a folder | 2 | 8 | 24 |" in text
    assert Counter(work.curve for work in todo).keys() <= {
        line.split("|")[1].strip() for line in text.splitlines() if "|" in line
    }


def test_too_little_memory_leaves_a_work_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "free_gigabytes", lambda: 0.5)
    pretended = Pretended()
    code, _, report = run(tmp_path, pretended)
    assert code == 1
    assert pretended.asked == []
    assert "left out: it wants 1 GB of free memory, and there are 0.5" in report


def test_the_same_labels_and_loss_or_not(tmp_path: Path) -> None:
    def answer(loss: float, differ: int) -> Any:
        def do(who: str, job: Mapping[str, Any], variables: Mapping[str, str]) -> Answer:
            label = np.zeros((10, 10), np.uint8)
            if who == OURS:
                label.reshape(-1)[:differ] = 1
            np.save(job["keep"], label)
            return {"facts": {"loss": loss if who == OURS else 1.0}}

        return do

    def check(loss: float, differ: int) -> dict[str, Any]:
        job = {**JOB, "photo": "none"}
        return checks.same_network("mmseg", "fcn_r18-d8", answer(loss, differ), QUICK, job, tmp_path)

    assert check(1.0 + 1e-6, 0)["holds"]
    assert not check(1.001, 0)["holds"]
    assert not check(1.0, 1)["holds"]
    text = "\n".join(checks.lines({"a": check(1.001, 1)}))
    assert (
        text
        == "- a: **not the same work**: loss 1.000000 and ours 1.001000; 1 of 100 pixels differ (1 classes among them)"
    )


def test_works_are_told_apart_and_shared_where_they_are_the_same() -> None:
    for sizes in (FULL, QUICK):
        todo = works(None, sizes)
        assert {work.area for work in todo} == set(AREAS)
        for work in todo:
            assert set(work.job) <= set(JOB), "a worker knows every value"
            assert set(work.who) <= set(TITLES)
        rows = [work.name for work in todo if not work.curve]
        assert len(rows) == len(set(rows))
        ours = [work.key(OURS) for work in todo if work.area == "pipeline"]
        theirs = [work.key("mmseg") for work in todo if work.area == "pipeline"]
        assert (len(set(ours)), len(set(theirs))) == (12, 2), "theirs is measured once for six of ours"


def test_memory_and_time_of_a_pass() -> None:
    job = measuring.Job(work="step", passes=2)
    passes = []

    def work() -> dict[str, Any]:
        with mmap.mmap(-1, 40 * 2**20) as pages:  # of the system: bytes may lie in what earlier tests left of the heap
            for _ in range(40):
                pages.write(bytes(2**20))
            passes.append(len(pages))
        return {"loss": 1.0}

    found = measuring._measured(work, job)
    assert len(passes) == 3
    assert found["facts"] == {"loss": 1.0}
    assert 0 < found["seconds"] < 5
    if Path("/proc/self/clear_refs").exists():
        assert 35 < found["memory"] < 60


def test_a_worker_that_ends_without_a_word_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(running, "interpreter", lambda who, place: Path(sys.executable))
    answer = running.run_worker("nobody", dict(JOB), {}, place=tmp_path, log=tmp_path / "log.txt")
    assert answer["error"].startswith("ended with code 1")
    assert "worker_nobody" in (tmp_path / "log.txt").read_text()


def test_workers_of_others_import_nothing_of_ours() -> None:
    files = [BENCHMARKS / "peer_parts" / f"worker_{name}.py" for name in TITLES if name != OURS]
    files += [BENCHMARKS / "peer_parts" / f"{name}.py" for name in ("__init__", "measuring", "networks", "plain_torch")]
    for file in files:
        for node in ast.walk(ast.parse(file.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not [name for name in names if name.partition(".")[0] == "intarsia"], file


class PretendedPasses:
    """Passes on a machine that becomes slower: ours take 1, 2, 3 ... s, those of everybody else 4, 8, 12 ... s."""

    def __init__(self, calls: list[str], who: str, broken: bool) -> None:
        if broken:
            raise RuntimeError("ValueError: broken on purpose")
        self.calls, self.who, self.count = calls, who, 0

    def seconds(self) -> float:
        self.calls.append(self.who)
        self.count += 1
        return self.count * (1.0 if self.who == OURS else 4.0)

    def close(self) -> None:
        self.calls.append(f"{self.who} closed")


def turns(out: Path, *words: str, broken: str = "") -> tuple[int, list[str], str]:
    """Exit code, passes in their order, report."""
    calls: list[str] = []
    code = peers.main(
        ["--quick", "--only", "step", "--named", "pspnet", "--out", str(out), *words], run=Pretended(),
        start=lambda who, job, variables: PretendedPasses(calls, who, who == broken),
    )  # fmt: skip
    return code, calls, (out / "turns.md").read_text()


def test_turns_are_compared_pass_by_pass(tmp_path: Path) -> None:
    code, calls, report = turns(tmp_path, "--turns", "3")
    assert code == 0
    assert calls[:6] == ["mmseg", OURS, OURS, "mmseg", "mmseg", OURS]
    assert sorted(calls[6:]) == [f"{OURS} closed", "mmseg closed"]
    name = "training step, pspnet_r50-d8, 7 classes, 2 x 64 x 64"
    assert f"| {name} | 1 s | MMSegmentation 4 s | 0.25 (0.25 to 0.25) | 3 |" in report.splitlines()
    assert not (tmp_path / "results.json").exists()
    assert turns(tmp_path, "--turns", "3")[1:] == ([], report), "what is known is not measured again"
    assert len(turns(tmp_path, "--turns", "4")[1]) == 10


def test_who_cannot_take_turns_is_named(tmp_path: Path) -> None:
    code, calls, report = turns(tmp_path, "--turns", "3", broken="mmseg")
    assert (code, calls) == (2, [f"{OURS} closed"])
    assert "- training step, pspnet_r50-d8, 7 classes, 2 x 64 x 64: ValueError: broken on purpose" in report


def test_a_worker_does_a_pass_for_each_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = (
        "from peer_parts.measuring import main\n"
        "def work(job):\n    count = []\n    def one():\n        count.append(1)\n"
        "        if len(count) == 4: raise ValueError('no more')\n    return one\n"
        "main({'w': work}, dict)\n"
    )
    monkeypatch.setattr("peer_parts.turns.interpreter", lambda who, place: sys.executable)
    usual = subprocess.Popen

    def started(command: Sequence[str], **options: Any) -> Any:
        return usual([command[0], "-c", program, command[-1]], **options)

    monkeypatch.setattr("peer_parts.turns.subprocess.Popen", started)
    with (tmp_path / "log").open("w") as log:
        worker = Worker(OURS, {**JOB, "work": "w"}, {}, place=tmp_path, log=log)
        assert [worker.seconds() >= 0 for _ in range(2)] == [True, True]
        with pytest.raises(RuntimeError, match="ValueError: no more"):
            worker.seconds()
        worker.close()
        with pytest.raises(RuntimeError, match="KeyError"):
            Worker(OURS, {**JOB, "work": "unknown"}, {}, place=tmp_path, log=log)
