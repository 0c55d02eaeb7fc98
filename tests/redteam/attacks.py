"""What a stranger may write where a `type` stands, and how it would be noticed if it ran."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from intarsia import consent

MODULE = "evil_of_redteam"


@dataclass(frozen=True)
class Attack:
    """A `type`, and the arguments with which it would do harm."""

    type: Any
    args: dict[str, Any] = field(default_factory=dict)

    def values(self, place: dict[str, Any] | None = None) -> dict[str, Any]:
        """As a dict of a config, with or without what stands there otherwise."""
        return {**(place or {}), **self.args, "type": self.type}


class Trap:
    """A folder of the attacker's, in which the victim works. Code of his that runs leaves a file.

    payload.py: a config that runs code if it is run as Python. MODULE: a module that does so when it is imported, and
    again in whatever is called in it. A package is declared by metadata that lie beside it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.canary = folder / "canary"
        write = f"open({str(self.canary)!r}, 'a').write('x')\n"
        (folder / "payload.py").write_text(write)
        (folder / f"{MODULE}.py").write_text(
            f"{write}from torch import nn\nfrom intarsia.catalog import register\n"
            f"@register('head', 'EvilHead')\nclass Evil(nn.Module):\n    def __init__(self, **k):\n        {write}"
            f"def run(**k):\n    {write}    return 1\n"
        )
        for name in ("sitecustomize", "usercustomize", "distutils", "heads"):
            (folder / f"{name}.py").write_text(write)
        metadata = folder / f"{MODULE}-1.0.dist-info"
        metadata.mkdir()
        (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {MODULE}\nVersion: 1.0\n")
        (metadata / "entry_points.txt").write_text(
            "[intarsia.parts]\n"
            + "".join(f"{kind}.Declared = {MODULE}:Evil\n" for kind in ("head", "backbone", "dataset", "transform"))
        )

    def attacks(self) -> list[Attack]:
        """Every trick, with the arguments that it needs."""
        touch, payload = f"touch {self.canary}", str(self.folder / "payload.py")
        code = f"open({str(self.canary)!r}, 'w')"
        calls: list[tuple[str, dict[str, Any]]] = [
            # Ours, which read, run, trust or write.
            ("intarsia.config.language.reader:read_file", {"path": payload, "trust": True}),
            ("intarsia.workflows.names:find_config", {"name": payload, "trust": True}),
            ("intarsia.workflows.names:_find", {"name": payload, "trust": True}),
            ("intarsia.config.language.trusted:execute", {"source": payload}),
            ("intarsia.cli.main:main", {"words": ["config", "show", payload, "--trust-config"]}),
            ("intarsia.consent:trust", {"names": "*"}),
            ("intarsia.io.whole_files:write_whole", {"path": str(self.canary)}),
            ("intarsia.catalog:resolve", {"kind": "head", "name": f"{MODULE}:Evil"}),
            ("intarsia.config.build:build", {"component": {}}),
            ("intarsia.api:load", {"weights": payload}),
            ("intarsia.methods.fcn:FCNHead", {}),
            ("intarsia.__main__:main", {}),
            # Python's own, and what its installers add to it.
            ("os:system", {"command": touch}),
            ("subprocess:run", {"args": touch, "shell": True}),
            ("subprocess:Popen", {"args": ["touch", str(self.canary)]}),
            ("builtins:exec", {"source": code}),
            ("builtins:eval", {"expression": code}),
            ("runpy:run_path", {"path_name": payload}),
            ("pathlib:Path.touch", {"self": str(self.canary)}),
            ("distutils.spawn:spawn", {"cmd": ["touch", str(self.canary)]}),
            ("setuptools._distutils.spawn:spawn", {"cmd": ["touch", str(self.canary)]}),
            ("_distutils_hack:do_override", {}),
            ("code:interact", {}),
            ("__main__:main", {}),
            # Installed packages.
            ("torch.utils.cpp_extension:load_inline", {"name": "x", "cpp_sources": code}),
            ("torch.hub:load", {"repo_or_dir": str(self.folder), "model": "x", "source": "local"}),
            ("torch:load", {"f": payload, "weights_only": False}),
            ("numpy:load", {"file": payload, "allow_pickle": True}),
            ("yaml:unsafe_load", {"stream": f"!!python/object/apply:os.system ['{touch}']"}),
            ("torch.nn:Module", {}),
            # The folder in which the victim works.
            (f"{MODULE}:Evil", {}),
            (f"{MODULE}:run", {}),
            (f"{MODULE}:nn.Module", {}),
            ("heads:Head", {}),
            # Dressed as something else.
            (f"mmseg.{MODULE}:Evil", {}),
            (f"mmdet.{MODULE}.Evil", {}),
            ("mmdet.os:system", {"command": touch}),
            (f"mmengine.mmseg.{MODULE}:run", {}),
            (f"{MODULE}.Evil", {}),
            (MODULE, {}),
            ("EvilHead", {}),
            ("Declared", {}),
            (f" {MODULE}:Evil", {}),
            (f"{MODULE}:Evil\n", {}),
            (f"{MODULE}\uff1aEvil", {}),
            (f"FCNHead:{MODULE}", {}),
            (f"../{MODULE}:Evil", {}),
            (f".{MODULE}:Evil", {}),
            (f"{MODULE}:Evil", {"_scope_": MODULE, "_delete_": True}),
            ("__class__", {}),
            ("a" * 100_000, {}),
            (f"{'a.' * 40_000}b:c", {}),
            ("", {}),
        ]
        attacks = [Attack(name, args) for name, args in calls]
        others: list[Any] = [None, 0, 1.5, True, [], ["os:system"], ("os", "system"), {}, {"type": "os:system"}]
        return attacks + [Attack(value) for value in others]

    def sprung(self) -> list[str]:
        """What has happened that must not; empty where nothing has."""
        found = [str(self.canary)] if self.canary.exists() else []
        found += [name for name in sys.modules if name.partition(".")[0] in (MODULE, "heads")]
        return found + ([consent.TRUST] if os.environ.get(consent.TRUST) else [])
