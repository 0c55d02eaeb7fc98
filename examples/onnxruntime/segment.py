"""Labels of an image by an exported file, with onnxruntime alone (numpy comes with it).

python segment.py model.onnx photo.ppm labels.pgm overlay.ppm

Images are PPM (P6, 8 bits), which every program of images writes: `convert photo.jpg photo.ppm`.
"""

import json
import re
import sys
from pathlib import Path

import numpy as np
import onnxruntime


def read_ppm(path):
    """A P6 file as (H, W, 3) uint8."""
    data = Path(path).read_bytes()
    header = re.match(rb"P6\s+(\d+)\s+(\d+)\s+255\s", data)
    assert header, f"{path}: expected a PPM file of 8 bits without comments"
    return np.frombuffer(data, np.uint8, offset=header.end()).reshape(int(header[2]), int(header[1]), 3)


def write(path, kind, values):
    """A P5 or P6 file of (H, W) or (H, W, 3) uint8."""
    height, width = values.shape[:2]
    Path(path).write_bytes(b"%s\n%d %d\n255\n" % (kind, width, height) + values.tobytes())


model, photo, labels, overlay = sys.argv[1:]
session = onnxruntime.InferenceSession(model, providers=onnxruntime.get_available_providers())
about = json.loads(session.get_modelmeta().custom_metadata_map["intarsia"])
contract, weights = about["contract"], about["weights"]
assert (contract["layout"], contract["dtype"], contract["channels"]) == ("NHWC", "uint8", 3), contract

image = read_ppm(photo)
given = {"image": image[None]}
if contract["asks_size"]:  # a model whose pipeline resizes images: do so before, as contract["resize"] says
    given["size"] = np.array(image.shape[:2])
label = session.run(["label"], given)[0][0]

for index, share in enumerate(np.bincount(label.ravel(), minlength=len(weights["classes"])) / label.size):
    print(f"{100 * share:5.1f} %  {weights['classes'][index]}")
palette = np.array(weights["palette"], np.uint8)
write(labels, b"P5", label.astype(np.uint8))
write(overlay, b"P6", (image // 2 + palette[label] // 2).astype(np.uint8))
