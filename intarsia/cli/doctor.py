"""``intarsia doctor``: what is installed, on which machine, what is missing, and what to paste into a bug report."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import shutil
import sys
from dataclasses import dataclass
from typing import Annotated

import typer

_REQUIREMENT = re.compile(
    r"(?P<name>[\w.\-]+)\s*(?:>=\s*(?P<least>[\d.]+))?[^;]*(?:;.*extra\s*==\s*['\"](?P<extra>\w+))?"
)


@dataclass(frozen=True)
class Package:
    """A dependency: what is wanted and what is there. `extra`: name of the optional group, "" for required ones."""

    name: str
    least: str
    extra: str
    found: str | None

    @property
    def problem(self) -> str | None:
        """What is wrong with it, or None."""
        if self.found is None:
            return "missing"
        if self.least and _numbers(self.found) < _numbers(self.least):
            return f"too old: needs {self.least}"
        return None


def packages() -> list[Package]:
    """All dependencies that the installed package declares; tools for its own development are left out."""
    listed = []
    for line in importlib.metadata.requires("intarsia") or ():
        match = _REQUIREMENT.match(line)
        assert match is not None
        if match["extra"] == "dev":
            continue
        try:
            found: str | None = importlib.metadata.version(match["name"])
        except importlib.metadata.PackageNotFoundError:
            found = None
        listed.append(Package(match["name"], match["least"] or "", match["extra"] or "", found))
    return listed


def doctor(
    report: Annotated[bool, typer.Option("--report", help="Print plain text to paste into a bug report.")] = False,
) -> None:
    """Show versions, devices and optional parts, and say how to get what is missing."""
    from intarsia.terminal import out, table

    listed, machine = packages(), _machine()
    required, optional = [p for p in listed if not p.extra], [p for p in listed if p.extra]
    broken = [p for p in required if p.problem]
    if report:
        typer.echo("```")
        lines = [*machine, *_devices(), *((p.name, p.found or "missing") for p in listed)]
        typer.echo("\n".join(f"{name}: {value}" for name, value in lines))
        typer.echo(
            "```\nAbove: what `intarsia doctor --report` prints. Below: the command, what it printed with --debug, "
        )
        typer.echo("what you expected; and `intarsia data check DIR` if it is about your data.")
    else:
        console = out()
        console.print(table("Machine", ("", ""), machine, left=2))
        console.print(table("Packages", ("name", "found", ""), [_row(p) for p in required], left=3))
        rows = [(p.extra, p.name, p.found or "not installed", _fix(p)) for p in optional]
        console.print(table("Optional parts", ("extra", "package", "found", "to get it"), rows, left=4))
        console.print(table("Devices", ("", ""), _devices(), left=2))
    if broken:
        wanted = " ".join(f'"{p.name}>={p.least}"' for p in broken)
        raise ValueError(f"{', '.join(f'{p.name} is {p.problem}' for p in broken)}; fix: pip install {wanted}")
    if not report:
        typer.echo("Everything required is there. For a bug report: intarsia doctor --report")


def _row(package: Package) -> tuple[str, str, str]:
    return package.name, package.found or "-", package.problem or "ok"


def _fix(package: Package) -> str:
    return "" if package.problem is None else f'pip install "intarsia[{package.extra}]"'


def _numbers(version: str) -> tuple[int, ...]:
    """Three numbers: 26.1 is 26.1.0."""
    return tuple(int(number) for number in [*re.findall(r"\d+", version.split("+")[0]), "0", "0", "0"][:3])


def _machine() -> list[tuple[str, str]]:
    from intarsia import __version__
    from intarsia.io.cores import available_cores

    free = shutil.disk_usage(os.getcwd()).free / 2**30
    usable, there = available_cores(), os.cpu_count() or 1
    cores = f"{there} cores" if usable == there else f"{usable} of {there} cores (bound to them, or by a quota)"
    return [
        ("intarsia", __version__),
        ("python", f"{platform.python_version()} ({sys.executable})"),
        ("system", platform.platform()),
        ("processor", f"{cores}, {platform.machine()}"),
        ("free disk here", f"{free:.1f} GiB"),
        *_downloads(),
    ]


def _downloads() -> list[tuple[str, str]]:
    """Where downloaded weights are kept, and what has been set about downloads."""
    from intarsia.weights import download

    folder = download.cache_folder()
    files = [file for file in folder.glob("*/*") if file.is_file() and file.suffix != ".lock"]
    size = sum(file.stat().st_size for file in files) / 1e6
    in_words = f"{size / 1e3:.1f} GB" if size >= 1e3 else f"{size:.1f} MB"
    rows = [("downloaded weights", f"{folder} ({len(files)} file{'s' * (len(files) != 1)}, {in_words})")]
    rows.append((download.MIRROR, os.environ.get(download.MIRROR) or "not set"))
    if download.is_offline():
        rows.append((download.OFFLINE, os.environ[download.OFFLINE]))
    return rows


def _devices() -> list[tuple[str, str]]:
    """What torch can compute on. Imports torch, so it comes last."""
    import torch

    lines = [("torch", f"{torch.__version__}, {torch.get_num_threads()} CPU threads")]
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        memory = properties.total_memory / 2**30
        lines.append((f"cuda:{index}", f"{properties.name}, {memory:.0f} GiB, CUDA {torch.version.cuda}"))
    if torch.backends.mps.is_available():
        lines.append(("mps", "Apple GPU"))
    if len(lines) == 1:
        lines.append(("accelerator", "none: runs on the processor"))
    return lines
