"""Key maps: from the tensor names of other libraries to ours. One file per library, as tables; none is imported.

`recognise` says from a file's tensor names which library and which model wrote it; the `KeyMap` it gives turns
the tensors into ours. Names of OpenMMLab are ours already and need no map.

    rules.py                 the language of the tables, and what is done by them
    rearrange.py             where another library keeps the same numbers in another order
    torchvision.py           FCN, DeepLabV3, ResNet
    timm.py                  ResNet with a deep stem, Swin Transformer
    backbones.py             ViT, BEiT, MAE, ConvNeXt, MobileNetV2, as they were trained to classify images
    smp.py                   models of segmentation_models.pytorch
    smp_encoders.py          which networks their encoders are, and what their tensors are called
    smp_config.py            our config of such a model, from its config.json; smp_decoders.py, smp_dpt.py: its head
    transformers.py          SegFormer, UPerNet, Mask2Former, MaskFormer, and their backbones ResNet, Swin, MiT
    transformers_config.py   our config of such a model, from its config.json
    efficientvit.py          EfficientViT for segmentation of its authors
    eomt.py                  EoMT of its authors and of transformers, on DINOv2 and DINOv3
    eomt_config.py           our config of such a model; mask_config.py: what those of mask classifiers share
    paddle.py                PP-LiteSeg of PaddleSeg
    super_gradients.py       PP-LiteSeg, STDC and RegSeg of super-gradients
    nnunet.py                nnU-Net's networks of two dimensions
    nnunet_plans.py          our config of one, from the plans.json and dataset.json of its results
    folder.py                a folder of the Hugging Face Hub: its model, preprocessing, classes and tensors
    description.py           what the last ones give
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from intarsia.weights.maps.backbones import MAPS as BACKBONES
from intarsia.weights.maps.efficientvit import MAPS as EFFICIENTVIT
from intarsia.weights.maps.eomt import MAPS as EOMT
from intarsia.weights.maps.nnunet import MAPS as NNUNET
from intarsia.weights.maps.paddle import MAPS as PADDLE
from intarsia.weights.maps.rules import KeyMap
from intarsia.weights.maps.smp import MAPS as SMP
from intarsia.weights.maps.super_gradients import MAPS as SUPER_GRADIENTS
from intarsia.weights.maps.timm import MAPS as TIMM
from intarsia.weights.maps.torchvision import MAPS as TORCHVISION
from intarsia.weights.maps.transformers import MAPS as TRANSFORMERS

if TYPE_CHECKING:
    from torch import Tensor

MAPS: tuple[KeyMap, ...] = (
    *TRANSFORMERS, *EOMT, *NNUNET, *EFFICIENTVIT, *PADDLE, *SUPER_GRADIENTS, *SMP, *TORCHVISION, *TIMM, *BACKBONES,
)  # fmt: skip


def recognise(names: Iterable[str]) -> KeyMap | None:
    """The map for a file with these tensor names; None if they are ours already, or no one's we know."""
    names = tuple(names)
    return next((found for found in MAPS if found.fits(names)), None)


def translated(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors of any origin under our names. What a map does not know keeps its name, so that loading will list it."""
    found = recognise(state)
    if found is None:
        return dict(state)
    converted, unknown = found.convert(state)
    return converted | {name: state[name] for name in unknown}
