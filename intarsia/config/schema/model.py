"""The vocabulary of models: assembly, preprocessing, heads, losses, start weights."""

from __future__ import annotations

from intarsia.config.schema.fates import Area, nothing, refused, to
from intarsia.config.schema.notation import DICT, OPTIONAL, SCOPE, TYPE

MODEL_AREAS: dict[str, Area] = {
    "data_preprocessor": SCOPE
    | {
        "type": TYPE,
        "mean": to("preprocess.mean", "Sequence[float] | None"),
        "std": to("preprocess.std", "Sequence[float] | None"),
        "bgr_to_rgb": to("preprocess.channel_order", "bool"),
        "rgb_to_bgr": to("preprocess.channel_order", "bool"),
        "pad_val": to("preprocess.pad_value", "float"),
        "seg_pad_val": to("preprocess.label_pad_value", "int"),
        "size": to("preprocess.train_size", "tuple[int, int] | None"),
        "size_divisor": to("preprocess.train_size_divisor", "int | None"),
        "test_cfg": to("preprocess.eval_size, preprocess.eval_size_divisor", OPTIONAL),
        "batch_augments": to("transforms of train, preprocess.train_size", "dict | list[dict] | None"),
        "non_blocking": nothing("batches always travel to the device in the background"),
    },
    "batch_augments": {
        "augments": to("as one of batch_augments", "dict | list[dict]"),
        "probs": to("the chance that it is applied", "float | Sequence[float] | None"),
    },
    "batch_augments: CutMix": SCOPE
    | {
        "type": TYPE,
        "alpha": to("argument `alpha` of the transform", "float"),
        "cutmix_minmax": to("argument `sides` of the transform", "tuple[float, float] | None"),
        "correct_lam": nothing("labels are of pixels and have no shares"),
        "num_classes": nothing("labels are of pixels and have no shares"),
    },
    "batch_augments: BatchFixedSizePad": SCOPE
    | {
        "type": TYPE,
        "size": to("preprocess.train_size", "tuple[int, int]"),
        "img_pad_value": to("nothing: it is pad_val, or refused", "float"),
        "pad_mask": nothing("masks of objects are made of labels"),
        "mask_pad_value": nothing("masks of objects are made of labels"),
        "pad_seg": nothing("labels are always padded with their images"),
        "seg_pad_value": to("nothing: it is seg_pad_val, or refused", "int"),
    },
    "data_preprocessor.test_cfg": {
        "size": to("preprocess.eval_size", "tuple[int, int] | None"),
        "size_divisor": to("preprocess.eval_size_divisor", "int | None"),
    },
    "model": SCOPE
    | {
        "type": TYPE,
        "data_preprocessor": to("preprocess", OPTIONAL),
        "decode_head": to("model argument `decode_head`; its losses to losses", "dict | list[dict]"),
        "auxiliary_head": to("model argument `auxiliary_head`; its losses to losses", "dict | list[dict] | None"),
        "pretrained": to("pretrained", "str | None"),
        "init_cfg": to("load_from, where the config has none; parts then start from nothing else", OPTIONAL),
        "train_cfg": to("arguments of the last decode head", OPTIONAL),
        "test_cfg": to("inference; arguments of the last decode head", OPTIONAL),
        "num_stages": nothing("the list of decode heads has its length"),
    },
    "model.train_cfg": {
        "sampler": refused("the sampler of pixels belongs to the head", None),
        "num_points": to("argument of the last decode head", "int"),
        "oversample_ratio": to("argument of the last decode head", "float"),
        "importance_sample_ratio": to("argument of the last decode head", "float"),
    },
    "model.test_cfg": {
        "mode": to("inference.mode", "Literal['whole', 'slide', 'slide_flip', 'slide_even']"),
        "crop_size": to("inference.crop_size", "int | tuple[int, int] | None"),
        "stride": to("inference.stride", "int | tuple[int, int] | None"),
        "blend": to("inference.blend", "Literal['average', 'gaussian', 'linear']"),
        "mirror": to("inference.mirror: windows of the sliding modes in four ways each", "bool"),
        "scale_factor": to("argument of the last decode head", "int"),
        "subdivision_steps": to("argument of the last decode head", "int"),
        "subdivision_num_points": to("argument of the last decode head", "int"),
    },
    "head": SCOPE
    | {
        "type": to("what it is"),
        "loss_decode": to("losses", "dict | list[dict]"),
        "ignore_index": to("losses.ignore_index", "int"),
        "sampler": to("losses.sampler", OPTIONAL),
        "num_classes": to("argument `num_classes` (number of logits), inference.num_classes", "int"),
        "out_channels": to("argument `num_classes` (number of logits)", "int | None"),
        "threshold": to("inference.threshold", "float | None"),
        "align_corners": to("argument `align_corners`, losses.align_corners, inference.align_corners", "bool"),
        "dropout_ratio": to("argument `dropout_ratio`; -1 means 0", "float"),
        "train_cfg": to("argument `training`", OPTIONAL),
        "test_cfg": to("argument `inference`", OPTIONAL),
        "loss_se_decode": to("losses: of the classes that an image shows", DICT),
        "boundary_threshold": to("losses: from where on something is a detail", "float"),
        "classifier": to("another last layer than a convolution", OPTIONAL),
        "kernel_generate_head": to("argument `kernel_generate_head`; its losses to losses", DICT),
    },
    "HRNet: extra": {
        f"stage{number}": to("arguments `channels`, `num_blocks`, `num_modules`", DICT) for number in range(1, 5)
    },
    "HRNet: a stage of extra": {
        "num_channels": to("argument `channels`", "Sequence[int]"),
        "num_blocks": to("argument `num_blocks`", "Sequence[int]"),
        "num_modules": to("argument `num_modules`", "int"),
        "num_branches": nothing("num_channels has one entry for each"),
        "block": to("nothing: it is 'BOTTLENECK' in the first stage and 'BASIC' in the others, or refused", "str"),
    },
    "KernelUpdateHead: feat_transform_cfg": {
        "act_cfg": to("nothing: it is None, since no activation follows, or refused", "None"),
        "conv_cfg": refused("the layer is an ordinary convolution", None, {"type": "Conv2d"}),
        "kernel_size": refused("pixels are transformed one by one", 1),
        "norm_cfg": refused("no norm follows", None),
    },
    "LightHamHead: ham_kwargs": {
        "MD_R": to("argument `num_bases`", "int"),
        "MD_S": refused("all channels are factorised together", 1),
        "train_steps": to("argument `train_steps`", "int"),
        "eval_steps": to("argument `eval_steps`", "int"),
        "inv_t": nothing("the original puts 1 in its place"),
        "rand_init": refused("bases begin at random", True),
    },
    "STDCContextPathNet: ffm_cfg": {
        "in_channels": to("argument `ffm_in_channels`", "int"),
        "out_channels": to("argument `ffm_out_channels`", "int"),
        "scale_factor": to("argument `ffm_scale_factor`", "int"),
    },
    "UNet: upsample_cfg": {
        "type": to("argument `upsample`", "str"),
        "kernel_size": to("argument `upsample_kernel_size`", "int"),
        "scale_factor": refused("a step of a UNet halves and doubles", 2),
        "stride": refused("the convolution keeps the size of the map", 1),
        "padding": to("nothing: it is half of kernel_size, or refused", "int"),
        "conv_first": to("argument `upsample_conv_first`", "bool"),
        "upsample_cfg": to("argument `upsample_align_corners`", "dict"),
    },
    "UNet: upsample_cfg of upsample_cfg": {
        "scale_factor": refused("a step of a UNet halves and doubles", 2),
        "mode": refused("maps are resized bilinearly", "bilinear"),
        "align_corners": to("argument `upsample_align_corners`", "bool"),
    },
    "loss": SCOPE
    | {
        "type": to("what it is"),
        "loss_weight": to("losses.weights", "float"),
        "loss_name": to("losses.names", "str"),
    },
    "init_cfg": {
        "type": TYPE,
        "checkpoint": to("pretrained", "str"),
        "prefix": to("pretrained, after a #", "str | None"),
        "map_location": nothing("weights are read on the CPU"),
    },
}
