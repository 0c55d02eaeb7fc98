"""The examples that run an exported file without Intarsia."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from intarsia.export.formats import onnx
from intarsia.export.program import exported

pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "export"))  # the network that tests of export share
from made import PALETTE, Made, Task, image

from intarsia.spec import InferenceSpec

EXAMPLES = Path(__file__).resolve().parents[2] / "examples" / "onnxruntime"


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any, Any]:
    """A folder with model.onnx and photo.ppm; the pixels, and the labels that the predictor gives them."""
    folder = tmp_path_factory.mktemp("example")
    made = Made(Task().eval(), InferenceSpec(num_classes=3))
    module = made.deployable()
    onnx.write(exported(module), folder / "model.onnx", made.meta(module.contract))
    pixels = image((41, 58))
    pixels[0, 0] = 32, 10, 32  # whitespace, right behind the header
    Image.fromarray(pixels).save(folder / "photo.ppm")
    return folder, pixels, made.predictor().predict(pixels).label


def check(work: tuple[Path, Any, Any]) -> None:
    folder, _, label = work
    assert len(np.unique(label)) > 1
    np.testing.assert_array_equal(np.asarray(Image.open(folder / "labels.pgm")), label)


FILES = ["model.onnx", "photo.ppm", "labels.pgm"]


@pytest.mark.parametrize("name", ["segment.py", "segment.cc"])
def test_an_example_has_forty_lines(name: str) -> None:
    assert len((EXAMPLES / name).read_text(encoding="utf-8").splitlines()) <= 40


def test_python_writes_labels_and_an_overlay(work: tuple[Path, Any, Any]) -> None:
    folder, pixels, label = work
    words = [sys.executable, str(EXAMPLES / "segment.py"), *FILES, "overlay.ppm"]
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    check(work)
    expected = pixels // 2 + np.array(PALETTE, np.uint8)[label] // 2
    np.testing.assert_array_equal(np.asarray(Image.open(folder / "overlay.ppm")), expected)
    share = 100 * (label == 0).mean()
    assert f"{share:5.1f} %  sky" in done.stdout


@pytest.fixture(scope="module")
def onnxruntime_for_cpp(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Its headers and the folder of its library: of a release at $ORT, or of the system and the Python package."""
    import onnxruntime

    places = [Path(os.environ["ORT"]) / "include"] if os.environ.get("ORT") else []
    places += [Path("/usr/include/onnxruntime"), Path("/usr/local/include/onnxruntime")]
    headers = next((place for place in places if (place / "onnxruntime_cxx_api.h").is_file()), None)
    if headers is None:
        pytest.skip(f"no headers of onnxruntime for C++ here; sh {EXAMPLES / 'for_cpp.sh'} DIR fetches them, for $ORT")
    if (headers.parent / "lib" / "libonnxruntime.so").exists():
        return headers, headers.parent / "lib"
    (library,) = (Path(onnxruntime.__file__).parent / "capi").glob("libonnxruntime.so.*")
    folder = tmp_path_factory.mktemp("library")
    for name in ("libonnxruntime.so", "libonnxruntime.so.1"):  # what a compiler looks for, and what a program does
        (folder / name).symlink_to(library)
    return headers, folder


def compiled(folder: Path, *arguments: str) -> Path:
    if shutil.which("g++") is None:
        pytest.skip("no g++ here")
    program = folder / "segment"
    words = ["g++", "-std=c++17", "-Wall", "-Werror", str(EXAMPLES / "segment.cc"), *arguments, "-o", str(program)]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return program


def test_cpp_writes_labels(work: tuple[Path, Any, Any], onnxruntime_for_cpp: tuple[Path, Path]) -> None:
    folder, pixels, _ = work
    headers, library = onnxruntime_for_cpp
    program = compiled(folder, "-I", str(headers), "-L", str(library), "-lonnxruntime", f"-Wl,-rpath,{library}")
    (folder / "labels.pgm").unlink(missing_ok=True)
    assert run(program, folder, *FILES) == ""
    check(work)

    (folder / "short.ppm").write_bytes((folder / "photo.ppm").read_bytes()[:-1])
    (folder / "negative.ppm").write_bytes(b"P6\n-41 58\n255\n" + pixels.tobytes())
    assert "the photo ends early" in run(program, folder, "model.onnx", "short.ppm", "a")
    assert "expected a PPM file" in run(program, folder, "model.onnx", "negative.ppm", "a")
    assert "model.txt" in run(program, folder, "model.txt", "photo.ppm", "a")
    assert "could not write" in run(program, folder, "model.onnx", "photo.ppm", "no/such/folder.pgm")


def run(program: Path, folder: Path, *words: str) -> str:
    """What a program says to standard error, which is nothing if and only if all went well."""
    done = subprocess.run([str(program), *words], cwd=folder, capture_output=True, text=True)
    assert done.returncode == (1 if done.stderr else 0), done.stderr
    return done.stderr


def test_cpp_reads_and_writes_files_around_a_stand_in(work: tuple[Path, Any, Any]) -> None:
    """All of it but onnxruntime, in whose place a header says the labels that are in a file."""
    folder, _, label = work
    (folder / "answer.bin").write_bytes(label.tobytes())
    program = compiled(folder, f"-I{Path(__file__).parent / 'stand_in'}")
    (folder / "labels.pgm").unlink(missing_ok=True)
    assert run(program, folder, *FILES) == ""
    check(work)
    assert "expected a PPM file" in run(program, folder, "model.onnx", "model.onnx", "a")
