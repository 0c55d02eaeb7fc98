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
    folder, pixels, label = work
    assert len(np.unique(label)) > 1
    np.testing.assert_array_equal(np.asarray(Image.open(folder / "labels.pgm")), label)
    expected = pixels // 2 + np.array(PALETTE, np.uint8)[label] // 2
    np.testing.assert_array_equal(np.asarray(Image.open(folder / "overlay.ppm")), expected)


FILES = ["model.onnx", "photo.ppm", "labels.pgm", "overlay.ppm"]


def test_python_writes_labels_and_an_overlay(work: tuple[Path, Any, Any]) -> None:
    folder, _, label = work
    words = [sys.executable, str(EXAMPLES / "segment.py"), *FILES]
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    check(work)
    share = 100 * (label == 0).mean()
    assert f"{share:5.1f} %  sky" in done.stdout


def onnxruntime_for_cpp() -> tuple[Path, Path]:
    """Its headers, and the library: of a release at $ORT, or of the system with the library of the Python package."""
    import onnxruntime

    places = [Path(os.environ["ORT"]) / "include"] if "ORT" in os.environ else []
    places += [Path("/usr/include/onnxruntime"), Path("/usr/local/include/onnxruntime")]
    headers = next((place for place in places if (place / "onnxruntime_cxx_api.h").is_file()), None)
    if headers is None:
        pytest.skip("no headers of onnxruntime for C++ here: no package of PyPI, npm or Debian 12 has them ($ORT)")
    folders = [headers.parent / "lib", Path(onnxruntime.__file__).parent / "capi", Path("/usr/lib")]
    library = next((file for folder in folders for file in sorted(folder.glob("**/libonnxruntime.so*"))), None)
    if library is None:
        pytest.skip("no library of onnxruntime for C++ here")
    return headers, library


def compiled(folder: Path, *arguments: str) -> Path:
    if shutil.which("g++") is None:
        pytest.skip("no g++ here")
    program = folder / "segment"
    words = ["g++", "-std=c++17", "-Wall", "-Werror", str(EXAMPLES / "segment.cc"), *arguments, "-o", str(program)]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return program


def test_cpp_writes_labels_and_an_overlay(work: tuple[Path, Any, Any]) -> None:
    headers, library = onnxruntime_for_cpp()
    program = compiled(work[0], f"-I{headers}", str(library), f"-Wl,-rpath,{library.parent}")
    done = subprocess.run([str(program), *FILES], cwd=work[0], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    check(work)


def test_cpp_reads_and_writes_files_around_a_stand_in(work: tuple[Path, Any, Any]) -> None:
    """All of it but onnxruntime, in whose place a header says the metadata and the labels that are in files."""
    from intarsia.export.runtime import read_meta

    folder, _, label = work
    (folder / "about.json").write_text(read_meta(folder / "model.onnx").to_json())
    (folder / "answer.bin").write_bytes(label.tobytes())
    program = compiled(folder, f"-I{Path(__file__).parent / 'stand_in'}")
    for name in FILES[2:]:
        (folder / name).unlink(missing_ok=True)
    done = subprocess.run([str(program), *FILES], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    check(work)
    done = subprocess.run(
        [str(program), "model.onnx", "model.onnx", "a", "b"], cwd=folder, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert "expected a PPM file" in done.stderr
