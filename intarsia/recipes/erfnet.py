"""ERFNet: factorised residual blocks down and up again."""

from __future__ import annotations

from intarsia.recipes.benchmarks import Config
from intarsia.recipes.dilated import NORM, SYNC_NORM, cross_entropy, optimiser
from intarsia.recipes.published import Family, Method, Parts, Published, Rows
from intarsia.recipes.schedules import poly

ROWS = (Rows("erfnet", ("fcn",), 4, 4, ("160k",), ("cityscapes-512x1024",)),)


def _parts(num_classes: int, bands: int, *, norm: Config = NORM) -> Config:
    return {
        "backbone": {
            "type": "ERFNet",
            "in_channels": bands,
            "enc_downsample_channels": (16, 64, 128),
            "enc_stage_non_bottlenecks": (5, 8),
            "enc_non_bottleneck_dilations": (2, 4, 8, 16),
            "enc_non_bottleneck_channels": (64, 128),
            "dec_upsample_channels": (64, 16),
            "dec_stages_non_bottleneck": (2, 2),
            "dec_non_bottleneck_channels": (64, 16),
            "dropout_ratio": 0.1,
            "init_cfg": None,
        },
        "decode_head": {
            "type": "FCNHead",
            "in_channels": 16,
            "channels": 128,
            "num_convs": 1,
            "concat_input": False,
            "dropout_ratio": 0.1,
            "num_classes": num_classes,
            "norm_cfg": norm,
            "align_corners": False,
            "loss_decode": cross_entropy(),
        },
    }


def _published(recipe: Published) -> Parts:
    model = {
        "type": "EncoderDecoder",
        "pretrained": None,
        **_parts(recipe.num_classes, 3, norm=SYNC_NORM),
        "train_cfg": {},
        "test_cfg": {"mode": "whole"},
    }
    return Parts(model, optimiser(recipe), poly(recipe.steps))


METHOD = Method(
    "ERFNet",
    "real-time",
    "ERFNet: Efficient Residual Factorized ConvNet for Real-Time Semantic Segmentation",
    "Romera, Alvarez, Bergasa, Arroyo",
    "IEEE Transactions on Intelligent Transportation Systems",
    2018,
    "http://www.robesafe.uah.es/personal/eduardo.romera/pdfs/Romera17tits.pdf",
)
FAMILY = Family(ROWS, _published, own={"erfnet": _parts}, learning_rate=1e-3, method=METHOD)
