"""Weights at addresses of the Hugging Face Hub, fetched from a server that stands in for it."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import intarsia
from intarsia.cli.main import main
from intarsia.config.build import build_task
from intarsia.config.language.reader import Config
from intarsia.config.lowering.lower import lower
from intarsia.io.digest import file_hash
from intarsia.weights.file import WeightsMeta, read_meta, save_weights
from intarsia.weights.origins import Origin, origins
from intarsia.weights.pretrained.table import NVIDIA
from intarsia.workflows.assemble import initial_weights
from intarsia.workflows.hub import HubAddress, HubError, choose, fetch, told
from intarsia.workflows.run_options import RunOptions
from tests.cli.conftest import CLASSES, CONFIG, PALETTE
from tests.workflows.standin_hub import READER, WRITER, Hub
from tests.workflows.test_pretrained import begin, same, spec_of


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small network of ours."""
    torch.manual_seed(3)
    task: Any = build_task(lower(Config.from_values(CONFIG, file="test")))
    path = tmp_path_factory.mktemp("small") / "weights.safetensors"
    save_weights(path, task.model.state_dict(), WeightsMeta(config=CONFIG, classes=CLASSES, palette=PALETTE))
    return path


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)).save(path)
    return path


# --- Addresses ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("hf://me/a", HubAddress("me", "a")),
        ("hf://me/a.b-c_d@v1.0", HubAddress("me", "a.b-c_d", "v1.0")),
        ("hf://me/a@refs%2Fpr%2F1/sub/f.pth", HubAddress("me", "a", "refs/pr/1", "sub/f.pth")),
        ("hf://me/a/f@1.pth", HubAddress("me", "a", "", "f@1.pth")),
    ],
)
def test_addresses(text: str, expected: HubAddress) -> None:
    assert HubAddress.parse(text) == expected
    assert str(expected) == text


@pytest.mark.parametrize(
    ("page", "expected"),
    [
        ("https://huggingface.co/me/a", "hf://me/a"),
        ("https://huggingface.co/me/a/", "hf://me/a"),
        ("https://hf.co/me/a?library=transformers", "hf://me/a"),
        ("https://huggingface.co/me/a/tree/v1", "hf://me/a@v1"),
        ("https://huggingface.co/me/a/tree/refs%2Fpr%2F1", "hf://me/a@refs%2Fpr%2F1"),
        ("https://huggingface.co/me/a/blob/main/sub/f.pth", "hf://me/a@main/sub/f.pth"),
        ("https://huggingface.co/me/a/resolve/main/my%20f.pth?download=true", "hf://me/a@main/my f.pth"),
    ],
)
def test_addresses_of_pages(page: str, expected: str) -> None:
    assert str(HubAddress.parse(page)) == expected


@pytest.mark.parametrize(
    "page",
    ["https://huggingface.co/a", "https://huggingface.co/me/a/discussions/1", "https://huggingface.co/me/a/blob/main/../b",
     "https://huggingface.co/me/a/blob/main/%2E%2E/b"],
)  # fmt: skip
def test_pages_that_are_no_weights(page: str) -> None:
    with pytest.raises(HubError, match="expected an address such as hf://OWNER/NAME"):
        HubAddress.parse(page)


@pytest.mark.parametrize(
    "text",
    ["hf://me", "hf://me/", "hf:///a", "hf://me/a/", "hf://me/a/../b", "hf://me/a//b", "hf://me/a@", "hf://m e/a",
     "me/a", "hf://me/a/.", "hf://me/a/x\\..\\y", "hf://me/a@b@c"],
)  # fmt: skip
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(HubError, match="expected an address such as hf://OWNER/NAME"):
        HubAddress.parse(text)


ME = HubAddress("me", "a")


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["README.md", "weights.safetensors", "config.json", "model.safetensors"], (("weights.safetensors",), True)),
        (["config.json", "model.safetensors", "pytorch_model.bin", "run.py"],
         (("config.json", "model.safetensors"), False)),
        (["pytorch_model.bin", "config.json", "preprocessor_config.json", "README.md", "tf_model.h5"],
         (("config.json", "preprocessor_config.json", "README.md", "pytorch_model.bin"), False)),
        (["config.json", "model.safetensors.index.json", "model-00002-of-00002.safetensors",
          "model-00001-of-00002.safetensors", "other-00001-of-00002.safetensors"],
         (("config.json", "model.safetensors.index.json", "model-00001-of-00002.safetensors",
           "model-00002-of-00002.safetensors"), False)),
        (["run.py", "sub/best.pth"], (("sub/best.pth",), True)),
    ],
)  # fmt: skip
def test_what_is_wanted_of_a_repository(names: list[str], expected: Any) -> None:
    assert choose(ME, names) == expected


def test_what_is_not_clear() -> None:
    with pytest.raises(
        HubError, match=r"name the file that you mean, hf://me/a/FILE; files of weights there: a\.pth, b"
    ):
        choose(ME, ["b.pt", "a.pth"])
    with pytest.raises(HubError, match="files of weights there: none"):
        choose(ME, ["run.py", "data.json"])
    with pytest.raises(HubError, match=r"in the cache: a\.pth"):
        choose(ME, ["a.pth"], all_known=False)
    with pytest.raises(HubError, match=r"run\.py is no file of weights; those that are read end in \.safetensors"):
        choose(HubAddress("me", "a", "", "run.py"), ["run.py"])
    with pytest.raises(HubError, match=r"hf://me/a/b\.pth is not there; files of weights there: a\.pth"):
        choose(HubAddress("me", "a", "", "b.pth"), ["a.pth"])


# --- Fetching -----------------------------------------------------------------------------------------------------


def test_predicting_by_address(hub: Hub, weights: Path, photo: Path, tmp_path: Path) -> None:
    """The same as with the file; nothing else of the repository is fetched, and nothing twice."""
    hub.put("me/street", {"weights.safetensors": weights.read_bytes(), "README.md": b"x", "run.py": b"import os"})
    for source, out in ((str(weights), "a"), ("hf://me/street", "b"), ("hf://me/street@main/weights.safetensors", "c")):
        assert main(["predict", source, str(photo), "-o", str(tmp_path / out), "--device", "cpu"]) == 0
    labels = [(tmp_path / out / "photo.png").read_bytes() for out in ("a", "b", "c")]
    assert labels[0] == labels[1] == labels[2]
    fetched = [line for line in hub.asked if line.startswith("GET") and "/resolve/" in line]
    assert len(fetched) == 1
    assert fetched[0].endswith("weights.safetensors")
    assert fetch("hf://me/street").read_bytes() == weights.read_bytes()


def test_evaluating_by_address(hub: Hub, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The same scores as with the file, by address and by that of the page."""
    hub.put("me/street", {"weights.safetensors": weights.read_bytes()})
    data, rng = tmp_path / "data", np.random.default_rng(1)
    for kind, shape, top in (("images", (48, 64, 3), 256), ("labels", (48, 64), len(CLASSES))):
        (data / kind / "val").mkdir(parents=True)
        for name in ("a.png", "b.png"):
            Image.fromarray(rng.integers(0, top, shape, np.uint8)).save(data / kind / "val" / name)
    (data / "data.yaml").write_text(f"classes: {json.dumps(list(CLASSES))}\n")
    scores = []
    for source in (str(weights), "hf://me/street", "https://huggingface.co/me/street/tree/main"):
        out = tmp_path / f"scores{len(scores)}"
        assert main(["eval", source, "--data", str(data), "-o", str(out), "--pictures", "0"]) == 0
        scores.append(json.loads((out / "eval.json").read_text(encoding="utf-8")))
    assert 0 < scores[0]["mIoU"] < 1
    assert scores[0] == scores[1] == scores[2]


def test_load(hub: Hub, weights: Path, photo: Path) -> None:
    hub.put("me/street", {"weights.safetensors": weights.read_bytes()})
    found = intarsia.load("hf://me/street", device="cpu").predict(str(photo))
    expected = intarsia.load(weights, device="cpu").predict(str(photo))
    assert np.array_equal(found.label, expected.label)
    assert found.classes == CLASSES


def segformer(folder: Path, *, shards: bool = False) -> Any:
    """A tiny one, as transformers saves it."""
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    config = transformers.SegformerConfig(
        hidden_sizes=[8, 16, 16, 32], depths=[1, 1, 1, 1], num_attention_heads=[1, 2, 2, 4], decoder_hidden_size=16,
        id2label={0: "sea", 1: "land", 2: "cloud"}, label2id={"sea": 0, "land": 1, "cloud": 2},
    )  # fmt: skip
    torch.manual_seed(0)
    theirs = transformers.SegformerForSemanticSegmentation(config).eval()
    theirs.save_pretrained(folder, **({"max_shard_size": "40KB"} if shards else {}))
    return theirs


@pytest.mark.parametrize("shards", [False, True], ids=["one", "shards"])
def test_a_repository_of_transformers(hub: Hub, photo: Path, tmp_path: Path, shards: bool) -> None:
    theirs = segformer(tmp_path / "theirs", shards=shards)
    files = {file.name: file.read_bytes() for file in (tmp_path / "theirs").iterdir()}
    assert (len(files) > 4) == shards
    hub.put("them/sea", {**files, "modeling.py": b"raise SystemExit", "README.md": b"---\nlicense: mit\n---\n"})
    found = intarsia.load("hf://them/sea", device="cpu").predict(str(photo))
    assert found.classes == ("sea", "land", "cloud")
    pixels = np.asarray(Image.open(photo))
    images = (torch.tensor(pixels) - torch.tensor([123.675, 116.28, 103.53])) / torch.tensor([58.395, 57.12, 57.375])
    with torch.no_grad():
        logits = theirs(images.permute(2, 0, 1)[None].float()).logits
    expected = torch.nn.functional.interpolate(logits, pixels.shape[:2], mode="bilinear").argmax(1)[0].numpy()
    assert (found.label != expected).mean() < 0.002
    assert not any("modeling.py" in line for line in hub.asked)
    by_folder = intarsia.load(tmp_path / "theirs", device="cpu").predict(str(photo))
    assert np.array_equal(by_folder.label, found.label)


def test_a_licence_that_a_folder_states(hub: Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    segformer(tmp_path / "theirs")
    files = {file.name: file.read_bytes() for file in (tmp_path / "theirs").iterdir()}
    hub.put("them/sea", {**files, "README.md": b"---\nlicense: cc-by-nc-4.0\n---\n# Sea\n"})
    assert main(["weights", "pull", "hf://them/sea", "-o", str(tmp_path / "copy")]) == 0
    said = capsys.readouterr()
    assert said.out == f"{tmp_path / 'copy'}\n"
    assert "licence: cc-by-nc-4.0" in said.err
    assert (tmp_path / "copy/model.safetensors").read_bytes() == files["model.safetensors"]
    assert main(["weights", "show", "hf://them/sea"]) == 0
    assert "cc-by-nc-4.0 (not for every use)" in " ".join(capsys.readouterr().out.split())

    out = tmp_path / "ours.safetensors"
    assert main(["weights", "convert", "hf://them/sea", "-o", str(out)]) == 0
    meta = read_meta(out)
    digits = file_hash(tmp_path / "copy/model.safetensors")
    assert meta.licence == "cc-by-nc-4.0"
    assert meta.pretrained == (Origin("model", "hf://them/sea", "", digits, "cc-by-nc-4.0"),)
    assert main(["weights", "push", str(out), "hf://me/sea", "--dry-run", str(tmp_path / "sent")]) == 0
    card = (tmp_path / "sent/README.md").read_text()
    assert "base_model:\n- them/sea\n" in card
    assert "license: cc-by-nc-4.0\n" in card


class Harmful:
    def __reduce__(self) -> Any:
        return os.system, ("touch was_here",)


def test_a_pickle_that_wants_to_run_code(hub: Hub, photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                         capsys: pytest.CaptureFixture[str]) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    config = json.dumps({"model_type": "segformer", "id2label": {"0": "a", "1": "b"}}).encode()
    torch.save({"state_dict": {"a": torch.zeros(1), "b": Harmful()}}, "harmful.pth")
    harmful = Path("harmful.pth").read_bytes()
    hub.put("bad/one", {"best.pth": harmful})
    hub.put("bad/two", {"pytorch_model.bin": harmful, "config.json": config})
    for address in ("hf://bad/one", "hf://bad/two"):
        for words in (["predict", address, str(photo), "-o", "o", "--config", "fcn_r18"], ["weights", "pull", address]):
            assert main(words) == 2
            assert "is refused: it asks for" in " ".join(capsys.readouterr().err.split()), words
    with pytest.raises(ValueError, match="is refused"):
        intarsia.load("hf://bad/two")
    assert not Path("was_here").exists()


def test_trainings_start_from_addresses(hub: Hub, weights: Path) -> None:
    """All of a network, or its backbone; and what they started from is kept with it."""
    spec = spec_of("segformer_mit-b0", "intarsia.pretrained='hf://me/b0'")
    file = weights.with_name("b0.safetensors")
    torch.manual_seed(9)
    state = build_task(spec).model.backbone.state_dict()  # type: ignore[attr-defined]
    save_weights(file, state, WeightsMeta(pretrained=(Origin("backbone", "mit_b0", licence=NVIDIA),), licence="MIT"))
    hub.put("me/b0", {"weights.safetensors": file.read_bytes()})
    task, begun = begin(spec)
    assert same(task, state)
    first = Origin("backbone", "hf://me/b0", "", file_hash(file), "MIT")
    assert origins(begun.loaded) == (first, Origin("backbone", "mit_b0", licence=NVIDIA))
    assert "they started from backbone from mit_b0" in begun.notes[0]

    hub.put("me/street", {"weights.safetensors": weights.read_bytes()})
    small = lower(Config.from_values(CONFIG, file="test"))
    begun = initial_weights(build_task(small), small, RunOptions(out=Path("run"), weights="hf://me/street"))
    assert origins(begun.loaded) == (Origin("model", "hf://me/street", "", file_hash(weights)),)


# --- What there is not --------------------------------------------------------------------------------------------


def refused(address: str) -> str:
    with pytest.raises(HubError) as caught:
        fetch(address)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_what_the_hub_does_not_give(hub: Hub, weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = {"weights.safetensors": weights.read_bytes()}
    hub.put("me/street", files)
    hub.put("me/secret", files, private=True)
    hub.put("me/terms", files, gated=True)
    private = (
        "there is no hf://{}, or it is private and you may not see it; if it is, log in by `hf auth login`, or set"
    )
    for token in (None, READER):
        if token is not None:
            monkeypatch.setenv("HF_TOKEN", token)
        assert private.format("me/secret") in refused("hf://me/secret")
        assert private.format("me/none") in refused("hf://me/none")
        assert f"accept its terms: do so at {hub.address}/me/terms, then log in by" in refused("hf://me/terms")
    assert "hf://me/street has no branch, tag or commit 'v9'" in refused("hf://me/street@v9")
    assert "hf://me/street/b.pth is not there" in refused("hf://me/street/b.pth")
    monkeypatch.setenv("HF_TOKEN", "hf_of_yesterday")
    assert "the hub does not accept the token: log in by `hf auth login`" in refused("hf://me/street")
    monkeypatch.setenv("HF_TOKEN", WRITER)
    assert fetch("hf://me/secret").read_bytes() == weights.read_bytes()
    hub.broken = 503
    assert "the hub answered 503 for hf://me/street: out of order" in refused("hf://me/street")
    hub.broken = 403
    assert "your token may not read hf://me/street: make one that may" in refused("hf://me/street")
    hub.broken = 429
    assert "asked too often; try again in a few minutes" in refused("hf://me/street")


def test_errors_that_are_nobodys() -> None:
    where = HubAddress("me", "street")
    with pytest.raises(HubError, match=r"^fetching hf://me/street has failed \(broken pipe\); try again$"), told(where):
        raise RuntimeError("broken pipe\nsecond line")
    with pytest.raises(HubError, match=r"^sending to hf://me/street has failed"), told(where, writing=True):
        raise RuntimeError("broken pipe")
    with pytest.raises(OSError, match="disk"), told(where):
        raise OSError("disk")
    with pytest.raises(HubError, match=r"cannot be reached \(.*: no route\)$"), told(where):
        raise RuntimeError("upload") from ConnectionError("no route")


@pytest.mark.parametrize("name", ["../../../a.pth", "/tmp/a.pth", "sub/../../a.pth", "..\\a.pth", "./a.pth"])
def test_names_that_lead_out_of_the_cache_are_no_files(hub: Hub, name: str) -> None:
    hub.put("bad/one", {name: b"x"})
    assert "files of weights there: none" in refused("hf://bad/one")


def test_revisions(hub: Hub, weights: Path) -> None:
    street = hub.put("me/street", {"weights.safetensors": weights.read_bytes()})
    first = street.branches["main"]
    street.commit({"weights.safetensors": b"later"})
    street.branches["try/it"] = first
    assert fetch("hf://me/street").read_bytes() == b"later"
    assert fetch("hf://me/street@try%2Fit").read_bytes() == weights.read_bytes()
    assert fetch(f"hf://me/street@{first}").read_bytes() == weights.read_bytes()


def no_server() -> str:
    """An address where nobody answers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}"


def test_without_network_the_cache_is_enough(
    hub: Hub, weights: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    hub.put("me/street", {"weights.safetensors": weights.read_bytes()})
    hub.put("me/alone", {"best.safetensors": weights.read_bytes()})
    fetch("hf://me/street")
    fetch("hf://me/alone")
    monkeypatch.setenv("HF_ENDPOINT", no_server())
    assert fetch("hf://me/street").read_bytes() == weights.read_bytes()
    said = " ".join(capsys.readouterr().err.split())
    assert "the hub cannot be reached" in said
    assert "looking into its cache" in said
    assert "me/other is not in the hub's cache, and the hub cannot be reached" in refused("hf://me/other")

    monkeypatch.setenv("INTARSIA_OFFLINE", "1")
    asked = len(hub.asked)
    monkeypatch.setenv("HF_ENDPOINT", hub.address)
    assert fetch("hf://me/street").read_bytes() == weights.read_bytes()
    assert "not in the hub's cache, and INTARSIA_OFFLINE forbids to fetch it" in refused("hf://me/other")
    assert "in the cache: best.safetensors" in refused("hf://me/alone")
    assert fetch("hf://me/alone/best.safetensors").read_bytes() == weights.read_bytes()
    assert len(hub.asked) == asked


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INTARSIA_OFFLINE", "0")
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ValueError, match=r"need huggingface_hub: pip install 'intarsia\[hub\]'"):
        fetch("hf://me/street")


def test_help_does_not_import_it() -> None:
    code = (
        "import sys; from intarsia.cli.main import main; "
        "codes = [main(words) for words in (['--help'], ['weights', 'push', '--help'], ['predict', '--help'])]; "
        "import intarsia.workflows.locate; sys.exit(any(codes) or 'huggingface_hub' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0
