"""`intarsia models`: list and show."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from intarsia.cli.main import main
from intarsia.guide.models import models


def run(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(["models", *words]) == 0
    return capsys.readouterr().out


def names(text: str) -> list[str]:
    return [line.split()[0] for line in text.splitlines()[3:-1] if line.strip()]


def test_all_are_listed_and_no_name_is_cut(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    assert names(run(capsys, "list"))[: len(models())] == [one.name for one in models()]


def test_the_list_fits_a_narrow_terminal(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    lines = run(capsys, "list").splitlines()
    assert max(map(len, lines[:-1])) <= 80
    monkeypatch.setenv("COLUMNS", "160")
    wide = run(capsys, "list")
    assert "step memory" in wide
    assert "step memory" not in "\n".join(lines)


def test_words_select_and_figures_are_shown(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    text = run(capsys, "list", "segformer", "b0")
    assert names(text) == ["segformer_mit-b0"]
    row = next(line for line in text.splitlines() if "segformer_mit-b0" in line)
    assert row.split() == ["segformer_mit-b0", "2021", "3.75", "5.52", "37.41", "76.54"]


def test_data_and_order(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    text = run(capsys, "list", "segformer", "--data", "cityscapes", "--sort", "score")
    assert names(text)[:6] == [f"segformer_mit-{size}" for size in ("b5", "b3", "b4", "b2", "b1", "b0")]
    assert "ade20k" not in text
    assert "4.97" in text, "the cost with 19 classes"
    cheapest = names(run(capsys, "list", "real-time", "--sort", "cost"))
    assert cheapest[0] == "efficientvit_timm:efficientvit_b0"
    assert cheapest.index("fast_scnn") < cheapest.index("bisenetv2")
    assert "RMSE 0.253" in run(capsys, "list", "--data", "nyu")


def test_list_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    found = json.loads(run(capsys, "list", "pspnet_r50", "--json"))
    assert found[0]["method"]["year"] == 2017
    first = next(one for one in found if one["name"] == "pspnet_r50")
    assert first["for_own_data"] == "pspnet_r50"
    assert first["cost"]["multiply_adds"] > 1e11
    assert sum(len(one["checkpoints"]) for one in first["published"]) > 10


def test_show_says_all(capsys: pytest.CaptureFixture[str]) -> None:
    text = run(capsys, "show", "segformer_mit-b0")
    words = " ".join(text.split())
    assert "SegFormer: Simple and Efficient Design" in words
    assert "NeurIPS 2021" in words
    assert "https://arxiv.org/abs/2105.15203" in words
    assert "3.75 million" in words
    assert "5.52 billion" in words
    assert "1.00 times segformer_mit-b0's" in words
    assert "segformer_mit-b0_8xb1-160k_cityscapes-1024x1024 mIoU 76.54, mIoU(ms+flip) 78.22" in words
    assert "crops of 1024 x 1024, 160,000 steps https://download.openmmlab.com/" in words
    assert "intarsia train segformer_mit-b0 --data DIR --out RUN" in text
    weights = "segformer_mit-b0_8xb2-160k_ade20k-512x512"
    assert f"--weights {weights} --allow-partial" in text
    assert f"intarsia predict {weights} IMAGES -o OUT\n" in text
    assert f"intarsia eval {weights} --data DIR\n" in text
    assert f"intarsia models download {weights} --list FILE\n" in text


def test_show_takes_a_recipe_and_tells_what_only_training_has(capsys: pytest.CaptureFixture[str]) -> None:
    text = run(capsys, "show", "fcn_r50-d8_4xb2-40k_cityscapes-512x1024")
    assert text.split()[:2] == ["model", "fcn_r50"]
    assert "are for training alone" in " ".join(text.split())
    assert "intarsia train fcn_r50 --data" in text
    assert "no checkpoint; crops of 480 x 480" in text


def test_show_of_a_network_with_published_recipes_alone(capsys: pytest.CaptureFixture[str]) -> None:
    text = run(capsys, "show", "encnet_r50s-d8")
    assert "intarsia train encnet_r50s-d8_4xb4-80k_ade20k-512x512 --data DIR" in text


def test_scores_of_authors_are_marked(capsys: pytest.CaptureFixture[str]) -> None:
    text = run(capsys, "list", "eomt_vit-l-dinov2")
    assert "58.40*" in text
    assert "84.20*" in text
    assert "*: as the authors state it of a file that no name fetches." in text
    text = " ".join(run(capsys, "show", "eomt_vit-l-dinov2").split())
    assert "ade20k: mIoU 58.4; https://github.com/tue-mps/eomt" in text
    assert "crops of 512 x 512, 39,153 steps" in text
    assert json.loads(run(capsys, "show", "regseg", "--json"))["stated"][0]["note"] == "of the test images"


def test_show_of_a_network_of_timm(capsys: pytest.CaptureFixture[str]) -> None:
    text = run(capsys, "show", "linear_timm:vit_small_patch16_dinov3.lvd1689m")
    assert "intarsia train linear_timm:vit_small_patch16_dinov3.lvd1689m --data DIR --out RUN" in text
    assert "47" in text


def test_show_of_our_own(capsys: pytest.CaptureFixture[str]) -> None:
    text = run(capsys, "show", "small_r18")
    assert "nothing was published" in text
    assert "small_r18 with 150 classes" in text
    assert "weights" not in text


def test_what_cannot_be_built_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    missing = [one.name for one in models() if one.cost() is None]
    for name in missing[:1]:
        text = run(capsys, "show", name)
        assert "cannot be built yet" in text
        assert "intarsia train" not in text


def test_show_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    found = json.loads(run(capsys, "show", "mask2former_swin-t", "--json"))
    assert {one["data"] for one in found["published"]} == {"ade20k", "cityscapes"}
    assert found["published"][0]["crop"] == [512, 512]
    assert found["times_segformer_mit-b0"]["forward_bytes"] > 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("show", "segformer_mit-b9"), "Did you mean segformer_mit-b"),
        (("show", "K-Net"), "several sizes"),
        (("list", "segfromer"), "Did you mean SegFormer"),
        (("list", "--sort", "speed"), "expected one of"),
        (("list", "--data", "ade"), "Did you mean ade20k"),
    ],
)
def test_errors_offer_near_names(words: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", *words]) == 2
    assert said in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize("words", [["models", "list"], ["models", "show", "pspnet_r50"]])
def test_neither_needs_torch(words: list[str]) -> None:
    code = (
        "import sys\nfrom intarsia.cli.main import main\n"
        f"assert main({words}) == 0\nprint({{'torch', 'numpy', 'matplotlib', 'cv2'}} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "set()"
