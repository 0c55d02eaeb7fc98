"""HRNet: several resolutions side by side from beginning to end, exchanging what they see.

Paper: Wang et al., Deep High-Resolution Representation Learning for Visual Recognition, arXiv:1908.07919, section 3.
Original code: https://github.com/HRNet/HRNet-Semantic-Segmentation

The stem leaves a quarter of the resolution, and that is kept. Each of the later stages adds a branch of half the
resolution of the coarsest, and ends in exchanges, in which every branch receives all the others. W18 and W48 name the
channels of the finest branch; "W18 small" is W18 with fewer blocks and exchanges.

Deviations, shared with OpenMMLab's published weights: none in the computation; all branches of the last stage are given
to the head, which brings them together (HRNetV2).

Published scores with an FCN head on all branches, single scale (flipped and multi-scale), mIoU:
    Cityscapes 512x1024, 160k steps    W18 small 76.31 (78.31)    W18 78.80 (80.74)    W48 80.65 (81.92)
    ADE20K 512x512, 160k steps         W18 small 33.07 (34.56)    W18 36.79 (38.58)    W48 42.02 (43.86)

Shape letters: N images, C channels, H, W height and width of the input, C_i, h_i, w_i of branch i, which has stride
4 * 2**i.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from intarsia.backbones.resnet import EXPANSION, STEM_STRIDE, BasicBlock, Bottleneck
from intarsia.contracts import FeatureSpec
from intarsia.layers.activation_checkpointing import run_block
from intarsia.layers.conv import conv1x1, conv3x3, initialise_conv
from intarsia.layers.levels import resize
from intarsia.layers.norm import BN, Norm

STEM_CHANNELS = 64


class HRModule(nn.Module):
    """Residual blocks on each branch; then every branch receives the sum of all, each at its own size (figure 3)."""

    def __init__(self, channels: Sequence[int], num_blocks: Sequence[int], *, norm: Norm) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            nn.Sequential(
                *(BasicBlock(width, width, stride=1, dilation=1, avg_down=False, norm=norm) for _ in range(blocks))
            )
            for width, blocks in zip(channels, num_blocks, strict=True)
        )
        branches = range(len(channels))
        self.fuse_layers = nn.ModuleList(
            nn.ModuleList(_exchange_path(channels, source, target, norm=norm) for source in branches)
            for target in branches
        )
        self.relu = nn.ReLU(inplace=False)

    def forward(self, *branches: Tensor) -> tuple[Tensor, ...]:
        """One (N, C_i, h_i, w_i) per branch -> the same shapes."""
        inner = [blocks(x) for blocks, x in zip(self.branches, branches, strict=True)]
        return tuple(self.relu(self._received(target, inner)) for target in range(len(inner)))

    def _received(self, target: int, inner: Sequence[Tensor]) -> Tensor:
        """The sum of all branches at the size of branch `target`."""
        height, width = inner[target].shape[2:]
        paths = self.fuse_layers[target]
        assert isinstance(paths, nn.ModuleList)
        total: Tensor | None = None
        for source, (path, x) in enumerate(zip(paths, inner, strict=True)):
            x = path(x)
            if source > target:
                # In two steps: at odd sizes twice the coarse map is larger than the fine one, and published weights
                # were trained with what the second step makes of that.
                factor = 2 ** (source - target)
                x = resize(x, (factor * x.shape[2], factor * x.shape[3]))
                x = resize(x, (height, width))
            total = x if total is None else total + x
        assert total is not None
        return total


class HRNet(nn.Module):
    """The backbone: a stem of stride 4, a stage of bottlenecks, then stages of exchanging branches (figure 2).

    Args:
        in_channels: bands of the image.
        channels: of every branch of each stage; of the first stage, the width of its bottlenecks.
        num_blocks: residual blocks of every branch of each stage, in each of its exchanges.
        num_modules: exchanges of each stage; the first stage, with its one branch, has none to count.
        frozen_stages: the stem (0) and this many stages keep weights and statistics as loaded; -1 freezes nothing.
        norm: the normalisation behind every convolution.
        norm_eval: batch norms always use their running statistics.
        checkpoint_activations: recompute each exchange in the backward pass instead of keeping its activations.

    Convolutions start Kaiming-normal by fan_out (arXiv:1502.01852), norms as identity.

    Raises ValueError if the three sequences describe different stages.
    """

    def __init__(
        self,
        *,
        in_channels: int = 3,
        channels: Sequence[Sequence[int]] = ((64,), (18, 36), (18, 36, 72), (18, 36, 72, 144)),
        num_blocks: Sequence[Sequence[int]] = ((4,), (4, 4), (4, 4, 4), (4, 4, 4, 4)),
        num_modules: Sequence[int] = (1, 1, 4, 3),
        frozen_stages: int = -1,
        norm: Norm = BN,
        norm_eval: bool = False,
        checkpoint_activations: bool = False,
    ) -> None:
        super().__init__()
        _check(channels, num_blocks, num_modules, frozen_stages)
        self.frozen_stages = frozen_stages
        self.norm_eval = norm_eval
        self.checkpoint_activations = checkpoint_activations
        self.conv1 = conv3x3(in_channels, STEM_CHANNELS, stride=2)
        self.add_module(f"{norm.name}1", norm(STEM_CHANNELS))
        self.conv2 = conv3x3(STEM_CHANNELS, STEM_CHANNELS, stride=2)
        self.add_module(f"{norm.name}2", norm(STEM_CHANNELS))
        self.stem_names = ("conv1", f"{norm.name}1", "relu", "conv2", f"{norm.name}2", "relu")
        self.relu = nn.ReLU(inplace=True)
        [width], [blocks] = channels[0], num_blocks[0]
        self.layer1 = _bottlenecks(width, blocks, norm=norm)
        self.num_stages = len(channels)
        before: Sequence[int] = (EXPANSION * width,)
        for stage in range(1, self.num_stages):
            self.add_module(f"transition{stage}", _transition(before, channels[stage], norm=norm))
            exchanges = [HRModule(channels[stage], num_blocks[stage], norm=norm) for _ in range(num_modules[stage])]
            self.add_module(f"stage{stage + 1}", nn.ModuleList(exchanges))
            before = channels[stage]
        self.features = tuple(FeatureSpec(width, STEM_STRIDE * 2**i) for i, width in enumerate(before))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                initialise_conv(module)
        self._freeze()

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """(N, C, H, W) -> for each branch, finest first, (N, C_i, H / stride, W / stride), rounded up."""
        x = images
        for name in self.stem_names:
            x = getattr(self, name)(x)
        for block in self.layer1:
            x = run_block(block, x, checkpoint=self.checkpoint_activations)
        branches = (x,)
        for stage in range(1, self.num_stages):
            # Branches go straight on; a new one descends from the coarsest that there is.
            paths = getattr(self, f"transition{stage}")
            branches = tuple(path(branches[min(i, len(branches) - 1)]) for i, path in enumerate(paths))
            for exchange in getattr(self, f"stage{stage + 1}"):
                branches = run_block(exchange, *branches, checkpoint=self.checkpoint_activations)
        return branches

    def train(self, mode: bool = True) -> HRNet:
        """Training mode, except for what is frozen and, under `norm_eval`, every batch norm."""
        super().train(mode)
        self._freeze()
        if mode and self.norm_eval:
            for module in self.modules():
                if isinstance(module, (nn.BatchNorm2d, nn.SyncBatchNorm)):
                    module.eval()
        return self

    def _freeze(self) -> None:
        if self.frozen_stages < 0:
            return
        frozen = list(self.stem_names)
        for stage in range(1, self.frozen_stages + 1):
            frozen.append("layer1" if stage == 1 else f"stage{stage}")
            if stage < self.num_stages:
                frozen.append(f"transition{stage}")
        for name in frozen:
            getattr(self, name).eval().requires_grad_(False)


def _bottlenecks(width: int, blocks: int, *, norm: Norm) -> nn.Sequential:
    """The first stage: (N, STEM_CHANNELS, h, w) -> (N, EXPANSION * width, h, w)."""
    out_channels = EXPANSION * width
    return nn.Sequential(
        *(
            Bottleneck(
                STEM_CHANNELS if i == 0 else out_channels, width, out_channels, stride=1, dilation=1, groups=1,
                style="pytorch", avg_down=False, norm=norm,
            )
            for i in range(blocks)
        )
    )  # fmt: skip


def _transition(before: Sequence[int], after: Sequence[int], *, norm: Norm) -> nn.ModuleList:
    """From the branches of one stage, by their channels, to those of the next, which has one more."""
    paths: list[nn.Module] = []
    for i, width in enumerate(after):
        if i >= len(before):
            paths.append(nn.Sequential(_strided(before[-1], width, norm=norm, relu=True)))
        elif before[i] != width:
            paths.append(nn.Sequential(conv3x3(before[i], width), norm(width), nn.ReLU(inplace=True)))
        else:
            paths.append(nn.Identity())
    return nn.ModuleList(paths)


def _exchange_path(channels: Sequence[int], source: int, target: int, *, norm: Norm) -> nn.Module:
    """What a branch goes through on its way to another: strided convolutions down, a 1 x 1 convolution up."""
    width = channels[target]
    if source == target:
        return nn.Identity()
    if source > target:
        return nn.Sequential(conv1x1(channels[source], width), norm(width))
    halvings = [_strided(channels[source], channels[source], norm=norm, relu=True) for _ in range(source + 1, target)]
    return nn.Sequential(*halvings, _strided(channels[source], width, norm=norm, relu=False))


def _strided(in_channels: int, out_channels: int, *, norm: Norm, relu: bool) -> nn.Sequential:
    layers = [conv3x3(in_channels, out_channels, stride=2), norm(out_channels)]
    return nn.Sequential(*layers, nn.ReLU(inplace=True)) if relu else nn.Sequential(*layers)


def _check(
    channels: Sequence[Sequence[int]],
    num_blocks: Sequence[Sequence[int]],
    num_modules: Sequence[int],
    frozen_stages: int,
) -> None:
    if not 1 <= len(channels) == len(num_blocks) == len(num_modules):
        raise ValueError(
            f"HRNet needs channels, num_blocks and num_modules for the same stages; got {len(channels)}, "
            f"{len(num_blocks)} and {len(num_modules)}"
        )
    for stage, (widths, blocks) in enumerate(zip(channels, num_blocks, strict=True), start=1):
        if not len(widths) == len(blocks) == stage:
            branches = "1 branch" if stage == 1 else f"{stage} branches"
            raise ValueError(
                f"stage {stage} of HRNet has {branches}, which need one entry each in channels and num_blocks; "
                f"got {tuple(widths)} and {tuple(blocks)}"
            )
    if not -1 <= frozen_stages <= len(channels):
        raise ValueError(f"frozen_stages must lie between -1 (none) and {len(channels)}; got {frozen_stages}")
