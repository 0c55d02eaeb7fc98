"""The catalogue: every part by kind and name, as one table. Nothing is registered by being imported.

``locate("backbone", "ResNetV1c")`` gives "intarsia.backbones.resnet:ResNetV1c" without importing anything;
``resolve`` imports that one module and returns the class. A name may also be

* an alias that OpenMMLab's configs use: ``mmseg.FCNHead``, ``mmdet.DiceLoss``, ``mmpretrain.ConvNeXt``;
* an import path of the user's own: ``mypackage.heads:MyHead``, where the person has agreed to it (``consent.py``);
* a name the user registered with ``@register("head")``, or declared as an entry point of the group ``intarsia.parts``
  under the name ``kind.Name``.

Imports no torch.
"""

from __future__ import annotations

import difflib
import importlib
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from intarsia import consent

T = TypeVar("T", bound=Callable[..., Any])

SCOPES = ("mmseg.", "mmdet.", "mmpretrain.", "mmcls.", "mmengine.", "mmcv.")
"""Prefixes of OpenMMLab's registries; they carry no meaning here, since one table holds everything."""

TABLE: dict[str, dict[str, str]] = {
    "model": {
        "CascadeEncoderDecoder": "intarsia.models.cascade:CascadeEncoderDecoder",
        "DepthEstimator": "intarsia.models.depth_estimator:DepthEstimator",
        "EncoderDecoder": "intarsia.models.encoder_decoder:EncoderDecoder",
        "MaskClassifier": "intarsia.models.mask_classifier:MaskClassifier",
        "MultimodalEncoderDecoder": "intarsia.models.multimodal:MultimodalEncoderDecoder",
    },
    "task": {
        "DepthEstimation": "intarsia.tasks.depth:DepthEstimation",
        "MaskClassification": "intarsia.tasks.mask_classification:MaskClassification",
        "SemanticSegmentation": "intarsia.tasks.semantic:SemanticSegmentation",
    },
    "backbone": {
        "BEiT": "intarsia.backbones.beit:BEiT",
        "BiSeNetV1": "intarsia.methods.bisenetv1:BiSeNetV1",
        "BiSeNetV2": "intarsia.methods.bisenetv2:BiSeNetV2",
        "CGNet": "intarsia.methods.cgnet:CGNet",
        "ConvNeXt": "intarsia.backbones.convnext:ConvNeXt",
        "DDRNet": "intarsia.methods.ddrnet:DDRNet",
        "ERFNet": "intarsia.methods.erfnet:ERFNet",
        "FastSCNN": "intarsia.methods.fast_scnn:FastSCNN",
        "GCNet": "intarsia.methods.golden_cudgel:GoldenCudgelNet",
        "HFBackbone": "intarsia.backbones.hf:HFBackbone",
        "HRNet": "intarsia.backbones.hrnet:HRNet",
        "ICNet": "intarsia.methods.icnet:ICNet",
        "MAE": "intarsia.backbones.mae:MAE",
        "MSCAN": "intarsia.methods.segnext:MSCAN",
        "MixVisionTransformer": "intarsia.backbones.mit:MixVisionTransformer",
        "MobileNetV2": "intarsia.backbones.mobilenet_v2:MobileNetV2",
        "MobileNetV3": "intarsia.methods.mobilenet_v3:MobileNetV3",
        "PCPVT": "intarsia.backbones.twins:PCPVT",
        "PIDNet": "intarsia.methods.pidnet:PIDNet",
        "PlainConvEncoder": "intarsia.methods.nnunet:PlainConvEncoder",
        "PoolFormer": "intarsia.backbones.poolformer:PoolFormer",
        "RegSeg": "intarsia.methods.regseg:RegSeg",
        "ResNeSt": "intarsia.backbones.resnest:ResNeSt",
        "ResNeXt": "intarsia.backbones.resnet:ResNeXt",
        "ResNet": "intarsia.backbones.resnet:ResNet",
        "ResNetV1c": "intarsia.backbones.resnet:ResNetV1c",
        "ResNetV1d": "intarsia.backbones.resnet:ResNetV1d",
        "ResidualEncoder": "intarsia.methods.nnunet:ResidualEncoder",
        "SCTNet": "intarsia.methods.sctnet:SCTNet",
        "STDCContextPathNet": "intarsia.methods.stdc:STDCContextPathNet",
        "STDCNet": "intarsia.methods.stdc:STDCNet",
        "SVT": "intarsia.backbones.twins:SVT",
        "SwinTransformer": "intarsia.backbones.swin:SwinTransformer",
        "TIMM": "intarsia.backbones.timm:TIMM",
        "TIMMBackbone": "intarsia.backbones.timm:TIMM",
        "UNet": "intarsia.methods.unet:UNet",
        "VPD": "intarsia.methods.vpd:VPD",
        "ViTAdapter": "intarsia.backbones.vit_adapter:ViTAdapter",
        "VisionTransformer": "intarsia.backbones.vit:VisionTransformer",
    },
    "neck": {
        "FPN": "intarsia.necks.fpn:FPN",
        "Feature2Pyramid": "intarsia.necks.feature2pyramid:Feature2Pyramid",
        "ICNeck": "intarsia.methods.icnet:ICNeck",
        "JPU": "intarsia.necks.jpu:JPU",
        "MLANeck": "intarsia.methods.setr:MLANeck",
        "MultiLevelNeck": "intarsia.necks.multi_level:MultiLevelNeck",
        "SimpleFeaturePyramid": "intarsia.necks.simple_feature_pyramid:SimpleFeaturePyramid",
    },
    "head": {
        "ANNHead": "intarsia.methods.ann:ANNHead",
        "APCHead": "intarsia.methods.apcnet:APCHead",
        "ASPPHead": "intarsia.methods.deeplabv3:ASPPHead",
        "CCHead": "intarsia.methods.ccnet:CCHead",
        "DAHead": "intarsia.methods.danet:DAHead",
        "DDRHead": "intarsia.methods.ddrnet:DDRHead",
        "DMHead": "intarsia.methods.dmnet:DMHead",
        "DNLHead": "intarsia.methods.dnlnet:DNLHead",
        "DPTHead": "intarsia.methods.dpt:DPTHead",
        "DepthwiseSeparableASPPHead": "intarsia.methods.deeplabv3plus:DepthwiseSeparableASPPHead",
        "DepthwiseSeparableFCNHead": "intarsia.methods.fast_scnn:DepthwiseSeparableFCNHead",
        "EMAHead": "intarsia.methods.emanet:EMAHead",
        "EfficientViTHead": "intarsia.methods.efficientvit:EfficientViTHead",
        "EncHead": "intarsia.methods.encnet:EncHead",
        "EoMTHead": "intarsia.methods.eomt:EoMTHead",
        "FCNHead": "intarsia.methods.fcn:FCNHead",
        "FPNHead": "intarsia.methods.semantic_fpn:FPNHead",
        "GCHead": "intarsia.methods.gcnet:GCHead",
        "GCNetHead": "intarsia.methods.golden_cudgel:GoldenCudgelHead",
        "ISAHead": "intarsia.methods.isanet:ISAHead",
        "ImageClassHead": "intarsia.methods.image_class_head:ImageClassHead",
        "IterativeDecodeHead": "intarsia.methods.knet:IterativeDecodeHead",
        "LRASPPHead": "intarsia.methods.mobilenet_v3:LRASPPHead",
        "LightHamHead": "intarsia.methods.segnext:LightHamHead",
        "LinearHead": "intarsia.methods.linear_head:LinearHead",
        "LinknetHead": "intarsia.methods.linknet:LinknetHead",
        "MANetHead": "intarsia.methods.manet:MANetHead",
        "Mask2FormerHead": "intarsia.methods.mask2former:Mask2FormerHead",
        "MaskFormerHead": "intarsia.methods.maskformer:MaskFormerHead",
        "NLHead": "intarsia.methods.nonlocal_net:NLHead",
        "NNUNetHead": "intarsia.methods.nnunet:NNUNetHead",
        "OCRHead": "intarsia.methods.ocrnet:OCRHead",
        "PANHead": "intarsia.methods.pan:PANHead",
        "PIDHead": "intarsia.methods.pidnet:PIDHead",
        "PPLiteSegHead": "intarsia.methods.ppliteseg:PPLiteSegHead",
        "PSAHead": "intarsia.methods.psanet:PSAHead",
        "PSPHead": "intarsia.methods.pspnet:PSPHead",
        "PMTHead": "intarsia.methods.pmt:PMTHead",
        "PointHead": "intarsia.methods.point_rend:PointHead",
        "RegSegHead": "intarsia.methods.regseg:RegSegHead",
        "SCTHead": "intarsia.methods.sctnet:SCTHead",
        "SETRMLAHead": "intarsia.methods.setr:SETRMLAHead",
        "SETRUPHead": "intarsia.methods.setr:SETRUPHead",
        "STDCHead": "intarsia.methods.stdc:STDCHead",
        "SegformerHead": "intarsia.methods.segformer:SegformerHead",
        "SegmenterMaskTransformerHead": "intarsia.methods.segmenter:SegmenterMaskTransformerHead",
        "SideAdapterCLIPHead": "intarsia.methods.san:SideAdapterCLIPHead",
        "SmpASPPHead": "intarsia.methods.smp_deeplab:SmpASPPHead",
        "SmpDPTHead": "intarsia.methods.smp_dpt:SmpDPTHead",
        "SmpFPNHead": "intarsia.methods.smp_fpn:SmpFPNHead",
        "SmpPSPHead": "intarsia.methods.smp_pspnet:SmpPSPHead",
        "UNetHead": "intarsia.methods.unet_head:UNetHead",
        "UNetPlusPlusHead": "intarsia.methods.unetplusplus:UNetPlusPlusHead",
        "UPerHead": "intarsia.methods.upernet:UPerHead",
        "VPDDepthHead": "intarsia.methods.vpd:VPDDepthHead",
        "VWCityHead": "intarsia.methods.vwformer:VWCityHead",
        "VWHead": "intarsia.methods.vwformer:VWHead",
    },
    "observer": {
        "TensorBoard": "intarsia.engine.callbacks.tensorboard:TensorBoard",
        "WandB": "intarsia.engine.callbacks.wandb:WandB",
    },
    "head_part": {
        "KernelUpdateHead": "intarsia.methods.knet:KernelUpdateHead",
        "KernelUpdator": "intarsia.methods.knet:KernelUpdator",
    },
    "classifier": {"OffsetClassifier": "intarsia.methods.offset_learning:offset_classified"},
    "text_encoder": {"CLIPTextEncoder": "intarsia.backbones.clip_text:CLIPTextEncoder"},
    "norm": {"Norm": "intarsia.layers.norm:Norm"},
    "activation": {"Activation": "intarsia.layers.activation:Activation"},
    "loss": {
        "BatchDiceLoss": "intarsia.losses.batch_dice:BatchDiceLoss",
        "BoundaryLoss": "intarsia.losses.boundary:BoundaryLoss",
        "CrossEntropyLoss": "intarsia.losses.cross_entropy:CrossEntropyLoss",
        "DiceLoss": "intarsia.losses.dice:DiceLoss",
        "EachClass": "intarsia.losses.each_class:EachClass",
        "FocalLoss": "intarsia.losses.focal:FocalLoss",
        "HausdorffDistanceLoss": "intarsia.losses.hausdorff:HausdorffDistanceLoss",
        "HuasdorffDisstanceLoss": "intarsia.losses.hausdorff:HausdorffDistanceLoss",
        "KLDivLoss": "intarsia.losses.kl_divergence:KLDivLoss",
        "LovaszLoss": "intarsia.losses.lovasz:LovaszLoss",
        "MatthewsLoss": "intarsia.losses.matthews:MatthewsLoss",
        "OhemCrossEntropy": "intarsia.losses.ohem:OhemCrossEntropy",
        "OverlapLoss": "intarsia.losses.overlap:OverlapLoss",
        "RightAnswers": "intarsia.losses.each_class:RightAnswers",
        "SiLogLoss": "intarsia.losses.silog:SiLogLoss",
        "TverskyLoss": "intarsia.losses.tversky:TverskyLoss",
    },
    "objective": {
        "SetCriterion": "intarsia.losses.set_criterion:SetCriterion",
    },
    "sampler": {
        "OHEMPixelSampler": "intarsia.losses.ohem:OHEMPixelSampler",
    },
    "target": {
        "ClassesPresent": "intarsia.methods.encnet:ClassesPresent",
        "DetailMap": "intarsia.methods.stdc:DetailMap",
        "EdgeMap": "intarsia.methods.pidnet:EdgeMap",
        "LabelsAtEdges": "intarsia.methods.pidnet:LabelsAtEdges",
    },
    "dataset": {
        "ADE20KDataset": "intarsia.data.datasets.ade20k:ADE20KDataset",
        "BDD100KDataset": "intarsia.data.datasets.streets:BDD100KDataset",
        "BaseCDDataset": "intarsia.data.datasets.change:BaseCDDataset",
        "BaseSegDataset": "intarsia.data.datasets.folder:FolderDataset",
        "COCOStuffDataset": "intarsia.data.datasets.coco_stuff:COCOStuffDataset",
        "ChaseDB1Dataset": "intarsia.data.datasets.retina:ChaseDB1Dataset",
        "CityscapesDataset": "intarsia.data.datasets.cityscapes:CityscapesDataset",
        "ClassBalancedDataset": "intarsia.data.datasets.wrappers:ClassBalancedDataset",
        "ConcatDataset": "intarsia.data.datasets.wrappers:ConcatDataset",
        "DRIVEDataset": "intarsia.data.datasets.retina:DRIVEDataset",
        "DSDLSegDataset": "intarsia.data.datasets.dsdl:DSDLSegDataset",
        "DarkZurichDataset": "intarsia.data.datasets.streets:DarkZurichDataset",
        "DecathlonDataset": "intarsia.data.datasets.decathlon:DecathlonDataset",
        "DescribedDataset": "intarsia.data.datasets.described:DescribedDataset",
        "FolderDataset": "intarsia.data.datasets.folder:FolderDataset",
        "HRFDataset": "intarsia.data.datasets.retina:HRFDataset",
        "ISPRSDataset": "intarsia.data.datasets.aerial:ISPRSDataset",
        "LEVIRCDDataset": "intarsia.data.datasets.change:LEVIRCDDataset",
        "LIPDataset": "intarsia.data.datasets.people:LIPDataset",
        "LoveDADataset": "intarsia.data.datasets.aerial:LoveDADataset",
        "MapillaryDataset_v1": "intarsia.data.datasets.mapillary:MapillaryDataset_v1",
        "MapillaryDataset_v2": "intarsia.data.datasets.mapillary:MapillaryDataset_v2",
        "MultiImageMixDataset": "intarsia.data.datasets.wrappers:MultiImageMixDataset",
        "NightDrivingDataset": "intarsia.data.datasets.streets:NightDrivingDataset",
        "PascalContextDataset": "intarsia.data.datasets.pascal_context:PascalContextDataset",
        "PascalContextDataset59": "intarsia.data.datasets.pascal_context:PascalContextDataset59",
        "NYUDataset": "intarsia.data.datasets.nyu:NYUDataset",
        "PascalVOCDataset": "intarsia.data.datasets.pascal_voc:PascalVOCDataset",
        "PotsdamDataset": "intarsia.data.datasets.aerial:PotsdamDataset",
        "REFUGEDataset": "intarsia.data.datasets.retina:REFUGEDataset",
        "RepeatDataset": "intarsia.data.datasets.wrappers:RepeatDataset",
        "STAREDataset": "intarsia.data.datasets.retina:STAREDataset",
        "SynapseDataset": "intarsia.data.datasets.synapse:SynapseDataset",
        "iSAIDDataset": "intarsia.data.datasets.aerial:iSAIDDataset",
    },
    "label_table": {"LabelTable": "intarsia.data.labels:LabelTable"},
    "transform": {
        "AdjustGamma": "intarsia.data.transforms.values:AdjustGamma",
        "Albu": "intarsia.data.transforms.albu:Albu",
        "BioMedical3DPad": "intarsia.data.transforms.volumes:BioMedical3DPad",
        "BioMedical3DRandomCrop": "intarsia.data.transforms.volumes:BioMedical3DRandomCrop",
        "BioMedical3DRandomFlip": "intarsia.data.transforms.volumes:BioMedical3DRandomFlip",
        "BioMedicalGaussianBlur": "intarsia.data.transforms.noise:BioMedicalGaussianBlur",
        "BioMedicalGaussianNoise": "intarsia.data.transforms.noise:BioMedicalGaussianNoise",
        "BioMedicalRandomGamma": "intarsia.data.transforms.noise:BioMedicalRandomGamma",
        "ByDataset": "intarsia.data.transforms.by_dataset:ByDataset",
        "CLAHE": "intarsia.data.transforms.values:CLAHE",
        "ClassMix": "intarsia.data.transforms.mixing:ClassMix",
        "CoarseDropout": "intarsia.data.transforms.cutout:CoarseDropout",
        "CopyPaste": "intarsia.data.transforms.mixing:CopyPaste",
        "CutMix": "intarsia.data.transforms.mixing:CutMix",
        "ElasticTransform": "intarsia.data.transforms.elastic:ElasticTransform",
        "GaussianBlur": "intarsia.data.transforms.blur:GaussianBlur",
        "GaussianNoise": "intarsia.data.transforms.degrade:GaussianNoise",
        "GenerateEdge": "intarsia.data.transforms.edges:GenerateEdge",
        "GridDistortion": "intarsia.data.transforms.elastic:GridDistortion",
        "JpegCompression": "intarsia.data.transforms.degrade:JpegCompression",
        "LimitedContrast": "intarsia.data.transforms.intensity:LimitedContrast",
        "LoadBiomedicalAnnotation": "intarsia.data.transforms.load_volumes:LoadBiomedicalAnnotation",
        "LoadBiomedicalData": "intarsia.data.transforms.load_volumes:LoadBiomedicalData",
        "LoadBiomedicalImageFromFile": "intarsia.data.transforms.load_volumes:LoadBiomedicalImageFromFile",
        "LowResolution": "intarsia.data.transforms.intensity:LowResolution",
        "MotionBlur": "intarsia.data.transforms.blur:MotionBlur",
        "MultiplicativeBrightness": "intarsia.data.transforms.intensity:MultiplicativeBrightness",
        "Pad": "intarsia.data.transforms.geometry:Pad",
        "PhotoMetricDistortion": "intarsia.data.transforms.colour:PhotoMetricDistortion",
        "PoissonNoise": "intarsia.data.transforms.degrade:PoissonNoise",
        "RGB2Gray": "intarsia.data.transforms.values:RGB2Gray",
        "RandAugment": "intarsia.data.transforms.rand_augment:RandAugment",
        "RandomAffine": "intarsia.data.transforms.affine:RandomAffine",
        "RandomBrightnessContrast": "intarsia.data.transforms.brightness:RandomBrightnessContrast",
        "RandomChoiceResize": "intarsia.data.transforms.resize:RandomChoiceResize",
        "RandomColorJitter": "intarsia.data.transforms.jitter:RandomColorJitter",
        "RandomCrop": "intarsia.data.transforms.geometry:RandomCrop",
        "RandomCutOut": "intarsia.data.transforms.cutout:RandomCutOut",
        "RandomDepthMix": "intarsia.data.transforms.depth:RandomDepthMix",
        "RandomFlip": "intarsia.data.transforms.geometry:RandomFlip",
        "RandomMosaic": "intarsia.data.transforms.mosaic:RandomMosaic",
        "RandomPatch": "intarsia.data.transforms.patch:RandomPatch",
        "ResampleToSpacing": "intarsia.data.transforms.spacing:ResampleToSpacing",
        "PadAround": "intarsia.data.transforms.spacing:PadAround",
        "RandomPerspective": "intarsia.data.transforms.affine:RandomPerspective",
        "RandomResize": "intarsia.data.transforms.resize:RandomResize",
        "RandomRotFlip": "intarsia.data.transforms.rotate:RandomRotFlip",
        "RandomRotate": "intarsia.data.transforms.rotate:RandomRotate",
        "RandomScale": "intarsia.data.transforms.scale:RandomScale",
        "RedrawUnlabelled": "intarsia.data.transforms.redraw:RedrawUnlabelled",
        "Rerange": "intarsia.data.transforms.values:Rerange",
        "Resize": "intarsia.data.transforms.resize:Resize",
        "ResizeShortestEdge": "intarsia.data.transforms.resize:ResizeShortestEdge",
        "ResizeToMultiple": "intarsia.data.transforms.resize:ResizeToMultiple",
        "SegRescale": "intarsia.data.transforms.scale:SegRescale",
    },
    "metric": {
        "CityscapesMetric": "intarsia.metrics.cityscapes:CityscapesMetric",
        "DepthMetric": "intarsia.metrics.depth:DepthMetric",
        "Evaluator": "intarsia.metrics.several:Evaluator",
        "IoUMetric": "intarsia.metrics.iou:IoUMetric",
        "MultiLabelMetric": "intarsia.metrics.multi_label:MultiLabelMetric",
    },
    "optimizer": {
        "ASGD": "torch.optim:ASGD",
        "Adadelta": "torch.optim:Adadelta",
        "Adafactor": "torch.optim:Adafactor",
        "Adagrad": "torch.optim:Adagrad",
        "Adam": "torch.optim:Adam",
        "AdamW": "torch.optim:AdamW",
        "Adamax": "torch.optim:Adamax",
        "Muon": "torch.optim:Muon",
        "NAdam": "torch.optim:NAdam",
        "RAdam": "torch.optim:RAdam",
        "RMSprop": "torch.optim:RMSprop",
        "Rprop": "torch.optim:Rprop",
        "SGD": "torch.optim:SGD",
    },
    "constructor": {
        "DefaultOptimWrapperConstructor": "intarsia.engine.optim.param_groups:by_rules",
        "DefaultOptimizerConstructor": "intarsia.engine.optim.param_groups:by_rules",
        "ForceDefaultOptimWrapperConstructor": "intarsia.engine.optim.param_groups:by_forced_rules",
        "LayerDecayOptimizerConstructor": "intarsia.engine.optim.param_groups:by_depth",
        "LayerWiseDecay": "intarsia.engine.optim.layer_decay:by_any_depth",
        "LearningRateDecayOptimizerConstructor": "intarsia.engine.optim.param_groups:by_depth",
    },
}
"""kind -> name -> "module:attribute"."""

MASK_HEADS = frozenset({"EoMTHead", "Mask2FormerHead", "MaskFormerHead", "PMTHead", "SideAdapterCLIPHead"})
"""Heads that classify masks: they have one class more, for a mask that shows nothing."""

OWN_LABELS = frozenset({"STDCHead"})
"""Heads that learn something else than the classes, such as details; their num_classes is not that of the data."""

REFUSED: dict[str, dict[str, str]] = {
    "optimizer": {
        "LBFGS": "it evaluates the loss several times per step, which is no step of stochastic training",
        "SparseAdam": "it takes sparse gradients only, and no layer here gives those",
    },
}
"""Names that mean something elsewhere and cannot be used here: kind -> name -> why."""

_OWN_PART = {
    "dataset": "A data set of your own needs no class: write type='BaseSegDataset' with metainfo=dict(classes=..., "
    "palette=...), or train with --data DIR.",
    "": "Your own {kind} can be named by its import path: type='mypackage.module:{name}', with --trust mypackage.",
}
"""How to get a part that is in no table."""

_registered: dict[tuple[str, str], Any] = {}
_IMPORT_PATH = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", re.ASCII)
_SHOWN = 100
"""Letters of an unknown name that a message repeats."""


class UnknownPartError(ValueError):
    """A name that is in no table. `suggestions` holds the nearest ones; `why` says more than that."""

    def __init__(self, kind: str, name: str, why: str = "") -> None:
        self.kind, self.name = kind, name
        written, bare = repr(name[:_SHOWN]), _bare(name)
        self.suggestions = difflib.get_close_matches(bare, names(kind), n=3, cutoff=0.6)
        if why or bare in REFUSED.get(kind, {}):
            message = f"the {kind} {written} cannot be used: {why or REFUSED[kind][bare]}"
        else:
            message = f"unknown {kind} {written}"
            if self.suggestions:
                message += f"; did you mean {' or '.join(map(repr, self.suggestions))}?"
            own = _OWN_PART.get(kind, _OWN_PART[""]).format(kind=kind, name=bare[:_SHOWN] or "Name")
            message += f" {own}"
        super().__init__(message)


def _bare(name: str) -> str:
    for scope in SCOPES:
        if name.startswith(scope):
            return name[len(scope) :]
    return name


def kinds() -> tuple[str, ...]:
    """All kinds of parts."""
    return tuple(TABLE)


def names(kind: str) -> list[str]:
    """All names of a kind, the user's own included, sorted."""
    own = {name for k, name in _registered if k == kind}
    return sorted({*TABLE.get(kind, {}), *own, *_entry_points().get(kind, {})})


def is_known(kind: str, name: str) -> bool:
    """Whether a name means a part of the catalogue."""
    return _bare(name) in names(kind)


def register(kind: str, name: str | None = None) -> Callable[[T], T]:
    """Decorator that adds a user's own class or function to the catalogue.

    Raises ValueError if there is no such kind, or the name is taken by something else.
    """
    if kind not in TABLE:
        raise ValueError(f"unknown kind of part {kind!r}; the kinds are {', '.join(TABLE)}")

    def add(part: T) -> T:
        key = (kind, name or part.__name__)
        taken = _registered.get(key) or TABLE[kind].get(key[1])
        if taken is not None and taken is not part:
            raise ValueError(f"{kind} {key[1]!r} is already {taken!r}; register yours under another name")
        _registered[key] = part
        return part

    return add


def locate(kind: str, name: str) -> str:
    """The "module:attribute" of a part, without importing it. Raises UnknownPartError."""
    bare = _bare(name)
    own = _registered.get((kind, bare))
    if own is not None:
        return f"{own.__module__}:{own.__qualname__}"
    if ":" in name:
        if len(name) > consent.LONGEST or not _IMPORT_PATH.fullmatch(name):
            raise UnknownPartError(kind, name, "an import path is 'package.module:Name'")
        return name
    found = TABLE.get(kind, {}).get(bare) or _entry_points().get(kind, {}).get(bare)
    if found is None:
        raise UnknownPartError(kind, name)
    return found


def module_to_trust(kind: str, name: str) -> str | None:
    """The module that a name asks for by its import path; None for a name of the catalogue, and for no name at all."""
    if ":" not in name or (kind, _bare(name)) in _registered or name in _entry_points().get(kind, {}).values():
        return None
    return name.partition(":")[0]


def is_declared(module: str) -> bool:
    """Whether an installed package declares a part in this very module, which may therefore be imported."""
    return any(value.partition(":")[0] == module for parts in _entry_points().values() for value in parts.values())


def resolve(kind: str, name: str) -> Any:
    """The class or function of a part; imports its module.

    Raises UnknownPartError, ConsentError for an import path to code that nobody has agreed to run or that is no part
    of this kind, ImportError with its name.
    """
    own = _registered.get((kind, _bare(name)))
    if own is not None:
        return own
    module_name, _, attribute = locate(kind, name).partition(":")
    asked = module_to_trust(kind, name)
    if asked is not None:
        consent.require(asked)
        consent.look_here()
    part: Any = importlib.import_module(module_name)
    for step in attribute.split("."):
        if not hasattr(part, step):
            raise UnknownPartError(kind, name, f"{module_name} has no {attribute!r} in the version that is installed")
        part = getattr(part, step)
    if asked is not None and not any(part is own for (of, _), own in _registered.items() if of == kind):
        consent.require_part(kind, part, module_name, attribute)
    return part


@cache
def _entry_points() -> dict[str, dict[str, str]]:
    """What installed packages declare. A package that merely lies in the folder of the command is not installed."""
    from importlib.metadata import entry_points  # slower to load than all recipes together

    found: dict[str, dict[str, str]] = {}
    here = Path.cwd().resolve()
    for point in entry_points(group="intarsia.parts"):
        if point.dist is not None and Path(str(point.dist.locate_file(""))).resolve() == here:
            continue
        kind, _, name = point.name.partition(".")
        found.setdefault(kind, {})[name] = f"{point.module}:{point.attr}"
    return found
