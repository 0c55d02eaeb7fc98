"""Weights sent to a server that stands in for the Hugging Face Hub, and had back; and what the model card says."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from intarsia.cli.main import main
from intarsia.config.build import build_task
from intarsia.config.language.reader import Config
from intarsia.config.lowering.lower import lower
from intarsia.weights.file import load_state, read_meta, save_weights, write_described
from intarsia.workflows.hub import HubError
from intarsia.workflows.model_card import MARK
from intarsia.workflows.share_weights import PushRequest, paths_in, push_weights, without_paths
from tests.cli.conftest import CONFIG
from tests.workflows.standin_hub import READER, WRITER, Hub
from tests.workflows.test_hub import no_server, photo  # noqa: F401
from tests.workflows.test_model_card import META, front


@pytest.fixture(scope="module")
def state() -> dict[str, torch.Tensor]:
    torch.manual_seed(3)
    task: Any = build_task(lower(Config.from_values(CONFIG, file="test")))
    found: dict[str, torch.Tensor] = task.model.state_dict()
    return found


@pytest.fixture
def file(state: dict[str, torch.Tensor], tmp_path: Path) -> Path:
    path = tmp_path / "model.safetensors"
    save_weights(path, state, META)
    return path


@pytest.fixture
def writer(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> Hub:
    monkeypatch.setenv("HF_TOKEN", WRITER)
    return hub


# --- There and back -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("large", [(".safetensors",), ()], ids=["lfs", "regular"])
def test_there_and_back(
    writer: Hub, file: Path, tmp_path: Path, large: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    """A file that changes in nothing comes back bit by bit, and is sent again when it has changed."""
    writer.large = large
    assert main(["weights", "push", str(file), "hf://me/street"]) == 0
    said = " ".join(capsys.readouterr().err.split())
    assert f"sent: {writer.address}/me/street, commit " in said
    assert "next: intarsia predict hf://me/street IMAGES -o OUT" in said
    assert "no licence is given" in said
    repository = writer.repositories["me/street"]
    assert sorted(repository.files()) == [".gitattributes", "README.md", "weights.safetensors"]
    assert repository.files()["weights.safetensors"] == file.read_bytes()
    assert bool(writer.objects) == bool(large)
    assert repository.messages[-1].startswith("Weights and model card, by Intarsia ")
    assert not repository.private

    assert main(["weights", "pull", "hf://me/street", "-o", str(tmp_path / "back.safetensors")]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'back.safetensors'}\n"
    assert (tmp_path / "back.safetensors").read_bytes() == file.read_bytes()

    save_weights(file, load_state(file), replace(META, step=40))
    assert main(["weights", "push", str(file), "hf://me/street", "-m", "Longer"]) == 0
    assert repository.files()["weights.safetensors"] == file.read_bytes()
    assert "Trained for 40 steps." in repository.files()["README.md"].decode()
    assert repository.messages[-1] == "Longer"
    assert main(["weights", "pull", "hf://me/street", "-o", str(tmp_path / "folder")]) == 0
    assert (tmp_path / "folder/weights.safetensors").read_bytes() == file.read_bytes()


def test_a_licence_goes_into_the_file(writer: Hub, file: Path, tmp_path: Path) -> None:
    """The numbers stay as they are, and so does the file of the person."""
    before = file.read_bytes()
    assert main(["weights", "push", str(file), "hf://me/street", "--license", "CC-BY-NC-4.0"]) == 0
    sent = tmp_path / "sent.safetensors"
    sent.write_bytes(writer.repositories["me/street"].files()["weights.safetensors"])
    assert read_meta(sent) == replace(META, licence="CC-BY-NC-4.0")
    state = load_state(file)
    assert {name: value.tolist() for name, value in load_state(sent).items()} == {
        n: v.tolist() for n, v in state.items()
    }
    assert file.read_bytes() == before
    assert front(writer.repositories["me/street"].files()["README.md"].decode())["license"] == "cc-by-nc-4.0"


def test_private(writer: Hub, file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["weights", "push", str(file), "hf://me/secret", "--private"]) == 0
    assert writer.repositories["me/secret"].private
    assert main(["weights", "push", str(file), "hf://me/secret", "--private"]) == 0
    assert len(writer.repositories["me/secret"].messages) == 3
    writer.put("me/open", {"a.txt": b""})
    assert main(["weights", "push", str(file), "hf://me/open", "--private"]) == 2
    assert "is there already, and everybody can read it; make it private" in " ".join(capsys.readouterr().err.split())
    assert list(writer.repositories["me/open"].files()) == ["a.txt"]


def test_another_branch(writer: Hub, file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    writer.put("me/street", {"a.txt": b""})
    for words in (["hf://me/street", "--revision", "try/it"], ["hf://me/street@try%2Fit"]):
        assert main(["weights", "push", str(file), *words]) == 0
        assert "next: intarsia predict hf://me/street@try%2Fit" in " ".join(capsys.readouterr().err.split())
    repository = writer.repositories["me/street"]
    assert list(repository.files()) == ["a.txt"]
    assert repository.files("try/it")["weights.safetensors"] == file.read_bytes()
    assert "intarsia predict hf://me/street@try%2Fit photo.jpg" in repository.files("try/it")["README.md"].decode()
    assert main(["weights", "pull", "hf://me/street", "--revision", "try/it"]) == 0
    assert Path(capsys.readouterr().out.strip()).read_bytes() == file.read_bytes()
    assert main(["weights", "push", str(file), "hf://me/street@one", "--revision", "two"]) == 2
    assert "give one branch" in capsys.readouterr().err
    assert main(["weights", "pull", "hf://me/street@one", "--revision", "two"]) == 2
    assert "give one of them" in capsys.readouterr().err


def test_a_card_that_somebody_has_written_is_kept(writer: Hub, file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    repository = writer.put("me/street", {"README.md": b"# Mine"})
    assert main(["weights", "push", str(file), "hf://me/street"]) == 0
    assert "README.md there was not written by Intarsia, and is kept" in " ".join(capsys.readouterr().err.split())
    assert repository.files()["README.md"] == b"# Mine"
    assert repository.files()["weights.safetensors"] == file.read_bytes()
    assert main(["weights", "push", str(file), "hf://me/street", "--overwrite"]) == 0
    assert MARK in repository.files()["README.md"].decode()


# --- What is not sent ---------------------------------------------------------------------------------------------


def refused(file: Path, address: str = "hf://me/street", **options: Any) -> str:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the caller looks at the words
        push_weights(PushRequest(weights=str(file), address=address, **options))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_who_may_not_send(hub: Hub, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    login = "log in by `hf auth login`, or set HF_TOKEN"
    assert f"nothing can be sent without a token of yours: {login}" in refused(file)
    assert hub.asked == []
    monkeypatch.setenv("HF_TOKEN", "hf_of_yesterday")
    assert f"the hub does not accept the token: {login}" in refused(file)
    monkeypatch.setenv("HF_TOKEN", READER)
    assert f"your token may not write to me: make one that may, and {login}" in refused(file)
    monkeypatch.setenv("HF_TOKEN", WRITER)
    assert "your token may not write to them" in refused(file, "hf://them/street")
    hub.full = True
    assert "your token may not write to me" in refused(file), "the storage of large files has errors of its own"
    assert hub.repositories.pop("me/street").messages == [""]
    hub.broken = 404
    assert "the hub has no hf://me/street" in refused(file)
    hub.broken = 418
    assert "the hub answered 418 for hf://me/street: " in refused(file)
    monkeypatch.setenv("HF_ENDPOINT", no_server())
    assert "the hub cannot be reached (http://127.0.0.1:" in refused(file)
    monkeypatch.setenv("INTARSIA_OFFLINE", "1")
    assert "INTARSIA_OFFLINE forbids to send anything" in refused(file)
    assert hub.repositories == {}


def test_what_nobody_could_use_is_not_sent(file: Path, state: dict[str, torch.Tensor], tmp_path: Path) -> None:
    save_weights(file, state, replace(META, config={}))
    assert "does not say its config, so that nobody could use it alone" in refused(file)
    save_weights(file, state, replace(META, classes=()))
    assert "does not say its classes" in refused(file)
    torch.save(state, tmp_path / "a.pth")
    assert f"intarsia weights convert {tmp_path / 'a.pth'} -o model.safetensors" in refused(tmp_path / "a.pth")
    assert "does not exist" in refused(tmp_path / "b.pth")
    (tmp_path / "empty").mkdir()
    assert "no run has got that far" in refused(tmp_path / "empty")
    file.write_bytes(file.read_bytes()[:-100])
    assert "is incomplete" in refused(file)
    with pytest.raises(HubError, match=r"leave out /b\.safetensors"):
        push_weights(PushRequest(weights=str(file), address="hf://me/a/b.safetensors"))


def test_a_folder_to_look_at_before(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The tests are offline here, as no server stands in."""
    words = ["weights", "push", str(file), "hf://me/street", "--licence", "MIT", "--dry-run", str(tmp_path / "look")]
    assert main(words) == 0
    assert sorted(one.name for one in (tmp_path / "look").iterdir()) == ["README.md", "weights.safetensors"]
    assert read_meta(tmp_path / "look/weights.safetensors").licence == "MIT"
    assert "nothing was" in capsys.readouterr().err
    assert main(words) == 2
    assert "weights.safetensors is there already; choose another folder, or --overwrite" in capsys.readouterr().err
    assert main([*words, "--overwrite"]) == 0
    own = tmp_path / "look/weights.safetensors"
    words[2] = str(own)
    before = own.read_bytes()
    assert main([*words, "--overwrite", "--strip-paths"]) == 2
    assert own.read_bytes() == before


# --- Folders of this machine --------------------------------------------------------------------------------------

PLACES = {
    "train_dataloader": {"dataset": {"type": "DescribedDataset", "file": "/home/ann/customer-x/data.yaml"}},
    "load_from": "C:\\Users\\ann\\w.pth",
    "work_dirs": ["~/runs/one", "./runs", "runs/two"],
    "vis": ("file:///srv/x",),
    "address": "https://host.org/a.pth",
    "few": {"a": "/", "b": "a/b", "c": 3, "d": "//"},
}


def test_paths_in_a_config() -> None:
    found = ["/home/ann/customer-x/data.yaml", "C:\\Users\\ann\\w.pth", "~/runs/one", "file:///srv/x"]
    assert list(paths_in(PLACES)) == found
    without = without_paths(PLACES)
    assert list(paths_in(without)) == []
    assert without["train_dataloader"]["dataset"] == {"type": "DescribedDataset", "file": "data.yaml"}
    assert without["load_from"] == "w.pth"
    assert without["work_dirs"] == ["one", "./runs", "runs/two"]
    assert without["vis"] == ("x",)
    assert {name: without[name] for name in ("address", "few")} == {name: PLACES[name] for name in ("address", "few")}


def test_paths_are_named_and_can_be_left_out(
    state: dict[str, torch.Tensor],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    photo: Path,  # noqa: F811
) -> None:
    file, data = tmp_path / "a.safetensors", "/home/ann/customer-x/data.yaml"
    loader = {"batch_size": 1, "dataset": {"type": "DescribedDataset", "file": data, "split": "test"}}
    config = {
        **CONFIG, "test_dataloader": loader, "test_evaluator": {"type": "IoUMetric"}, "test_cfg": {"type": "TestLoop"},
        "load_from": "/srv/secret/w.pth",
    }  # fmt: skip
    save_weights(file, state, replace(META, config=config))
    words = ["weights", "push", str(file), "hf://me/street", "--dry-run"]
    assert main([*words, str(tmp_path / "with")]) == 0
    said = " ".join(capsys.readouterr().err.split())
    assert f"names folders of this machine, which everybody will read: {data}, /srv/secret/w.pth. With --strip" in said
    assert main([*words, str(tmp_path / "without"), "--strip-paths"]) == 0
    assert "folders of this machine" not in capsys.readouterr().err
    for folder in ("with", "without"):
        assert "customer-x" not in (tmp_path / folder / "README.md").read_text()
    sent = tmp_path / "without/weights.safetensors"
    assert b"customer-x" not in sent.read_bytes()
    assert main(["predict", str(sent), str(photo), "-o", str(tmp_path / "o"), "--device", "cpu"]) == 0


# --- Having it back -----------------------------------------------------------------------------------------------


def test_a_copy_takes_nobodys_place(
    writer: Hub, file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    writer.put("me/street", {"weights.safetensors": file.read_bytes()})
    out = tmp_path / "out"
    out.mkdir()
    assert main(["weights", "pull", "hf://me/street", "-o", str(out)]) == 0
    assert (out / "weights.safetensors").read_bytes() == file.read_bytes()
    assert main(["weights", "pull", "hf://me/street", "-o", str(out)]) == 2
    assert "exists already; replace it with --overwrite" in capsys.readouterr().err
    assert main(["weights", "pull", "hf://me/street", "-o", str(out), "--overwrite"]) == 0
    writer.repositories["me/street"].commit({"weights.safetensors": b"no weights"})
    assert main(["weights", "pull", "hf://me/street"]) == 2
    assert "is no safetensors file" in capsys.readouterr().err


def test_another_description_of_the_same_numbers(file: Path, tmp_path: Path) -> None:
    out = tmp_path / "b.safetensors"
    for licence in ("", "x", "a licence of any length, é " * 7):
        write_described(file, out, replace(META, licence=licence))
        assert read_meta(out) == replace(META, licence=licence)
        data = out.read_bytes()
        length = int.from_bytes(data[:8], "little")
        assert length % 8 == 0
        before = file.read_bytes()
        assert data[8 + length :] == before[8 + int.from_bytes(before[:8], "little") :]
