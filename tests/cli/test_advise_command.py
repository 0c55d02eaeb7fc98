"""`intarsia advise`: proposals for drawn scenes, measured with tiny crops, and what it refuses."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import pytest

from intarsia.cli.main import main
from intarsia.demo import write_scenes
from intarsia.engine.training import step_time
from intarsia.engine.training.run import Run
from intarsia.workflows import measure_recipes
from intarsia.workflows.measure_recipes import AdviceRequest, candidates_for

SMALL = ("--crop", "32", "64", "--batch", "3", "--workers", "0")


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("advise") / "scenes"
    write_scenes(folder, train=4, val=2)
    return folder


def run(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(["advise", *words]) == 0
    return capsys.readouterr().out


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(["advise", *words]) == 2
    return capsys.readouterr().err


def proposals(text: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(text)["proposals"]
    return found


def test_two_networks_are_measured_and_their_commands_are_commands(
    scenes: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = step_time.measure_step_time

    def measured(run: Run, **options: Any) -> float:
        """Takes the steps, and says what depends on no other work of the machine."""
        assert whole(run, **options) > 0
        return run.batch * sum(one.numel() for one in run.network.parameters()) / 1e7

    monkeypatch.setattr(step_time, "measure_step_time", measured)
    among = ("--among", "segformer_mit-b0", "--among", "small_r18")
    text = run(capsys, str(scenes), *SMALL, *among, "--json")
    content = json.loads(text)
    quick, accurate = proposals(text)
    assert (quick["recipe"], accurate["recipe"]) == ("small_r18", "segformer_mit-b0")
    assert content["work"] == {
        "images": 4, "batch": 3, "crop": [32, 64], "steps": 500, "evaluated": 10, "image_size": [160, 240],
    }  # fmt: skip
    for one in (quick, accurate):
        assert one["measured"]["images"] == 3  # all of the batch
        assert one["measured"]["seconds"] * 500 < one["seconds"] < one["measured"]["seconds"] * 600
        assert 16 * 1e6 < one["memory_bytes"] < 0.9 * content["machine"]["free"]
    assert accurate["score"] == 37.41
    assert accurate["seconds"] > quick["seconds"]
    program, *words = shlex.split(accurate["command"])
    assert program == "intarsia"
    assert words[words.index("--crop") :] == list(SMALL)
    monkeypatch.chdir(tmp_path)
    assert main([*words, "--for", "1 steps"]) == 0
    assert (tmp_path / "runs/segformer_mit-b0/weights.safetensors").exists()


def test_what_is_printed_says_what_was_measured(scenes: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = run(capsys, str(scenes), *SMALL, "--among", "small_r18", "--within", "1h")
    first, named, reason, command, last = text.splitlines()
    assert first.startswith(
        "by default a training on these 4 images is 500 steps of 3 crops of 32 x 64 (height x width)"
    )
    assert named.startswith("accurate: small_r18, about ")
    assert " s a step, measured; " in named
    assert "10 images to evaluate, estimated)" in named
    assert reason.strip() == "no network takes less; nothing was published of it on ade20k"
    assert command.strip().startswith(f"intarsia train small_r18 --data {scenes} --out runs/small_r18 --crop 32 64")
    assert "pretrained" in last


def test_a_large_step_is_measured_on_few_images(
    scenes: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measure_recipes, "PATIENCE", 0.0)
    words = (str(scenes), "--crop", "32", "64", "--batch", "4", "--workers", "0", "--among", "small_r18")
    (only,) = proposals(run(capsys, *words, "--json"))
    assert only["measured"]["images"] == 2
    assert run(capsys, *words).count("measured on 2 images") == 2  # time and memory


def test_nothing_is_measured_where_nobody_wants_it(
    scenes: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measure_recipes._Trial, "measured", lambda *_: pytest.fail("measured"))
    text = run(capsys, str(scenes), "--no-measure", "--crop", "64", "64", "--batch", "2", "--rank-by", "cityscapes")
    assert "billion multiply-adds at 512 x 512 (time not measured)" in text
    assert "cityscapes" in text
    assert sum(line.startswith("  intarsia train ") for line in text.splitlines()) == 3


def test_a_network_that_fails_here_is_left_out(
    scenes: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = measure_recipes._Trial.measured

    def measured(self: Any, name: str, facts: Any) -> Any:
        if name == "segformer_mit-b0":
            raise RuntimeError("out of memory")
        return whole(self, name, facts)

    monkeypatch.setattr(measure_recipes._Trial, "measured", measured)
    among = ("--among", "segformer_mit-b0", "--among", "small_r18")
    text = run(capsys, str(scenes), *SMALL, *among, "--json")
    assert [one["recipe"] for one in proposals(text)] == ["small_r18"]
    assert json.loads(text)["cannot_be_trained"] == {"segformer_mit-b0": "out of memory"}


def test_of_one_class_no_mask_classifier_is_proposed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_scenes(tmp_path, train=2, val=1)
    description = tmp_path / "data.yaml"
    description.write_text(
        "root: .\nclasses: [sky]\nlabels: {0: sky, 255: ignore, "
        + ", ".join(f"{value}: background" for value in range(1, 9))
        + "}\nsplits:\n"
        "  train: {images: images/train, labels: labels/train}\n"
    )
    among = ("--among", "mask2former_r50", "--among", "small_r18")
    text = run(capsys, str(description), "--no-measure", "--json", *among)
    assert [one["recipe"] for one in proposals(text)] == ["small_r18"]
    assert "mask2former_r50" in json.loads(text)["cannot_be_trained"]
    assert json.loads(text)["work"]["evaluated"] == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--within", "3 epochs"), "--within is a time, like '30m' or '8h'; found '3 epochs'"),
        (("--within", "1h", "--no-measure"), "leave out one of them"),
        (("--among", "segfromer"), "Did you mean"),
        (("--rank-by", "mnist"), "no published score is of 'mnist'; there are: cityscapes"),
        (("--among", "san-vit-b16"), "has no recipe for own data"),
    ],
)
def test_what_is_refused(
    words: tuple[str, ...], said: str, scenes: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "400")
    assert said in refused(capsys, str(scenes), *words)


def test_no_proposal_is_an_error(
    scenes: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("intarsia.inference.memory.free_memory", lambda _: 10**7)
    said = refused(capsys, str(scenes), "--no-measure", "--crop", "64", "64", "--batch", "2")
    assert "no network fits into 10 MB of memory" in said


def test_every_network_for_own_data_is_a_candidate_once() -> None:
    found = [one.name for one in candidates_for((), "ade20k")]
    assert len(found) == len(set(found)) > 100
    assert {"small_r18", "fast_scnn", "beit-large_upernet"} <= set(found)
    assert [one.name for one in candidates_for(("pidnet-s", "pidnet-s"), "ade20k")] == ["pidnet-s"]
    assert not [name for name in found if "_timm:" in name], "timm is an extra"
    assert [one.name for one in candidates_for(("unet_timm:resnet34",), "ade20k")] == ["unet_timm:resnet34"]
    scores = {one.name: one.score for one in candidates_for((), "cityscapes")}
    assert scores["pidnet-s"] == 78.74
    assert scores["small_r18"] is None


def test_checking_data_ends_with_a_pointer(scenes: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "check", str(scenes)]) == 0
    assert capsys.readouterr().err.splitlines()[-1].endswith(f"intarsia advise {scenes}")
    assert main(["data", "check", str(scenes), "--json"]) == 0
    assert "advise" not in capsys.readouterr().err


def test_the_default_limit_is_a_working_day() -> None:
    assert AdviceRequest(data=Path("x")).within == 8 * 3600
