"""Features computed once: the same training as from images, bit for bit, kept by all that they depend on."""

from __future__ import annotations

import copy
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from standins import Pictures, tiny_run
from test_lora import lora_run
from torch import Tensor

from intarsia.cli.main import main
from intarsia.config.language.reader import Config
from intarsia.config.lowering.lower import lower
from intarsia.contracts import Batch, Task
from intarsia.data.collate import collate
from intarsia.data.description.write import write_description
from intarsia.data.feature_cache import FeatureCache, FixedViews
from intarsia.data.pipeline import Pipeline
from intarsia.data.sampling import Order, sample_rng
from intarsia.data.transforms.geometry import RandomFlip
from intarsia.demo import write_scenes
from intarsia.engine.training.run import Run
from intarsia.engine.training.trainer import Trainer
from intarsia.spec import FeatureCacheSpec, SafeguardSpec
from intarsia.tasks.from_features import FromFeatures
from intarsia.weights.file import load_state
from intarsia.workflows.cached_features import _fill, levels_of
from tests.recipes.test_recipes import own

STEPS = 6
FAST = ["--batch", "2", "--crop", "64", "64", "--workers", "0", "--device", "cpu", "--pretrained", "none"]


class Coloured(Pictures):
    """Larger ones, which a trunk of four-pixel patches makes something of."""

    def __init__(self) -> None:
        super().__init__(length=7, size=(16, 16))


def plain_run(out: Path, **changes: Any) -> Run:
    """A plain transformer that stands still, under a linear head, in two fixed views."""
    run = lora_run(out)
    frozen = SafeguardSpec(freeze=("backbone",))
    pipeline = Pipeline(Coloured(), (RandomFlip(prob=0.5),))
    settings: dict[str, Any] = {"task": run.task, "safeguards": frozen, "validate": False, "steps": STEPS}
    return tiny_run(out, **{**settings, "pipeline": pipeline, "batch": 3, "save_every": 3, **changes})


def cached_run(out: Path, folder: Path, *, half: bool = False, **changes: Any) -> Run:
    run = plain_run(out)
    cache = FeatureCache(folder, FixedViews(run.pipeline, 2, run.seed), half=half)
    _fill(cache, run.task, run.network.get_submodule("backbone"), run.runtime)
    task = FromFeatures(run.task)
    return plain_run(out, task=task, pipeline=run.pipeline, features=cache, **changes)


def batches_of_images(run: Run) -> Iterator[Batch]:
    """The same views in the same order, as images."""
    samples, order = FixedViews(run.pipeline, 2, run.seed), Order(len(run.pipeline), seed=run.seed, shuffle=True)
    for step in range(STEPS):
        positions = range(step * run.batch, (step + 1) * run.batch)
        yield collate([samples.get(order.index(p), samples.view_at(p)) for p in positions])


def image_by_image(trunk: torch.nn.Module) -> None:
    """As the cache is filled: what a batch of one is computed by is no matter of how many others there are."""
    forward = trunk.forward

    def separately(images: Tensor) -> tuple[Tensor, ...]:
        with torch.no_grad():
            found = [forward(image[None]) for image in images]
        return tuple(map(torch.cat, zip(*found, strict=True)))

    trunk.forward = separately  # type: ignore[method-assign]


def trained(run: Run, **batches: Any) -> dict[str, Tensor]:
    trainer = Trainer(run, **batches)
    for _ in range(STEPS):
        trainer.step()
    trainer.close()
    return {name: value.clone() for name, value in run.network.state_dict().items()}


def test_steps_from_features_are_those_from_images(tmp_path: Path) -> None:
    """Bit for bit; of a whole batch, whose products may be summed in another order, as closely as that allows."""
    found = trained(cached_run(tmp_path / "a", tmp_path / "cache"))
    run = plain_run(tmp_path / "b")
    before = copy.deepcopy(run.network.state_dict())
    image_by_image(run.network.get_submodule("backbone"))
    expected = trained(run, batches=batches_of_images(run))
    assert expected.keys() == found.keys()
    assert all(found[name].equal(value) for name, value in expected.items())
    assert not found["decode_head.conv_seg.weight"].equal(before["decode_head.conv_seg.weight"])
    whole = plain_run(tmp_path / "c")
    together = trained(whole, batches=batches_of_images(whole))
    for name, value in together.items():
        torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-6)


def test_half_of_the_bits_and_workers(tmp_path: Path) -> None:
    full = trained(cached_run(tmp_path / "a", tmp_path / "full"))
    workers = trained(cached_run(tmp_path / "b", tmp_path / "full", workers=2))
    assert all(full[name].equal(value) for name, value in workers.items())
    run = cached_run(tmp_path / "c", tmp_path / "half", half=True)
    assert run.features is not None
    assert {level.dtype for level in run.features.read(0, 0)[1]} == {torch.float16}
    half = trained(run)
    for name, value in full.items():
        torch.testing.assert_close(half[name], value, rtol=0.02, atol=2e-3)
    sizes = [sum(file.stat().st_size for file in (tmp_path / name).iterdir()) for name in ("full", "half")]
    assert sizes[1] < sizes[0]


def test_samples_are_kept_whole_and_views_differ(tmp_path: Path) -> None:
    run = plain_run(tmp_path / "run")
    task, trunk = cast(Any, run.task), run.network.get_submodule("backbone")
    cache = FeatureCache(tmp_path / "cache", FixedViews(run.pipeline, 4, seed=1))
    assert len(cache.missing()) == 28
    _fill(cache, task, trunk, run.runtime)
    assert cache.missing() == []
    flips = set()
    for view in range(4):
        sample, levels = cache.read(2, view)
        drawn = cache.samples.get(2, view)
        assert sample.meta == drawn.meta
        assert drawn.label is not None
        assert (sample.label == drawn.label).all()
        again = levels_of(task, trunk, drawn, run.runtime)
        assert all(kept.equal(made) for kept, made in zip(levels, again, strict=True))
        flips.add(drawn.meta.flips)
    assert flips == {(), ("horizontal",)}
    assert [cache.samples.view_at(position) for position in (0, 6, 7, 27, 28)] == [0, 0, 1, 3, 0]


def test_what_was_computed_is_not_computed_again_and_damage_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = cached_run(tmp_path / "run", tmp_path / "cache")
    cache, trunk = run.features, run.network.get_submodule("backbone")
    assert cache is not None
    cache.path(3, 1).unlink()
    calls = []
    trunk.register_forward_hook(lambda *given: calls.append(1))
    _fill(cache, cast(Task, run.task), trunk, run.runtime)
    assert len(calls) == 1
    cache.path(0, 0).write_bytes(b"not this")
    with pytest.raises(ValueError, match=r"of the cached features cannot be read .* delete it, and go on"):
        cache.read(0, 0)
    cache.path(3, 1).unlink()
    usage = shutil.disk_usage(tmp_path)._replace(free=10)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(ValueError, match=r"take another folder, fewer --views"):
        cached_run(tmp_path / "b", tmp_path / "other")


def test_networks_and_levels_that_cannot_be_cached(tmp_path: Path) -> None:
    run = plain_run(tmp_path)
    task = copy.deepcopy(cast(Any, run.task))
    task.model = torch.nn.Sequential(task.model.backbone)
    with pytest.raises(ValueError, match=r"features can be cached for EncoderDecoder, .* this network is a Sequential"):
        FromFeatures(task)
    with pytest.raises(ValueError, match="--compile and cached features do not go together"):
        FromFeatures(cast(Task, run.task)).compile_training()
    trunk = cast(Any, run.network.get_submodule("backbone"))
    trunk.forward = lambda images: ((images, images),)
    with pytest.raises(ValueError, match="more than maps here"):
        levels_of(cast(Task, run.task), trunk, run.pipeline.get(0, sample_rng(0, 0)), run.runtime)


# --- The command --------------------------------------------------------------------------------------------------


def test_what_the_config_says() -> None:
    section = {"cache_features": {"folder": "x", "precision": 16}}
    config = Config.from_values({**own("fcn_r18"), "intarsia": section}, file="config.py")
    assert lower(config).features == FeatureCacheSpec("x", 1, "16")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scenes")
    write_description(write_scenes(folder, train=4, val=2), folder / "data.yaml")
    return folder / "data.yaml"


def train(data: Path, out: Path, name: str, *words: object, expected: int = 0) -> Path:
    given = ["train", name, "--data", str(data), "--out", str(out), *FAST, "--for", "4 steps", *map(str, words)]
    assert main(given) == expected
    return out


def test_a_training_from_features(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("timm", reason="timm is not installed")
    cache = tmp_path / "cache"
    first = train(data, tmp_path / "a", "linear_timm:test_vit", "--cache-features", cache, "--views", 2)
    said = capsys.readouterr().err
    assert "features: 8 samples of 8 to compute, each 0.01 MiB (levels 64 x 4 x 4; 32 bits)" in said
    again = train(data, tmp_path / "b", "linear_timm:test_vit", "--cache-features", cache, "--views", 2)
    assert "features: all 8 samples are in" in capsys.readouterr().err
    states = [load_state(run / "weights.safetensors") for run in (first, again)]
    assert all(states[0][name].equal(value) for name, value in states[1].items())
    assert len(list(cache.iterdir())) == 1
    train(data, tmp_path / "c", "linear_timm:test_vit", "--cache-features", cache, "--seed", 5)
    assert len(list(cache.iterdir())) == 2
    assert main(["eval", str(first), "--device", "cpu", "--workers", "0"]) == 0


@pytest.mark.slow
def test_a_resumed_training_finds_its_features(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("timm", reason="timm is not installed")
    words = ("--cache-features", tmp_path / "cache", "--save-every", "1 step")
    whole = train(data, tmp_path / "whole", "linear_timm:test_vit", *words)
    step, count = FromFeatures.training_terms, 0

    def stopping(self: FromFeatures, batch: Batch) -> Any:
        nonlocal count
        count += 1
        if count == 2:
            os.kill(os.getpid(), 10)
        return step(self, batch)

    monkeypatch.setattr(FromFeatures, "training_terms", stopping)
    parts = train(data, tmp_path / "parts", "linear_timm:test_vit", *words, expected=130)
    monkeypatch.undo()
    capsys.readouterr()
    assert main(["train", "--resume", str(parts), "--device", "cpu"]) == 0
    assert "features: all 4 samples are in" in capsys.readouterr().err
    states = [load_state(run / "weights.safetensors") for run in (whole, parts)]
    assert all(states[0][name].equal(value) for name, value in states[1].items())


def test_what_does_not_go_together(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words, said in (
        (("--cache-features", tmp_path / "c"), "it must stand still: add --freeze backbone"),
        (("--cache-features", tmp_path / "c", "--freeze", "backbone", "--lora", 2), "and no --lora"),
        (("--views", 2), "add --cache-features DIR"),
    ):
        train(data, tmp_path / "run", "segformer_mit-b0", *words, "--overwrite", expected=2)
        assert said in " ".join(capsys.readouterr().err.split())
