"""The same comparison as with the reference, by the few figures that are kept here: holds on every machine."""

from __future__ import annotations

import json
from typing import Any

import building
import comparing
import make_figures
import pytest
import references
import small

from intarsia import catalog

FIGURES = references.figures()
LARGE = 20_000_000
"""Networks with more parameters take half a minute each; each has a small form."""
WITHOUT_RECORD = {
    "model": {"DepthEstimator"},
    "backbone": {
        "ResNeXt", "ResNetV1d", "VPD", "TIMM", "TIMMBackbone", "HFBackbone", "GCNet", "RegSeg", "SCTNet", "ViTAdapter",
        "PlainConvEncoder", "ResidualEncoder",
    },
    "neck": {"SimpleFeaturePyramid"},
    "head": {
        "VPDDepthHead", "EfficientViTHead", "EoMTHead", "GCNetHead", "LinearHead", "LinknetHead", "MANetHead",
        "PANHead", "PMTHead", "PPLiteSegHead", "RegSegHead", "SCTHead", "UNetHead", "UNetPlusPlusHead",
        "SmpASPPHead", "SmpDPTHead", "SmpFPNHead", "SmpPSPHead", "NNUNetHead", "ImageClassHead",
        "VWCityHead", "VWHead",
    },
}  # fmt: skip
"""Parts that no record of the reference has: they are none of MMSegmentation, and proven against the libraries that
have them (tests/backbones, tests/weights/test_maps_*.py), or their papers' equations and counts (tests/methods)."""


def quick(name: str) -> bool:
    return bool(FIGURES[name]["params"] <= LARGE)


WHOLE = pytest.mark.skipif(bool(references.records()), reason="its whole record is compared, which has these figures")


def by_size(name: str) -> Any:
    marks = [] if quick(name) else [pytest.mark.slow]
    return pytest.param(name, marks=[*marks, WHOLE] if name in make_figures.NETWORKS else marks)


@pytest.mark.parametrize("name", [by_size(name) for name in FIGURES])
def test_network_matches_its_figures(name: str) -> None:
    assert not comparing.different(comparing.compare(building.task(FIGURES[name]["model"]), FIGURES[name]))


@pytest.mark.skipif(not references.records(), reason=f"no reference material at {references.SHARED}")
@pytest.mark.parametrize("name", make_figures.NETWORKS)
def test_figures_are_those_of_the_whole_record(name: str) -> None:
    record = references.records()[make_figures.NETWORKS[name]]
    assert json.loads(json.dumps(make_figures.excerpt(record, make_figures.model_of(record)))) == FIGURES[name]


def test_every_network_that_is_slow_has_a_small_form() -> None:
    assert {name for name in FIGURES if not quick(name)} == {network.source for network in small.NETWORKS.values()}
    assert set(small.NETWORKS) <= {name for name in FIGURES if quick(name)}


@pytest.mark.parametrize("kind", ["model", "backbone", "neck", "head", "head_part"])
def test_every_part_of_the_catalogue_has_a_quick_figure(kind: str) -> None:
    specs = [building.described(FIGURES[name]["model"]) for name in FIGURES if quick(name)]
    found = {part.type for spec in specs for part in building.components(spec.model) if part.kind == kind}
    assert set(catalog.names(kind)) - {name.rpartition(".")[2] for name in found} == WITHOUT_RECORD.get(kind, set())


def test_small_forms_change_only_what_is_there() -> None:
    model = {"backbone": {"depth": 50}, "decode_head": [{"channels": 8}, {"channels": 4}]}
    changed = small.Small("", {"*.channels": 2, "decode_head.1.channels": 3, "backbone.stem_channels": 4}).model(model)
    assert changed == {
        "backbone": {"depth": 50, "stem_channels": 4},
        "decode_head": [{"channels": 2}, {"channels": 3}],
    }
    assert model["decode_head"][0]["channels"] == 8
    with pytest.raises(KeyError, match="gone"):
        small.Small("", {"*.gone": 2}).model(model)
