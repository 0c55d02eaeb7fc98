"""Labels of an image by an exported file, with onnxruntime alone (numpy comes with it).

python segment.py model.onnx photo.ppm labels.pgm overlay.ppm

Photos are PPM (P6, 8 bits), which every program of images writes: `convert photo.jpg photo.ppm`.
"""

import json
import re
import sys
from pathlib import Path

import numpy as np
import onnxruntime

model, photo, labels, overlay = sys.argv[1:]
session = onnxruntime.InferenceSession(model, providers=onnxruntime.get_available_providers())
about = json.loads(session.get_modelmeta().custom_metadata_map["intarsia"])
contract, weights = about["contract"], about["weights"]
assert (contract["layout"], contract["dtype"], contract["channels"]) == ("NHWC", "uint8", 3), contract

data = Path(photo).read_bytes()
header = re.match(rb"P6\s+(\d+)\s+(\d+)\s+255\s", data)
assert header, f"{photo}: expected a PPM file of 8 bits without comments"
width, height = int(header[1]), int(header[2])
image = np.frombuffer(data, np.uint8, offset=header.end()).reshape(height, width, 3)

given = {"image": image[None]}
if contract["asks_size"]:  # a model whose pipeline resizes images: do so before, as contract["resize"] says
    given["size"] = np.array([height, width])
label = session.run(["label"], given)[0][0]
assert label.dtype == np.uint8, f"expected up to 256 classes, found {len(weights['classes'])}"

for index, share in enumerate(np.bincount(label.ravel(), minlength=len(weights["classes"])) / label.size):
    print(f"{100 * share:5.1f} %  {weights['classes'][index]}")
colours = np.array(weights["palette"], np.uint8)[label]
Path(labels).write_bytes(b"P5\n%d %d\n255\n" % (width, height) + label.tobytes())
Path(overlay).write_bytes(b"P6\n%d %d\n255\n" % (width, height) + (image // 2 + colours // 2).tobytes())
