"""What is known of another library's model besides its tensors, as a config of ours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

Values = dict[str, Any]

IMAGENET = ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375))
"""Mean and deviation of red, green and blue."""

BN: Values = {"type": "SyncBN", "requires_grad": True}


@dataclass(frozen=True)
class Description:
    """config: model, preprocessing and test pipeline. notes: what was assumed, in words for the user. origin: whose.

    image: what is known of the training's images, as `WeightsMeta.image` has it. regions: as `WeightsMeta.regions`.
    """

    config: Values
    classes: tuple[str, ...]
    notes: tuple[str, ...] = ()
    origin: str = "transformers (Hugging Face)"
    image: Values = field(default_factory=dict)
    regions: Values = field(default_factory=dict)


def normalising(mean: Sequence[float], std: Sequence[float], *, size_divisor: int = 0) -> Values:
    """The data_preprocessor for RGB images of 0 to 255. size_divisor: sides are padded to multiples of it."""
    return {
        "type": "SegDataPreProcessor",
        "mean": list(mean),
        "std": list(std),
        "bgr_to_rgb": len(mean) == 3,
        "pad_val": 0,
        "seg_pad_val": 255,
        **({"test_cfg": {"size_divisor": size_divisor}} if size_divisor else {}),
    }


def _with_sigmoid(key: str, part: Any) -> Any:
    if not key.endswith("_head") or not isinstance(part, dict) or part.get("num_classes") != 1:
        return part
    loss = part.get("loss_decode")
    changed = {"threshold": 0.5} if key == "decode_head" else {}
    with_sigmoid = {"loss_decode": {**loss, "use_sigmoid": True}} if isinstance(loss, dict) else {}
    return {**part, **with_sigmoid, **changed}


def describe(
    model: Values,
    preprocessor: Values,
    *,
    resizing: Sequence[Values],
    classes: Sequence[str],
    notes: Sequence[str],
    reduce_labels: bool = False,
    origin: str = "transformers (Hugging Face)",
    raw: bool = False,
) -> Description:
    """Model, preprocessing and the transforms of its test images, put together.

    reduce_labels: label files count classes from 1, and 0 is no class. origin: the library of a folder. raw: images are
    taken as they are stored, not as colours.

    A head with one logit is trained with a sigmoid, as those libraries do, and says the class from one half on.
    """
    model = {key: _with_sigmoid(key, part) for key, part in model.items()}
    pipeline = [
        {"type": "LoadImageFromFile", **({"color_type": "unchanged"} if raw else {})},
        *resizing,
        {"type": "LoadAnnotations"},
        {"type": "PackSegInputs"},
    ]
    dataset = {
        "type": "BaseSegDataset",
        "data_root": "data",
        "metainfo": {"classes": list(classes)},
        "reduce_zero_label": reduce_labels,
        "pipeline": pipeline,
    }
    config = {
        "model": {
            "type": "EncoderDecoder",
            "data_preprocessor": preprocessor,
            "train_cfg": {},
            "test_cfg": {"mode": "whole"},
            **model,
        },
        "test_dataloader": {"batch_size": 1, "num_workers": 2, "dataset": dataset},
        "test_evaluator": {"type": "IoUMetric", "iou_metrics": ["mIoU"]},
        "test_cfg": {"type": "TestLoop"},
    }
    return Description(config, tuple(classes), tuple(notes), origin)
