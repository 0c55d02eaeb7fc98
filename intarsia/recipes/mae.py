"""MAE's transformer under UPerNet.

2 published recipes; ``ms`` is tested at several scales.
"""

from __future__ import annotations

from intarsia.recipes.beit import transformer_parts
from intarsia.recipes.benchmarks import Config
from intarsia.recipes.dilated import NORM, SYNC_NORM
from intarsia.recipes.published import FORM, Family, Method, Parts, Published, Rows
from intarsia.recipes.schedules import adamw, transformer

ROWS = tuple(
    Rows("mae-base", ("upernet",), 8, 2, ("160k",), ("ade20k-512x512",), note="amp", form=form)
    for form in (FORM, f"{FORM}-ms")
)


def _parts(num_classes: int, bands: int, *, norm: Config = NORM) -> Config:
    network = {
        "img_size": (512, 512),
        "in_channels": bands,
        "num_layers": 12,
        "out_indices": [3, 5, 7, 11],
        "drop_path_rate": 0.1,
        "init_values": 1.0,
    }
    return transformer_parts("MAE", network, 768, num_classes, norm=norm)


def _published(recipe: Published) -> Parts:
    model = {
        "type": "EncoderDecoder",
        "pretrained": "./pretrain/mae_pretrain_vit_base_mmcls.pth",
        **_parts(recipe.num_classes, 3, norm=SYNC_NORM),
        "train_cfg": {},
        "test_cfg": {"mode": "slide", "crop_size": (512, 512), "stride": (341, 341)},
    }
    optim = {
        **adamw(1e-4, 0.05),
        "constructor": "LayerDecayOptimizerConstructor",
        "paramwise_cfg": {"num_layers": 12, "layer_decay_rate": 0.65},
    }
    return Parts(model, optim, transformer(recipe.steps), workers=4)


METHOD = Method(
    "MAE",
    "transformer",
    "Masked Autoencoders Are Scalable Vision Learners",
    "He et al.",
    "CVPR",
    2022,
    "https://arxiv.org/abs/2111.06377",
)
FAMILY = Family(ROWS, _published, own={"mae-base_upernet": _parts}, learning_rate=1e-4, method=METHOD)
