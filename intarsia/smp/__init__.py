"""The models of segmentation_models.pytorch by its names and arguments, as networks of ours.

    import intarsia.smp as smp          # instead of: import segmentation_models_pytorch as smp

    model = smp.Unet("resnet34", encoder_depth=4, decoder_channels=(128, 64, 32, 16), in_channels=4, classes=5)

What comes is what `intarsia.create_model` gives: normalised images of any size -> logits at their size. With the same
weights the logits are that library's. Further arguments of a constructor (`encoder_depth`, `decoder_channels`,
`decoder_attention_type`, `encoder_output_stride` ...) have its names and defaults; one that has no counterpart here is
an error that names it.

Each takes encoder_name: of that library ("resnet34", the default, "se_resnet50", "mit_b0"), or of timm behind "tu-".
encoder_weights: "imagenet", the weights that timm has first for the network, or None, random ones. in_channels: bands
of the images. classes: numbers for each pixel. activation: None, since scores are logits. With aux_params the model
gives (masks, labels), as there: `intarsia.tasks.classifying_model.ClassifyingModel`.

`smp.losses` and `smp.metrics` are those of that library, too.
"""

from __future__ import annotations

from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from intarsia.smp import losses, metrics  # noqa: F401  attributes, whose torch is loaded when they are asked for
    from intarsia.tasks.segmentation_model import SegmentationModel


class Constructor(Protocol):
    """Of one of the models."""

    def __call__(
        self,
        encoder_name: str = "",
        *,
        encoder_weights: str | None = "imagenet",
        in_channels: int = 3,
        classes: int = 1,
        activation: str | None = None,
        **arguments: Any,
    ) -> SegmentationModel:
        """See the head of this file. Raises ValueError for what has no counterpart."""
        ...


def _model(
    kind: str,
    encoder_name: str = "",
    *,
    encoder_weights: str | None = "imagenet",
    in_channels: int = 3,
    classes: int = 1,
    activation: str | None = None,
    **arguments: Any,
) -> SegmentationModel:
    from intarsia.workflows.smp_models import smp_model

    usual = "tu-vit_base_patch16_224.augreg_in21k" if kind == "DPT" else "resnet34"
    return smp_model(
        kind, encoder_name=encoder_name or usual, encoder_weights=encoder_weights, in_channels=in_channels,
        classes=classes, activation=activation, arguments=arguments,
    )  # fmt: skip


Unet: Constructor = partial(_model, "Unet")
UnetPlusPlus: Constructor = partial(_model, "UnetPlusPlus")
MAnet: Constructor = partial(_model, "MAnet")
Linknet: Constructor = partial(_model, "Linknet")
FPN: Constructor = partial(_model, "FPN")
PSPNet: Constructor = partial(_model, "PSPNet")
PAN: Constructor = partial(_model, "PAN")
DeepLabV3: Constructor = partial(_model, "DeepLabV3")
DeepLabV3Plus: Constructor = partial(_model, "DeepLabV3Plus")
UPerNet: Constructor = partial(_model, "UPerNet")
Segformer: Constructor = partial(_model, "Segformer")
DPT: Constructor = partial(_model, "DPT")

_BY_NAME = {
    name.lower(): constructor
    for name, constructor in (
        ("Unet", Unet), ("UnetPlusPlus", UnetPlusPlus), ("MAnet", MAnet), ("Linknet", Linknet), ("FPN", FPN),
        ("PSPNet", PSPNet), ("PAN", PAN), ("DeepLabV3", DeepLabV3), ("DeepLabV3Plus", DeepLabV3Plus),
        ("UPerNet", UPerNet), ("Segformer", Segformer), ("DPT", DPT),
    )
}  # fmt: skip


def create_model(
    arch: str,
    encoder_name: str = "",
    encoder_weights: str | None = "imagenet",
    in_channels: int = 3,
    classes: int = 1,
    **arguments: Any,
) -> SegmentationModel:
    """One of the constructors by its name in small letters: "unet", "deeplabv3plus". Raises ValueError for another."""
    if arch.lower() not in _BY_NAME:
        raise ValueError(f"there is no model {arch!r}; there are {', '.join(_BY_NAME)}")
    return _BY_NAME[arch.lower()](
        encoder_name, encoder_weights=encoder_weights, in_channels=in_channels, classes=classes, **arguments
    )


_INSTEAD = {
    "encoders": "model.normalise(images), of images of 0 to 255, for get_preprocessing_fn",
    "datasets": "intarsia.train(model, data=FOLDER, out=RUN)",
    "from_pretrained": "intarsia.create_model(FILE), and `intarsia weights convert` for folders of that library",
    "utils": "a loop of your own, or intarsia.train(model, data=FOLDER, out=RUN)",
}
"""Of that library, what is not here."""


def __getattr__(name: str) -> Any:
    if name in ("losses", "metrics"):
        return import_module(f"{__name__}.{name}")
    instead = f"; instead there is {_INSTEAD[name]}" if name in _INSTEAD else ""
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}{instead} (docs/python.md)")
