"""``intarsia export --to web``: an exported file with the page that runs it in a browser."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from intarsia.config.build import build
from intarsia.contracts import Transform
from intarsia.export.certificate import Certificate, Sample, describe, drawn
from intarsia.export.contract import Contract
from intarsia.export.runtime import read_meta
from intarsia.export.web.page import MODEL, OUTPUTS, Check, Page, Windows, made_by, steps_of, write_page
from intarsia.export.web.runtime_files import RuntimeFiles, runtime_files
from intarsia.terminal import say
from intarsia.workflows.exported_model import open_exported
from intarsia.workflows.trained_model import OpenModel, of_exported

CHECKED = (96, 128)
"""Size of the image by which a browser checks its graphics card."""

LARGE = 300 * 10**6
"""Bytes of a model above which one file with all in it is slow to open, and browsers may refuse it."""


def prepared(model: OpenModel, contract: Contract, given: Path | None) -> RuntimeFiles:
    """The files that run in browsers, if a page can show this model.

    given: a folder or archive of onnxruntime-web, None for the npm registry.

    Raises ValueError saying why not.
    """
    if contract.output not in OUTPUTS:
        raise ValueError(f"--to web: a page shows {', '.join(OUTPUTS)}, found --output {contract.output}")
    images = model.reader.spec
    special = bool(images.scale or images.slices or images.inputs or images.indices)
    if images.bands != "rgb" or contract.channels != 3 or contract.dtype != "uint8" or special:
        raise ValueError(
            "--to web: browsers read colour pictures of 8 bits; the model was trained on "
            f"{contract.channels} bands ({images.bands}, {contract.dtype})"
        )
    if contract.batch not in (None, 1):
        raise ValueError(f"--to web: a page computes one picture at a time, found --batch {contract.batch}")
    inference = model.spec.inference
    if inference.mode == "slide_flip" or inference.blend != "average":
        raise ValueError(
            f"--to web: a page takes the plain mean of windows, found mode={inference.mode!r} with "
            f"blend={inference.blend!r}; set model.test_cfg otherwise"
        )
    steps_of(_transforms(model))
    return runtime_files(given)


def write_web(
    model: OpenModel, file: Path, certificate: Certificate, runtime: RuntimeFiles, *, title: str, single_file: bool
) -> Path:
    """Write the page of an exported file into its folder. Gives the page's file.

    Raises ValueError for a model that has no room in a browser.
    """
    if file.with_name(f"{file.name}.data").is_file():
        raise ValueError("--to web: the model has more than 2 GB, which no browser has room for; try --precision int8")
    if single_file and file.stat().st_size > LARGE:
        say(f"note: the model has {file.stat().st_size / 1e6:,.0f} MB; one file with it inside is slow to open")
    page = _page(model, file, certificate, runtime, title)
    return write_page(page, file, file.parent, runtime, single_file=single_file)


def _page(model: OpenModel, file: Path, certificate: Certificate, runtime: RuntimeFiles, title: str) -> Page:
    assert file.name == MODEL
    opened = open_exported(file, own=True)
    meta, inference = read_meta(file), opened.spec.inference
    predictor = of_exported(file, opened).predictor()
    windows = None
    if inference.mode != "whole":
        assert inference.crop_size is not None
        windows = Windows(inference.crop_size, inference.stride, meta.contract.size is not None)
    (image,) = (_cut(sample) for sample in drawn(1, 3, "uint8", (0, 255)))
    text = [made_by(runtime), f"Exported file and original: {describe(certificate)[1]}"] if certificate.images else []
    return Page(
        title, "\n".join(text), meta, steps_of(_transforms(model)), windows,
        [round(value) for value in model.spec.preprocess.mean], inference.foreground_above, inference.align_corners,
        Check(image, predictor.predict(image).label, certificate.at_least),
    )  # fmt: skip


def _transforms(model: OpenModel) -> Sequence[Transform]:
    data = model.spec.test or model.spec.val
    return [build(step) for step in data.first_steps] if data is not None else []


def _cut(sample: Sample) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    height, width = CHECKED
    return np.ascontiguousarray(sample.image[:height, :width], dtype=np.uint8)
