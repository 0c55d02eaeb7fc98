"""Small configs that are right, and between them have a `type` in every place that there is."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

Values = dict[str, Any]

WIDTH = 16
PREPROCESSOR: Values = {
    "type": "SegDataPreProcessor", "mean": [1.0, 2.0, 3.0], "std": [4.0, 5.0, 6.0], "bgr_to_rgb": True,
    "pad_val": 0, "seg_pad_val": 255, "size": (64, 64), "test_cfg": {"size_divisor": 32},
}  # fmt: skip
BN: Values = {"type": "BN", "requires_grad": True}
RESNET: Values = {
    "type": "ResNet", "depth": 18, "base_channels": 8, "stem_channels": 8, "norm_cfg": BN,
    "out_indices": (0, 1, 2, 3), "init_cfg": {"type": "Pretrained", "checkpoint": "nowhere.pth"},
}  # fmt: skip
FCN: Values = {
    "type": "FCNHead", "in_channels": 64, "in_index": 3, "channels": 16, "num_convs": 1, "dropout_ratio": 0.0,
    "num_classes": 3, "norm_cfg": BN, "act_cfg": {"type": "ReLU"}, "align_corners": False,
    "loss_decode": {"type": "CrossEntropyLoss", "use_sigmoid": False, "loss_weight": 1.0},
}  # fmt: skip
EMPTY: Values = {"train_cfg": {}, "test_cfg": {"mode": "whole"}}


def pixels() -> Values:
    """One prediction per pixel, with a neck, auxiliary heads, a sampler of pixels and several losses."""
    decode = {
        **FCN, "in_channels": 8, "sampler": {"type": "OHEMPixelSampler", "thresh": 0.7, "min_kept": 10},
        "loss_decode": [
            {"type": "CrossEntropyLoss", "loss_name": "loss_ce", "loss_weight": 1.0},
            {"type": "FocalLoss", "loss_name": "loss_focal", "loss_weight": 1.0},
        ],
    }  # fmt: skip
    neck = {"type": "FPN", "in_channels": [8, 16, 32, 64], "out_channels": 8, "num_outs": 4, "norm_cfg": BN}
    auxiliary = [{**FCN, "in_channels": 8, "in_index": index} for index in (1, 2)]
    model = {"type": "EncoderDecoder", "backbone": RESNET, "neck": neck, "decode_head": decode}
    return run({**model, "auxiliary_head": auxiliary, **EMPTY})


def cascade() -> Values:
    """A head that refines what another one says, on a backbone of stages."""
    ocr = {
        "type": "OCRHead", "in_channels": [8, 16, 32, 64], "in_index": (0, 1, 2, 3), "input_transform": "resize_concat",
        "channels": 16, "ocr_channels": 8, "dropout_ratio": -1, "num_classes": 3, "norm_cfg": BN,
        "align_corners": False, "loss_decode": {"type": "OhemCrossEntropy", "thres": 0.9, "min_kept": 10},
    }  # fmt: skip
    model = {"type": "CascadeEncoderDecoder", "num_stages": 2, "backbone": RESNET, "decode_head": [FCN, ocr]}
    return run({**model, **EMPTY})


def kernels() -> Values:
    """K-Net: a head in a head, and parts in parts."""
    updator = {
        "type": "KernelUpdator", "in_channels": 16, "feat_channels": 16, "out_channels": 16,
        "act_cfg": {"type": "ReLU"}, "norm_cfg": {"type": "LN"},
    }  # fmt: skip
    update = {
        "type": "KernelUpdateHead", "num_classes": 3, "num_ffn_fcs": 2, "num_heads": 2, "num_mask_fcs": 1,
        "feedforward_channels": 16, "in_channels": 16, "out_channels": 16, "dropout": 0.0, "conv_kernel_size": 1,
        "ffn_act_cfg": {"type": "ReLU"}, "with_ffn": True, "kernel_updator_cfg": updator,
        "feat_transform_cfg": {"conv_cfg": {"type": "Conv2d"}, "act_cfg": None},
    }  # fmt: skip
    head = {
        "type": "IterativeDecodeHead", "num_stages": 2, "kernel_generate_head": FCN,
        "kernel_update_head": [update, deepcopy(update)],
    }  # fmt: skip
    return run({"type": "EncoderDecoder", "backbone": RESNET, "decode_head": head, **EMPTY})


def masks() -> Values:
    """Mask2Former: a network and its objective in dicts within dicts."""
    positions = {"type": "SinePositionalEncoding", "num_feats": WIDTH // 2, "normalize": True}
    attention = {"embed_dims": WIDTH, "num_heads": 2, "attn_drop": 0.0, "proj_drop": 0.0, "batch_first": True}
    perceptron = {
        "embed_dims": WIDTH, "feedforward_channels": 16, "num_fcs": 2, "ffn_drop": 0.0, "act_cfg": {"type": "ReLU"},
    }  # fmt: skip
    deformable = {"embed_dims": WIDTH, "num_heads": 2, "num_levels": 3, "num_points": 2, "dropout": 0.0}
    costs = [
        {"type": "mmdet.ClassificationCost", "weight": 2.0},
        {"type": "mmdet.CrossEntropyLossCost", "weight": 5.0, "use_sigmoid": True},
        {"type": "mmdet.DiceCost", "weight": 5.0, "pred_act": True, "eps": 1.0},
    ]
    head = {
        "type": "Mask2FormerHead", "in_channels": [8, 16, 32, 64], "num_classes": 3, "feat_channels": WIDTH,
        "out_channels": WIDTH, "num_queries": 4, "positional_encoding": positions,
        "pixel_decoder": {
            "type": "mmdet.MSDeformAttnPixelDecoder", "norm_cfg": {"type": "GN", "num_groups": 4},
            "act_cfg": {"type": "ReLU"}, "positional_encoding": positions,
            "encoder": {"num_layers": 1, "layer_cfg": {"self_attn_cfg": deformable, "ffn_cfg": perceptron}},
        },
        "transformer_decoder": {
            "num_layers": 1,
            "layer_cfg": {"self_attn_cfg": attention, "cross_attn_cfg": attention, "ffn_cfg": perceptron},
        },
        "loss_cls": {"type": "mmdet.CrossEntropyLoss", "loss_weight": 2.0, "class_weight": [1.0, 1.0, 1.0, 0.1]},
        "loss_mask": {"type": "mmdet.CrossEntropyLoss", "use_sigmoid": True, "loss_weight": 5.0},
        "loss_dice": {"type": "mmdet.DiceLoss", "naive_dice": True, "eps": 1.0, "loss_weight": 5.0},
        "train_cfg": {
            "num_points": 64, "assigner": {"type": "mmdet.HungarianAssigner", "match_costs": costs},
            "sampler": {"type": "mmdet.MaskPseudoSampler"},
        },
    }  # fmt: skip
    return run({"type": "EncoderDecoder", "backbone": RESNET, "decode_head": head, **EMPTY})


def contextual() -> Values:
    """A backbone with a backbone inside."""
    backbone = {
        "type": "BiSeNetV1", "in_channels": 3, "context_channels": (8, 16, 32), "spatial_channels": (8, 8, 8, 16),
        "out_indices": (0, 1, 2), "out_channels": 16, "norm_cfg": BN,
        "backbone_cfg": {**RESNET, "base_channels": 4},
    }  # fmt: skip
    model = {"type": "EncoderDecoder", "backbone": backbone, "decode_head": {**FCN, "in_channels": 16, "in_index": 0}}
    return run({**model, **EMPTY})


def run(model: Values) -> Values:
    """A whole run around a model."""
    load = {"type": "LoadImageFromFile", "imdecode_backend": "cv2"}
    annotations, pack = {"type": "LoadAnnotations"}, {"type": "PackSegInputs"}
    training = [
        load, annotations, {"type": "RandomResize", "scale": (128, 64), "ratio_range": (0.5, 2.0), "keep_ratio": True},
        {"type": "RandomCrop", "crop_size": (64, 64), "cat_max_ratio": 0.75}, {"type": "RandomFlip", "prob": 0.5},
        {"type": "PhotoMetricDistortion"}, pack,
    ]  # fmt: skip
    testing = [load, {"type": "Resize", "scale": (128, 64), "keep_ratio": True}, annotations, pack]
    folder = {
        "type": "BaseSegDataset", "data_root": "data", "metainfo": {"classes": ["a", "b", "c"]},
        "data_prefix": {"img_path": "images", "seg_map_path": "labels"}, "img_suffix": ".png",
        "seg_map_suffix": ".png",
    }  # fmt: skip
    several = {"type": "ConcatDataset", "datasets": [{**folder, "pipeline": training} for _ in range(2)]}
    augmented = {"type": "TestTimeAug", "transforms": [
        [{"type": "Resize", "scale_factor": 0.5, "keep_ratio": True}, {"type": "Resize", "scale": (64, 32)}],
        [{"type": "RandomFlip", "prob": 1.0}], [{"type": "LoadAnnotations"}], [{"type": "PackSegInputs"}],
    ]}  # fmt: skip
    values = {
        "default_scope": "mmseg",
        "model": {**model, "data_preprocessor": PREPROCESSOR},
        "train_dataloader": {
            "batch_size": 2, "num_workers": 0, "sampler": {"type": "InfiniteSampler", "shuffle": True},
            "dataset": {"type": "RepeatDataset", "times": 2, "dataset": several},
        },
        "val_dataloader": {
            "batch_size": 1, "num_workers": 0, "sampler": {"type": "DefaultSampler", "shuffle": False},
            "dataset": {**folder, "pipeline": testing},
        },
        "test_dataloader": {"batch_size": 1, "num_workers": 0, "dataset": {**folder, "pipeline": testing}},
        "val_evaluator": {"type": "IoUMetric", "iou_metrics": ["mIoU"]},
        "test_evaluator": {"type": "IoUMetric", "iou_metrics": ["mIoU"]},
        "optim_wrapper": {
            "type": "OptimWrapper", "optimizer": {"type": "SGD", "lr": 0.01}, "clip_grad": {"max_norm": 0.1},
            "constructor": "LayerDecayOptimizerConstructor",
            "paramwise_cfg": {"num_layers": 2, "decay_rate": 0.9},
        },
        "param_scheduler": [{"type": "PolyLR", "power": 0.9, "begin": 0, "end": 3, "by_epoch": False}],
        "train_cfg": {
            "type": "IterBasedTrainLoop", "max_iters": 3, "val_interval": 3, "dynamic_intervals": [(2, 1)],
        },
        "val_cfg": {"type": "ValLoop"},
        "test_cfg": {"type": "TestLoop"},
        "default_hooks": {
            "timer": {"type": "IterTimerHook"}, "logger": {"type": "LoggerHook", "interval": 1},
            "param_scheduler": {"type": "ParamSchedulerHook"}, "sampler_seed": {"type": "DistSamplerSeedHook"},
            "checkpoint": {"type": "CheckpointHook", "interval": 3, "by_epoch": False, "save_best": "mIoU"},
            "visualization": {"type": "SegVisualizationHook"},
        },
        "custom_hooks": [
            {"type": "EMAHook"}, {"type": "EarlyStoppingHook", "monitor": "mIoU"}, {"type": "TensorBoard"},
        ],
        "visualizer": {
            "type": "SegLocalVisualizer", "name": "visualizer",
            "vis_backends": [{"type": "LocalVisBackend"}, {"type": "TensorboardVisBackend"}],
        },
        "tta_model": {"type": "SegTTAModel"},
        "tta_pipeline": [{"type": "LoadImageFromFile"}, {"type": "Resize", "scale": (128, 64)}, augmented],
        "env_cfg": {"cudnn_benchmark": False, "mp_cfg": {"mp_start_method": "fork"}, "dist_cfg": {"backend": "nccl"}},
        "model_wrapper_cfg": {"type": "MMDistributedDataParallel"},
        "log_processor": {"by_epoch": False},
    }  # fmt: skip
    return deepcopy(values)


ALL = {made.__name__: made for made in (pixels, cascade, kernels, masks, contextual)}
