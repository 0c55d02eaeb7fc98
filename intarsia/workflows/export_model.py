"""``intarsia export``: a model as one file for other programs, compared with the original before it is handed out."""

from __future__ import annotations

import copy
import importlib.metadata
import json
import platform
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn

from intarsia.contracts import ConditionalTask, PathLike, Size
from intarsia.data.transforms.resize import Resizing
from intarsia.export.certificate import (
    Certificate,
    describe,
)
from intarsia.export.contract import LAYOUTS, OUTPUTS, Contract, ExportMeta, Layout, Output
from intarsia.export.deployable import Deployable
from intarsia.export.formats import onnx, openvino, pt2
from intarsia.export.program import as_fixed, exported
from intarsia.export.quantise import quantise, shown
from intarsia.export.runtime import read_meta
from intarsia.io.digest import file_hash
from intarsia.io.whole_files import write_text
from intarsia.terminal import progress, say
from intarsia.weights.file import WeightsMeta
from intarsia.workflows.export_proof import AT_LEAST, Samples, certify
from intarsia.workflows.export_web import prepared, write_web
from intarsia.workflows.exported_model import open_exported
from intarsia.workflows.trained_model import OpenModel, of_exported, open_model

FORMATS = {
    "onnx": "model.onnx",
    "openvino": "model.xml",
    "pt2": "model.pt2",
    "aoti": "model_aoti.pt2",
    "web": "model.onnx",
}
"""Format -> name of the file that is made of it; of the web, of the file that the page runs."""

CERTIFICATE = "certificate.json"
CALIBRATION = 32
"""Images on which ranges are measured for int8."""


@dataclass(frozen=True, kw_only=True)
class ExportRequest:
    """What an export is asked for.

    weights, config, key, prefix: the model, as `open_model` takes them. to: keys of `FORMATS`. out: folder.
    output: what the file gives, layout: of the images that it takes, see `export.contract`. size: (height, width), if
    it shall take no others; batch: images at once, None for any number. precision: a key of `AT_LEAST`.
    samples: images to compare with, by default the run's validation images, else drawn ones; count: how many at most.
    at_least: share of pixels that must have the label of the original, by default that of `AT_LEAST`. threads: of the
    runtime. single_file, onnxruntime_web: of the web: everything in one page; a folder or archive of that package.
    """

    weights: PathLike
    to: Sequence[str]
    out: Path
    config: str | None = None
    output: str = "label"
    layout: str = "NHWC"
    size: Size | None = None
    batch: int | None = None
    precision: str = "fp32"
    samples: PathLike | None = None
    count: int = 16
    at_least: float | None = None
    threads: int | None = None
    single_file: bool = False
    onnxruntime_web: Path | None = None
    key: str | None = None
    prefix: str | None = None


@dataclass(frozen=True)
class Exported:
    """What was written. file: the model. certificate: of its comparison with the original."""

    file: Path
    certificate: Certificate


def export_model(request: ExportRequest) -> list[Exported]:
    """Write the model in every format that is asked for, compare each file with the original, and say how it went.

    A network that takes any size while it is followed, but is wrong or fails at other sizes afterwards, is exported for
    one size instead. The certificates are in the files' metadata and together in certificate.json.

    Raises ValueError for models and words that cannot be exported.
    """
    _check(request)
    model = open_model(request.weights, config=request.config, device="cpu", key=request.key, prefix=request.prefix)
    for note in model.notes:
        say(f"note: {note}")
    done: list[Exported] = []
    contract = _contract(model, request)
    browser = prepared(model, contract, request.onnxruntime_web) if "web" in request.to else None
    samples = Samples(model, request.samples, request.count)
    if samples.note:
        say(f"note: {samples.note}")
    request.out.mkdir(parents=True, exist_ok=True)
    with progress("exporting") as bar:
        for number, name in enumerate(request.to):
            bar(number, len(request.to))
            found = _one(model, contract, request, "onnx" if name == "web" else name, samples)
            _say(found)
            if name == "web" and not found.certificate.failure:
                assert browser is not None
                source = Path(str(request.weights))
                page = write_web(
                    model, found.file, found.certificate, browser,
                    title=source.name if source.is_dir() else source.stem, single_file=request.single_file,
                )  # fmt: skip
                if request.single_file and "onnx" not in request.to:
                    found.file.unlink()
                found = replace(found, file=page)
                say(f"{page}: {'open it in a browser' if request.single_file else 'put its folder on a web server'}")
            done.append(found)
    write_text(request.out / CERTIFICATE, json.dumps(_certificates(done), indent=2, ensure_ascii=False) + "\n")
    return done


def _one(model: OpenModel, contract: Contract, request: ExportRequest, name: str, samples: Samples) -> Exported:
    """One format: of any size, or else of one."""
    path = request.out / FORMATS[name]
    try:
        written = _write(model, contract, name, path, samples)
        certificate = _compared(model, path, written, request, samples)
        why = "" if certificate.passed or contract.size else _why_fixed(certificate, contract)
    except ValueError as error:
        if contract.size is not None:
            raise ValueError(f"{name}: {error}") from error
        why = str(error)
    if why:
        size = _usual_size(model)
        fixed = as_fixed(contract, size, why)
        say(f"{name}: the file takes images of {size[1]} x {size[0]} pixels alone (--size H W for others), since {why}")
        try:
            written = _write(model, fixed, name, path, samples)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from error
        certificate = _compared(model, path, written, request, samples)
    _describe(name, path, replace(written, certificate=certificate.to_json()))
    return Exported(path, certificate)


def _write(model: OpenModel, contract: Contract, name: str, path: Path, samples: Samples) -> ExportMeta:
    """The file without its certificate, and what it says about itself."""
    module = deployable(model, contract)
    program = exported(module)
    meta = ExportMeta(contract, _about(model), _hash(model.file), _versions(name))
    if name == "pt2":
        pt2.write(program, path, meta)
    elif name == "aoti":
        pt2.compile_to(program, path, meta)
    elif name == "onnx" and contract.precision != "int8":
        onnx.write(program, path, meta)
    else:
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            between = Path(folder) / "model.onnx"
            onnx.write(program, between, meta)
            if contract.precision == "int8":
                between = _in_eight_bits(between, meta, samples)
            if name == "onnx":
                onnx.copy(between, path, meta)
            else:
                openvino.write(between, path, meta)
    return meta


def _in_eight_bits(path: Path, meta: ExportMeta, samples: Samples) -> Path:
    out = path.with_name("int8.onnx")
    count = quantise(path, out, meta, shown((sample.image for sample in samples.plain(CALIBRATION)), meta, CALIBRATION))
    say(f"int8: {count} convolutions and matrices; their ranges were measured on {samples.what}")
    return out


def deployable(model: OpenModel, contract: Contract) -> Deployable:
    """The model as one function of an image, in evaluation.

    Raises ValueError for models that cannot be exported: of depth, or with conditions besides the image.
    """
    task = model.task
    if model.spec.inference.answer == "depth":
        raise ValueError("a model of depth cannot be exported yet: the file would say classes; use intarsia.load")
    if model.spec.inference.answer == "classes":
        raise ValueError(
            "a model whose pixels may have several classes cannot be exported yet: the file would say one; use "
            "intarsia.load"
        )
    if isinstance(task, ConditionalTask):
        raise ValueError(f"{type(task).__name__} reads more of an image than its pixels, which the file could not know")
    task.eval()
    if (compute := getattr(task.model, "compute_constants", None)) is not None:
        compute()  # what a network makes once of the names of its classes is in the file, and what makes it is not
    sized = (task.model, getattr(task.model, "backbone", None))
    least: int = max(getattr(part, "least_size", 1) for part in sized)
    module = Deployable(task, model.spec.inference, contract, least_size=least).eval()
    if contract.precision == "fp16":
        module = copy.deepcopy(module)  # the original stays, to be compared with
        assert isinstance(module.model, nn.Module)
        module.model.half()
    return module


def _describe(name: str, path: Path, meta: ExportMeta) -> None:
    {"onnx": onnx.describe, "openvino": openvino.describe, "pt2": pt2.describe, "aoti": pt2.describe}[name](path, meta)


# --- What the file is -------------------------------------------------------------------------------------------


def _check(request: ExportRequest) -> None:
    for name, value, known in (
        ("--output", request.output, OUTPUTS),
        ("--layout", request.layout, LAYOUTS),
        ("--precision", request.precision, tuple(AT_LEAST)),
        *(("--to", one, tuple(FORMATS)) for one in request.to),
    ):
        if value not in known:
            raise ValueError(f"{name}: expected {', '.join(known)}, found {value!r}")
    if request.precision == "int8" and (torchs := [name for name in request.to if name in ("pt2", "aoti")]):
        raise ValueError(f"--precision int8 is for onnx and openvino, not for {', '.join(torchs)}")
    if "web" not in request.to and (request.single_file or request.onnxruntime_web):
        raise ValueError("--single-file and --onnxruntime-web are for --to web")
    if request.at_least is not None and not 0 < request.at_least <= 1:
        raise ValueError(f"--at-least is a share of pixels between 0 and 1, found {request.at_least:g}")
    if request.size is not None and min(request.size) < 1:
        raise ValueError(f"--size: expected height and width of at least 1, found {request.size}")


def _contract(model: OpenModel, request: ExportRequest) -> Contract:
    values = model.reader.spec.values
    output: Output = request.output  # type: ignore[assignment]  # checked
    layout: Layout = request.layout  # type: ignore[assignment]
    inference = model.spec.inference
    if inference.mode != "whole" and request.output != "logits" and request.size is None:
        say(
            f"note: the model is evaluated through windows of {inference.crop_size}; the file decides image by image, "
            "and is compared with the model doing so. For windows with their mean, export --output logits"
        )
    resize = _resizing(model)
    return Contract(
        output, layout, len(model.spec.preprocess.mean),
        "uint8" if values is None or values.is_eight_bits else "float32",
        size=request.size, why="--size" if request.size else "", batch=request.batch,
        asks_size=bool(resize) and inference.mode == "whole", resize=resize, precision=request.precision,
    )  # fmt: skip


def _resizing(model: OpenModel) -> str:
    """What the pipeline of the model does to the size of an image before it is shown, in words; "" for nothing."""
    data = model.spec.test or model.spec.val
    if data is None:
        return ""
    from intarsia.config.build import build

    steps = [build(step) for step in data.transforms]
    found = [step for step in steps if isinstance(step, Resizing)]
    words = [f"{one.type}({', '.join(f'{key}={value}' for key, value in one.args.items())})"
             for one, step in zip(data.transforms, steps, strict=True) if step in found]  # fmt: skip
    return ", ".join(words)


def _usual_size(model: OpenModel) -> Size:
    return model.spec.inference.crop_size or model.spec.preprocess.train_size or (512, 512)


def _about(model: OpenModel) -> WeightsMeta:
    """What the weights say, with classes and colours also where a published recipe is what says them."""
    predictor = model.predictor()
    config = model.meta.config or model.config.values
    return replace(
        model.meta, config=_plain(config), classes=tuple(predictor.classes), palette=tuple(predictor.palette)
    )


def _plain(config: Any) -> Any:
    return json.loads(json.dumps(config, default=str))


def _hash(file: Path) -> str:
    return file_hash(file) if file.is_file() else ""


def _versions(name: str) -> dict[str, str]:
    packages = ["intarsia", "torch", *{"onnx": ["onnx", "onnxscript"], "openvino": ["onnx", "openvino"]}.get(name, [])]
    found = {"python": platform.python_version()}
    for package in packages:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


# --- Its proof --------------------------------------------------------------------------------------------------


def _compared(model: OpenModel, path: Path, meta: ExportMeta, request: ExportRequest, samples: Samples) -> Certificate:
    """The certificate of a file that was just written."""
    ours = of_exported(path, open_exported(path, threads=request.threads, own=True)).predictor()
    return certify(model, ours, meta, samples, at_least=request.at_least)


def _why_fixed(certificate: Certificate, contract: Contract) -> str:
    """Why the size is to blame; "" where fewer bits are, which no size makes up for."""
    if certificate.failure:
        return f"at another size it fails: {certificate.failure}"
    if contract.precision != "fp32":
        return ""
    return f"only {certificate.equal:.2%} of the pixels have the original's label at other sizes"


def _say(found: Exported) -> None:
    certificate = found.certificate
    verdict = "says what the original says" if certificate.passed else "does NOT say what the original says"
    say(f"{found.file}: {verdict} (at least {certificate.at_least:.1%} of all labels)")
    for line in describe(found.certificate):
        say(f"  {line}")


def _certificates(done: Sequence[Exported]) -> dict[str, Any]:
    return {found.file.name: found.certificate.to_json() for found in done}


def verify(
    file: Path,
    *,
    against: PathLike,
    samples: PathLike | None = None,
    count: int = 16,
    at_least: float | None = None,
    config: str | None = None,
    threads: int | None = None,
) -> Certificate:
    """Compare an exported file with the weights that it was made of, on images of one's own, elsewhere or later.

    Raises ValueError if the file was made of other weights, as its hash says.
    """
    ours = of_exported(file, open_exported(file, threads=threads)).predictor()
    meta = read_meta(file)
    model = open_model(against, config=config, device="cpu")
    if meta.weights_hash and _hash(model.file) != meta.weights_hash:
        say(f"note: {file} was exported from other weights than {model.file}, as their hashes say")
    certificate = certify(model, ours, meta, Samples(model, samples, count), at_least=at_least)
    _say(Exported(file, certificate))
    return certificate
