"""Class-activation maps and feature maps, against what they are by definition."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from intarsia.contracts import Sample, SampleMeta
from intarsia.inference.explain import Explainer, as_map, grad_cam, layers_of, maps_of

rng = np.random.default_rng(0)
IMAGE = rng.integers(0, 256, (32, 48, 3), dtype=np.uint8)


class Net(nn.Module):
    """A backbone of two levels, of which the head reads one, and a head that classifies each place by itself."""

    def __init__(self, *, reads: int = -1, classes: int = 3) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.backbone = Levels()
        self.reads = reads
        self.head = nn.Conv2d(6, classes, 1)
        self.unused = nn.Conv2d(3, 3, 1)

    def forward(self, images: Tensor) -> Tensor:
        result: Tensor = self.head(self.backbone(images)[self.reads])
        return result


class Levels(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 6, 5, stride=4, padding=2)
        self.second = nn.Conv2d(6, 6, 3, padding=1, stride=2)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        first = self.first(images).relu()
        return first, self.second(first).relu_()


def tensor_of(image: npt.NDArray[Any]) -> Tensor:
    return torch.from_numpy(image).permute(2, 0, 1)[None].float() / 255


def enlarged(values: Tensor, size: tuple[int, int]) -> npt.NDArray[np.float32]:
    larger = F.interpolate(values[None, None], size=size, mode="bilinear")[0, 0]
    return np.asarray(larger.detach())


@pytest.mark.parametrize("index", [0, 1, 2])
def test_where_the_head_classifies_each_place_the_map_is_its_logit(make_predictor: Any, index: int) -> None:
    """Logits w . A: the slope of their sum in each channel is w, so that the map is ReLU(w . A) for any pixels."""
    model = Net()
    found = Explainer(make_predictor(model=model), IMAGE).activation(index)
    level = model.backbone(tensor_of(IMAGE))[1][0]
    expected = enlarged((model.head.weight[index, :, 0, 0, None, None] * level).sum(dim=0).relu(), (32, 48))
    assert expected.max() > 0
    np.testing.assert_allclose(found.heat, expected / expected.max(), atol=1e-5)


def test_the_logits_of_one_pixel(make_predictor: Any) -> None:
    """At (20, 10): the logit of the 8 x 8 pixels around it; the slopes in the first level are those of autograd."""
    model = Net()
    found = Explainer(make_predictor(model=model), IMAGE, layer="backbone:0").activation(2, at=(20, 10))
    first = model.backbone.first(tensor_of(IMAGE)).relu().detach().requires_grad_()
    model.head(model.backbone.second(first).relu())[0, 2, 1, 2].backward()
    weights = first.grad[0].mean(dim=(1, 2))
    expected = enlarged((weights[:, None, None] * first[0]).sum(dim=0).relu(), (32, 48))
    np.testing.assert_allclose(found.heat, expected / expected.max(), atol=1e-5)
    assert found.pixels == 1
    assert found.region[10, 20]
    assert found.heat.max() == pytest.approx(1)


def test_only_pixels_of_the_class_are_added_up(make_predictor: Any) -> None:
    """Of classes by brightness, in an image of two parts: the slope of a class is that in its own part."""

    class Weighed(nn.Module):
        def __init__(self, thirds: nn.Module) -> None:
            super().__init__()
            self.same = nn.Identity()
            self.thirds = thirds

        def forward(self, images: Tensor) -> Tensor:
            result: Tensor = self.thirds(self.same(images))
            return result

    image = np.full((16, 16, 3), 30, np.uint8)  # "dark", and below the centre of that: more red is more of it
    image[:, 12:] = 140  # "middle", and above its centre: more red is less of it, though it is more of it elsewhere
    predictor = make_predictor()
    predictor.task.model = Weighed(predictor.task.model)
    explainer = Explainer(predictor, image, layer="same")
    dark, middle = explainer.activation(0), explainer.activation(1)
    assert (dark.pixels, middle.pixels) == (16 * 12, 16 * 4)
    np.testing.assert_array_equal(middle.region, explainer.label == 1)
    np.testing.assert_allclose(dark.heat, image[:, :, 0] / 140, atol=1e-6)
    assert not middle.heat.any()
    assert explainer.activation(2).whole


def test_the_label_is_the_prediction(make_predictor: Any) -> None:
    predictor = make_predictor(model=Net())
    np.testing.assert_array_equal(Explainer(predictor, IMAGE).label, predictor.predict(IMAGE).label)


def test_frozen_parameters_and_padded_images(make_predictor: Any) -> None:
    """30 x 45 is padded to 32 x 48; the maps are of the image's own size, and the padding is cut off."""
    whole, frozen = Net(), Net().requires_grad_(False)
    image = IMAGE[:30, :45]
    found = [Explainer(make_predictor(model=model), image).activation(1) for model in (whole, frozen)]
    assert found[0].heat.shape == (30, 45)
    np.testing.assert_array_equal(found[0].heat, found[1].heat)
    padded = np.zeros_like(IMAGE)
    padded[:30, :45] = image
    level = whole.backbone(tensor_of(padded))[1][0]
    expected = enlarged((whole.head.weight[1, :, 0, 0, None, None] * level).sum(dim=0).relu(), (32, 48))[:30, :45]
    np.testing.assert_allclose(found[0].heat, expected / expected.max(), atol=1e-5)


def test_the_test_pipeline_is_looked_through(make_predictor: Any) -> None:
    """A transform that mirrors: heat, region and the one pixel are those of the image as it was."""

    def mirrored(sample: Sample, _: Any) -> Sample:
        meta = SampleMeta(sample.meta.name, original_size=sample.meta.original_size, flips=("horizontal",))
        return Sample(sample.image[:, ::-1], meta=meta)

    model = Net()
    predictor = make_predictor(model=model, transforms=[mirrored])
    turned = np.ascontiguousarray(IMAGE[:, ::-1])
    for at, mirror in ((None, None), ((20, 10), (27, 10)), ((47, 31), (0, 31))):
        found = Explainer(predictor, IMAGE).activation(1, at=at)
        other = Explainer(make_predictor(model=model), turned).activation(1, at=mirror)
        np.testing.assert_allclose(found.heat, other.heat[:, ::-1], atol=1e-5)
        np.testing.assert_array_equal(found.region, other.region[:, ::-1])


def test_a_network_without_a_backbone_is_looked_at_in_its_first_part(make_predictor: Any) -> None:
    class Plain(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Conv2d(3, 4, 3, padding=1, stride=4)
            self.last = nn.Conv2d(4, 3, 1)

        def forward(self, images: Tensor) -> Tensor:
            result: Tensor = self.last(self.stem(images))
            return result

    predictor = make_predictor(model=Plain())
    found = Explainer(predictor, IMAGE)
    assert (found.layer, found.map.shape) == ("stem", (4, 8, 12))
    np.testing.assert_array_equal(
        found.activation(0).heat, Explainer(predictor, IMAGE, layer="stem").activation(0).heat
    )


def test_maps_in_whatever_a_module_gives() -> None:
    one, two = torch.zeros(1, 2, 3, 4), torch.zeros(1, 5, 6)
    found = list(maps_of({"a": one, "b": [two, {"c": (one, torch.zeros(2, 2))}], "d": torch.zeros(1, 2, 3, 4).long()}))
    assert [id(values) for values in found] == [id(one), id(two), id(one)]


def test_without_a_level_it_is_the_last_that_the_head_reads(make_predictor: Any) -> None:
    predictor = make_predictor(model=Net(reads=0))
    found = Explainer(predictor, IMAGE).activation(0)
    np.testing.assert_array_equal(found.heat, Explainer(predictor, IMAGE, layer="backbone:0").activation(0).heat)
    assert Explainer(predictor, IMAGE).map.shape == (6, 4, 6), "the features are of the last"
    with pytest.raises(ValueError, match="--layer backbone:1: the logits do not depend on it"):
        Explainer(predictor, IMAGE, layer="backbone:1").activation(0)


def test_a_model_with_one_logit_explains_both_its_classes(make_predictor: Any) -> None:
    model = Net(classes=1)
    explainer = Explainer(make_predictor(model=model, classes=("crack",), threshold=0.5), IMAGE)
    foreground, background = explainer.activation(1), explainer.activation(0)
    logit = (model.head.weight[0, :, 0, 0, None, None] * model.backbone(tensor_of(IMAGE))[1][0]).sum(dim=0)
    for found, values in ((foreground, logit.relu()), (background, (-logit).relu())):
        expected = enlarged(values, (32, 48))
        np.testing.assert_allclose(found.heat, expected / max(expected.max(), 1e-12), atol=1e-5)
    assert (foreground.name, background.name) == ("crack", "background")
    assert foreground.pixels + background.pixels == 32 * 48


def test_a_class_that_is_nowhere_is_explained_by_the_whole_image(make_predictor: Any) -> None:
    model = Net()
    with torch.no_grad():
        model.head.bias[1] = -1000
    found = Explainer(make_predictor(model=model), IMAGE).activation(1)
    assert found.whole
    assert found.pixels == 0
    assert not Explainer(make_predictor(model=model), IMAGE).activation(1, at=(0, 0)).whole


def test_the_formula() -> None:
    features, slopes = torch.tensor([[[1.0, 2.0]], [[3.0, -1.0]]]), torch.tensor([[[1.0, 3.0]], [[-1.0, 0.0]]])
    assert grad_cam(features, slopes).tolist() == [[2 * 1 - 0.5 * 3, 2 * 2 + 0.5]]
    assert grad_cam(-features, slopes).tolist() == [[0.0, 0.0]]


# --- layers -------------------------------------------------------------------------------------------------------


def test_the_layers_that_give_maps(make_predictor: Any) -> None:
    model = Net()
    found = {one.name: one.shape for one in layers_of(make_predictor(model=model), IMAGE)}
    assert found == {
        "backbone.first": (6, 8, 12), "backbone.second": (6, 4, 6), "backbone:0": (6, 8, 12), "backbone:1": (6, 4, 6),
        "head": (3, 4, 6),
    }  # fmt: skip
    assert not any(module._forward_hooks for module in model.modules()), "nothing stays behind"


@pytest.mark.parametrize(
    ("layer", "said"),
    [
        ("backbon", "no such layer. Did you mean backbone"),
        ("backbone:2", "backbone gives 2 maps, counted from 0"),
        ("backbone:x", "no such layer"),
        ("zz", "the network has no such layer. `--layers` lists them"),
        ("", "the network has no such layer"),
        ("unused", "predicting does not call it"),
    ],
)
def test_a_layer_that_cannot_be(make_predictor: Any, layer: str, said: str) -> None:
    model = Net()
    with pytest.raises(ValueError, match=said):
        Explainer(make_predictor(model=model), IMAGE, layer=layer)
    assert not any(module._forward_hooks for module in model.modules())


def test_tokens_in_a_row_are_a_map() -> None:
    tokens = torch.arange(6 * 8 * 2).view(1, 6 * 8, 2).float()
    expected = tokens[0].view(6, 8, 2).permute(2, 0, 1)
    assert torch.equal(as_map(tokens, (24, 32), "x"), expected)
    with_class = torch.cat([torch.full((1, 1, 2), -1.0), tokens], dim=1)
    assert torch.equal(as_map(with_class, (24, 32), "x"), expected)
    with pytest.raises(ValueError, match="is no map of an image"):
        as_map(torch.zeros(1, 50, 2), (24, 32), "x")
    for no_map in (torch.zeros(2, 2, 6, 8), torch.zeros(1, 2, 1, 1)):  # of two images, and of one number
        with pytest.raises(ValueError, match="is no map of an image"):
            as_map(no_map, (24, 32), "x")


@pytest.mark.parametrize(("index", "at"), [(3, None), (-1, None), (0, (48, 0)), (0, (0, 32))])
def test_what_is_not_there(make_predictor: Any, index: int, at: tuple[int, int] | None) -> None:
    explainer = Explainer(make_predictor(model=Net()), IMAGE)
    with pytest.raises(
        ValueError, match="is outside of the image of 48 x 32" if at else "expected a class from 0 to 2"
    ):
        explainer.activation(index, at=at)


def test_depths_are_not_explained(make_predictor: Any) -> None:
    with pytest.raises(ValueError, match="this model answers with depths"):
        Explainer(make_predictor(model=Net(), answer="depth"), IMAGE)
