"""What a new training starts from: fetched, loaded, told, kept; and without network."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from corners import write_corners
from torch import Tensor, nn

from intarsia import catalog, recipes
from intarsia.backbones.mit import MixVisionTransformer
from intarsia.cli.main import main
from intarsia.config.build import build_task
from intarsia.config.language.reader import Config
from intarsia.config.lowering.lower import lower
from intarsia.io.digest import file_hash
from intarsia.spec import RunSpec
from intarsia.weights import download
from intarsia.weights.file import WeightsMeta, read_meta, save_weights
from intarsia.weights.origins import Origin, origins
from intarsia.weights.pretrained.table import NVIDIA, PRETRAINED
from intarsia.workflows import assemble, pretrained
from intarsia.workflows.assemble import initial_weights
from intarsia.workflows.pretrained import Begun, NotToBeHadError, start_from
from intarsia.workflows.run_options import RunOptions
from tests.recipes.test_recipes import own

Fetch = Callable[..., Path]


def spec_of(recipe: str, *settings: str, bands: int = 3) -> RunSpec:
    data = {"train": {"type": "DescribedDataset", "file": "d.yaml", "split": "train"}}
    values = own(recipe, data=data, mean=(1.0,) * bands, std=(1.0,) * bands, raw_bands=bands != 3)
    return lower(Config.from_values(values, file=recipe).override(settings))


def begin(spec: RunSpec, **options: Any) -> tuple[Any, Begun]:
    torch.manual_seed(1)
    task = build_task(spec)
    return task, start_from(task, spec, RunOptions(out=Path("run"), **options))


@pytest.fixture
def online(monkeypatch: pytest.MonkeyPatch) -> Callable[[Fetch], None]:
    """Let `fetch` be something else, and be asked."""

    def put(fetch: Fetch) -> None:
        monkeypatch.setattr(pretrained, "_FAILED", {})
        monkeypatch.setattr(download, "fetch", fetch)

    return put


@pytest.fixture
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Forbid the network from now on, with an empty cache."""
    fetch = download.fetch

    def forbid() -> None:
        monkeypatch.setattr(pretrained, "_FAILED", {})
        monkeypatch.setattr(download, "fetch", fetch)
        monkeypatch.setattr(download, "_download", lambda wanted: pytest.fail(f"{wanted.address} was asked for"))
        monkeypatch.setenv(download.OFFLINE, "1")
        monkeypatch.setenv(download.CACHE, str(tmp_path / "cache"))

    return forbid


@pytest.fixture
def mit_b0(tmp_path: Path) -> tuple[Path, dict[str, Tensor]]:
    """SegFormer's backbone as it is published: without a word before the names."""
    torch.manual_seed(7)
    state = build_task(spec_of("segformer_mit-b0")).model.backbone.state_dict()
    file = tmp_path / "mit_b0_20220624-7e0fe6dd.pth"
    torch.save({"state_dict": {**state, "head.weight": torch.ones(3)}}, file)
    return file, state


def same(task: Any, state: dict[str, Tensor]) -> bool:
    found = task.model.backbone.state_dict()
    return all(torch.equal(found[name], value) for name, value in state.items())


def test_auto_fetches_the_usual_weights(online: Any, mit_b0: tuple[Path, dict[str, Tensor]]) -> None:
    file, state = mit_b0
    asked = []

    def fetch(address: str, *, sha256: str = "") -> Path:
        asked.append((address, sha256))
        return file

    online(fetch)
    task, begun = begin(spec_of("segformer_mit-b0", "intarsia.pretrained='auto'"))
    assert asked == [(PRETRAINED["mit_b0"].address, "7e0fe6dd")]
    assert same(task, state)
    assert begun.loaded == (
        {
            "part": "backbone", "asked_for": "mit_b0", "file": str(file), "address": PRETRAINED["mit_b0"].address,
            "licence": NVIDIA, "sha256": file_hash(file), "tensors": len(state),
        },
    )  # fmt: skip
    (note,) = begun.notes
    assert f"{len(state)} tensors loaded" in note
    assert "no commercial use" in note
    assert "1 left out, of classifiers or other parts: head.weight" in note
    assert "missing" not in note


def test_without_network_auto_says_one_line(online: Any) -> None:
    calls = []

    def fetch(address: str, *, sha256: str = "") -> Path:
        calls.append(address)
        raise OSError("no route to host")

    online(fetch)
    spec = spec_of("segformer_mit-b0", "intarsia.pretrained='auto'")
    for _ in range(2):  # a training is put together several times
        _, begun = begin(spec)
        (note,) = begun.notes
        assert note.startswith("backbone: starts from random weights, not from mit_b0, which cannot be had: ")
        assert "no route to host" in note
        assert "expect a lower score" in note
        assert "\n" not in note
        assert begun.loaded == ()
    assert len(calls) == 1


def test_offline_asks_nobody(offline: Callable[[], None]) -> None:
    offline()
    _, begun = begin(spec_of("fcn_r18", "intarsia.pretrained='auto'"))
    assert "INTARSIA_OFFLINE forbids" in begun.notes[0]
    with pytest.raises(NotToBeHadError, match="INTARSIA_OFFLINE forbids"):
        begin(spec_of("fcn_r18", "intarsia.pretrained='imagenet'"))


def test_auto_where_none_are_known() -> None:
    _, begun = begin(spec_of("unet", "intarsia.pretrained='auto'"))
    assert begun.notes[0].startswith(
        "starts from random weights: none are known for a UNet of this size; expect a lower"
    )
    with pytest.raises(ValueError, match="no pretrained weights are known for a UNet of this size"):
        begin(spec_of("unet", "intarsia.pretrained='imagenet'"))


def test_none_says_nothing() -> None:
    assert begin(spec_of("fcn_r18", "intarsia.pretrained='none'"))[1] == Begun()
    assert begin(spec_of("fcn_r18"))[1] == Begun()


def test_a_file(mit_b0: tuple[Path, dict[str, Tensor]]) -> None:
    file, state = mit_b0
    task, begun = begin(spec_of("segformer_mit-b0", f"intarsia.pretrained={str(file)!r}"))
    assert same(task, state)
    assert begun.loaded[0]["licence"] == NVIDIA


@pytest.mark.parametrize("recipe", ["bisenetv1_r18", "icnet_r18", "fcn_r18"])
def test_a_file_for_the_network_inside_a_network(recipe: str, tmp_path: Path) -> None:
    task = build_task(spec_of(recipe))
    part = {"bisenetv1_r18": "backbone.context_path.backbone", "icnet_r18": "backbone.backbone"}.get(recipe, "backbone")
    torch.manual_seed(3)
    state = {
        name: torch.rand_like(value.float()).to(value)
        for name, value in task.model.get_submodule(part).state_dict().items()
    }
    file = tmp_path / "r18.pth"
    torch.save({**state, "fc.weight": torch.ones(3), "fc.bias": torch.ones(3)}, file)
    started, begun = begin(spec_of(recipe, f"intarsia.pretrained={str(file)!r}"))
    assert begun.loaded[0]["part"] == part
    found = started.model.get_submodule(part).state_dict()
    assert all(torch.equal(found[name], value) for name, value in state.items())


def test_a_named_file_must_fit(mit_b0: tuple[Path, dict[str, Tensor]]) -> None:
    file, state = mit_b0
    more = {**state, "layers.9.weight": torch.ones(3)}
    more.pop("layers.0.0.projection.weight")
    torch.save(more, file)
    spec = spec_of("segformer_mit-b0", f"intarsia.pretrained={str(file)!r}")
    with pytest.raises(ValueError, match=r"layers\.9\.weight") as caught:
        begin(spec)
    assert "layers.0.0.projection.weight" in str(caught.value)
    _, begun = begin(spec, allow_partial=True)
    assert "layers.9.weight" in begun.notes[0]
    assert "layers.0.0.projection.weight" in begun.notes[0]


def test_an_unknown_name_is_an_error_that_lists_near_ones() -> None:
    with pytest.raises(ValueError, match=r"'mit_bo' is neither a file nor the name of pretrained weights.*mit_b"):
        begin(spec_of("segformer_mit-b0", "intarsia.pretrained='mit_bo'"))


@pytest.mark.parametrize("method", ["repeat", "mean", "zero", "random"])
def test_other_bands(mit_b0: tuple[Path, dict[str, Tensor]], method: str) -> None:
    file, state = mit_b0
    settings = (f"intarsia.pretrained={str(file)!r}", f"intarsia.first_convolution={method!r}")
    task, begun = begin(spec_of("segformer_mit-b0", *settings, bands=5))
    assert f"made from 3 to 5 bands ({method})" in begun.notes[0]
    found, given = task.model.backbone.layers[0][0].projection.weight, state["layers.0.0.projection.weight"]
    expected = given[:, 2] * 0.6 if method == "repeat" else given.mean(dim=1) * 0.6 if method == "mean" else given[:, 2]
    torch.testing.assert_close(found[:, 2], expected)


def test_a_config_of_mmsegmentation_takes_what_fits(
    online: Any, offline: Callable[[], None], mit_b0: tuple[Path, dict[str, Tensor]]
) -> None:
    """Its `init_cfg` is honoured as there: what does not fit is listed, and no error."""
    file, state = mit_b0
    torch.save({**state, "surplus.weight": torch.ones(3)}, file)
    online(lambda address, **_: file)
    values = recipes.get("segformer_mit-b0_8xb2-160k_ade20k-512x512")
    spec = lower(Config.from_values(values, file="published"))
    task, begun = begin(spec)
    assert same(task, state)
    assert "surplus.weight" in begun.notes[0]
    offline()
    _, begun = begin(spec)
    assert begun.notes[0].startswith("backbone: starts from random weights, not from https://download.openmmlab.com/")
    assert begun.loaded == ()


def test_a_classifier_with_its_backbone_inside(online: Any, tmp_path: Path) -> None:
    """As MMPretrain publishes it: the names have "backbone." before them, and there is a head."""
    spec = spec_of("fcn_mobilenet-v2", "intarsia.pretrained='auto'")
    state = build_task(spec).model.backbone.state_dict()
    file = tmp_path / "m.pth"
    others = {"backbone.conv2.conv.weight": torch.ones(3), "head.fc.weight": torch.ones(3)}
    torch.save({"state_dict": {**{f"backbone.{name}": value for name, value in state.items()}, **others}}, file)
    online(lambda address, **_: file)
    task, begun = begin(spec)
    assert same(task, state)
    assert "2 left out" in begun.notes[0]
    assert "unexpected" not in begun.notes[0]
    assert "but not in the model" not in begun.notes[0]


# --- A network below a word of its own ----------------------------------------------------------------------------


class Wrapped(nn.Module):
    """A backbone of a user's own that keeps another library's network in an attribute: all names begin with "net."."""

    def __init__(self) -> None:
        super().__init__()
        self.net = MixVisionTransformer(embed_dims=32, num_layers=(2, 2, 2, 2), num_heads=(1, 2, 5, 8))
        self.features = self.net.features

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        return self.net(images)


@pytest.fixture
def wrapped(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], RunSpec]:
    monkeypatch.setattr(catalog, "_registered", dict(catalog._registered))
    catalog.register("backbone")(Wrapped)

    def spec(file: Path) -> RunSpec:
        return spec_of("segformer_mit-b0", "model.backbone={'type': 'Wrapped'}", f"intarsia.pretrained={str(file)!r}")

    return spec


@pytest.mark.parametrize("before", ["", "backbone.", "net.", "backbone.net."])
def test_names_fit_without_the_backbones_own_word_and_with_it(
    wrapped: Callable[[Path], RunSpec], mit_b0: tuple[Path, dict[str, Tensor]], before: str
) -> None:
    file, state = mit_b0
    torch.save({**{before + name: value for name, value in state.items()}, "head.weight": torch.ones(3)}, file)
    task, begun = begin(wrapped(file))
    assert begun.loaded[0]["tensors"] == len(state)
    assert "1 left out, of classifiers or other parts: head.weight" in begun.notes[0]
    found = task.model.backbone.state_dict()
    assert found.keys() == {f"net.{name}" for name in state}
    assert all(torch.equal(found[f"net.{name}"], value) for name, value in state.items())


def test_what_has_no_counterpart_below_that_word_is_named_as_in_the_file(
    wrapped: Callable[[Path], RunSpec], mit_b0: tuple[Path, dict[str, Tensor]]
) -> None:
    file, state = mit_b0
    left = {name: value for name, value in state.items() if name != "layers.0.0.projection.weight"}
    torch.save({**left, "conv_head.weight": torch.ones(3)}, file)
    with pytest.raises(ValueError, match=r"net\.layers\.0\.0\.projection\.weight") as caught:
        begin(wrapped(file))
    assert "conv_head.weight" in str(caught.value)
    assert "net.conv_head.weight" not in str(caught.value)


# --- The command --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pretrained") / "scenes"
    write_corners(folder, train=4, val=1)
    return folder


def train(scenes: Path, out: Path, *words: str) -> int:
    short = ("--for", "2 steps", "--batch", "2", "--crop", "64", "64", "--workers", "0", "--save-every", "1 steps")
    return main(["train", "fcn_r18", "--data", str(scenes), "--out", str(out), "--device", "cpu", *short, *words])


def test_the_command_and_its_run(scenes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.manual_seed(2)
    state = build_task(spec_of("fcn_r18")).model.backbone.state_dict()
    file, out = tmp_path / "r18.pth", tmp_path / "run"
    torch.save(state, file)
    assert train(scenes, out, "--pretrained", str(file)) == 0
    assert f"{len(state)} tensors loaded" in "".join(capsys.readouterr())
    run = json.loads((out / "run.json").read_text())
    (loaded,) = run["pretrained"]
    assert loaded["sha256"] == file_hash(file)
    assert loaded["part"] == "backbone"
    assert run["config"]["intarsia"]["pretrained"] == str(file)
    assert read_meta(out / "weights.safetensors").pretrained == (Origin("backbone", "r18.pth", sha256=file_hash(file)),)


def test_auto_is_the_default_on_own_data(scenes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "run"
    assert train(scenes, out) == 0
    said = "".join(capsys.readouterr())
    assert said.count("starts from random weights") == 1
    assert "INTARSIA_OFFLINE forbids" in said.replace("\n", " ")
    run = json.loads((out / "run.json").read_text())
    assert run["config"]["intarsia"]["pretrained"] == "auto"
    assert run["pretrained"] == []


def test_imagenet_must_be_had(
    scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also where a folder of that name is at hand."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "imagenet").mkdir()
    assert train(scenes, tmp_path / "run", "--pretrained", "imagenet") != 0
    assert "INTARSIA_OFFLINE" in "".join(capsys.readouterr())


def test_both_are_too_much(scenes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--pretrained", "imagenet", "--weights", str(scenes))
    assert train(scenes, tmp_path / "run", *words) != 0
    assert "give one of them" in "".join(capsys.readouterr())


def test_a_resumed_run_loads_nothing_again(
    scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What it was begun with stays with its weights all the same."""
    file, out, began = tmp_path / "r18.safetensors", tmp_path / "run", Origin("backbone", "mit_b0", licence=NVIDIA)
    state = build_task(spec_of("fcn_r18")).model.backbone.state_dict()
    save_weights(file, state, WeightsMeta(pretrained=(began,), licence="MIT"))
    expected = (Origin("backbone", "r18.safetensors", sha256=file_hash(file), licence="MIT"), began)
    assert train(scenes, out, "--pretrained", str(file), "--eval-every", "2 steps") == 0
    assert "licence of these weights: MIT" in "".join(capsys.readouterr())
    assert read_meta(out / "weights.safetensors").pretrained == expected
    before = json.loads((out / "run.json").read_text())
    (out / "run.json").write_text(json.dumps({**before, "status": "interrupted"}))
    (out / "weights.safetensors").unlink()
    (out / "checkpoints/step_00000002.pt").unlink()
    file.unlink()
    monkeypatch.setattr(assemble, "start_from", lambda *_: pytest.fail("something was loaded"))
    assert main(["train", "--resume", str(out), "--pretrained", str(file)]) != 0
    assert "goes on with the run as it was begun" in "".join(capsys.readouterr())
    assert main(["train", "--resume", str(out), "--device", "cpu"]) == 0, capsys.readouterr()
    assert json.loads((out / "run.json").read_text())["pretrained"] == before["pretrained"]
    assert read_meta(out / "weights.safetensors").pretrained == expected


def test_a_training_from_weights_of_ours_carries_on_what_they_started_from(tmp_path: Path) -> None:
    spec, file = spec_of("fcn_r18"), tmp_path / "one.safetensors"
    task, began = build_task(spec), Origin("backbone", "mit_b0", "https://host.org/a.pth", "7e0f", NVIDIA)
    save_weights(file, task.model.state_dict(), WeightsMeta(pretrained=(began,), licence="MIT"))
    begun = initial_weights(task, spec, RunOptions(out=tmp_path / "run", weights=file))
    assert origins(begun.loaded) == (Origin("model", "one.safetensors", sha256=file_hash(file), licence="MIT"), began)
    save_weights(file, task.model.state_dict(), WeightsMeta())
    begun = initial_weights(task, spec, RunOptions(out=tmp_path / "run", weights=file))
    assert origins(begun.loaded) == (Origin("model", "one.safetensors", sha256=file_hash(file)),)
