"""TensorRT: an ONNX file that it reads, the command that makes an engine of it, and, where it is installed, the engine.

Engines fit one kind of GPU and one version of TensorRT, so that they are made where they run. Precision is that of the
ONNX file (strongly typed networks, the only kind since TensorRT 11). Images and labels may be uint8, but TensorRT does
nothing with them but to make floats of the ones, and the others of floats.

What is written here against `tensorrt` 10 and 11 (https://docs.nvidia.com/deeplearning/tensorrt) was run with a
stand-in of it alone, for want of a GPU.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from intarsia.contracts import Size
from intarsia.export.contract import Contract, ExportMeta
from intarsia.export.formats import onnx as onnx_format
from intarsia.export.formats import sidecar
from intarsia.export.formats.tensorrt_operators import TABLE, unknown_nodes
from intarsia.io.whole_files import write_bytes, write_text

ENGINE = "model.plan"
SCRIPT = "build_engine.sh"
describe = sidecar.describe
read_meta = sidecar.read_meta
MISSING = "engines of TensorRT need the package tensorrt and a GPU of NVIDIA: pip install tensorrt"


@dataclass(frozen=True, slots=True)
class Profile:
    """What an engine is made for. least, usual, most: (N, H, W); it takes all between, and is fastest at the second."""

    least: tuple[int, int, int]
    usual: tuple[int, int, int]
    most: tuple[int, int, int]

    def __post_init__(self) -> None:
        shown = " ".join("x".join(map(str, one)) for one in self.all)
        if min(self.least) < 1 or any(not a <= b <= c for a, b, c in zip(*self.all, strict=True)):
            raise ValueError(f"--sizes: expected MIN <= OPT <= MAX on every side, all at least 1, found {shown}")

    @property
    def all(self) -> tuple[tuple[int, int, int], ...]:
        """The three, in order."""
        return self.least, self.usual, self.most


def profile_of(sizes: Sequence[str] | None, contract: Contract, usual: Size, *, most: int) -> Profile:
    """The profile of a file.

    sizes: MIN, OPT, MAX as the user writes them; None: half of `usual`, this, and twice it. most: images at once.

    Raises ValueError for sizes that are none, and for any where the file takes one alone.
    """
    if contract.size is not None:
        if sizes is not None:
            height, width = contract.size
            raise ValueError(f"--sizes: the file takes images of {width} x {height} pixels alone, since {contract.why}")
        sides = [contract.size] * 3
    else:
        sides = [_parsed(one) for one in sizes] if sizes else [_scaled(usual, 0.5), usual, _scaled(usual, 2)]
    images = (1, 1, most) if contract.batch is None else (contract.batch,) * 3
    return Profile(*((number, *side) for number, side in zip(images, sides, strict=True)))


def _parsed(text: str) -> Size:
    match = re.fullmatch(r"(\d{1,5})x(\d{1,5})", text)
    if match is None:
        raise ValueError(f"--sizes: expected three of HxW, as 512x1024, found {text!r}")
    return int(match[1]), int(match[2])


def _scaled(size: Size, by: float) -> Size:
    height, width = (max(1, round(side * by)) for side in size)
    return height, width


# --- The ONNX file ------------------------------------------------------------------------------------------------


def prepare(source: Path, path: Path, meta: ExportMeta) -> None:
    """Make an ONNX file one that TensorRT reads.

    Raises ValueError naming what TensorRT has not.
    """
    import onnx

    model = onnx.load(source, load_external_data=False)
    _with_floats_inside(model)
    _without_equal_truths(model)
    if unknown := unknown_nodes(model):
        raise ValueError(
            f"{TABLE} has no {', '.join(unknown)}: export another network of it, or --to onnx, whose file "
            "onnxruntime runs on GPUs, too"
        )
    onnx_format.save(model, path, meta, source)


def _with_floats_inside(model: Any) -> None:
    """Casts to floats behind inputs, and in front of outputs, of uint8."""
    import onnx

    graph, byte, whole = model.graph, onnx.TensorProto.UINT8, onnx.TensorProto.FLOAT
    before: list[Any] = []
    for end in graph.input:
        if end.type.tensor_type.elem_type == byte:
            for node in graph.node:
                _renamed(node.input, end.name, f"{end.name}_float")
            before.append(onnx.helper.make_node("Cast", [end.name], [f"{end.name}_float"], to=whole))
    outputs = {one.name for one in graph.output if one.type.tensor_type.elem_type == byte}
    nodes: list[Any] = []
    for node in graph.node:
        if node.op_type == "Cast" and node.output[0] in outputs:
            name = f"{node.output[0]}_float"
            nodes.append(onnx.helper.make_node("Cast", [node.input[0]], [name], to=whole))
            node.input[0] = name
        nodes.append(node)
    _set_nodes(graph, [*before, *nodes])


def _without_equal_truths(model: Any) -> None:
    """A == b of two truths, which TensorRT has not, as not (a xor b)."""
    import onnx

    types = {one.name: one.type.tensor_type.elem_type
             for one in onnx.shape_inference.infer_shapes(model).graph.value_info}  # fmt: skip
    nodes: list[Any] = []
    for node in model.graph.node:
        if node.op_type == "Equal" and types.get(node.input[0]) == onnx.TensorProto.BOOL:
            differs = f"{node.output[0]}_differs"
            nodes.append(onnx.helper.make_node("Xor", list(node.input), [differs]))
            nodes.append(onnx.helper.make_node("Not", [differs], list(node.output)))
        else:
            nodes.append(node)
    _set_nodes(model.graph, nodes)


def _renamed(names: Any, old: str, new: str) -> None:
    for position, name in enumerate(names):
        if name == old:
            names[position] = new


def _set_nodes(graph: Any, nodes: Sequence[Any]) -> None:
    kept = list(nodes)
    del graph.node[:]
    graph.node.extend(kept)
    del graph.value_info[:]  # types that were written before; readers infer them


# --- The engine ---------------------------------------------------------------------------------------------------


def is_installed() -> bool:
    """Whether engines can be made here."""
    return find_spec("tensorrt") is not None


def command(file: str, profile: Profile, meta: ExportMeta) -> list[str]:
    """The call of trtexec, NVIDIA's program beside TensorRT, that makes the engine of a file."""
    shapes = ["image:" + "x".join(map(str, meta.contract.shape(*one))) for one in profile.all]
    if meta.contract.asks_size:
        shapes = [
            f"{shape},size:{height}x{width}" for shape, (_, height, width) in zip(shapes, profile.all, strict=True)
        ]
    words = ["trtexec", f"--onnx={file}", f"--saveEngine={ENGINE}"]
    if meta.contract.batch is None or meta.contract.size is None:
        words += [f"--{kind}Shapes={shape}" for kind, shape in zip(("min", "opt", "max"), shapes, strict=True)]
    return words


def write_script(onnx_file: Path, profile: Profile, meta: ExportMeta) -> Path:
    """Write the command as a file beside the ONNX file, and what the engine will not say of itself; gives its path."""
    words = shlex.join(command(onnx_file.name, profile, meta))
    text = f"""#!/bin/sh
# Makes {ENGINE} of {onnx_file.name} on this machine, for its kind of GPU and its TensorRT.
set -e
cd "$(dirname "$0")"
typed=""  # TensorRT 10 takes the precision from the ONNX file if it is told to, later ones always
if trtexec --help 2>&1 | grep -q -e --stronglyTyped; then typed="--stronglyTyped"; fi
{words} $typed
"""
    path = write_text(onnx_file.with_name(SCRIPT), text)
    path.chmod(0o755)
    describe(onnx_file.with_name(ENGINE), meta)
    return path


def build(onnx_file: Path, path: Path, profile: Profile, meta: ExportMeta) -> None:
    """Make an engine, for this machine. Raises ValueError with what TensorRT says."""
    trt = _package()
    logger = trt.Logger(trt.Logger.ERROR)
    builder = trt.Builder(logger)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(network, logger)
    if not parser.parse_from_file(str(onnx_file)):
        reasons = "; ".join(str(parser.get_error(number).desc()) for number in range(parser.num_errors))
        raise ValueError(f"TensorRT {trt.__version__} does not take {onnx_file.name}: {reasons[:300]}")
    settings = builder.create_builder_config()
    shapes = builder.create_optimization_profile()
    shapes.set_shape("image", *(meta.contract.shape(*one) for one in profile.all))
    if meta.contract.asks_size:
        shapes.set_shape_input("size", *(one[1:] for one in profile.all))
    settings.add_optimization_profile(shapes)
    plan = builder.build_serialized_network(network, settings)
    if plan is None:
        raise ValueError(f"TensorRT {trt.__version__} makes no engine of {onnx_file.name}; `sh {SCRIPT}` shows why")
    write_bytes(path, bytes(plan))
    describe(path, meta)


def open_file(path: Path, *, device: str = "cpu", threads: int | None = None) -> TensorRTRuntime:
    """See `runtime.open_file`. An engine runs on the first GPU, whatever the device."""
    return TensorRTRuntime(path)


class TensorRTRuntime:
    """An engine with one context; see `runtime.Runtime`."""

    name = "TensorRT"

    def __init__(self, path: Path) -> None:
        import threading

        self.meta = read_meta(path)
        trt = _package()
        self._path, self._lock = path, threading.Lock()
        self._runtime = trt.Runtime(trt.Logger(trt.Logger.ERROR))
        self._engine = self._runtime.deserialize_cuda_engine(path.read_bytes())
        if self._engine is None:
            raise ValueError(f"{path} is no engine of this TensorRT ({trt.__version__}) and GPU: make it again here")
        self._context = self._engine.create_execution_context()

    def run(self, image: npt.NDArray[Any], size: Size | None = None) -> dict[str, npt.NDArray[Any]]:
        """See `Runtime`."""
        import torch

        context, contract = self._context, self.meta.contract
        with self._lock:
            given = torch.from_numpy(np.ascontiguousarray(image)).cuda()
            answer = torch.tensor(size or (0, 0), dtype=torch.int64)  # read on the host, while shapes are found
            if not context.set_input_shape("image", tuple(given.shape)):
                raise ValueError(f"{self._path}: the engine was not made for images of {tuple(given.shape)} (--sizes)")
            context.set_tensor_address("image", given.data_ptr())
            if contract.asks_size:
                context.set_tensor_address("size", answer.data_ptr())
            label = getattr(torch, self.meta.label_dtype)
            found = {}
            for name in contract.outputs:
                shape, kind = tuple(context.get_tensor_shape(name)), label if name == "label" else torch.float32
                found[name] = torch.empty(shape, dtype=kind, device=given.device)
                context.set_tensor_address(name, found[name].data_ptr())
            stream = torch.cuda.current_stream()
            if not context.execute_async_v3(stream.cuda_stream):
                raise ValueError(f"{self._path}: TensorRT fails on {image.shape}")
            stream.synchronize()
        return {name: one.cpu().numpy() for name, one in found.items()}


def _package() -> Any:
    if not is_installed():
        raise ValueError(MISSING)
    import tensorrt

    return tensorrt
