"""PointRend: a coarse prediction made sharp by asking again at the points where it is unsure.

Paper: Kirillov et al., PointRend: Image Segmentation as Rendering, arXiv:1912.08193.
Original code: https://github.com/facebookresearch/detectron2 (projects/PointRend).

The head is the second of a cascade (`models/cascade.py`): the first, here Semantic FPN's, gives the coarse prediction.
Training draws random points, mostly uncertain ones, from torch's generator of the device; inference draws nothing.

Deviations from the paper, shared with OpenMMLab's published weights: how sure a prediction is of a point is the lead
of its best logit over the second best, where the paper compares probabilities; each step of the refinement asks at
8196 points, where the paper has 8096, both meant to be the 8192 pixels of a map at stride 16 of 1024 x 2048.

Published scores, single scale (flipped and multi-scale), mIoU:
    Cityscapes 512x1024, 80k steps    R-50  76.47 (78.13)    R-101  78.30 (79.97)
    ADE20K 512x512, 160k steps        R-50  37.64 (39.17)    R-101  40.02 (41.60)

Shape letters: N images, C channels, K classes, P points, h, w height and width of the coarse prediction, H, W of the
refined one. Points are (x, y) in 0..1 (`layers/points.py`).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Literal

import torch
import torch.fx
from torch import Tensor, nn

from intarsia.contracts import HeadOutput, PointLogits
from intarsia.layers import precision
from intarsia.layers.activation import RELU, Activation
from intarsia.layers.levels import paired_levels, resize
from intarsia.layers.points import sample_at, uncertain_points

# One step each for torch.fx, which cannot follow questions about a size or a dtype.
torch.fx.wrap("most_uncertain_pixels")
torch.fx.wrap("sample_at")


def uncertainty(logits: Tensor) -> Tensor:
    """How little the best class leads the second best: logits (N, K, ...) -> (N, ...), 0 at most.

    A single logit is compared with 0, its tie between foreground and background.
    """
    if logits.shape[1] == 1:
        return -logits[:, 0].abs()
    best, second = logits.topk(2, dim=1).values.unbind(dim=1)
    return second - best


def most_uncertain_pixels(logits: Tensor, num_points: int) -> tuple[Tensor, Tensor]:
    """The pixels of logits (N, K, H, W) that are least certain, all of them where there are fewer than `num_points`.

    Returns their positions (N, P) in the flattened map, and their centres as points (N, P, 2), in float32 or wider.
    """
    height, width = logits.shape[2:]
    uncertainties = uncertainty(logits).flatten(1)  # (N, H * W)
    if torch.compiler.is_exporting():  # ONNX knows no number of points that depends on the size; torch's sort, it does
        order = uncertainties.sort(dim=1, descending=True).indices
        # Of a slice, torch takes for granted that it is all, or that it is not, as in the image that it has followed.
        index = order.index_select(1, torch.arange(torch.sym_min(num_points, height * width), device=logits.device))
    else:
        index = uncertainties.topk(min(num_points, height * width), dim=1).indices  # (N, P)
    dtype = torch.promote_types(logits.dtype, torch.float32)
    # By tables, not by division: ONNX divides by no number that depends on the size.
    column = torch.arange(width, device=logits.device).expand(height, width).flatten()[index]  # (N, P)
    row = torch.arange(height, device=logits.device).unsqueeze(1).expand(height, width).flatten()[index]
    x, y = (column.to(dtype) + 0.5) / width, (row.to(dtype) + 0.5) / height
    return index, torch.stack([x, y], dim=2)


class PointHead(nn.Module):
    """A perceptron on single points, and where to use it (figure 2).

    It sees a point's features, interpolated from fine levels, and the coarse prediction there.

    Args:
        in_channels: channels of each level.
        channels: channels of the perceptron.
        num_classes: number of logits, here and in the coarse_logits.
        in_index: the levels read.
        num_fcs: layers of the perceptron before the classifier.
        coarse_pred_each_layer: whether the coarse prediction enters every layer, or the first only.
        dropout_ratio: of channels, before the classifier.
        activation: behind each layer.
        align_corners: True is refused: points lie on a grid of pixels whose centres, not corners, are half a pixel
            from the edge.
        num_points: points of an image that training looks at.
        oversample_ratio: how many times as many are drawn, for the most uncertain to be found among them.
        importance_sample_ratio: share of uncertain points; the others may lie anywhere.
        scale_factor: by which each step of the refinement enlarges the prediction.
        subdivision_steps: number of steps.
        subdivision_num_points: points whose logits each step computes anew.

    Raises ValueError for levels that do not pair up, or for `align_corners`.
    """

    def __init__(
        self,
        *,
        in_channels: Sequence[int],
        channels: int,
        num_classes: int,
        in_index: Sequence[int] = (0,),
        num_fcs: int = 3,
        coarse_pred_each_layer: bool = True,
        dropout_ratio: float = 0.1,
        activation: Activation = RELU,
        align_corners: Literal[False] = False,
        num_points: int = 2048,
        oversample_ratio: float = 3.0,
        importance_sample_ratio: float = 0.75,
        scale_factor: int = 2,
        subdivision_steps: int = 2,
        subdivision_num_points: int = 8196,
    ) -> None:
        super().__init__()
        if align_corners:
            raise ValueError("PointHead takes the centres of pixels for points: align_corners must be False")
        self.in_index, self.in_channels = paired_levels("PointHead", in_index, in_channels)
        self.num_classes = num_classes
        self.align_corners = align_corners
        self.coarse_pred_each_layer = coarse_pred_each_layer
        self.num_points = num_points
        self.oversample_ratio = oversample_ratio
        self.importance_sample_ratio = importance_sample_ratio
        self.scale_factor = scale_factor
        self.subdivision_steps = subdivision_steps
        self.subdivision_num_points = subdivision_num_points
        self.fcs = nn.ModuleList()
        width = sum(self.in_channels) + num_classes
        for _ in range(num_fcs):
            conv = nn.Conv1d(width, channels, kernel_size=1)
            nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
            self.fcs.append(nn.Sequential(OrderedDict(conv=conv, activate=activation())))
            width = channels + (num_classes if coarse_pred_each_layer else 0)
        self.fc_seg = nn.Conv1d(width, num_classes, kernel_size=1)
        nn.init.normal_(self.fc_seg.weight, std=0.01)
        for module in self.modules():
            if isinstance(module, nn.Conv1d):
                assert module.bias is not None
                nn.init.zeros_(module.bias)
        self.dropout = nn.Dropout1d(dropout_ratio) if dropout_ratio > 0 else nn.Identity()

    def forward(self, features: Sequence[Tensor], coarse_logits: Tensor) -> Tensor:
        """Feature maps and the coarse logits (N, K, h, w) -> refined logits (N, K, H, W) (section 3.1, inference).

        H and W are h and w times `scale_factor` to the power of `subdivision_steps`.
        """
        refined = precision.full_precision(coarse_logits)
        for _ in range(self.subdivision_steps):
            n, k, h, w = refined.shape
            refined = resize(refined, (h * self.scale_factor, w * self.scale_factor))  # (N, K, h, w), now larger
            index, points = most_uncertain_pixels(refined, self.subdivision_num_points)  # (N, P), (N, P, 2)
            logits = self.at_points(features, coarse_logits, points).to(refined.dtype)  # (N, K, P)
            refined.view(n, k, -1).scatter_(2, index.unsqueeze(1).expand(-1, k, -1), logits)
        return refined

    def training_outputs(self, features: Sequence[Tensor], coarse_logits: Tensor) -> dict[str, HeadOutput]:
        """Feature maps and the coarse logits (N, K, h, w) -> logits at random points (section 3.1, training)."""
        points = uncertain_points(
            precision.full_precision(coarse_logits),
            uncertainty,
            self.num_points,
            self.oversample_ratio,
            self.importance_sample_ratio,
        )  # (N, P, 2)
        return {"": PointLogits(self.at_points(features, coarse_logits, points), points)}

    def at_points(self, features: Sequence[Tensor], coarse_logits: Tensor, points: Tensor) -> Tensor:
        """Feature maps, the coarse logits (N, K, h, w) and points (N, P, 2) -> logits (N, K, P) there."""
        coarse = sample_at(coarse_logits, points)  # (N, K, P)
        x = torch.cat([*(sample_at(features[i], points) for i in self.in_index), coarse], dim=1)  # (N, C + K, P)
        for layer in self.fcs:
            x = layer(x)  # (N, channels, P)
            if self.coarse_pred_each_layer:
                x = torch.cat([x, coarse], dim=1)  # (N, channels + K, P)
        logits: Tensor = self.fc_seg(self.dropout(x))  # (N, K, P)
        return logits
