"""Where trainers put a network's tensors, and what they put before their names."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from intarsia.weights.about import about
from intarsia.weights.file import read_state
from intarsia.weights.foreign import ForeignFileError, open_foreign
from intarsia.weights.state_dicts import plain_names

NAMES = ("backbone.conv.weight", "backbone.bn.num_batches_tracked", "decode_head.conv_seg.weight")
STATE: dict[str, Tensor] = {name: torch.full((2,), float(number)) for number, name in enumerate(NAMES)}
AVERAGE: dict[str, Tensor] = {name: value + 10 for name, value in STATE.items()}
OPTIMIZER = {"state": {0: {"exp_avg": torch.zeros(3)}}, "param_groups": [{"lr": 0.1}]}


def after(prefix: str, state: dict[str, Tensor] = STATE) -> dict[str, Tensor]:
    return {prefix + name: value for name, value in state.items()}


class Net(nn.Module):
    """A network that is pickled whole: a part in a part, a buffer that is saved and one that is not."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.ModuleDict({"conv": nn.Conv2d(1, 2, 1), "bn": nn.BatchNorm2d(2)})
        self.decode_head = nn.Sequential(nn.Conv2d(2, 3, 1))
        self.register_buffer("grid", torch.zeros(5), persistent=False)


FILES: dict[str, Callable[[], Any]] = {
    "alone": lambda: STATE,
    "state_dict": lambda: {"state_dict": STATE, "epoch": torch.tensor(3), "optimizer": OPTIMIZER},
    "Lightning": lambda: {
        "state_dict": after("model."),
        "optimizer_states": [OPTIMIZER],
        "hyper_parameters": {"lr": 1},
    },
    "Lightning with a loss": lambda: {"state_dict": {**after("model."), "criterion.weight": torch.ones(3)}},
    "AveragedModel": lambda: {"n_averaged": torch.tensor(5), **after("module.")},
    "compiled": lambda: {"model": after("_orig_mod.")},
    "a compiled part": lambda: {name.replace("backbone.", "backbone._orig_mod."): one for name, one in STATE.items()},
    "compiled and parallel": lambda: {"model": after("_orig_mod.module.")},
    "model_ema alone": lambda: {"model_ema": STATE, "optimizer": OPTIMIZER},
    "net": lambda: {"net": STATE, "acc": 0.5},
    "nested": lambda: {"model": {"state_dict": STATE}},
    "nested deeply": lambda: {"run": {"best": {"network": after("segmentor.model.")}}},
    "timm": lambda: {"state_dict": STATE, "state_dict_ema": AVERAGE, "arch": "x"},
    "ultralytics": lambda: {"model": STATE, "ema": AVERAGE, "train_args": {}},
}


@pytest.mark.parametrize("kind", FILES)
def test_the_tensors_are_found(kind: str, tmp_path: Path) -> None:
    file = tmp_path / "a.pth"
    torch.save(FILES[kind](), file)
    state, _ = read_state(file)
    assert state.keys() == STATE.keys()
    assert all(torch.equal(state[name], STATE[name]) for name in STATE)
    assert about(file).tensors.keys() == STATE.keys()


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("timm", "of several sets of the same tensors 'state_dict' was taken"),
        ("timm", "choose another with --key: 'state_dict_ema'"),
        ("ultralytics", "choose another with --key: 'ema'"),
        ("net", "the tensors under 'net' were taken"),
        ("nested deeply", "names begin with 'segmentor.model.' were taken"),
        ("Lightning with a loss", "1 others are left out (criterion (1))"),
    ],
)  # fmt: skip
def test_a_guess_is_said(kind: str, said: str, tmp_path: Path) -> None:
    file = tmp_path / "a.pth"
    torch.save(FILES[kind](), file)
    assert any(said in note for note in open_foreign(file).notes)


@pytest.mark.parametrize("kind", ["alone", "state_dict", "AveragedModel", "compiled"])
def test_what_is_no_guess_is_not_said(kind: str, tmp_path: Path) -> None:
    file = tmp_path / "a.pth"
    torch.save(FILES[kind](), file)
    assert open_foreign(file).notes == ()


def test_key_and_prefix(tmp_path: Path) -> None:
    file = tmp_path / "a.pth"
    content = {"one": after("a.", STATE) | after("b.", AVERAGE), "two": {"inner": {"x.weight": torch.zeros(7)}}}
    torch.save(content, file)
    assert read_state(file, key="one", prefix="b")[0]["backbone.conv.weight"].tolist() == [10, 10]
    assert read_state(file, key="two.inner")[0]["x.weight"].shape == (7,)
    with pytest.raises(ForeignFileError, match=r"holds no tensors under 'three'; .* 'one' \(6\), 'two.inner' \(1\)"):
        open_foreign(file, key="three")
    with pytest.raises(ForeignFileError, match=r"begins with 'c\.'; they begin with a \(3\), b \(3\)"):
        open_foreign(file, key="one", prefix="c")


@pytest.mark.parametrize("legacy", [False, True], ids=["archive", "stream"])
def test_a_network_that_was_pickled_whole(legacy: bool, tmp_path: Path) -> None:
    """Its class is not needed; its tensors lie in dicts whose names are torch's."""
    file, net = tmp_path / "a.pt", Net()
    for content in (net, {"epoch": 1, "model": net, "ema": None}):
        torch.save(content, file, _use_new_zipfile_serialization=not legacy)
        state = open_foreign(file).load()
        expected = net.state_dict()
        assert state.keys() == expected.keys()
        assert all(torch.equal(state[name], expected[name]) for name in expected)


def test_names_of_others_are_left_alone() -> None:
    """A word before all names is not taken away where another library has it."""
    segformer = [f"segformer.encoder.block.0.0.layer_norm_1.{name}" for name in ("weight", "bias")]
    assert list(plain_names(segformer)[0]) == segformer
    backbone = ["backbone.layer1.0.conv1.weight", "backbone.bn1.weight"]
    assert list(plain_names(backbone)[0]) == backbone


def test_shards(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    config = transformers.SegformerConfig(
        hidden_sizes=[8, 16, 16, 32], depths=[1, 1, 1, 1], num_attention_heads=[1, 2, 2, 4], decoder_hidden_size=16,
        num_labels=1,
    )  # fmt: skip
    torch.manual_seed(0)
    theirs = transformers.SegformerForSemanticSegmentation(config)
    theirs.save_pretrained(tmp_path / "one")
    theirs.save_pretrained(tmp_path / "many", max_shard_size="20KB")
    assert len(list((tmp_path / "many").glob("*.safetensors"))) > 2
    one, many = (about(tmp_path / name).state()[0] for name in ("one", "many"))
    assert one.keys() == many.keys()
    assert all(torch.equal(one[name], many[name]) for name in one)
    head = about(tmp_path / "one").meta.config["model"]["decode_head"]
    assert (head["threshold"], head["loss_decode"]["use_sigmoid"]) == (0.5, True)
    index = tmp_path / "many/model.safetensors.index.json"
    torch.save(theirs.state_dict(), tmp_path / "many/pytorch_model.bin")
    for file in (*(tmp_path / "many").glob("*.safetensors"), index):
        file.unlink()
    assert about(tmp_path / "many").state()[0].keys() == one.keys()
    for wrong in (
        '{"weight_map": {"a": "../x.bin"}}',
        '{"weight_map": []}',
        "[1]",
        '{"weight_map": {"a": "gone.bin"}}',
    ):
        (tmp_path / "many/pytorch_model.bin").unlink(missing_ok=True)
        (tmp_path / "many/pytorch_model.bin.index.json").write_text(wrong)
        with pytest.raises(ValueError, match=r"weight_map|lacks gone\.bin|expected an object"):
            about(tmp_path / "many")
