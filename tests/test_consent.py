"""A config or a weights file of somebody else runs no code of its choice: who may agree to it, and to what."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib.metadata import Distribution, EntryPoint, EntryPoints
from pathlib import Path

import pytest

from intarsia import catalog, consent
from intarsia.config.build import build, import_parts
from intarsia.config.checking.check import check
from intarsia.config.errors import ConfigError
from intarsia.config.language.reader import Config
from intarsia.spec import Component, InferenceSpec, PreprocessSpec, RunSpec

PYTHONS_OWN = [
    "os:system", "subprocess:call", "subprocess:Popen", "builtins:eval", "builtins:exec", "shutil:rmtree",
    "runpy:run_path", "pickle:loads", "importlib:import_module", "code:interact", "pip._internal.cli.main:main",
    "distutils.spawn:spawn", "setuptools:setup", "ctypes:CDLL", "threading:Thread",
]  # fmt: skip
INSTALLED = [
    "torch.hub:load", "torch:load", "numpy:load", "pytest:main", "yaml:unsafe_load", "torch.nn:Module",
    "torch.utils.data:DataLoader", "__main__:main", "typer.main:Typer", "PIL.Image:open",
]  # fmt: skip
OURS = [
    "intarsia.config.language.reader:read_file", "intarsia.cli.main:main", "intarsia.cli.main:app",
    "intarsia.consent:trust", "intarsia.catalog:resolve", "intarsia.config.build:build", "intarsia.api:load",
    "intarsia.workflows.train:start_training", "intarsia.methods.fcn:FCNHead", "intarsia.io.whole_files:write_whole",
]  # fmt: skip
NO_PATHS = ["os:system;x", ":x", "x:", "a b:c", "../x:y", "x:__import__('os')", "a:b:c", "x" * 400 + ":y", "\x00:a"]
KINDS = sorted(catalog.TABLE)


@pytest.fixture(autouse=True)
def untrusted(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nobody has agreed to anything, and what a test registers or makes findable is forgotten after it."""
    monkeypatch.delenv(consent.TRUST, raising=False)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(catalog, "_registered", dict(catalog._registered))
    modules = set(sys.modules)
    yield
    for name in set(sys.modules) - modules:
        if name.endswith("_of_consent"):
            del sys.modules[name]


@pytest.mark.parametrize("kind", KINDS)
def test_no_import_path_is_followed_that_nobody_agreed_to(kind: str) -> None:
    for name in (*PYTHONS_OWN, *INSTALLED, *OURS):
        with pytest.raises(consent.ConsentError, match="the config names code of"):
            catalog.resolve(kind, name)
    for name in NO_PATHS:
        with pytest.raises(catalog.UnknownPartError):
            catalog.resolve(kind, name)


@pytest.mark.parametrize("kind", KINDS)
def test_whatever_is_trusted_a_part_is_a_class_of_its_kind(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(consent.TRUST, consent.EVERYTHING)
    for name in PYTHONS_OWN:
        with pytest.raises(consent.ConsentError, match="No part of a model is there"):
            catalog.resolve(kind, name)
    functions = [name for name in OURS if name != "intarsia.methods.fcn:FCNHead"]
    for name in ("torch.hub:load", "torch:load", "numpy:load", "pytest:main", *functions):
        with pytest.raises(consent.ConsentError, match="no class"):
            catalog.resolve(kind, name)


def test_a_name_of_the_catalogue_counts_in_places_of_its_kind_alone() -> None:
    for kind in KINDS:
        for other in KINDS:
            for name in set(catalog.TABLE[kind]) - set(catalog.TABLE[other]):
                with pytest.raises(catalog.UnknownPartError):
                    catalog.resolve(other, name)


@pytest.mark.parametrize("name", [*PYTHONS_OWN, *INSTALLED, *OURS])
def test_building_calls_nothing(name: str, tmp_path: Path) -> None:
    """Not even with the right arguments."""
    trace = tmp_path / "trace"
    (tmp_path / "code.py").write_text(f"open({str(trace)!r}, 'w')\n")
    command = {"command": f"touch {trace}", "args": f"touch {trace}", "path": str(tmp_path / "code.py"), "trust": True}
    with pytest.raises(ConfigError, match="decode_head"):
        build(Component("head", name, command, "model.decode_head"))
    assert not trace.exists()


def test_every_place_is_listed_at_once() -> None:
    head = {"type": "mine.heads:MyHead", "num_classes": 2, "loss_decode": {"type": "other:MyLoss"}}
    values = {
        "model": {"type": "EncoderDecoder", "backbone": {"type": "ResNet", "depth": 18}, "decode_head": head},
        "custom_imports": {"imports": ["third.parts"]},
    }
    problems = [str(problem) for problem in check(Config.from_values(values, file="downloaded.py"))]
    [asked] = [problem for problem in problems if "--trust" in problem]
    assert "3 places name code outside of Intarsia's catalogue" in asked
    for line in (
        "model.decode_head.type: mine.heads:MyHead (downloaded.py)",
        "model.decode_head.loss_decode.type: other:MyLoss",
        "custom_imports.imports: third.parts",
        "--trust third,mine,other",
        "INTARSIA_TRUST=third,mine,other",
    ):
        assert line in asked


# --- Who agrees ---------------------------------------------------------------------------------------------------

OWN = """
import os
from subprocess import call
from torch import nn
from intarsia.catalog import register

class Mine(nn.Module): ...
class Plain: ...
class Turn:
    def __call__(self, sample, rng): return sample
class Call:
    def __call__(self): ...
class Words:
    def __len__(self): return 0
    def load(self, index): ...
def make(): ...
@register("head")
def declared(): ...
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module of the user's own, in the folder in which he works."""
    (tmp_path / "mine_of_consent.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    return "mine_of_consent"


def test_the_folder_of_a_config_is_no_consent(own: str) -> None:
    with pytest.raises(consent.ConsentError, match=f"--trust {own}"):
        catalog.resolve("head", f"{own}:Mine")
    assert own not in sys.modules


@pytest.mark.parametrize("trusted", ["{}", "other, {}", "*", "{},"])
def test_consent_by_name(own: str, trusted: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(consent.TRUST, trusted.format(own))
    assert catalog.resolve("head", f"{own}:Mine").__name__ == "Mine"


@pytest.mark.parametrize("trusted", ["mine", "mine_of_consent.parts", "mine_of_consentt", "ine_of_consent", ""])
def test_consent_to_another_module_is_none(own: str, trusted: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(consent.TRUST, trusted)
    with pytest.raises(consent.ConsentError):
        catalog.resolve("head", f"{own}:Mine")


def test_consent_in_a_program(own: str) -> None:
    consent.trust(own)
    assert catalog.resolve("head", f"{own}:Mine").__name__ == "Mine"
    with pytest.raises(ValueError, match="by name, such as mypackage"):
        consent.trust("rm -rf")


@pytest.mark.parametrize(
    ("kind", "name", "reason"),
    [
        ("head", "os.system", "no class"),
        ("head", "call", "no class"),
        ("head", "make", "@register"),
        ("head", "nn.Linear", "imported from"),
        ("head", "Plain", "subclass of torch.nn.Module"),
        ("loss", "Turn", "subclass of torch.nn.Module"),
        ("optimizer", "Mine", "subclass of torch.optim.Optimizer"),
        ("observer", "Mine", "Observer"),
        ("transform", "Plain", "it has no __call__"),
        ("transform", "Call", "it has no __call__"),
        ("dataset", "Turn", r"it has no __len__\(\), load\(\)"),
        ("metric", "Words", "it has no update"),
        ("constructor", "Plain", "not named by an import path"),
        ("label_table", "Plain", "not named by an import path"),
        ("loss", "declared", "no class"),
    ],
)
def test_consent_is_for_parts_of_the_kind(own: str, kind: str, name: str, reason: str) -> None:
    consent.trust(own)
    with pytest.raises(consent.ConsentError, match=reason):
        catalog.resolve(kind, f"{own}:{name}")


@pytest.mark.parametrize(
    ("kind", "name"),
    [("head", "Mine"), ("loss", "Mine"), ("transform", "Turn"), ("sampler", "Turn"), ("dataset", "Words")],
)
def test_parts_of_ones_own(own: str, kind: str, name: str) -> None:
    consent.trust(own)
    assert catalog.resolve(kind, f"{own}:{name}").__name__ == name


def test_a_function_may_be_declared(own: str) -> None:
    consent.trust(own)
    assert catalog.resolve("head", f"{own}:declared").__name__ == "declared"
    assert catalog.resolve("head", "declared").__name__ == "declared"


def test_custom_imports_are_asked_too(own: str) -> None:
    def spec(module: str) -> RunSpec:
        preprocess = PreprocessSpec((0.0,) * 3, (1.0,) * 3)
        return RunSpec(Component("model", "X"), preprocess, (), InferenceSpec(), imports=(module,))

    with pytest.raises(ConfigError, match="antigravity"):
        import_parts(spec("antigravity"))
    with pytest.raises(ConfigError, match=own):
        import_parts(spec(own))
    consent.trust(own)
    import_parts(spec(own))
    assert own in sys.modules


def test_registering_needs_a_kind() -> None:
    with pytest.raises(ValueError, match="unknown kind of part 'heads'"):
        catalog.register("heads")


# --- Installed packages -------------------------------------------------------------------------------------------


class Installed(Distribution):
    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def read_text(self, filename: str) -> str | None:
        return None

    def locate_file(self, path: object) -> Path:
        return self.folder / str(path)


def declare(monkeypatch: pytest.MonkeyPatch, folder: Path, name: str, value: str) -> None:
    point = EntryPoint(name, value, "intarsia.parts")
    vars(point)["dist"] = Installed(folder)
    monkeypatch.setattr("importlib.metadata.entry_points", lambda **_: EntryPoints([point]))
    catalog._entry_points.cache_clear()


@pytest.fixture
def forget() -> Iterator[None]:
    yield
    catalog._entry_points.cache_clear()


@pytest.mark.usefixtures("forget")
def test_installed_packages_declare_parts(own: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By name, and by exactly the path that they declare; not what else is in them."""
    declare(monkeypatch, tmp_path / "site-packages", "head.Fine", f"{own}:Mine")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert catalog.resolve("head", "Fine").__name__ == "Mine"
    assert catalog.resolve("head", f"{own}:Mine").__name__ == "Mine"
    for kind, name in (("head", f"{own}:Plain"), ("loss", f"{own}:Mine"), ("head", f"{own}.more:Mine")):
        with pytest.raises(consent.ConsentError):
            catalog.resolve(kind, name)
    assert catalog.is_declared(own)
    assert not catalog.is_declared(f"{own}.more")


@pytest.mark.usefixtures("forget")
def test_what_lies_in_the_folder_is_not_installed(own: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`python -m intarsia` looks for packages in the folder in which it runs, too."""
    declare(monkeypatch, tmp_path, "head.Fine", f"{own}:Mine")
    with pytest.raises(catalog.UnknownPartError):
        catalog.resolve("head", "Fine")
    assert own not in sys.modules
