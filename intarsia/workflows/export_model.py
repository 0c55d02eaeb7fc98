"""``intarsia export``: a model as one file for other programs, compared with the original before it is handed out."""

from __future__ import annotations

import importlib.metadata
import json
import platform
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from torch import nn

from intarsia.config.build import metric_of
from intarsia.contracts import ConditionalTask, Metric, PathLike, Size
from intarsia.data.transforms.resize import Resizing
from intarsia.export.certificate import (
    AT_LEAST,
    Certificate,
    Field,
    Sample,
    compare,
    describe,
    drawn,
    of_several_shapes,
)
from intarsia.export.contract import LAYOUTS, OUTPUTS, Contract, ExportMeta, Layout, Output
from intarsia.export.deployable import Deployable
from intarsia.export.formats import onnx, openvino, pt2
from intarsia.export.program import as_fixed, exported
from intarsia.export.runtime import read_meta
from intarsia.inference.inputs.finding import find_images
from intarsia.inference.inputs.images import ImageStream
from intarsia.inference.predictor import Predictor
from intarsia.io.digest import file_hash
from intarsia.io.whole_files import write_text
from intarsia.terminal import progress, say
from intarsia.weights.file import WeightsMeta
from intarsia.workflows.exported_model import open_exported
from intarsia.workflows.trained_model import OpenModel, labelled_images, of_exported, open_model

FORMATS = {"onnx": "model.onnx", "openvino": "model.xml", "pt2": "model.pt2", "aoti": "model_aoti.pt2"}
"""Format -> name of the file that is made of it."""

CERTIFICATE = "certificate.json"
DRAWN = 8
"""Images that are drawn where there are no others."""


@dataclass(frozen=True, kw_only=True)
class ExportRequest:
    """What an export is asked for.

    weights, config, key, prefix: the model, as `open_model` takes them. to: keys of `FORMATS`. out: folder.
    output: what the file gives, layout: of the images that it takes, see `export.contract`. size: (height, width), if
    it shall take no others; batch: images at once, None for any number. precision: "fp32" or "fp16".
    samples: images to compare with, by default the run's validation images, else drawn ones; count: how many at most.
    at_least: share of pixels that must have the label of the original. threads: of the runtime.
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
    at_least: float = AT_LEAST
    threads: int | None = None
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
    samples = Samples(model, request.samples, request.count)
    if samples.note:
        say(f"note: {samples.note}")
    request.out.mkdir(parents=True, exist_ok=True)
    with progress("exporting") as bar:
        for number, name in enumerate(request.to):
            bar(number, len(request.to))
            found = _one(model, contract, request, name, samples)
            done.append(found)
            _say(found)
    write_text(request.out / CERTIFICATE, json.dumps(_certificates(done), indent=2, ensure_ascii=False) + "\n")
    return done


def _one(model: OpenModel, contract: Contract, request: ExportRequest, name: str, samples: Samples) -> Exported:
    """One format: of any size, or else of one."""
    path = request.out / FORMATS[name]
    try:
        written = _write(model, contract, request, name, path)
        certificate = _compared(model, path, written, request, samples)
        why = "" if certificate.passed or contract.size else _why_fixed(certificate)
    except ValueError as error:
        if contract.size is not None:
            raise ValueError(f"{name}: {error}") from error
        why = str(error)
    if why:
        size = _usual_size(model)
        fixed = as_fixed(contract, size, why)
        say(f"{name}: the file takes images of {size[1]} x {size[0]} pixels alone (--size H W for others), since {why}")
        try:
            written = _write(model, fixed, request, name, path)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from error
        certificate = _compared(model, path, written, request, samples)
    _describe(name, path, replace(written, certificate=certificate.to_json()))
    return Exported(path, certificate)


def _write(model: OpenModel, contract: Contract, request: ExportRequest, name: str, path: Path) -> ExportMeta:
    """The file without its certificate, and what it says about itself."""
    module = deployable(model, contract)
    program = exported(module)
    meta = ExportMeta(contract, _about(model), _hash(model.file), _versions(name))
    if name == "onnx":
        onnx.write(program, path, meta)
    elif name == "openvino":
        between = path.with_name("model.onnx.part.onnx")
        try:
            onnx.write(program, between, meta)
            openvino.write(between, path, meta)
        finally:
            for file in (between, between.with_name(between.name + ".data")):
                file.unlink(missing_ok=True)
    elif name == "pt2":
        pt2.write(program, path, meta)
    else:
        pt2.compile_to(program, path, meta)
    return meta


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
    sized = (task.model, getattr(task.model, "backbone", None))
    least: int = max(getattr(part, "least_size", 1) for part in sized)
    module = Deployable(task, model.spec.inference, contract, least_size=least).eval()
    if contract.precision == "fp16":
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
        ("--precision", request.precision, ("fp32", "fp16")),
        *(("--to", one, tuple(FORMATS)) for one in request.to),
    ):
        if value not in known:
            raise ValueError(f"{name}: expected {', '.join(known)}, found {value!r}")
    if not 0 < request.at_least <= 1:
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


class Samples:
    """The images that files are compared with.

    given: files, folders or patterns; None: the run's validation images, or drawn ones, which `note` says.
    """

    def __init__(self, model: OpenModel, given: PathLike | None, count: int) -> None:
        self.note = ""
        self._model, self._given, self._count = model, given, count
        self._pipeline = None
        if given is None:
            try:
                self._pipeline = labelled_images(model, None, "val")
            except (ValueError, OSError) as error:
                reason = str(error).splitlines()[0]
                self.note = (
                    f"there are no validation images ({reason}): the file is compared on drawn images. --samples "
                    "DIR takes real ones"
                )
        self.what = str(given) if given is not None else "validation images" if self._pipeline else "drawn images"

    def __iter__(self) -> Iterator[Sample]:
        return of_several_shapes(islice(self._plain(), self._count))

    def _plain(self) -> Iterator[Sample]:
        if self._pipeline is not None:
            dataset = self._pipeline.dataset
            step = max(1, len(dataset) // self._count)
            for index in range(0, len(dataset), step):
                sample = dataset.load(index)
                yield Sample(sample.meta.name or f"image {index}", sample.image, sample.label)
            return
        if self._given is not None:
            found = find_images(self._given)
            step = max(1, len(found.files) // self._count)
            for name, image in ImageStream(replace(found, files=found.files[::step]), reader=self._model.reader):
                yield Sample(name, image)
            return
        values = self._model.reader.spec.values
        ends = (0.0, 255.0) if values is None else (float(values.low), float(values.high))
        dtype = "uint8" if values is None else values.dtype
        yield from drawn(min(self._count, DRAWN), len(self._model.spec.preprocess.mean), dtype, ends)


def _compared(model: OpenModel, path: Path, meta: ExportMeta, request: ExportRequest, samples: Samples) -> Certificate:
    """The certificate of a file that was just written."""
    ours = of_exported(path, open_exported(path, threads=request.threads, own=True)).predictor()
    return certify(model, ours, meta, samples, at_least=request.at_least, runtime=RUNTIMES[path.suffix])


RUNTIMES = {".onnx": "onnxruntime", ".xml": "OpenVINO", ".pt2": "torch.export"}


def certify(
    model: OpenModel, ours: Predictor, meta: ExportMeta, samples: Samples, *, at_least: float, runtime: str
) -> Certificate:
    """Compare the predictor of an exported file with the model that it was made of."""
    from intarsia import catalog

    contract = meta.contract
    original = model.predictor(ours.classes, ours.palette)
    if contract.output != "logits" or contract.size is not None:
        seen = replace(
            model.spec.inference,
            mode=ours.inference.mode, crop_size=ours.inference.crop_size, stride=ours.inference.stride,
        )  # fmt: skip
        original = replace(model, spec=replace(model.spec, inference=seen)).predictor(ours.classes, ours.palette)
    ignore_index = metric_of(model.spec).args.get("ignore_index", 255)

    def metric() -> Metric:
        counter: Callable[..., Metric] = catalog.resolve("metric", "IoUMetric")
        return counter(num_classes=len(ours.classes), classes=tuple(ours.classes), ignore_index=ignore_index)

    fields: dict[str, Field] = {"logits": "logits", "probs": "probabilities"}
    return compare(
        original, ours, samples,
        what=samples.what, runtime=runtime, at_least=at_least, compared=fields.get(contract.output), metric=metric,
    )  # fmt: skip


def _why_fixed(certificate: Certificate) -> str:
    if certificate.failure:
        return f"at another size it fails: {certificate.failure}"
    return f"only {certificate.equal:.2%} of the pixels have the original's label at other sizes"


def _say(found: Exported) -> None:
    verdict = "the same as the original" if found.certificate.passed else "NOT the same as the original"
    say(f"{found.file}: {verdict}")
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
    at_least: float = AT_LEAST,
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
    certificate = certify(
        model, ours, meta, Samples(model, samples, count), at_least=at_least, runtime=RUNTIMES[file.suffix]
    )
    _say(Exported(file, certificate))
    return certificate
