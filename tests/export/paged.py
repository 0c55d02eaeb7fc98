"""Pages of small files, a server for them, and what a browser finds there."""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
from browser import Browser
from made import Made

from intarsia.contracts import Transform
from intarsia.export import runtime
from intarsia.export.task import ExportedPredictor, ExportedTask, inference_of
from intarsia.export.web.page import MODEL, Check, Page, Windows, steps_of, write_page
from intarsia.export.web.runtime_files import RuntimeFiles


def predictor_of(made: Made, path: Path, transforms: list[Transform], **inference: Any) -> ExportedPredictor:
    """The exported file as the command line runs it."""
    opened = runtime.open_file(path, threads=1)
    task = ExportedTask(opened, num_classes=len(made.classes), filling=made.task.preprocess.spec.mean)
    found = inference_of(made.predictor(**inference).inference, opened.meta.contract)
    palette = [(0, 0, index) for index in range(len(made.classes))]
    return ExportedPredictor(task.eval(), inference=found, transforms=transforms, classes=made.classes, palette=palette)


def write(
    ours: ExportedPredictor, out: Path, files: RuntimeFiles, *, single_file: bool = False, at_least: float = 0.999
) -> Path:
    """The page of a predictor's file, which is in the folder already."""
    spec, contract = ours.inference, runtime.read_meta(out / MODEL).contract
    windows = None
    if spec.mode != "whole":
        assert spec.crop_size is not None
        windows = Windows(spec.crop_size, spec.stride, contract.size is not None)
    pixels = np.random.default_rng(5).integers(0, 256, (24, 40, 3), dtype=np.uint8)
    page = Page(
        "a <b>model</b>", "", runtime.read_meta(out / MODEL), steps_of(ours.transforms), windows, [120, 110, 100],
        spec.foreground_above, spec.align_corners, Check(pixels, ours.predict(pixels).label, at_least),
    )  # fmt: skip
    return write_page(page, out / MODEL, out, files, single_file=single_file)


class _Handler(SimpleHTTPRequestHandler):
    def __init__(self, *words: Any, isolated: bool, **named: Any) -> None:
        self._isolated = isolated
        super().__init__(*words, **named)

    def end_headers(self) -> None:
        if self._isolated:
            self.send_header("Cross-Origin-Opener-Policy", "same-origin")
            self.send_header("Cross-Origin-Embedder-Policy", "require-corp")
        super().end_headers()

    def log_message(self, *words: Any) -> None:
        pass


@contextmanager
def served(folder: Path, *, isolated: bool = False) -> Iterator[str]:
    """The address of a folder on a plain server; isolated: with the headers that threads need."""
    handler = partial(_Handler, directory=str(folder), isolated=isolated)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()
            thread.join()


def until(browser: Browser, condition: str, seconds: float = 120) -> Any:
    """Wait until a script gives something true, and give that."""
    deadline = time.monotonic() + seconds
    while not (value := browser.evaluate(condition)):
        assert time.monotonic() < deadline, f"{condition}: {browser.evaluate('document.body.innerText')}"
        time.sleep(0.05)
    return value


def text(browser: Browser, element: str) -> str:
    return str(browser.evaluate(f"document.getElementById({json.dumps(element)}).textContent"))


def give(browser: Browser, file: Path) -> str:
    """Choose a file, and wait for its labels or for a message, which is given."""
    before = browser.evaluate("wanted")
    root = browser.do("DOM.getDocument")["root"]["nodeId"]
    field = browser.do("DOM.querySelector", nodeId=root, selector="#file")["nodeId"]
    browser.do("DOM.setFileInputFiles", nodeId=field, files=[str(file)])
    shown = f"document.documentElement.dataset.shown > {before}"
    until(
        browser, f"({shown} && document.getElementById('working').hidden) || !document.getElementById('trouble').hidden"
    )
    return text(browser, "trouble")


def values(browser: Browser, script: str, dtype: Any = np.uint8) -> np.ndarray[Any, Any]:
    """What a script gives as a typed array."""
    found = browser.evaluate(
        f"(async () => {{ const bytes = new Uint8Array((await ({script})).buffer); let text = '';"
        "for (let at = 0; at < bytes.length; at += 8192) text += String.fromCharCode(...bytes.subarray(at, at + 8192));"
        "return btoa(text); })()"
    )
    return np.frombuffer(base64.b64decode(found), dtype)


def label(browser: Browser) -> np.ndarray[Any, Any]:
    """The label map that is shown."""
    height, width = browser.evaluate("[shown.found.height, shown.found.width]")
    return values(browser, "shown.found.label").reshape(height, width)
