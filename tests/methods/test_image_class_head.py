"""A head beside the others that says which classes an image shows: what it reads, and what it learns in our loop."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from intarsia import recipes
from intarsia.config.build import build_task
from intarsia.config.checking.check import check
from intarsia.config.language.reader import Config
from intarsia.config.lowering.lower import lower
from intarsia.contracts import Batch, ImageLogits, SampleMeta, TokenLevel
from intarsia.methods.image_class_head import ImageClassHead

RESNET = {"type": "ResNet", "depth": 18, "base_channels": 4, "stem_channels": 4}


def levels() -> list[Tensor]:
    return [torch.randn(2, 4, 8, 8), torch.randn(2, 6, 4, 4)]


@pytest.mark.parametrize("pooling", ["avg", "max"])
def test_a_level_becomes_a_vector_and_that_the_logits(pooling: Any) -> None:
    head = ImageClassHead(in_channels=6, num_classes=3, pooling=pooling).eval()
    given = levels()
    vector = given[-1].flatten(2).mean(2) if pooling == "avg" else given[-1].flatten(2).max(2).values
    expected = vector @ head.fc.weight.T + head.fc.bias
    found = head.training_outputs(given)[""]
    assert isinstance(found, ImageLogits)
    torch.testing.assert_close(found.logits, expected)
    torch.testing.assert_close(head(given), expected[:, :, None, None])


def test_a_class_token_is_left_aside() -> None:
    heads = [ImageClassHead(in_channels=6, num_classes=3, in_tokens=tokens).eval() for tokens in (True, False)]
    heads[1].load_state_dict(heads[0].state_dict())
    given = levels()
    with_tokens = [TokenLevel(level, torch.full((2, level.shape[1]), 9.0)) for level in given]
    assert heads[0](with_tokens).equal(heads[1](given))


@pytest.mark.parametrize("ratio", [0.4, 0.0, -1])
def test_values_are_dropped_before_the_layer(ratio: float) -> None:
    head = ImageClassHead(in_channels=6, num_classes=3, dropout_ratio=ratio).train()
    assert head.dropout.p == ratio if ratio > 0 else isinstance(head.dropout, torch.nn.Identity)
    torch.nn.init.normal_(head.fc.bias)
    head.dropout = torch.nn.Dropout(1.0)
    torch.testing.assert_close(head(levels())[..., 0, 0], head.fc.bias.expand(2, 3))


def test_there_are_two_poolings() -> None:
    with pytest.raises(ValueError, match="pools by 'avg' or 'max'; got pooling='lp'"):
        ImageClassHead(in_channels=6, num_classes=3, pooling="lp")  # type: ignore[arg-type]


def model(**head: Any) -> dict[str, Any]:
    decode = {"type": "FCNHead", "in_channels": 32, "in_index": 3, "channels": 4, "num_classes": 3,
              "norm_cfg": {"type": "BN"}}  # fmt: skip
    made = recipes.with_image_classes({"type": "EncoderDecoder", "backbone": RESNET, "decode_head": decode}, 0.5)
    made["auxiliary_head"] |= head
    return made


def test_it_learns_which_classes_the_labels_show() -> None:
    config = Config.from_values({"model": model()}, file="test")
    assert check(config, shapes=True) == []
    task: Any = build_task(lower(config)).train()
    labels = torch.full((2, 64, 64), 255)
    labels[0, :, :32], labels[1, :3, :3], labels[1, 9:] = 0, 1, 2
    batch = Batch(torch.randint(0, 256, (2, 3, 64, 64)), labels, ((64, 64),) * 2, (SampleMeta(),) * 2)
    torch.manual_seed(0)
    terms, outputs = task.terms_and_outputs(batch)
    by_name = {term.name: term for term in terms}
    assert list(by_name) == ["decode.loss_ce", "decode.acc_seg", "aux.loss_classes"]
    wanted = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 1.0]])
    expected = torch.nn.functional.binary_cross_entropy_with_logits(outputs["aux"].logits, wanted)
    torch.testing.assert_close(by_name["aux.loss_classes"].value, expected)
    assert by_name["aux.loss_classes"].weight == 0.5


@pytest.mark.parametrize("labels", [1, 4])
def test_labels_of_its_own_are_for_a_loop_of_ones_own(labels: int) -> None:
    """Others than the three classes: read and predicted with, but not trained by us."""
    config = {"model": model(num_classes=labels)}
    assert check(Config.from_values(config, file="test"), shapes=True) == []
    fitted = recipes.fit_heads(config["model"], 3, 255)
    assert fitted["auxiliary_head"]["num_classes"] == labels
    assert recipes.fit_heads(model(), 5, 255)["auxiliary_head"]["num_classes"] == 5
    data = {"type": "BaseSegDataset", "data_root": "d", "pipeline": [], "metainfo": {"classes": ["a", "b", "c"]}}
    trained = config | {
        "train_dataloader": {"batch_size": 1, "dataset": data},
        "train_cfg": {"type": "IterBasedTrainLoop", "max_iters": 1},
        "optim_wrapper": {"optimizer": {"type": "SGD", "lr": 0.1}},
    }
    problems = check(Config.from_values(trained, file="test"))
    assert any(f"num_classes is {labels}, but model.decode_head has 3" in str(problem) for problem in problems)


@pytest.mark.parametrize(
    ("recipe", "reads"),
    [
        ("segformer_mit-b0", (256, 3)),
        ("pspnet_r50-d8_4xb2-40k_cityscapes-512x1024", (2048, 3)),
        ("deeplabv3plus_r50-d8_4xb2-40k_cityscapes-512x1024", (2048, 3)),
        ("knet-s3_r50-d8_fcn_8xb2-adamw-80k_ade20k-512x512", (2048, 3)),
        ("ocrnet_hr18_4xb2-40k_cityscapes-512x1024", (144, 3)),
    ],
)
def test_it_stands_on_the_coarsest_level_of_any_recipe(recipe: str, reads: tuple[int, int]) -> None:
    values = recipes.with_image_classes(recipes.network(recipe, num_classes=7))
    heads = values["auxiliary_head"]
    last = heads[-1] if isinstance(heads, list) else heads
    assert last["type"] == "ImageClassHead"
    assert (last["in_channels"], last["in_index"]) == reads
    assert check(Config.from_values({"model": values}, file="test"), shapes=True) == []


def test_a_model_has_one_of_them() -> None:
    again = recipes.with_image_classes(model(num_classes=4), 0.7)["auxiliary_head"]
    assert (again["num_classes"], again["loss_decode"]["loss_weight"]) == (3, 0.7)


def test_models_that_find_masks_have_none() -> None:
    with pytest.raises(ValueError, match="Mask2FormerHead finds masks and names them"):
        recipes.with_image_classes(recipes.network("mask2former_r50", num_classes=7))
