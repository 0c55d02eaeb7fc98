"""DeepLabV3 on data sets described in DSDL, the data set description language of OpenDataLab."""

from __future__ import annotations

from dataclasses import replace

from intarsia.recipes import deeplabv3
from intarsia.recipes.benchmarks import CITYSCAPES, VOC12AUG, Benchmark, Config, Split
from intarsia.recipes.dilated import published
from intarsia.recipes.published import Family, Parts, Published, Rows

_TRAIN, _VAL = "dsdl/dsdl_SemSeg_full/set-train/train.yaml", "dsdl/dsdl_SemSeg_full/set-val/val.yaml"
_USED: Config = {
    "used_labels": [
        "road", "sidewalk", "building", "wall", "fence", "pole", "traffic_light", "traffic_sign", "vegetation",
        "terrain", "sky", "person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle",
    ]
}  # fmt: skip
ROWS = (
    Rows("cityscapes", ("r50-d8",), 4, 2, ("40k",), ("cityscapes-512x1024",), form="{method}"),
    Rows("voc", ("r50-d8",), 4, 4, ("20k",), ("voc12aug-512x512",), form="{method}"),
)


def _described(benchmark: Benchmark, root: str, images: str, keys: Config) -> Benchmark:
    return replace(
        benchmark,
        dataset="DSDLSegDataset",
        root=root,
        train=(Split(images, images, _TRAIN),),
        val=Split(images, images, _VAL),
        pad=False,
        augmented_test=False,
        keys=keys,
    )


def _published(recipe: Published) -> Parts:
    streets = _described(CITYSCAPES, "data/CityScapes", "raw/CityScapes", _USED)
    objects = _described(VOC12AUG, "data/PASCAL_VOC2012", "raw/VOCdevkit/VOC2012", {})
    benchmark = streets if recipe.method == "cityscapes" else objects
    return replace(published(recipe, deeplabv3.HEAD), setting=replace(recipe.setting, benchmark=benchmark))


FAMILY = Family(ROWS, _published, method=deeplabv3.METHOD)
