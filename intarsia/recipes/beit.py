"""BEiT under UPerNet.

4 published recipes; ``ms`` is tested at several scales.
"""

from __future__ import annotations

from functools import partial

from intarsia.recipes.benchmarks import Config
from intarsia.recipes.dilated import NORM, SYNC_NORM, heads
from intarsia.recipes.published import FORM, Family, Method, Parts, Published, Rows
from intarsia.recipes.schedules import adamw, loops, transformer
from intarsia.recipes.upernet import HEAD

SIZES: dict[str, tuple[int, int, tuple[int, int, int, int], float, float]] = {
    "base": (768, 12, (3, 5, 7, 11), 0.1, 0.1),
    "large": (1024, 24, (7, 11, 15, 23), 0.2, 1e-6),
}
"""size -> channels, layers, layers that are levels, drop path, first scale of the residual branches."""

_ADE20K = ("ade20k-640x640",)
ROWS = tuple(
    Rows(f"beit-{size}", ("upernet",), 8, batch, ("160k",), _ADE20K, note=note, form=form)
    for size, batch, note in (("base", 2, ""), ("large", 1, "amp"))
    for form in (FORM, f"{FORM}_ms")
)


def transformer_parts(kind: str, network: Config, width: int, num_classes: int, *, norm: Config = SYNC_NORM) -> Config:
    """A plain transformer pretrained on masked images, made a pyramid, under UPerNet; MAE's recipes are the same."""
    return {
        "backbone": {
            "type": kind,
            "patch_size": 16,
            "embed_dims": width,
            "num_heads": width // 64,
            "mlp_ratio": 4,
            "attn_drop_rate": 0.0,
            "norm_cfg": {"type": "LN", "eps": 1e-6},
            "act_cfg": {"type": "GELU"},
            "norm_eval": False,
            **network,
        },
        "neck": {"type": "Feature2Pyramid", "embed_dim": width, "rescales": [4, 2, 1, 0.5]},
        **heads({**HEAD, "channels": width}, (width,) * 4, num_classes, norm=norm, auxiliary={"channels": 256}),
    }


def _parts(size: str, num_classes: int, bands: int, *, norm: Config = NORM) -> Config:
    width, layers, levels, drop_path, scale = SIZES[size]
    network = {
        "img_size": (640, 640),
        "in_channels": bands,
        "num_layers": layers,
        "out_indices": levels,
        "qv_bias": True,
        "drop_path_rate": drop_path,
        "init_values": scale,
    }
    return transformer_parts("BEiT", network, width, num_classes, norm=norm)


def _published(recipe: Published) -> Parts:
    size = recipe.method.removeprefix("beit-")
    model = {
        "type": "EncoderDecoder",
        "pretrained": f"pretrain/beit_{size}_patch16_224_pt22k_ft22k.pth",
        **_parts(size, recipe.num_classes, 3, norm=SYNC_NORM),
        "train_cfg": {},
        "test_cfg": {"mode": "slide", "crop_size": (640, 640), "stride": (426, 426)},
    }
    large = size == "large"
    optim = {
        **adamw(2e-5 if large else 3e-5, 0.05),
        "constructor": "LayerDecayOptimizerConstructor",
        "paramwise_cfg": {"num_layers": SIZES[size][1], "layer_decay_rate": 0.95 if large else 0.9},
    }
    if large:
        optim |= {"type": "AmpOptimWrapper", "accumulative_counts": 2}
    # half the batch for twice the steps, of which the optimizer makes every other one
    others = loops(2 * recipe.steps, every=recipe.steps // 5, log_every=50) if large else {}
    return Parts(model, optim, transformer(recipe.steps, warm_up=3000 if large else 1500), others, workers=4)


METHOD = Method(
    "BEiT",
    "transformer",
    "BEiT: BERT Pre-Training of Image Transformers",
    "Bao, Dong, Piao, Wei",
    "ICLR",
    2022,
    "https://arxiv.org/abs/2106.08254",
)
FAMILY = Family(
    ROWS,
    _published,
    own={f"beit-{size}_upernet": partial(_parts, size) for size in SIZES},
    learning_rate=1e-4,
    method=METHOD,
)
