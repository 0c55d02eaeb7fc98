"""An environment for each library, made once: all with the torch that the driver runs on."""

from __future__ import annotations

import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from peer_parts.works import OURS

REQUIREMENTS = {
    "mmseg": (
        "mmsegmentation==1.2.2", "mmcv-lite==2.1.0", "mmengine", "opencv-python-headless", "ftfy", "regex",
        "setuptools",
    ),
    "transformers": ("transformers", "torchvision", "pillow"),
    "smp": ("segmentation-models-pytorch", "torchvision", "opencv-python-headless"),
    "torchvision": ("torchvision", "pillow"),
}  # fmt: skip
"""mmcv-lite: its newest is refused by MMSegmentation 1.2.2."""

MADE = "peers.json"
"""In an environment that is whole: what was asked for."""


def usual_place() -> Path:
    """The user's cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "intarsia" / "peers"


def interpreter(name: str, place: Path) -> Path:
    """The Python of an environment; of our own, the one that runs."""
    if name == OURS:
        return Path(sys.executable)
    return place / name / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def make(name: str, place: Path, log: Path) -> None:
    """The environment, if it is not there. Raises OSError or CalledProcessError; the log says more."""
    folder, python = place / name, interpreter(name, place)
    torch, _, build = importlib.metadata.version("torch").partition("+")
    wanted = [f"torch=={torch}", *REQUIREMENTS[name]]
    if (folder / MADE).is_file() and json.loads((folder / MADE).read_text()) == wanted:
        return
    place.mkdir(parents=True, exist_ok=True)
    uv = shutil.which("uv") or shutil.which("uv", path=str(Path(sys.executable).parent))
    with log.open("a", encoding="utf-8") as words:
        if not python.exists():
            begin = [uv, "venv", "--python", sys.executable] if uv else [sys.executable, "-m", "venv"]
            _run([*begin, str(folder)], words)
        if uv:
            backend = ["--torch-backend", build] if build else []
            _run([uv, "pip", "install", "--python", str(python), *backend, *wanted], words)
        else:
            index = ["--extra-index-url", f"https://download.pytorch.org/whl/{build}"] if build else []
            _run([str(python), "-m", "pip", "install", *index, *wanted], words)
    (folder / MADE).write_text(json.dumps(wanted), encoding="utf-8")


def _run(words: Sequence[str], log: object) -> None:
    subprocess.run(words, check=True, stdout=log, stderr=subprocess.STDOUT)  # type: ignore[call-overload]
