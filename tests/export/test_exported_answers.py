"""What files of each output say besides labels: what the original says, or an error that names the way out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made import Made, image, predictor_of

from intarsia.data.scenes.scene import Scene
from intarsia.inference.raster.predict import RasterSettings, predict_scene

SIZES = [(40, 52), (33, 7), (1, 1)]


def of_sets(made: Made) -> Made:
    return Made(made.task, replace(made.inference, answer="classes", class_thresholds=(0.2, 0.5, 0.9)))


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """An ONNX file of a network for an output, written once."""
    pytest.importorskip("onnxruntime")
    from intarsia.export.formats import onnx
    from intarsia.export.program import exported

    written: dict[str, Path] = {}

    def of(made: Made, output: str, **contract: Any) -> Path:
        what = f"{made.inference}{output}{contract}"
        if what not in written:
            module = made.deployable(output, answer=made.inference.answer, **contract)
            written[what] = tmp_path_factory.mktemp("file") / "model.onnx"
            onnx.write(exported(module), written[what], made.meta(module.contract))
        return written[what]

    return of


@pytest.mark.parametrize("kind", ["three classes", "sets"])
def test_scores_have_the_confidence_of_the_label(make: Any, files: Any, kind: str) -> None:
    made = make() if kind == "three classes" else of_sets(make())
    ours = predictor_of(made, files(made, "scores"))
    for size in SIZES:
        expected = made.predictor().predict(image(size), confidence=True)
        found = ours.predict(image(size), confidence=True)
        np.testing.assert_array_equal(found.label, expected.label)
        np.testing.assert_allclose(found.confidence, expected.confidence, atol=1e-5)
        assert ours.predict(image(size)).confidence is None
    for missing in ("probabilities", "entropy"):
        with pytest.raises(ValueError, match=f"the file gives scores, and no {missing}: export it with --output probs"):
            ours.predict(image((40, 40)), **{missing: True})


@pytest.mark.parametrize(("logits", "threshold"), [(1, 0.45), (2, 0.3)])
def test_scores_of_two_classes_say_all(make: Any, files: Any, logits: int, threshold: float | None) -> None:
    made = make(logits=logits, threshold=threshold)
    ours = predictor_of(made, files(made, "scores"))
    pixels = image((64, 80))
    fields = {"probabilities": True, "confidence": True, "entropy": True}
    others = {} if threshold is None else {"threshold" if logits == 1 else "two_class_threshold": 0.55}
    windows: dict[str, Any] = {"mode": "slide", "crop_size": (32, 32), "stride": (16, 16)}
    for changes in ({}, windows, others):
        theirs = made.predictor(**changes)
        ours.inference = replace(ours.inference, **{key: changes[key] for key in changes if key in windows})
        if changes is others and others:
            ours.inference = replace(ours.inference, mode="whole", two_class_threshold=0.55)
        expected, found = theirs.predict(pixels, **fields), ours.predict(pixels, **fields)
        assert len(np.unique(expected.label)) == 2
        np.testing.assert_array_equal(found.label, expected.label)
        for name in fields:
            np.testing.assert_allclose(getattr(found, name), getattr(expected, name), atol=2e-5, err_msg=name)


def test_no_confidence_of_several_windows_or_views(make: Any, files: Any) -> None:
    """The mean of what each window was sure of would say nothing of the label that most of them gave."""
    made = make()
    ours = predictor_of(made, files(made, "scores", size=(32, 32), why="--size"))
    alone, several = image((32, 20)), image((32, 60))
    expected = made.predictor().predict(np.pad(alone, ((0, 0), (0, 12), (0, 0))), confidence=True)  # a mean's worth
    assert ours.predict(alone, confidence=True).confidence.shape == (32, 20)
    assert expected.confidence.shape == (32, 32)
    assert ours.predict(several).label.shape == (32, 60)
    with pytest.raises(ValueError, match="says nothing of the mean of several: export it with --output probs"):
        ours.predict(several, confidence=True)


@pytest.mark.parametrize(
    ("output", "missing", "enough"),
    [("label", "confidence", "scores"), ("label", "entropy", "probs"), ("probs", "logits", "logits")],
)
def test_what_a_file_does_not_give_is_refused(make: Any, files: Any, output: str, missing: str, enough: str) -> None:
    made = make()
    ours = predictor_of(made, files(made, output))
    with pytest.raises(
        ValueError, match=f"the file gives {output}, and no {missing}: export it with --output {enough}"
    ):
        ours.predict(image((40, 40)), **{missing: True})


def test_a_threshold_is_in_the_file(make: Any, files: Any) -> None:
    made = make(logits=1, threshold=0.4)
    ours = predictor_of(made, files(made, "label"))
    np.testing.assert_array_equal(ours.predict(image((40, 60))).label, made.predictor().predict(image((40, 60))).label)
    ours.inference = replace(ours.inference, two_class_threshold=0.6)
    with pytest.raises(ValueError, match="threshold of its own: export it with --output probs"):
        ours.predict(image((40, 60)))


def test_so_are_those_of_sets(make: Any, files: Any) -> None:
    made = of_sets(make())
    ours = predictor_of(made, files(made, "label"))
    np.testing.assert_array_equal(ours.predict(image((40, 60))).label, made.predictor().predict(image((40, 60))).label)
    ours.inference = replace(ours.inference, class_thresholds=(0.3, 0.5, 0.9))
    with pytest.raises(ValueError, match="threshold of its own: export it with --output probs"):
        ours.predict(image((40, 60)))


# --- Scenes ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    rasterio = pytest.importorskip("rasterio")
    pixels = image((70, 90))
    with rasterio.open(
        tmp_path / "scene.tif", "w", driver="GTiff", height=70, width=90, count=3, dtype="uint8",
        transform=rasterio.Affine(1, 0, 0, 0, -1, 70),
    ) as file:  # fmt: skip
        file.write(pixels.transpose(2, 0, 1))
    return tmp_path / "scene.tif"


def layer(predictor: Any, scene: Path, out: Path, kind: str, blend: str = "crop") -> np.ndarray[Any, Any]:
    import rasterio

    settings = RasterSettings((32, 32), 16, blend, frozenset({kind}))
    found = predict_scene(predictor, Scene(str(scene), predictor.reader), out, settings, described={})
    with rasterio.open(found.files[kind]) as file:
        values: np.ndarray[Any, Any] = file.read(1)
    return values


def test_scenes_have_the_confidence_that_the_original_has(make: Any, files: Any, scene: Path, tmp_path: Path) -> None:
    made = make()
    ours = predictor_of(made, files(made, "scores"))
    found, expected = (
        layer(one, scene, tmp_path / f"{name}.tif", "confidence")
        for name, one in (("ours", ours), ("theirs", made.predictor()))
    )
    assert expected.std() > 0.01
    np.testing.assert_allclose(found, expected, atol=1e-4)
    with pytest.raises(ValueError, match="export it with --output probs"):
        layer(ours, scene, tmp_path / "blended.tif", "confidence", "average")


@pytest.mark.parametrize("kind", ["confidence", "probs", "entropy", "logits"])
def test_scenes_of_labels_have_nothing_else(make: Any, files: Any, scene: Path, tmp_path: Path, kind: str) -> None:
    made = make()
    ours = predictor_of(made, files(made, "label"))
    with pytest.raises(ValueError, match=r"the file gives label, and no .*: export it with --output"):
        layer(ours, scene, tmp_path / "out.tif", kind)
