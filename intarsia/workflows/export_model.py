"""``intarsia export``: a model as one file for other programs, compared with the original before it is handed out."""

from __future__ import annotations

import json
import tempfile
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from intarsia.contracts import PathLike, Size
from intarsia.data.transforms.resize import Resizing
from intarsia.export.certificate import Certificate, describe
from intarsia.export.contract import LAYOUTS, OUTPUTS, Contract, ExportMeta, Layout, Output
from intarsia.export.deployable import deployable
from intarsia.export.formats import coreml, executorch, litert, onnx, openvino, pt2, tensorrt
from intarsia.export.program import as_fixed, exported
from intarsia.export.quantise import quantise, shown
from intarsia.export.runtime import read_meta
from intarsia.export.task import is_exported
from intarsia.export.web.runtime_files import RuntimeFiles
from intarsia.io.stores import refuse_output
from intarsia.io.whole_files import DiskFullError, folder_aside, sweep
from intarsia.terminal import progress, say
from intarsia.weights.file import WeightsMeta
from intarsia.workflows.export_for import MOST, Receiver, receiver_of
from intarsia.workflows.export_proof import AT_LEAST, certify, check_share, hash_of, kept_if_proven, write_certificates
from intarsia.workflows.export_request import FORMATS, ONE_SIZE, Exported, ExportRequest, made_with
from intarsia.workflows.export_samples import CALIBRATION, Samples
from intarsia.workflows.export_web import prepared, write_web
from intarsia.workflows.exported_model import open_exported
from intarsia.workflows.trained_model import OpenModel, of_exported, open_model

ONNX = (("onnx", "onnxscript", "onnxruntime"), onnx.MISSING)
NEEDED = {
    "onnx": (ONNX,),
    "web": (ONNX,),
    "tensorrt": (ONNX,),
    "openvino": (ONNX, (("openvino",), openvino.MISSING)),
    "executorch": ((("executorch",), executorch.MISSING),),
    "litert": ((("litert_torch",), litert.MISSING),),
    "coreml": ((("coremltools",), coreml.MISSING),),
}
"""Format -> packages, and what to say where one is not there. Asked before anything is computed."""


def export_model(request: ExportRequest) -> list[Exported]:
    """Write the model in every format that is asked for, compare each file with the original, and say how it went.

    A network that takes any size while it is followed, but is wrong or fails at other sizes afterwards, is exported for
    one size instead. The certificates are in the files' metadata and together in certificate.json.

    Raises ValueError for models and words that cannot be exported.
    """
    _check(request)
    receiver = receiver_of(request)
    model = open_model(request.weights, config=request.config, device="cpu", key=request.key, prefix=request.prefix)
    if is_exported(model.task):
        raise ValueError(f"{model.file} is an exported file already: export the weights that it was made of")
    for note in model.notes:
        say(f"note: {note}")
    done: list[Exported] = []
    contract = receiver.contract(_contract(model, request), model)
    browser = prepared(model, contract, request.onnxruntime_web) if "web" in request.to else None
    samples = Samples(model, request.samples, request.count)
    if samples.note:
        say(f"note: {samples.note}")
    _make_folder(request.out)
    with progress("exporting") as bar:
        for number, name in enumerate(dict.fromkeys(request.to)):
            bar(number, len(request.to))
            found = _one(model, contract, request, receiver, "onnx" if name == "web" else name, samples)
            _say(found)
            if name == "web" and found.certificate is not None and not found.certificate.failure:
                assert browser is not None
                found = _page(model, found, request, browser)
            done.append(found)
            if name == "tensorrt" and (engine := _engine(model, found.file, request, samples)) is not None:
                done.append(engine)
                _say(engine)
    write_certificates(done, request.out)
    return done


def _make_folder(out: Path) -> None:
    """Raises ValueError where no file can be written, before anything is computed."""
    refuse_output(out, "-o")
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=out):
            pass
        sweep(out)
    except OSError as error:
        raise ValueError(f"-o {out}: cannot be written into ({error.strerror}): name another folder") from error


def _one(
    model: OpenModel, contract: Contract, request: ExportRequest, receiver: Receiver, name: str, samples: Samples
) -> Exported:
    """One format, whose file stays if it was compared."""
    path = receiver.folder(request.out) / FORMATS[name]
    path.parent.mkdir(parents=True, exist_ok=True)
    with kept_if_proven(path):
        return _proven(model, contract, request, receiver, name, path, samples)


_OTHERWISE = (
    "What helps: another format (`--to pt2` takes whatever torch can follow; docs/export.md has a table of methods), "
    "or, in a part of your own, operators that the format has"
)


def _proven(
    model: OpenModel, contract: Contract, request: ExportRequest, receiver: Receiver, name: str, path: Path,
    samples: Samples,
) -> Exported:  # fmt: skip
    """One format: of any size, or else of one."""
    contract = _of_format(name, contract, _usual_size(model))
    try:
        written = _write(model, contract, receiver, name, path, samples)
        certificate = _compared(model, path, written, request, samples)
        why = "" if certificate is None or certificate.passed or contract.size else _why_fixed(certificate, contract)
    except DiskFullError:  # is no matter of the size of images
        raise
    except ValueError as error:
        if contract.size is not None:
            raise ValueError(f"{name}: {error}. {_OTHERWISE}") from error
        why = str(error)
    if why:
        size = _usual_size(model)
        fixed = as_fixed(contract, size, why)
        say(f"{name}: the file takes images of {size[1]} x {size[0]} pixels alone (--size H W for others), since {why}")
        try:
            written = _write(model, fixed, receiver, name, path, samples)
        except ValueError as error:
            raise ValueError(f"{name}: {error}. {_OTHERWISE}") from error
        certificate = _compared(model, path, written, request, samples)
    meta = replace(written, certificate={} if certificate is None else certificate.to_json())
    _describe(name, path, meta)
    receiver.finish(name, path, meta)
    return Exported(path, certificate)


def _write(
    model: OpenModel, contract: Contract, receiver: Receiver, name: str, path: Path, samples: Samples
) -> ExportMeta:
    """The file without its certificate, and what it says about itself."""
    module = receiver.module(deployable(model.task, model.spec.inference, contract), model)
    program = exported(module, for_torch=name in ("pt2", "aoti"))
    meta = ExportMeta(contract, _about(model), hash_of(model.file), made_with(name, contract.precision))
    if name == "pt2":
        pt2.write(program, path, meta)
    elif name == "aoti":
        pt2.compile_to(program, path, meta)
    elif name == "executorch":
        executorch.write(program, path, meta)
    elif name == "litert":
        litert.write(program, path, meta)
    elif name == "coreml":
        coreml.write(program, path, meta)
    elif name == "onnx" and contract.precision != "int8":
        onnx.write(program, path, meta, also=receiver.also(meta, model))
    else:
        with folder_aside(path.parent) as folder:
            between = folder / "model.onnx"
            onnx.write(program, between, meta)
            if contract.precision == "int8":
                between, meta = _in_eight_bits(between, meta, samples)
            if name == "onnx":
                onnx.move(between, path, meta)
            elif name == "tensorrt":
                tensorrt.prepare(between, path, meta)
            else:
                openvino.write(between, path, meta)
    return meta


def _in_eight_bits(path: Path, meta: ExportMeta, samples: Samples) -> tuple[Path, ExportMeta]:
    """The file, and what it says of itself: which images it has seen, too."""
    out = path.with_name("int8.onnx")
    seen: list[str] = []
    images = shown(samples.calibrating(seen), meta, CALIBRATION)
    count = quantise(path, out, meta, images, large=onnx.weights_of(path).is_file())
    say(f"int8: {count} convolutions and matrices; their ranges were measured on {len(seen)} images ({samples.what})")
    return out, replace(meta, calibration=tuple(dict.fromkeys(seen)))


def _page(model: OpenModel, written: Exported, request: ExportRequest, browser: RuntimeFiles) -> Exported:
    """The page that runs a file in a browser, in the place of the file."""
    assert written.certificate is not None
    source = Path(str(request.weights))
    title = source.name if source.is_dir() else source.stem
    page = write_web(model, written.file, written.certificate, browser, title=title, single_file=request.single_file)
    if request.single_file and "onnx" not in request.to:
        written.file.unlink()
    say(f"{page}: {'open it in a browser' if request.single_file else 'put its folder on a web server'}")
    return replace(written, file=page)


def _engine(model: OpenModel, file: Path, request: ExportRequest, samples: Samples) -> Exported | None:
    """The engine of a file for TensorRT, where it can be made, compared with the original, too."""
    meta = read_meta(file)
    sizes = request.sizes if meta.contract.size is None else None  # of a network that allows one alone, this is said
    profile = tensorrt.profile_of(sizes, meta.contract, _usual_size(model), most=request.most or MOST)
    script = tensorrt.write_script(file, profile, meta)
    if not tensorrt.is_installed():
        say(f"note: {tensorrt.MISSING}. Where it is: sh {script}, which is")
        say("  " + " ".join(tensorrt.command(file.name, profile, meta)))
        say(f"  then: intarsia export verify {file.with_name(tensorrt.ENGINE)} --against {request.weights}")
        return None
    path = file.with_name(tensorrt.ENGINE)
    tensorrt.build(file, path, profile, meta)
    certificate = _compared(model, path, meta, request, samples)
    assert certificate is not None
    tensorrt.describe(path, replace(meta, certificate=certificate.to_json()))
    return Exported(path, certificate)


def _describe(name: str, path: Path, meta: ExportMeta) -> None:
    formats = {"openvino": openvino, "pt2": pt2, "aoti": pt2, "executorch": executorch, "litert": litert,
               "coreml": coreml}  # fmt: skip
    formats.get(name, onnx).describe(path, meta)


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
    others = [name for name in request.to if name not in ("onnx", "openvino", "web")]
    if not request.to:
        raise ValueError(f"--to: expected one of {', '.join(FORMATS)}, found none")
    if request.precision == "int8" and others:
        raise ValueError(f"--precision int8 is for onnx and openvino, not for {', '.join(others)}")
    if request.sizes is not None:
        if "tensorrt" not in request.to:
            raise ValueError("--sizes is what an engine is made for: add --to tensorrt")
        if request.size is not None:
            raise ValueError("--size takes images of one size alone, --sizes of several: leave out one of them")
        tensorrt.profile_of(request.sizes, Contract("label", "NHWC", 3), (1, 1), most=1)
    if "web" not in request.to and (request.single_file or request.onnxruntime_web):
        raise ValueError("--single-file and --onnxruntime-web are for --to web")
    for name in request.to:
        for packages, missing in NEEDED.get(name, ()):
            if any(find_spec(package) is None for package in packages):
                raise ValueError(f"--to {name}: {missing}")
    check_share(request.at_least)
    if request.size is not None and min(request.size) < 1:
        raise ValueError(f"--size: expected height and width of at least 1, found {request.size}")


def _contract(model: OpenModel, request: ExportRequest) -> Contract:
    values = model.reader.spec.values
    output = _output(model, request.output)
    layout: Layout = request.layout  # type: ignore[assignment]
    inference = model.spec.inference
    if inference.mode != "whole" and output not in ("logits", "depth") and request.size is None:
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
        answer=inference.answer,
    )  # fmt: skip


def _output(model: OpenModel, asked: str) -> Output:
    """What the file gives. Raises ValueError for what the model does not have."""
    of_depth = model.spec.inference.answer == "depth"
    if of_depth and asked not in ("label", "depth"):  # the first is what nobody asked for
        raise ValueError(f"--output {asked} is of models of classes, and this one answers with depths: leave it out")
    if asked == "depth" and not of_depth:
        raise ValueError("--output depth is of models of depth, and this one answers with classes")
    if of_depth and getattr(model.task.model, "reads_class_ids", False):
        say(
            "note: the network wants to know what kind of room an image shows. The file cannot know it: every room is "
            "unknown to it, as to the original where an image's name does not say it"
        )
    return "depth" if of_depth else asked  # type: ignore[return-value]  # checked


def _of_format(name: str, contract: Contract, usual: Size) -> Contract:
    """What files of a format take, of what was asked for."""
    if name not in ONE_SIZE:
        return contract
    if contract.size is None:
        contract = as_fixed(contract, usual, f"files for {name} take one size")
        say(f"{name}: the file takes images of {usual[1]} x {usual[0]} pixels alone (--size H W for others)")
    if contract.asks_size:
        say(f"note: the model's images were resized ({contract.resize}), and answers of {name} are not resized back")
    stored = "float32" if name == "coreml" else contract.dtype
    return replace(contract, batch=contract.batch or 1, dtype=stored, asks_size=False)


def _resizing(model: OpenModel) -> str:
    """What the pipeline of the model does to the size of an image before it is shown, in words; "" for nothing."""
    data = model.spec.test or model.spec.val
    if data is None:
        return ""
    from intarsia.config.build import build

    steps = [build(step) for step in data.first_steps]
    found = [step for step in steps if isinstance(step, Resizing)]
    words = [f"{one.type}({', '.join(f'{key}={value}' for key, value in one.args.items())})"
             for one, step in zip(data.first_steps, steps, strict=True) if step in found]  # fmt: skip
    return ", ".join(words)


def _usual_size(model: OpenModel) -> Size:
    return model.spec.inference.crop_size or model.spec.preprocess.train_size or (512, 512)


def _about(model: OpenModel) -> WeightsMeta:
    """What the weights say, with classes and colours also where a published recipe is what says them."""
    config = _plain(model.meta.config or model.config.values)
    if model.spec.inference.answer == "depth":
        return replace(model.meta, config=config)
    predictor = model.predictor()
    return replace(model.meta, config=config, classes=tuple(predictor.classes), palette=tuple(predictor.palette))


def _plain(config: Any) -> Any:
    return json.loads(json.dumps(config, default=str))


# --- Its proof --------------------------------------------------------------------------------------------------


def _compared(
    model: OpenModel, path: Path, meta: ExportMeta, request: ExportRequest, samples: Samples
) -> Certificate | None:
    """The certificate of a file that was just written; None where nothing here runs it."""
    if path.suffix == ".mlpackage" and not coreml.runs_here():
        return None
    ours = of_exported(path, open_exported(path, threads=request.threads, own=True)).predictor()
    return certify(model, ours, meta, samples, at_least=request.at_least)


def _why_fixed(certificate: Certificate, contract: Contract) -> str:
    """Why the size is to blame; "" where fewer bits are, which no size makes up for."""
    if certificate.failure:
        return f"at another size it fails: {certificate.failure}"
    if contract.precision != "fp32":
        return ""
    what = "label" if certificate.same_within is None else "depth"
    return f"only {certificate.equal:.2%} of the pixels have the original's {what} at other sizes"


def _say(found: Exported) -> None:
    certificate = found.certificate
    if certificate is None:
        say(f"{found.file}: was not compared: {coreml.ELSEWHERE}")
        return
    verdict = "says what the original says" if certificate.passed else "does NOT say what the original says"
    what = "labels" if certificate.same_within is None else "depths"
    say(f"{found.file}: {verdict} (at least {certificate.at_least:.1%} of all {what})")
    for line in describe(certificate):
        say(f"  {line}")


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

    If it was made of other weights, as its hash says, a line says so, and the comparison decides.

    Raises ValueError for files and images that cannot be read, and for no share of pixels.
    """
    check_share(at_least)
    ours = of_exported(file, open_exported(file, threads=threads)).predictor()
    meta = read_meta(file)
    model = open_model(against, config=config, device="cpu")
    if meta.weights_hash and hash_of(model.file) != meta.weights_hash:
        say(f"note: {file} was exported from other weights than {model.file}, as their hashes say")
    certificate = certify(model, ours, meta, Samples(model, samples, count), at_least=at_least)
    _say(Exported(file, certificate))
    return certificate
