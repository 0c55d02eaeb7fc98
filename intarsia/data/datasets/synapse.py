"""Synapse: eight organs in slices of abdominal CT (Landman et al., 2015, doi:10.7303/syn3193805).

The selection and numbering of TransUNet (Chen et al., 2021, arXiv:2102.04306). Label values are class indices.
"""

from __future__ import annotations

from intarsia.data.datasets.family import Family

CLASSES = (
    "background", "aorta", "gallbladder", "left_kidney", "right_kidney", "liver", "pancreas", "spleen", "stomach",
)  # fmt: skip

PALETTE = (
    (0, 0, 0), (0, 0, 255), (0, 255, 0), (255, 0, 0), (0, 255, 255), (255, 0, 255), (255, 255, 0), (60, 255, 255),
    (240, 240, 240),
)  # fmt: skip

SynapseDataset = Family(
    name="Synapse",
    classes=CLASSES,
    palette=PALETTE,
    root="data/synapse",
    images="img_dir/train",
    labels="ann_dir/train",
)
