"""How networks compute when they predict: half precision, and torch.compile."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._dynamo.exc import InternalTorchDynamoError, TensorifyScalarRestartAnalysis

import intarsia
from intarsia.inference import compiled, kept_code, precision
from intarsia.inference.execution import Execution
from intarsia.inference.predictor import Predictor
from intarsia.layers.adaptive_pooling import AdaptiveAvgPool
from intarsia.layers.levels import resize
from intarsia.spec import InferenceSpec
from intarsia.terminal import Notice

SIZES = [(96, 96), (90, 112), (101, 77), (83, 131), (87, 86), (128, 128)]
"""Above the size from which torch convolves in another way, which is another graph."""
FASTER = {"architecture": "x86_64", "avx512_bf16": True, "avx512_fp16": True}


def image(height: int, width: int) -> np.ndarray:
    coarse = np.random.default_rng(height * width).integers(0, 256, (height // 8 + 1, width // 8 + 1, 3), np.uint8)
    return np.kron(coarse, np.ones((8, 8, 1), np.uint8))[:height, :width]


def same_away_from_ties(found: np.ndarray, logits: np.ndarray, expected: np.ndarray, least: float) -> float:
    """The share of equal labels; all are equal whose two largest logits (of float32) are further apart than `least`."""
    first, second = np.sort(logits, axis=0)[[-1, -2]]
    clear = first - second > least
    assert clear.mean() > 0.5
    assert np.array_equal(found[clear], expected[clear])
    return float((found == expected).mean())


@pytest.fixture
def fast_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(precision, "_capabilities", lambda: FASTER)


# --- Half precision -----------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("fast_processor")
@pytest.mark.parametrize("bits", ["bf16", "16"])
def test_labels_in_half_precision_are_equal_away_from_ties(
    make_weights: Callable[..., Path], bits: str, recwarn: pytest.WarningsRecorder
) -> None:
    plain, half = (
        intarsia.load(make_weights(), device="cpu"),
        intarsia.load(make_weights(), device="cpu", precision=bits),
    )
    shares = []
    for size in SIZES[:3]:
        expected, found = (one.predict(image(*size), logits=True, probabilities=True) for one in (plain, half))
        assert expected.logits is not None
        assert found.logits is not None
        assert found.probabilities is not None
        assert found.logits.dtype == found.probabilities.dtype == np.float32
        assert not np.array_equal(found.logits, expected.logits)
        difference = np.abs(found.logits - expected.logits).max()
        assert difference < 0.05 * np.abs(expected.logits).max()
        shares.append(same_away_from_ties(found.label, expected.logits, expected.label, 2 * float(difference)))
    assert min(shares) > 0.95
    assert not [one for one in recwarn if one.category is Notice]


class Told(nn.Module):
    """A convolution that remembers what it computed in."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)
        self.kinds: list[torch.dtype] = []

    def forward(self, images: Tensor) -> Tensor:
        found: Tensor = self.conv(images)
        self.kinds.append(found.dtype)
        return found


@pytest.mark.usefixtures("fast_processor")
@pytest.mark.parametrize(("bits", "kind"), [("32", torch.float32), ("bf16", torch.bfloat16), ("16", torch.float16)])
@pytest.mark.parametrize("way", ["whole", "windows", "views"])
def test_every_way_of_looking_computes_in_it(bits: str, kind: torch.dtype, way: str) -> None:
    network = Told()
    predictor = predictor_of(network, way, precision=bits)
    found = predictor.predict(image(40, 40), confidence=True)
    assert network.kinds
    assert set(network.kinds) == {kind}
    assert found.confidence is not None
    assert found.confidence.dtype == np.float32


def predictor_of(network: nn.Module, way: str = "whole", **how: Any) -> Predictor:
    class Task(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = network

        def preprocess(self, images: Tensor, sizes: Sequence[Any], *, train: bool) -> Tensor:
            return images.float() / 255 - 0.5

    windows: dict[str, Any] = {"mode": "slide", "crop_size": (24, 24), "stride": (16, 16)} if way == "windows" else {}
    return Predictor(
        Task(), inference=InferenceSpec(num_classes=3, **windows), classes="abc", palette=[(0, 0, 0)] * 3,
        augment=way == "views", **how,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("found", "bits", "named"),
    [
        ({"architecture": "x86_64", "avx512_f": True}, "bf16", "no AVX512_BF16 nor AMX_BF16 .*; try 32$"),
        ({"architecture": "x86_64", "avx512_bf16": True}, "16", "no AVX512_FP16 nor AMX_FP16 .*; try 32 or bf16$"),
        ({"architecture": "arm64", "neon": True}, "bf16", "no BF16 nor SVE_BF16"),
        ({"architecture": "x86_64", "amx_bf16": True}, "bf16", ""),
        ({"architecture": "aarch64", "fp16_arith": True}, "16", ""),
        ({"architecture": "riscv64"}, "bf16", ""),
        ({}, "bf16", ""),
    ],
)
def test_processors_without_instructions_for_it_are_said(
    found: dict[str, Any], bits: str, named: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precision, "_capabilities", lambda: found)
    if named:
        with pytest.warns(Notice, match=named):
            predictor_of(Told(), precision=bits)
        return
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        predictor_of(Told(), precision=bits)


def test_an_unknown_precision_is_refused(make_weights: Callable[..., Path]) -> None:
    with pytest.raises(ValueError, match="precision is one of 32, 16, bf16, found 'half'"):
        intarsia.load(make_weights(), precision="half")


# --- torch.compile ------------------------------------------------------------------------------------------------


class Made:
    """In the place of Inductor: graphs are run as they are, and counted."""

    def __init__(self) -> None:
        self.graphs = 0
        self.reason = ""
        self.restarts = 0

    def __call__(self, graph: torch.fx.GraphModule, inputs: Sequence[Any]) -> Callable[..., Any]:
        if self.restarts:
            self.restarts -= 1
            raise TensorifyScalarRestartAnalysis
        if self.reason:
            raise RuntimeError(self.reason)
        self.graphs += 1
        return graph.forward


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Made:
    torch.compiler.reset()
    monkeypatch.setenv(kept_code.FOLDER, str(tmp_path))
    found = Made()
    monkeypatch.setattr(compiled, "make_code", found)
    monkeypatch.setattr(compiled, "check_compiler", lambda device: None)
    return found


class Pooled(nn.Module):
    """What makes graphs depend on sizes: a stride, means over a grid, resizing to another map's size."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 4, 3, stride=2, padding=1), nn.Conv2d(8, 3, 1)
        self.pool = AdaptiveAvgPool(3)

    def forward(self, images: Tensor) -> Tensor:
        found = self.first(images).relu()
        means = resize(self.pool(found), found.shape[2:])
        scores: Tensor = self.last(torch.cat([found, means], dim=1))
        return scores


def test_images_of_any_size_share_a_graph(made: Made, capsys: pytest.CaptureFixture[str]) -> None:
    """The first one is square, as are others; several images together are a second graph."""
    network = Pooled()
    plain, other = predictor_of(network), predictor_of(network, compile=True)
    for size in SIZES:
        expected, found = plain.predict(image(*size), logits=True), other.predict(image(*size))
        assert expected.logits is not None
        assert same_away_from_ties(found.label, expected.logits, expected.label, 1e-5) > 0.999
    assert made.graphs == 1
    with torch.inference_mode():
        for count in (2, 3):
            other.network(torch.zeros(count, 3, 64, 96))
    assert made.graphs == 2
    assert capsys.readouterr().err.count("torch.compile: the network was compiled, and is kept in") == 2


class ByItsHeight(nn.Module):
    """Another graph for each of eight heights."""

    def __init__(self) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.rand(8, 3, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        for number in range(8):
            if images.shape[2] == 32 + number:
                return images * self.weights[number]
        return images


def test_graphs_are_bounded(made: Made, capsys: pytest.CaptureFixture[str]) -> None:
    network = ByItsHeight()
    predictor = predictor_of(network, compile=True)
    for _ in range(2):
        for number in range(8):
            pixels = torch.rand(1, 3, 32 + number, 32)
            with torch.inference_mode():
                assert torch.equal(predictor.network(pixels), network(pixels))
    assert made.graphs == compiled.MOST
    said = capsys.readouterr().err
    assert said.count("this is the 5th kind of size; such and further ones are not compiled") == 1
    assert said.count("torch.compile: the network was compiled") == compiled.MOST


def test_what_inductor_cannot_do_is_computed_without(made: Made, capsys: pytest.CaptureFixture[str]) -> None:
    made.reason = "no lowering for aten::xyz\n  at line 3"
    network = Told()
    predictor = predictor_of(network, compile=True)
    with torch.inference_mode():
        for size in SIZES[:3]:
            pixels = torch.rand(1, 3, *size)
            assert torch.equal(
                predictor.network(pixels), F.conv2d(pixels, network.conv.weight, network.conv.bias, padding=1)
            )
    first, *lines = capsys.readouterr().err.splitlines()
    assert first.startswith("torch.compile: the first image waits for code")
    assert len(lines) == 1
    assert (
        "made no code of this network, which is computed without: RuntimeError: no lowering for aten::xyz" in lines[0]
    )


def test_inductor_may_ask_for_another_graph(made: Made, capsys: pytest.CaptureFixture[str]) -> None:
    """As it does where a number that depends on the size becomes a part of the graph."""
    made.restarts = 1
    predictor_of(Told(), compile=True).predict(image(40, 40))
    assert made.graphs == 1
    assert "computed without" not in capsys.readouterr().err


def test_what_dynamo_cannot_do_is_computed_without(
    made: Made, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(*inputs: Tensor) -> Tensor:
        raise InternalTorchDynamoError("some bug of it")

    monkeypatch.setattr(torch, "compile", lambda network, **how: fails)
    network = Told()
    execution = Execution(predictor_of(network).task, torch.device("cpu"), compile=True)
    pixels = torch.rand(1, 3, 8, 8)
    for _ in range(2):
        assert execution(pixels).shape == (1, 3, 8, 8)
    said = capsys.readouterr().err
    assert said.count("computed without: InternalTorchDynamoError: some bug of it") == 1


def test_an_image_that_does_not_fit_is_no_fault_of_the_compiler(
    make_weights: Callable[..., Path], made: Made, capsys: pytest.CaptureFixture[str]
) -> None:
    predictor = predictor_of(nn.Conv2d(3, 3, 9), compile=True)
    with pytest.raises(ValueError, match="the network fails on 5 x 5 pixels"):
        predictor.predict(image(5, 5))
    predictor.predict(image(40, 40))
    assert made.graphs == 1
    assert "computed without" not in capsys.readouterr().err


def test_without_a_compiler_it_is_said_what_to_install(
    make_weights: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from torch._inductor import config

    monkeypatch.setenv(kept_code.FOLDER, str(tmp_path))
    monkeypatch.setattr(config.cpp, "cxx", (None, "no-such-compiler"))
    with pytest.raises(ValueError, match=r"needs a C\+\+ compiler: `apt-get install g\+\+`.*no-such-compiler"):
        intarsia.load(make_weights(), device="cpu", compile=True)


def test_the_folder_says_for_what_it_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("INTARSIA_CACHE", str(tmp_path))
    here = kept_code.compiled_folder()
    assert here.parent == tmp_path / "compiled"
    assert torch.__version__ in here.name
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "ANOTHER")
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"another": True}, raising=False)
    assert kept_code.compiled_folder() != here


@pytest.mark.parametrize("own", [False, True], ids=["torch's", "somebody's"])
def test_what_torch_has_set_by_itself_is_no_choice(tmp_path: Path, own: bool) -> None:
    """Since torch sets the variable when its tracer is imported, as building a network on the meta device does, what
    was compiled lay among the temporary files.
    """
    environment = {name: value for name, value in os.environ.items() if name != kept_code.FOLDER}
    environment |= {"INTARSIA_CACHE": str(tmp_path / "cache"), **({kept_code.FOLDER: str(tmp_path)} if own else {})}
    code = (
        "import os, torch, torch._dynamo; from intarsia.inference import compiled, kept_code\n"
        "compiled.check_compiler = print; compiled.CompiledNetwork(torch.nn.ReLU(), torch.device('cpu'))\n"
        "print(os.environ[kept_code.FOLDER])"
    )
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    found = Path(done.stdout.splitlines()[-1])
    assert found == tmp_path if own else found.parent == tmp_path / "cache" / "compiled"


# --- What is kept, and cannot be used -----------------------------------------------------------------------------


def library(file: Path, size: int | None = None) -> Path:
    """A library as linkers write them, of which the first bytes are there."""
    data = next(Path(torch.__file__).parent.glob("_C*.so")).read_bytes()
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(data[:size])
    return file


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks at libraries of Linux")
def test_libraries_that_were_cut_off_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that loads one may end without a word, and those after it as well."""
    monkeypatch.setenv(kept_code.FOLDER, str(tmp_path))
    whole = library(tmp_path / "ab/whole.so")
    size = whole.stat().st_size
    torn = [library(tmp_path / f"cd/{count}.so", count) for count in (0, 40, 5000, size // 2)]
    source = tmp_path / "cd/code.py"
    source.write_text("")
    kept_code.keep_compiled()
    assert whole.exists()
    assert source.exists()
    assert not any(file.exists() for file in torn)


def test_what_cannot_be_loaded_is_made_anew(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    kept, other = tmp_path / "ab/kernel.main.so", tmp_path / "ab/other.so"
    for file in (kept, other):
        library(file)

    def load(graph: torch.fx.GraphModule, inputs: Sequence[Any]) -> Callable[..., Any]:
        if kept.exists():
            raise ImportError(f"{kept}: invalid ELF header")
        return made(graph, inputs)

    monkeypatch.setattr(compiled, "make_code", load)
    predictor_of(Told(), compile=True).predict(image(40, 40))
    assert (made.graphs, kept.exists(), other.exists()) == (1, False, True)
    assert "computed without" not in capsys.readouterr().err


def test_what_the_compiler_names_is_not_removed_and_its_reason_is_said(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from torch._inductor.exc import CppCompileError

    kept = library(tmp_path / "ab/kernel.main.so")

    def fails(graph: torch.fx.GraphModule, inputs: Sequence[Any]) -> Callable[..., Any]:
        output = f"in {kept}:\n/usr/bin/ld: final link failed: No space left on device\ncollect2: error: ld returned 1"
        raise CppCompileError(["g++", "-o", str(kept)], output)

    monkeypatch.setattr(compiled, "make_code", fails)
    predictor_of(Told(), compile=True).predict(image(40, 40))
    assert kept.exists()
    said = capsys.readouterr().err
    assert "computed without: CppCompileError: /usr/bin/ld: final link failed: No space left on device" in said


@pytest.mark.parametrize("folder", ["read only", "a file"])
def test_a_folder_that_cannot_be_written(
    made: Made, folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As that of a server's image: what it holds is used, and what is missing is made for this process alone."""
    place, reason = tmp_path / "place", "Not a directory"
    if folder == "read only":
        library(place / "ab/kernel.so")
        (place / "locks").mkdir()
        monkeypatch.setattr(os, "access", lambda path, mode: Path(path).name != "locks")
        reason = "Permission denied: locks"
    else:
        place.write_text("")
        place = place / "below"
    monkeypatch.setenv(kept_code.FOLDER, str(place))
    for _ in range(2):
        predictor_of(Told(), compile=True).predict(image(40, 40))
        used = Path(os.environ[kept_code.FOLDER])
        assert used != place
        assert (used / "ab/kernel.so").exists() == (folder == "read only")
        said = " ".join(capsys.readouterr().err.split())
        assert f"the network was compiled, and is not kept: {place} cannot be written ({reason})" in said


PROGRAM = """
import torch
from torch import nn
from intarsia.inference.compiled import CompiledNetwork
from intarsia.layers.adaptive_pooling import AdaptiveAvgPool
from intarsia.layers.levels import resize

class Pooled(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.last, self.pool = nn.Conv2d(3, 4, 3, 2, 1), nn.Conv2d(8, 3, 1), AdaptiveAvgPool(3)

    def forward(self, images):
        found = self.first(images).relu()
        return self.last(torch.cat([found, resize(self.pool(found), found.shape[2:])], dim=1))

torch.manual_seed(0)
network = Pooled().eval()
compiled = CompiledNetwork(network, torch.device("cpu"))
with torch.inference_mode():
    for size in ((96, 96), (101, 77), (90, 131)):
        pixels = torch.randn(1, 3, *size)
        logits, found = network(pixels), compiled(pixels)
        first, second = logits.topk(2, dim=1).values.unbind(1)
        assert ((found.argmax(1) == logits.argmax(1)) | (first - second < 1e-5)).all()
"""


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="Inductor needs a C++ compiler, and there is no g++ here")
def test_another_process_reads_what_was_compiled(tmp_path: Path) -> None:
    """Compiled in earnest: the labels of odd sizes away from ties, and what each process says; what is damaged is made
    anew.
    """
    environment = {name: value for name, value in os.environ.items() if name != kept_code.FOLDER}
    environment["INTARSIA_CACHE"] = str(tmp_path)
    for turn, said in enumerate(("was compiled, and is kept in", "was read from", "was read from")):
        if turn == 2:  # a file that was cut off, and others that the loader refuses
            torn, *unreadable = sorted(tmp_path.rglob("*.main.so"))
            torn.write_bytes(torn.read_bytes()[:5000])
            for file in unreadable[:2]:
                file.write_bytes(file.read_bytes()[:16] + b"?" * (file.stat().st_size - 16))
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        lines = [line for line in done.stderr.splitlines() if line.startswith(("torch.compile:", "note:"))]
        assert len(lines) == 2, done.stderr
        assert "the first image waits" in lines[0]
        assert f"{said} {tmp_path / 'compiled'}" in lines[1]
