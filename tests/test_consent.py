"""A config or a weights file of somebody else runs no code of its choice."""

from __future__ import annotations

from pathlib import Path

import pytest

from intarsia import catalog, consent
from intarsia.config.build import build, import_parts
from intarsia.config.checking.check import check
from intarsia.config.errors import ConfigError
from intarsia.config.language.reader import Config
from intarsia.spec import Component, InferenceSpec, PreprocessSpec, RunSpec

ATTACKS = [
    "os:system", "subprocess:call", "subprocess:Popen", "builtins:eval", "builtins:exec", "shutil:rmtree",
    "torch.hub:load", "torch:load", "numpy:load", "pip._internal.cli.main:main", "runpy:run_path", "pickle:loads",
    "importlib:import_module", "code:interact", "pytest:main",
]  # fmt: skip


@pytest.fixture(autouse=True)
def untrusted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(consent.TRUST, raising=False)


@pytest.mark.parametrize("name", ATTACKS)
@pytest.mark.parametrize("kind", ["head", "dataset", "transform", "optimizer", "observer", "loss", "metric"])
def test_code_that_is_not_the_users_is_never_reached(kind: str, name: str) -> None:
    with pytest.raises(consent.ConsentError, match="was not made for Intarsia"):
        catalog.resolve(kind, name)


@pytest.mark.parametrize("name", ATTACKS)
def test_a_weights_file_whose_config_attacks_is_refused(name: str, tmp_path: Path) -> None:
    """The same for whatever builds from a config: nothing is called, not even with the right arguments."""
    trace = tmp_path / "trace"
    part = Component("head", name, {"command": f"touch {trace}", "args": f"touch {trace}"}, "model.decode_head")
    with pytest.raises(ConfigError, match="decode_head"):
        build(part)
    assert not trace.exists()


def test_check_says_where(tmp_path: Path) -> None:
    values = {"model": {"type": "EncoderDecoder", "backbone": {"type": "ResNet", "depth": 18},
                        "decode_head": {"type": "os:system", "num_classes": 2}}}  # fmt: skip
    problems = check(Config.from_values(values, file="downloaded.py"))
    assert any("decode_head" in str(problem) and "INTARSIA_TRUST=os" in str(problem) for problem in problems)


def test_what_a_module_imports_is_not_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """mypackage:os.system, where mypackage imports os."""
    (tmp_path / "innocent_of_consent.py").write_text("import os\nfrom subprocess import call\nclass Mine: ...\n")
    monkeypatch.chdir(tmp_path)
    assert catalog.resolve("head", "innocent_of_consent:Mine").__name__ == "Mine"
    for name in ("os.system", "call"):
        with pytest.raises(consent.ConsentError, match="imported from"):
            catalog.resolve("head", f"innocent_of_consent:{name}")


def test_custom_imports_are_asked_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine_of_consent.py").write_text("LOADED = True\n")

    def spec(module: str) -> RunSpec:
        preprocess = PreprocessSpec((0.0,) * 3, (1.0,) * 3)
        return RunSpec(Component("model", "X"), preprocess, (), InferenceSpec(), imports=(module,))

    with pytest.raises(ConfigError, match="antigravity"):
        import_parts(spec("antigravity"))
    monkeypatch.chdir(tmp_path)
    import_parts(spec("mine_of_consent"))


def test_trust_is_given_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(consent.TRUST, "json")
    assert catalog.resolve("head", "json:JSONDecoder").__name__ == "JSONDecoder"
    with pytest.raises(consent.ConsentError):
        catalog.resolve("head", "os:system")
