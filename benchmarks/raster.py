"""Peak memory and time of a raster's prediction, by its size; each case in a process of its own.

    OMP_NUM_THREADS=1 python benchmarks/raster.py [--sides 10000 20000] [--blend crop average]

The scene is a generated GeoTIFF, square, 3 bands of 8 bits, with a corner without data. The network is as cheap as can
be (two convolutions, stride 4, 19 classes), so that what is measured is everything around it: reading, windows, blend,
labels at full size, writing. Memory is the peak of the resident set, less what it was when the model had seen one
window: interpreter, PyTorch, GDAL, the model, and its own forward.
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

CLASSES = 19
WINDOW, OVERLAP = 1024, 128


def paint(path: Path, side: int) -> None:
    """Fields of one colour with a little noise: they compress as aerial pictures of farmland do."""
    import numpy as np
    import rasterio
    from rasterio.transform import from_origin
    from rasterio.windows import Window

    rng = np.random.default_rng(0)
    fields = rng.integers(20, 250, (3, side // 200 + 1, side // 200 + 1), dtype=np.uint8)
    noise = rng.integers(0, 6, (3, 512, 512), dtype=np.uint8)
    profile = {
        "driver": "GTiff", "width": side, "height": side, "count": 3, "dtype": "uint8", "crs": "EPSG:32633",
        "transform": from_origin(400000, 5500000, 0.5, 0.5), "tiled": True, "blockxsize": 512, "blockysize": 512,
        "compress": "deflate", "zlevel": 1, "nodata": 0, "BIGTIFF": "IF_SAFER",
    }  # fmt: skip
    with rasterio.open(path, "w", **profile) as target:
        for top in range(0, side, 512):
            rows = np.arange(top, min(top + 512, side))
            for left in range(0, side, 512):
                columns = np.arange(left, min(left + 512, side))
                if top + left < side // 2:
                    continue  # no data
                block = fields[:, rows[:, None] // 200, columns // 200] + noise[:, : len(rows), : len(columns)]
                target.write(block, window=Window(left, top, len(columns), len(rows)))


def predictor():
    import torch
    from torch import nn

    from intarsia.inference.predictor import Predictor
    from intarsia.spec import InferenceSpec, PreprocessSpec
    from intarsia.tasks.preprocess import Preprocess

    class Task(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.preprocess = Preprocess(PreprocessSpec((123.675, 116.28, 103.53), (58.395, 57.12, 57.375)))
            self.model = nn.Sequential(nn.Conv2d(3, 16, 4, stride=4), nn.ReLU(), nn.Conv2d(16, CLASSES, 1))

    names = [f"class {index}" for index in range(CLASSES)]
    spec = InferenceSpec(num_classes=CLASSES)
    return Predictor(Task(), inference=spec, classes=names, palette=[(9 * k, 99, 255 - 9 * k) for k in range(CLASSES)])


def measure(scene: Path, blend: str) -> dict[str, float]:
    import numpy as np

    from intarsia.data.image_reader import ImageReader
    from intarsia.data.scenes.scene import Scene
    from intarsia.inference.raster.predict import RasterSettings, predict_scene

    found = predictor()
    found.predict(np.zeros((WINDOW, WINDOW, 3), np.uint8))
    before = peak()
    began = time.perf_counter()
    with Scene(scene, ImageReader()) as source:
        settings = RasterSettings((WINDOW, WINDOW), OVERLAP, blend)
        done = predict_scene(found, source, scene.with_name("out.tif"), settings, described={})
    return {"mb": (peak() - before) / 1e6, "before": before / 1e6, "s": time.perf_counter() - began, "n": done.windows}


def peak() -> float:
    """Bytes of the largest resident set so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sides", type=int, nargs="+", default=[10000, 20000])
    parser.add_argument("--blend", nargs="+", default=["crop", "average"])
    parser.add_argument("--child", nargs=2, metavar=("SCENE", "BLEND"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        print(json.dumps(measure(Path(given.child[0]), given.child[1])))
        return
    print(f"{platform.processor() or platform.machine()}, {CLASSES} classes, windows {WINDOW}, overlap {OVERLAP}")
    for side in given.sides:
        with tempfile.TemporaryDirectory() as folder:
            scene = Path(folder) / "scene.tif"
            subprocess.run([sys.executable, "-c", _PAINT, str(scene), str(side)], check=True, cwd=Path(__file__).parent)
            for blend in given.blend:
                command = [sys.executable, __file__, "--child", str(scene), blend]
                got = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
                label = scene.with_name("out.tif").stat().st_size / 1e6
                print(
                    f"{side} x {side} ({scene.stat().st_size / 1e6:.0f} MB file), {blend:8}: "
                    f"peak {got['mb']:.0f} MB above {got['before']:.0f} MB, {got['s']:.0f} s, "
                    f"{got['n']:.0f} windows, labels {label:.1f} MB",
                    flush=True,
                )


_PAINT = "import sys, pathlib, raster; raster.paint(pathlib.Path(sys.argv[1]), int(sys.argv[2]))"

if __name__ == "__main__":
    main()
