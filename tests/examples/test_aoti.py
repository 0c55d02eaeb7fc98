"""The example that runs compiled archives in C++, against the headers and libraries of torch's package."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from intarsia.export.formats import pt2
from intarsia.export.program import exported

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "export"))  # the network that tests of export share
from made import Made, Task, image

from intarsia.spec import InferenceSpec

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "aoti" / "segment.cc"


@pytest.mark.slow
def test_cpp_runs_a_compiled_archive(tmp_path: Path) -> None:
    if shutil.which("g++") is None:
        pytest.skip("no g++ here")
    folder = Path(torch.__file__).parent
    if not (folder / "include" / "torch" / "csrc" / "inductor" / "aoti_package").is_dir():
        pytest.skip("this torch came without the headers of its package loader")
    made = Made(Task().eval(), InferenceSpec(num_classes=3))
    module = made.deployable()
    pt2.compile_to(exported(module, for_torch=True), tmp_path / "model_aoti.pt2", made.meta(module.contract))
    said = re.search(r"(g\+\+ .*?-o segment)\n", EXAMPLE.read_text().replace("\\\n//", " "), re.DOTALL)
    assert said is not None
    words = [word.replace("$T", str(folder)) for word in shlex.split(said[1])]
    words[words.index("segment.cc")] = str(EXAMPLE)
    built = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    pixels = image((41, 58))
    Image.fromarray(pixels).save(tmp_path / "photo.ppm")
    done = subprocess.run(
        ["./segment", "model_aoti.pt2", "photo.ppm", "labels.pgm"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    label = made.predictor().predict(pixels).label
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "labels.pgm")), label)
    assert len(np.unique(label)) > 1
