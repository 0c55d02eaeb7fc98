"""Exports a network in every format and compares each file with torch, at sizes and in batches other than its own."""

from __future__ import annotations

import copy
import importlib.metadata
import json
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from exporting.networks import TESTS, Network, model_of
from intarsia import consent
from intarsia.config.build import build_task
from intarsia.config.language.reader import Config
from intarsia.config.lowering.lower import lower
from intarsia.contracts import Size, Task
from intarsia.export.contract import Contract, ExportMeta
from intarsia.export.deployable import Deployable, deployable
from intarsia.export.formats import onnx, openvino, pt2
from intarsia.export.program import EXAMPLE, as_fixed, at_least, exported
from intarsia.export.runtime import open_file
from intarsia.io.whole_files import write_text
from intarsia.spec import InferenceSpec, PreprocessSpec
from intarsia.weights.file import WeightsMeta

RESULTS = Path(__file__).with_name("results.json")
FORMATS = {"onnx": "model.onnx", "openvino": "model.xml", "pt2": "model.pt2"}
CASES: tuple[tuple[Size, int], ...] = (((128, 160), 2), ((160, 97), 1), ((61, 83), 3), ((225, 289), 2))
"""(height, width) of images and how many at once: lying and standing, smaller and larger than the one that the network
was followed with."""

LARGEST_DIFFERENCE = 1e-4
"""Of the largest logit: what is right differs by less, or by no more than a few times what rounding does to the same
network in torch (`ROUNDINGS`): the numbers that networks are filled with here blow it up in some."""

ROUNDINGS = 4
"""How many times as far as torch's float32 is from its float64."""

Row = dict[str, dict[str, Any]]


def task_of(network: Network) -> tuple[Task, InferenceSpec]:
    """The network with numbers that are functions of their names, for images of 8 bits."""
    folder = str(TESTS / "golden")
    if folder not in sys.path:
        sys.path.append(folder)
    import filling

    model = model_of(network)
    spec = lower(Config.from_values({"model": model}, file=network.source))
    bands = next(model[key].get("in_channels", 3) for key in ("backbone", "image_encoder") if key in model)
    task = build_task(replace(spec, preprocess=PreprocessSpec((120.0,) * bands, (60.0,) * bands)))
    filling.fill(task.model)  # type: ignore[arg-type]
    task.eval()
    return task, spec.inference


def measured(network: Network) -> Row:
    """What each format is: state "any" size and batch, "one" size, or "no", and why it is not "any"; `difference`, the
    largest, of the largest logit; `equal`, the share of pixels with the same label, of the case with fewest. Beside
    them `graph`, of the ONNX file.
    """
    task, inference = task_of(network)
    bands = len(task.preprocess.mean)  # type: ignore[attr-defined]
    contract = Contract("logits", "NHWC", bands)
    try:
        module = deployable(task, inference, contract)
    except ValueError as error:
        return {name: {"state": "no", "why": str(error)} for name in FORMATS}
    with tempfile.TemporaryDirectory() as folder:
        found = _tried(module, list(FORMATS), Path(folder))
        failed = [name for name, result in found.items() if result["state"] == "no"]
        if failed:
            size = at_least(EXAMPLE, 2 * module.least_size)
            fixed = _tried(deployable(task, inference, as_fixed(contract, size, "")), failed, Path(folder))
            found |= {name: {**fixed[name], "why": found[name]["why"]} for name in failed}
        if (file := Path(folder) / FORMATS["onnx"]).is_file():
            found["graph"] = graph_of(file)
    return found


def _tried(module: Deployable, names: Sequence[str], folder: Path) -> Row:
    """Of one contract, every format."""
    size = module.contract.size
    meta = ExportMeta(module.contract, WeightsMeta())
    try:
        program = exported(module)
    except ValueError as error:
        return {name: {"state": "no", "why": str(error)} for name in names}
    found: Row = {}
    for name in names:
        try:
            if name == "pt2":
                pt2.write(exported(module, for_torch=True), folder / FORMATS[name], meta)
            if name == "onnx" or (name == "openvino" and "onnx" not in names):
                onnx.write(program, folder / FORMATS["onnx"], meta)
            if name == "openvino":
                openvino.write(folder / FORMATS["onnx"], folder / FORMATS[name], meta)
            scores = list(_compared(module, folder / FORMATS[name], cases(module, size)))  # one for each case
        except ValueError as error:
            found[name] = {"state": "no", "why": str(error).replace(str(folder) + "/", "")}
            continue
        worst, where = max(zip((one for one, _, _ in scores), cases(module, size), strict=True))
        equal = min(share for _, share, _ in scores)
        if all(difference < allowed for difference, _, allowed in scores):
            state = "one" if size else "any"
            found[name] = {"state": state, "difference": float(f"{worst:.2g}"), "equal": equal}
            continue
        (height, width), _ = where
        why = f"at {width} x {height} logits differ by {worst:.1g} of the largest, {equal:.2%} of labels are equal"
        found[name] = {"state": "no", "why": why}
    return found


def cases(module: Deployable, size: Size | None) -> list[tuple[Size, int]]:
    """Sizes and batches to compare with; of a file of one size, batches alone."""
    if size is not None:
        return [(size, 2), (size, 1)]
    larger = at_least(EXAMPLE, 2 * module.least_size)[0] / EXAMPLE[0]
    return [((round(height * larger), round(width * larger)), batch) for (height, width), batch in CASES]


def _compared(
    module: Deployable, path: Path, shown: Sequence[tuple[Size, int]]
) -> Iterator[tuple[float, float, float]]:
    """The largest difference, of the largest logit, the share of equal labels, and the difference that is right."""
    opened = open_file(path, threads=1)
    contract = module.contract
    rng = np.random.default_rng(0)
    for (height, width), batch in shown:
        coarse = rng.integers(0, 256, (batch, -(-height // 8), -(-width // 8), contract.channels))
        whole = coarse.repeat(8, 1).repeat(8, 2)[:, :height, :width] + rng.integers(-20, 20, (1, height, width, 1))
        image = whole.clip(0, 255).astype(np.uint8)
        with torch.no_grad():
            (expected,) = module(torch.from_numpy(image))
        found = torch.from_numpy(opened.run(image)["logits"])
        if found.shape != expected.shape:
            raise ValueError(
                f"at {width} x {height} logits are {tuple(found.shape)} instead of {tuple(expected.shape)}"
            )
        labels = [one.argmax(1) if one.shape[1] > 1 else one > 0 for one in (found, expected)]
        difference, allowed = _apart(found, expected), LARGEST_DIFFERENCE
        if difference >= allowed:
            exact = copy.deepcopy(module).double()
            with torch.no_grad():
                allowed = max(allowed, ROUNDINGS * _apart(expected, exact(torch.from_numpy(image))[0]))
        yield difference, float((labels[0] == labels[1]).float().mean()), allowed


def _apart(a: Tensor, b: Tensor) -> float:
    """The largest difference, of the largest value of the second."""
    difference = float((a - b).abs().max() / b.abs().max())
    return difference if np.isfinite(difference) else float("inf")


def graph_of(path: Path) -> dict[str, Any]:
    """What an ONNX file is made of: nodes, numbers that are in it twice, and what stays of double precision in it."""
    import onnx as library

    model = library.load(path)
    kept = [one for one in model.graph.initializer if sum(one.dims) > 64]
    seen = {one.SerializeToString()[:0] + one.raw_data + bytes(str(tuple(one.dims)), "ascii") for one in kept}
    inferred = library.shape_inference.infer_shapes(model)
    double = {library.TensorProto.DOUBLE}
    values = [*inferred.graph.value_info, *inferred.graph.input, *inferred.graph.output]
    return {
        "nodes": len(model.graph.node),
        "twice": len(kept) - len(seen),
        "double": sum(one.type.tensor_type.elem_type in double for one in values)
        + sum(one.data_type in double for one in model.graph.initializer),
        "domains": sorted({node.domain for node in model.graph.node}),
    }


def read() -> dict[str, Row]:
    """What was found until now, by the source of a network."""
    found: dict[str, Row] = _file().get("networks", {})
    return found


def versions() -> dict[str, str]:
    """Of the programs that were used, by name."""
    found: dict[str, str] = _file().get("versions", {})
    return found


def _file() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.is_file() else {}
    return found


def write(rows: dict[str, Row]) -> None:
    """Keep it, a line for each network."""
    packages = ("torch", "onnx", "onnxscript", "onnxruntime", "openvino")
    used = json.dumps({name: importlib.metadata.version(name) for name in packages})
    lines = [f"  {json.dumps(name)}: {json.dumps(row, sort_keys=True)}" for name, row in sorted(rows.items())]
    write_text(RESULTS, f'{{"versions": {used},\n "networks": {{\n' + ",\n".join(lines) + "\n}}\n")


def measure(networks: Sequence[Network]) -> Iterator[tuple[Network, Row]]:
    """Export them one after the other; each is kept when it is done."""
    os.environ[consent.TRUST] = pt2.CONSENT  # the archives are our own
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    for network in networks:
        row = measured(network)
        rows = read()
        rows[network.source] = row
        write(rows)
        yield network, row
