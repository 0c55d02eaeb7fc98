"""A folder, or one file, with a page that runs an exported ONNX file.

Nothing is loaded but what lies beside the page, which its content security policy says. In one file everything is in
the page, packed, so that it can be opened from the disk, where browsers let no page read other files.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import html
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata, resources
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from intarsia.contracts import Size, Transform
from intarsia.data.transforms.resize import Resize, ResizeShortestEdge, ResizeToMultiple, Resizing
from intarsia.export.contract import ExportMeta
from intarsia.export.web.runtime_files import BACKENDS, LICENSE, PACKAGE, RuntimeFiles
from intarsia.io.whole_files import write_bytes, write_text
from intarsia.version import __version__

INDEX = "index.html"
RUNTIME = "onnxruntime-web"
"""Folder beside the page for the files of that package."""

SHOWN, WORKER = ("picture.js", "network.js", "stage.js", "page.js"), ("pixels.js", "labels.js", "worker.js")
"""Scripts of the page, and of what computes beside it."""

OUTPUTS = ("label", "scores", "logits")
"""What files may give."""

_POLICY = (
    "default-src 'none'; script-src {script} blob: 'wasm-unsafe-eval'; style-src {style}; img-src blob: data:; "
    "connect-src {connect}; worker-src blob:{worker}; base-uri 'none'; form-action 'none'"
)


@dataclass(frozen=True)
class Windows:
    """crop, stride: of the windows as (height, width), no stride: evenly apart. fixed: smaller images are filled up."""

    crop: Size
    stride: Size | None
    fixed: bool


@dataclass(frozen=True)
class Check:
    """An image (H, W, 3) uint8, its label (H, W) by the exported file, and the share of pixels that must be equal."""

    image: npt.NDArray[np.uint8]
    label: npt.NDArray[Any]
    at_least: float

    def to_json(self) -> dict[str, Any]:
        """Plain values; the image with a fourth band, as browsers have it."""
        height, width = self.label.shape
        opaque = np.dstack([self.image, np.full((height, width), 255, np.uint8)])
        return {
            "height": height, "width": width, "at_least": self.at_least,
            "image": _base64(opaque.tobytes()), "label": _base64(np.ascontiguousarray(self.label).tobytes()),
        }  # fmt: skip


@dataclass(frozen=True)
class Page:
    """What a page is made of.

    title: what it is called. text: what it says of itself. meta: of the exported file. resize: see `steps_of`.
    windows: that are shown to the file one by one, None for whole images. filling: colour behind images that are
    smaller than a fixed size. threshold, align_corners: of a file that gives logits, as `InferenceSpec` has them.
    check: by which a browser whose graphics card computes sees whether that is right.
    """

    title: str
    text: str
    meta: ExportMeta
    resize: Sequence[Mapping[str, Any]]
    windows: Windows | None
    filling: Sequence[int]
    threshold: float | None
    align_corners: bool
    check: Check

    def about(self, files: Mapping[str, int], *, embedded: bool) -> dict[str, Any]:
        """What the scripts are told. files: bytes of each."""
        contract, weights = self.meta.contract, self.meta.weights
        return {
            "text": self.text, "embedded": embedded, "files": dict(files), "model": MODEL,
            "classes": list(weights.classes), "palette": [list(colour) for colour in weights.palette],
            "output": contract.output, "layout": contract.layout, "asks_size": contract.asks_size,
            "resize": list(self.resize), "windows": None if self.windows is None else asdict(self.windows),
            "filling": list(self.filling), "threshold": self.threshold, "align_corners": self.align_corners,
            "check": self.check.to_json(),
            "runtimes": {name: {key: f"{RUNTIME}/{file}" for key, file in files_of.items()}
                         for name, files_of in BACKENDS.items()},
        }  # fmt: skip


MODEL = "model.onnx"
"""Name of the exported file, beside the page or inside it."""


def steps_of(transforms: Sequence[Transform]) -> list[dict[str, Any]]:
    """What a pipeline does to the size of an image, for the page's scripts.

    Raises ValueError for transforms that the page does not know, by their names.
    """
    found: list[dict[str, Any]] = []
    for step in transforms:
        if not isinstance(step, Resizing) or (step.interpolation, step.backend) != ("bilinear", "cv2"):
            whose = " of Pillow" if isinstance(step, Resizing) and step.backend == "pillow" else ""
            how = f" ({step.interpolation}{whose})" if isinstance(step, Resizing) else ""
            raise ValueError(
                f"--to web: the model's pipeline has {type(step).__name__}{how}; a page resizes as Resize, "
                "ResizeShortestEdge and ResizeToMultiple do, bilinear, and does nothing else"
            )
        if isinstance(step, Resize):
            pair: Any = step.scale or step.scale_factor  # (width, height)
            kind = "exact" if step.scale else "factor"
            found.append({"kind": kind, "width": pair[0], "height": pair[1], "keep": step.keep_ratio})
        elif isinstance(step, ResizeShortestEdge):
            length = step.scale if isinstance(step.scale, int) else min(step.scale)
            found.append({"kind": "shortest", "length": length, "most": step.max_size})
        elif isinstance(step, ResizeToMultiple):
            by = step.size_divisor
            width, height = (by, by) if isinstance(by, int) else by
            found.append({"kind": "multiple", "width": width, "height": height})
        else:
            raise ValueError(f"--to web: {type(step).__name__} draws its size, which a page does not")
    return found


def write_page(page: Page, model: Path, out: Path, runtime: RuntimeFiles, *, single_file: bool) -> Path:
    """Write the page into a folder; the exported file is there already, or becomes a part of the page.

    Gives the page's file.
    """
    files = {f"{RUNTIME}/{name}": data for name, data in runtime.files.items()}
    if single_file:
        files |= {MODEL: model.read_bytes(), **{name: _read(name) for name in WORKER}}
        write_text(out / INDEX, _in_one(page, files))
        return out / INDEX
    (out / RUNTIME).mkdir(parents=True, exist_ok=True)
    sizes = {name: len(data) for name, data in files.items()} | {MODEL: model.stat().st_size}
    for name, data in files.items():
        write_bytes(out / name, data)
    write_text(out / RUNTIME / "LICENSE.txt", LICENSE)
    if (notices := _notices()) is not None:
        write_bytes(out / RUNTIME / "ThirdPartyNotices.txt", notices)
    for name in ("page.css", *SHOWN, *WORKER):
        write_bytes(out / name, _read(name))
    own = "'self'"
    policy = _POLICY.format(script=own, style=own, connect=own, worker=f" {own}")
    write_text(out / INDEX, _filled(page.title, policy, page.about(sizes, embedded=False), ""))
    return out / INDEX


def _in_one(page: Page, files: Mapping[str, bytes]) -> str:
    """The page with all that it needs, as text."""
    style, scripts = _text("page.css"), {name: _text(name) for name in SHOWN}
    policy = _POLICY.format(
        script=" ".join(_hash(text) for text in scripts.values()), style=_hash(style), connect="'none'", worker=""
    )
    blocks = [
        f'<script type="application/gzip" data-file="{name}">{_base64(gzip.compress(data, 6, mtime=0))}</script>\n'
        for name, data in files.items()
    ]
    notice = f"<!-- {PACKAGE}, which is in this file:\n\n{LICENSE}-->\n"
    sizes = {name: len(data) for name, data in files.items()}
    text = _filled(page.title, policy, page.about(sizes, embedded=True), notice + "".join(blocks))
    text = text.replace('<link rel="stylesheet" href="page.css">', f"<style>{style}</style>")
    for name, script in scripts.items():
        text = text.replace(f'<script src="{name}" defer></script>', f"<script>{script}</script>")
    return text


def _filled(title: str, policy: str, about: Mapping[str, Any], files: str) -> str:
    said = json.dumps(about, ensure_ascii=False, allow_nan=False).replace("<", "\\u003c")
    values = {"TITLE": html.escape(title), "POLICY": html.escape(policy), "ABOUT": said, "FILES": files}
    return re.sub("@([A-Z]+)@", lambda found: values[found[1]], _text(INDEX))


def _notices() -> bytes | None:
    """Licences of what is compiled into onnxruntime, as its Python package brings them; None where it does not."""
    try:
        for file in metadata.files("onnxruntime") or ():
            if file.name == "ThirdPartyNotices.txt":
                return Path(str(file.locate())).read_bytes()
    except (metadata.PackageNotFoundError, OSError):
        pass
    return None


def _read(name: str) -> bytes:
    return (resources.files(__package__) / name).read_bytes()


def _text(name: str) -> str:
    return _read(name).decode("utf-8")


def _hash(text: str) -> str:
    return f"'sha256-{_base64(hashlib.sha256(text.encode()).digest())}'"


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def made_by(runtime: RuntimeFiles) -> str:
    """Who made the page, and what computes in it."""
    return f"Made by Intarsia {__version__} (Apache-2.0). Computes with {PACKAGE} {runtime.version} (MIT, Microsoft)."
