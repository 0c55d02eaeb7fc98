"""PointRend: the refinement and the training at points against the paper, written out point by point."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from intarsia.backbones.resnet import ResNet
from intarsia.contracts import Batch, PointLogits
from intarsia.layers.norm import BN
from intarsia.layers.points import sample_at, uncertain_points
from intarsia.losses.cross_entropy import CrossEntropyLoss
from intarsia.methods.fcn import FCNHead
from intarsia.methods.point_rend import PointHead, most_uncertain_pixels, uncertainty
from intarsia.models.cascade import CascadeEncoderDecoder
from intarsia.spec import PreprocessSpec
from intarsia.tasks.preprocess import Preprocess
from intarsia.tasks.semantic import HeadLoss, HeadTerm, SemanticSegmentation


def point_head(**more: Any) -> PointHead:
    torch.manual_seed(0)
    settings = {"in_channels": (6, 4), "in_index": (0, 2), "channels": 8, "num_classes": 3, "num_fcs": 2}
    return PointHead(**{**settings, "subdivision_num_points": 30, "num_points": 40, **more}).double().eval()


def inputs(classes: int = 3) -> tuple[list[Tensor], Tensor]:
    generator = torch.Generator().manual_seed(1)
    shapes = [(2, 6, 10, 14), (2, 5, 5, 7), (2, 4, 5, 7), (2, classes, 5, 7)]
    *levels, guess = [torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes]
    return levels, guess


def perceptron(head: PointHead, fine: Tensor, coarse: Tensor) -> Tensor:
    """What the head says of one point, from its features (C,) and the coarse prediction (K,)."""
    x = torch.cat([fine, coarse])
    for layer in head.fcs:
        x = torch.relu(layer.conv.weight[..., 0] @ x + layer.conv.bias)
        x = torch.cat([x, coarse]) if head.coarse_pred_each_layer else x
    out: Tensor = head.fc_seg.weight[..., 0] @ x + head.fc_seg.bias
    return out


def looked_up(maps: Sequence[Tensor], x: float, y: float) -> Tensor:
    """Values of maps (C, h, w) at one place: the middle of an image of one pixel whose corners lie around it."""
    found = []
    for plane in maps:
        padded = F.pad(plane, (1, 1, 1, 1))  # zeros outside
        column, row = x * plane.shape[2] + 0.5, y * plane.shape[1] + 0.5
        i, j = min(int(column), plane.shape[2]), min(int(row), plane.shape[1])
        right, down = column - i, row - j
        upper = padded[:, j, i] * (1 - right) + padded[:, j, i + 1] * right
        lower = padded[:, j + 1, i] * (1 - right) + padded[:, j + 1, i + 1] * right
        found.append(upper * (1 - down) + lower * down)
    return torch.cat(found)


def refined_slowly(head: PointHead, levels: Sequence[Tensor], guess: Tensor) -> Tensor:
    """Section 3.1: enlarge, sort all pixels by how close their two best classes are, ask again at the first of them."""
    result = guess.clone()
    for _ in range(head.subdivision_steps):
        result = F.interpolate(result, scale_factor=head.scale_factor, mode="bilinear")
        height, width = result.shape[2:]
        for n in range(len(result)):
            leads = {}
            for row in range(height):
                for column in range(width):
                    best, second = sorted(result[n, :, row, column].tolist(), reverse=True)[:2]
                    leads[row, column] = best - second
            for row, column in sorted(leads, key=leads.__getitem__)[: head.subdivision_num_points]:
                x, y = (column + 0.5) / width, (row + 0.5) / height
                fine = looked_up([levels[i][n] for i in head.in_index], x, y)
                result[n, :, row, column] = perceptron(head, fine, looked_up([guess[n]], x, y))
    return result


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"coarse_pred_each_layer": False},
        {"scale_factor": 3, "subdivision_steps": 1},
        {"subdivision_num_points": 100_000},
        {"subdivision_num_points": 200, "subdivision_steps": 3},
    ],
    ids=str,
)
def test_refinement_is_the_papers(settings: dict[str, Any]) -> None:
    head = point_head(**settings)
    levels, guess = inputs()
    with torch.no_grad():
        found = head(levels, guess)
        torch.testing.assert_close(found, refined_slowly(head, levels, guess), rtol=0, atol=1e-12)
    factor = head.scale_factor**head.subdivision_steps
    assert found.shape == (2, 3, 5 * factor, 7 * factor)


def test_without_steps_the_guess_stays() -> None:
    levels, guess = inputs()
    assert point_head(subdivision_steps=0)(levels, guess).equal(guess)


def test_the_guess_is_not_written_into() -> None:
    levels, guess = inputs()
    before = guess.clone()
    point_head(scale_factor=1)(levels, guess)
    assert guess.equal(before)


def test_refinement_draws_nothing_and_repeats_itself() -> None:
    """Also where all pixels are equally uncertain."""
    head = point_head()
    levels, guess = inputs()
    flat = torch.zeros_like(guess)
    state = torch.get_rng_state()
    with torch.no_grad():
        for logits in (guess, flat):
            together = head(levels, logits)
            assert head(levels, logits).equal(together)
            alone = [head([level[n : n + 1] for level in levels], logits[n : n + 1]) for n in range(2)]
            torch.testing.assert_close(torch.cat(alone), together)
    assert torch.get_rng_state().equal(state)


def test_refinement_of_a_half_precision_guess_is_in_single_precision() -> None:
    """Half precision leaves thousands of pixels with the same lead; enlarging keeps them apart."""
    head = point_head().float()
    levels, guess = inputs()
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        out = head([level.float() for level in levels], guess.bfloat16())
    assert out.dtype == torch.float32


def test_a_head_in_half_precision_runs() -> None:
    head = point_head().bfloat16()
    levels, guess = inputs()
    assert head([level.bfloat16() for level in levels], guess.bfloat16()).isfinite().all()


def test_uncertainty_is_the_lead_of_the_best_class() -> None:
    logits = torch.tensor([[3.0, 1.0, 2.5], [0.0, 0.0, -9.0]]).unsqueeze(2)  # two images, one point
    assert uncertainty(logits).equal(torch.tensor([[-0.5], [0.0]]))
    single = torch.tensor([[[2.0, -0.5]]])
    assert uncertainty(single).equal(torch.tensor([[-2.0, -0.5]]))


def test_most_uncertain_pixels_are_distinct_and_centred() -> None:
    logits = inputs()[1]
    index, points = most_uncertain_pixels(logits, 9)
    assert all(len(set(row)) == 9 for row in index.tolist())
    torch.testing.assert_close(sample_at(logits, points), logits.flatten(2).gather(2, index[:, None].expand(-1, 3, -1)))
    assert most_uncertain_pixels(logits, 1000)[0].shape == (2, 35)


# --- Training -----------------------------------------------------------------------------------------------------


def test_training_looks_at_random_points() -> None:
    head = point_head()
    levels, guess = inputs()
    torch.manual_seed(4)
    output = head.training_outputs(levels, guess)[""]
    assert isinstance(output, PointLogits)
    torch.manual_seed(4)
    assert output.points.equal(uncertain_points(guess, uncertainty, 40, 3.0, 0.75))
    for n, row in enumerate(output.points.tolist()):
        for p, (x, y) in enumerate(row):
            fine = looked_up([levels[i][n] for i in head.in_index], x, y)
            expected = perceptron(head, fine, looked_up([guess[n]], x, y))
            torch.testing.assert_close(output.logits[n, :, p], expected, rtol=0, atol=1e-12)


def test_gradients_reach_features_and_guess() -> None:
    levels, guess = inputs()
    levels, guess = [level.requires_grad_() for level in levels], guess.requires_grad_()
    output = point_head().training_outputs(levels, guess)[""]
    assert isinstance(output, PointLogits)
    output.logits.square().sum().backward()
    assert all(levels[i].grad is not None and levels[i].grad.abs().max() > 0 for i in (0, 2))
    assert guess.grad is not None
    assert guess.grad.abs().max() > 0


def cascade() -> CascadeEncoderDecoder:
    torch.manual_seed(0)
    first = FCNHead(in_channels=16, channels=4, num_classes=3, in_index=2, num_convs=1, norm=BN)
    second = PointHead(in_channels=(4,), channels=8, num_classes=3, num_points=50, subdivision_num_points=30)
    return CascadeEncoderDecoder(
        backbone=ResNet(18, base_channels=4, stem_channels=4), decode_head=[first, second]
    ).double()


def test_losses_are_taken_at_the_points() -> None:
    losses = [
        HeadLoss(f"decode_{i}", [HeadTerm("loss_ce", CrossEntropyLoss(), 1.0)], ignore_index=255, align_corners=False)
        for i in range(2)
    ]
    preprocess = Preprocess(PreprocessSpec((0.0,) * 3, (1.0,) * 3)).double()
    model = cascade().train()
    task = SemanticSegmentation(model, preprocess=preprocess, losses=losses, num_classes=3, ignore_index=255)
    images, labels = torch.randn(2, 3, 64, 96, dtype=torch.float64), torch.randint(0, 3, (2, 64, 96))
    labels[:, :20] = 255
    torch.manual_seed(2)
    terms = {term.name: term.value for term in task.training_terms(Batch(images, labels, ((64, 96),) * 2, ()))}
    assert list(terms) == [
        "decode_0.loss_ce", "decode_0.acc_seg", "decode_1.pointloss_ce", "decode_1.acc_point",
    ]  # fmt: skip
    torch.manual_seed(2)
    output = model.training_outputs(images)["decode_1"]
    assert isinstance(output, PointLogits)
    loss, right, labelled = 0.0, 0, 0
    for n, row in enumerate(output.points.tolist()):
        for p, (x, y) in enumerate(row):
            label = int(labels[n, int(y * 64), int(x * 96)])
            if label != 255:
                logits = output.logits[n, :, p]
                loss -= logits.log_softmax(0)[label].item()
                right, labelled = right + int(logits.argmax() == label), labelled + 1
    assert 0 < labelled < 100
    assert terms["decode_1.pointloss_ce"].item() == pytest.approx(loss / 100, rel=1e-8)  # of all points, like pixels
    assert terms["decode_1.acc_point"].item() == pytest.approx(100 * right / labelled, rel=1e-5)


def test_training_is_captured_as_one_graph() -> None:
    torch.compiler.reset()
    compiled = torch.compile(point_head().training_outputs, fullgraph=True, backend="eager", dynamic=False)
    output = compiled(*inputs())[""]
    assert isinstance(output, PointLogits)
    assert output.logits.shape == (2, 3, 40)


def test_corners_of_pixels_are_refused_as_points() -> None:
    with pytest.raises(ValueError, match="align_corners must be False"):
        point_head(align_corners=True)
