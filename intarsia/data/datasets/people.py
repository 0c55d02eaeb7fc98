"""Look into Person: 19 parts of people and their clothes (Gong et al., 2017, arXiv:1703.05446).

Label values are class indices. A mirrored image exchanges left and right: `RandomFlip` has `swap_seg_labels` for that.
"""

from __future__ import annotations

from intarsia.data.datasets.family import Family

CLASSES = (
    "Background", "Hat", "Hair", "Glove", "Sunglasses", "UpperClothes", "Dress", "Coat", "Socks", "Pants",
    "Jumpsuits", "Scarf", "Skirt", "Face", "Left-arm", "Right-arm", "Left-leg", "Right-leg", "Left-shoe",
    "Right-shoe",
)  # fmt: skip

PALETTE = (
    (0, 0, 0), (128, 0, 0), (255, 0, 0), (0, 85, 0), (170, 0, 51), (255, 85, 0), (0, 0, 85), (0, 119, 221),
    (85, 85, 0), (0, 85, 85), (85, 51, 0), (52, 86, 128), (0, 128, 0), (0, 0, 255), (51, 170, 221), (0, 255, 255),
    (85, 255, 170), (170, 255, 85), (255, 255, 0), (255, 170, 0),
)  # fmt: skip

LIPDataset = Family(
    name="LIP",
    classes=CLASSES,
    palette=PALETTE,
    root="data/LIP",
    images="train_images",
    labels="train_segmentations",
)
