"""`--lora`, `--layer-decay` and `--freeze`: what they write into a config, and what a run then does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from intarsia.cli.main import main
from intarsia.config.checking.check import check
from intarsia.config.language.reader import Config
from intarsia.config.lowering.lower import lower
from intarsia.data.description.write import write_description
from intarsia.demo import write_scenes
from intarsia.spec import LoraSpec
from intarsia.weights.file import load_state
from intarsia.workflows.fine_tuning import settings_for
from tests.recipes.test_recipes import own

FAST = ["--batch", "2", "--crop", "64", "64", "--workers", "0", "--device", "cpu", "--pretrained", "none"]


def config(name: str = "segformer_mit-b0", **changes: Any) -> Config:
    return Config.from_values({**own(name), **changes}, file="config.py")


def after(before: Config, *, lora: int | None = None, layer_decay: float | None = None) -> Config:
    return before.override(settings_for(before, lora=lora, layer_decay=layer_decay))


def test_what_lora_writes() -> None:
    assert lower(after(config(), lora=8)).safeguards.lora == LoraSpec(8)
    given = config(intarsia={"lora": {"rank": 2, "alpha": 4, "layers": "*.fc1"}})
    assert lower(given).safeguards.lora == LoraSpec(2, 4.0, ("*.fc1",))
    found = lower(after(given, lora=8)).safeguards.lora
    assert found == LoraSpec(8, 4.0, ("*.fc1",))
    assert found.scale == 0.5


@pytest.mark.parametrize(
    ("lora", "path", "said"),
    [
        (0, "intarsia.lora", "expected a rank of 1 or more"),
        ("8", "intarsia.lora", "expected int"),
        ({"alpha": 3}, "intarsia.lora", "'rank' is missing"),
        ({"rank": 8, "alpha": 0}, "intarsia.lora.alpha", "expected a number above 0"),
        ({"rank": 8, "layer": "x"}, "intarsia.lora.layer", "Did you mean 'layers'"),
    ],
)
def test_what_of_lora_is_refused(lora: Any, path: str, said: str) -> None:
    problems = {problem.path: str(problem) for problem in check(config(intarsia={"lora": lora}))}
    assert said in problems[path]


def test_what_layer_decay_writes() -> None:
    found = lower(after(config(), layer_decay=0.8)).optim
    assert found is not None
    assert (found.constructor, found.paramwise) == ("LayerWiseDecay", {"decay_rate": 0.8})


def test_a_config_that_has_a_decay_goes_on_to_count_as_it_does() -> None:
    pytest.importorskip("timm", reason="timm is not installed")
    before = config("eomt_timm:test_vit")
    found = lower(after(before, layer_decay=0.65)).optim
    assert found is not None
    assert found.constructor == "LayerDecayOptimizerConstructor"
    assert found.paramwise == {**before.values["optim_wrapper"]["paramwise_cfg"], "decay_rate": 0.65}


def test_other_rules_are_not_thrown_away() -> None:
    rules = {"custom_keys": {"head": {"lr_mult": 10.0}}, "norm_decay_mult": 0.0}
    wrapper = {**own("segformer_mit-b0")["optim_wrapper"], "paramwise_cfg": rules}
    with pytest.raises(ValueError, match=r"would replace what .* says \(custom_keys\)"):
        after(config(optim_wrapper=wrapper), layer_decay=0.8)
    with pytest.raises(ValueError, match="a number up to 1"):
        after(config(), layer_decay=1.5)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scenes")
    write_description(write_scenes(folder, train=4, val=2), folder / "data.yaml")
    return folder / "data.yaml"


def train(data: Path, out: Path, name: str, *words: str, steps: int = 2) -> Path:
    assert main(["train", name, "--data", str(data), "--out", str(out), *FAST, "--for", f"{steps} steps", *words]) == 0
    return out


def test_a_training_with_lora_is_evaluated_as_any_other(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("timm", reason="timm is not installed")
    run = train(data, tmp_path / "run", "segformer_timm:test_vit", "--lora", "4", "--ema", "0.1")
    assert "LoRA of rank 4: 9,216 parameters beside 12 matrices of the backbone" in capsys.readouterr().out
    scores = json.loads((run / "eval.json").read_text(encoding="utf-8"))
    assert main(["eval", str(run), "--device", "cpu", "--workers", "0"]) == 0
    again = json.loads((run / "eval.json").read_text(encoding="utf-8"))
    for key in ("mIoU", "aAcc", "classes", "losses"):
        assert again[key] == scores[key]
    assert not [name for name in load_state(run / "weights.safetensors") if "lora" in name or "parametriz" in name]
    assert main(["train", "--resume", str(run), "--lora", "4"]) == 2


TRUNKS = ("segformer_timm:test_vit", "segformer_timm:test_resnet", "segformer_mit-b0")


@pytest.mark.slow
@pytest.mark.parametrize("name", TRUNKS)
def test_freezing_leaves_every_tensor_of_the_trunk_as_it_was(name: str, data: Path, tmp_path: Path) -> None:
    """Statistics of batch norms, too."""
    if "timm" in name:
        pytest.importorskip("timm", reason="timm is not installed")
    begun = train(data, tmp_path / "a", name, "--freeze", "backbone", steps=1)
    later = train(data, tmp_path / "b", name, "--freeze", "backbone", steps=2)
    first, second = (load_state(run / "weights.safetensors") for run in (begun, later))
    assert all(torch.equal(first[key], second[key]) for key in first if key.startswith("backbone."))
    assert not all(torch.equal(first[key], second[key]) for key in first)
