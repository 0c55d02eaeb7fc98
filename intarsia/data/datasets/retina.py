"""Photographs of the retina: its vessels (CHASE DB1, DRIVE, HRF, STARE), the optic disc and its cup (REFUGE).

Label values are class indices. Where two observers have drawn the vessels, the first one counts.

CHASE DB1 (Fraz et al., 2012, doi:10.1109/TBME.2012.2205687); DRIVE (Staal et al., 2004, doi:10.1109/TMI.2004.825627);
HRF (Budai et al., 2013, doi:10.1155/2013/154860); STARE (Hoover et al., 2000, doi:10.1109/42.845178); REFUGE (Orlando
et al., 2020, arXiv:1910.03667).
"""

from __future__ import annotations

from intarsia.data.datasets.family import Family

VESSELS = ("background", "vessel")

VESSEL_PALETTE = ((120, 120, 120), (6, 230, 230))

ChaseDB1Dataset = Family(
    name="CHASE DB1",
    classes=VESSELS,
    palette=VESSEL_PALETTE,
    root="data/CHASE_DB1",
    images="images/training",
    labels="annotations/training",
    image_suffix=".png",
    label_suffix="_1stHO.png",
)

DRIVEDataset = Family(
    name="DRIVE",
    classes=VESSELS,
    palette=VESSEL_PALETTE,
    root="data/DRIVE",
    images="images/training",
    labels="annotations/training",
    image_suffix=".png",
    label_suffix="_manual1.png",
)

HRFDataset = Family(
    name="HRF",
    classes=VESSELS,
    palette=VESSEL_PALETTE,
    root="data/HRF",
    images="images/training",
    labels="annotations/training",
    image_suffix=".png",
)

STAREDataset = Family(
    name="STARE",
    classes=VESSELS,
    palette=VESSEL_PALETTE,
    root="data/STARE",
    images="images/training",
    labels="annotations/training",
    image_suffix=".png",
    label_suffix=".ah.png",
)

REFUGEDataset = Family(
    name="REFUGE",
    classes=("background", " Optic Cup", "Optic Disc"),  # the space is part of the name that weights carry
    palette=((120, 120, 120), (6, 230, 230), (56, 59, 120)),
    root="data/REFUGE",
    images="images/training",
    labels="annotations/training",
    image_suffix=".png",
)
