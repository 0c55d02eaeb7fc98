"""What the configuration language knows beside its keys: hooks, benchmarks, other spellings."""

from __future__ import annotations

from intarsia.config.schema.fates import Fate, nothing, refused, to

# --- Hooks, loops -------------------------------------------------------------------------------------------------

HOOKS: dict[str, Fate] = {
    "CheckpointHook": to("checkpoint"),
    "LoggerHook": to("log_every"),
    "SegVisualizationHook": to("safeguards.draw_every: pictures at every evaluation, where it draws"),
    "IterTimerHook": nothing("the loop always takes its time"),
    "RuntimeInfoHook": nothing("the loop always logs step, loss and learning rate"),
    "ParamSchedulerHook": nothing("the learning rate is a function of the step"),
    "DistSamplerSeedHook": nothing("the order of samples is a function of the seed"),
    "EmptyCacheHook": nothing("changes no result; the allocator gives memory back when it must"),
    "EMAHook": to("ema"),
    "EarlyStoppingHook": to("early_stop"),
    "SyncBuffersHook": to("runtime.average_statistics"),
    "ProfilerHook": nothing("changes no result; no profile is written"),
    "NPUProfilerHook": nothing("changes no result; no profile is written"),
    "NaiveVisualizationHook": nothing("pictures are drawn by `intarsia predict`"),
    "MemoryProfilerHook": nothing("changes no result; doctor and log say how much memory there is"),
    "PrepareTTAHook": nothing("augmentation at test time is chosen when evaluating: `intarsia eval --augment`"),
}
"""Hook of MMEngine -> what becomes of it. A hook of one's own is an observer (`intarsia.engine.callbacks.base`)."""

ONE_CLASS = "a pixel has one class, and images that are added up have none; CutMix keeps every pixel's label"
ONE_SIZE = "batches have the size of their crops; RandomResize before RandomCrop changes the scale of every image"

BATCH_AUGMENTS: dict[str, Fate] = {
    "CutMix": to("the last transform of train: `CutMix`, by whose chance a sample is mixed with any other"),
    "BatchFixedSizePad": to("preprocess.train_size"),
    "Mixup": refused(ONE_CLASS),
    "ResizeMix": refused("a rectangle of another image is not made smaller; CutMix takes it as it is"),
    "BatchResize": refused(ONE_SIZE),
    "BatchSyncRandomResize": refused(ONE_SIZE),
}
"""Augmentation of batches of MMPretrain and MMDetection -> what becomes of it."""

NOT_LOGGED_TO = "this service is not logged to; metrics.jsonl has every value"

VISUALISERS: dict[str, Fate] = {
    "LocalVisBackend": nothing("metrics.jsonl and curve.png are always written"),
    "TensorboardVisBackend": to("observers: every value as a scalar"),
    "WandbVisBackend": to("observers: every value as a metric"),
    "MLflowVisBackend": nothing(NOT_LOGGED_TO),
    "ClearMLVisBackend": nothing(NOT_LOGGED_TO),
    "NeptuneVisBackend": nothing(NOT_LOGGED_TO),
    "AimVisBackend": nothing(NOT_LOGGED_TO),
    "DVCLiveVisBackend": nothing(NOT_LOGGED_TO),
}
"""Logging service of MMEngine -> what becomes of it. None of them need hold up a run: metrics.jsonl has every value."""

SCORES: dict[str, tuple[str, ...]] = {
    "mIoU": ("aAcc", "mIoU", "mAcc"),
    "mDice": ("aAcc", "mDice", "mAcc"),
    "mFscore": ("aAcc", "mFscore", "mPrecision", "mRecall"),
    "mFscore_mmseg": ("aAcc", "mFscore_mmseg", "mPrecision_mmseg", "mRecall"),
    "mBoundaryIoU": ("aAcc", "mBoundaryIoU"),
    "fwIoU": ("aAcc", "fwIoU"),
    "kappa": ("aAcc", "kappa"),
    "imageIoU": ("aAcc", "imageIoU"),
    "interval": ("aAcc", "mIoU_low", "mIoU_high"),
    "ECE": ("aAcc", "ECE"),
}
"""Entry of `iou_metrics` -> the numbers of the whole evaluation that it gives."""

LOOPS = {"IterBasedTrainLoop": "steps", "EpochBasedTrainLoop": "epochs"}

# --- Models -------------------------------------------------------------------------------------------------------

KINDS = {
    "backbone": "backbone",
    "backbone_cfg": "backbone",
    "image_encoder": "backbone",
    "text_encoder": "text_encoder",
    "neck": "neck",
    "kernel_update_head": "head_part",
    "kernel_updator_cfg": "head_part",
    "norm": "norm",
    "norm_cfg": "norm",
    "norm_layer": "norm",
    "activation": "activation",
    "act_cfg": "activation",
}
"""Key of a model -> kind of the part that stands there. Other dicts stay plain arguments, whether they have a type."""

NORMS = {"BN2d": "BN", "MMSyncBN": "SyncBN", "IN2d": "IN"}
"""Other names of norm layers."""

OWN_LOSS = {"VPDDepthHead": "SiLogLoss"}
"""Head -> the loss that it has where none is written, if that is no cross entropy."""

LOSS_NAMES = {
    "BatchDiceLoss": "loss_dice",
    "CrossEntropyLoss": "loss_ce",
    "HausdorffDistanceLoss": "loss_hausdorff",
    "HuasdorffDisstanceLoss": "loss_huasdorff_disstance",
    "KLDivLoss": "loss_kld",
    "MatthewsLoss": "loss_mcc",
    "OhemCrossEntropy": "loss_ohem",
    "OverlapLoss": "loss_overlap",
    "SiLogLoss": "loss_silog",
}
"""Loss -> its name in the log; the others are "loss_" and their name in small letters ("loss_dice")."""

WITHOUT_EFFECT: dict[tuple[str, str], Fate] = {
    ("Albu", "keymap"): refused(
        "image and labels go to Albumentations under their own names", None, {"img": "image", "gt_seg_map": "mask"}
    ),
    ("Albu", "update_pad_shape"): nothing("a sample says itself what of it is padding"),
    ("BEiT", "norm_eval"): nothing("layer norms compute the same in training"),
    ("BEiT", "num_fcs"): refused("the perceptron has two layers", 2),
    ("BiSeNetV1", "align_corners"): nothing("the context is enlarged by its nearest neighbours"),
    ("ConvNeXt", "gap_before_final_norm"): refused("levels are maps, not their means", False),
    ("ConvNeXt", "linear_pw_conv"): refused("the perceptron is made of linear layers", True),
    ("DPTHead", "embed_dims"): nothing("in_channels has the channels of each level"),
    ("DPTHead", "expand_channels"): refused("post_process_channels are written as they are", False),
    ("DPTHead", "input_transform"): refused("several levels are read", "multiple_select"),
    ("DPTHead", "patch_size"): nothing("levels are resized by fixed factors"),
    ("KernelUpdateHead", "conv_kernel_size"): refused("kernels have one pixel, as those that they start from", 1),
    ("KernelUpdateHead", "num_classes"): nothing("there are as many kernels as kernel_generate_head has classes"),
    ("KernelUpdateHead", "num_ffn_fcs"): refused("the perceptron has two layers", 2),
    ("KernelUpdateHead", "with_ffn"): refused("the perceptron is part of every round", True),
    ("MAE", "norm_eval"): nothing("layer norms compute the same in training"),
    ("MAE", "num_fcs"): refused("the perceptron has two layers", 2),
    ("SegmenterMaskTransformerHead", "channels"): nothing("tokens have embed_dims channels"),
    ("SegmenterMaskTransformerHead", "dropout_ratio"): nothing("there is no classifier to drop channels before"),
    ("SegmenterMaskTransformerHead", "num_fcs"): refused("the perceptron has two layers", 2),
    ("VisionTransformer", "norm_eval"): nothing("layer norms compute the same in training"),
    ("VisionTransformer", "num_fcs"): refused("the perceptron has two layers", 2),
    ("LRASPPHead", "input_transform"): refused("the head reads several levels", "multiple_select"),
    ("LightHamHead", "input_transform"): refused("the head reads several levels", "multiple_select"),
    ("ResNeSt", "zero_init_residual"): nothing("no block of a ResNeSt starts as its shortcut"),
}
"""(Part, key) -> why the key changes nothing, though published configs write it; it may be refused but for a value."""

ABSENT_IF_NONE = frozenset({("CLIPTextEncoder", "vocabulary")})
"""(Part, key) that means nothing where its value is None: another key says it."""

CHILDREN: dict[tuple[str, str], str] = {
    ("BiSeNetV1", "backbone_cfg"): "context_path.backbone",
    ("ICNet", "backbone_cfg"): "backbone",
    ("STDCContextPathNet", "backbone_cfg"): "backbone",
}
"""(Part, key) -> the module inside the part that the key describes, where that does not have the key for a name."""

DEFAULT_THRESHOLD = 0.3
"""Of a single logit's probability, where the config says nothing."""

# --- Data ---------------------------------------------------------------------------------------------------------

PREFIXES = {"img_path": "images", "seg_map_path": "labels", "img_path2": "images2", "depth_map_path": "depths"}
"""Key of data_prefix -> argument of the data set."""

GEOMETRY = frozenset({
    "Albu", "BioMedical3DPad", "BioMedical3DRandomCrop", "BioMedical3DRandomFlip", "ClassMix", "CopyPaste", "CutMix",
    "ElasticTransform", "GridDistortion", "Pad", "PadAround", "RandAugment", "RandomAffine", "RandomChoiceResize",
    "RandomCrop", "RandomFlip", "RandomMosaic", "RandomPatch", "RandomPerspective", "RandomResize", "RandomRotFlip",
    "RandomRotate", "RandomScale", "ResampleToSpacing", "Resize", "ResizeShortestEdge", "ResizeToMultiple",
    "SegRescale",
})  # fmt: skip
"""Transforms that move pixels: labels loaded after one of them keep the size of their file."""

ONLY_OF_BACKEND = {"area": "cv2", "antialiased": "cv2", "box": "pillow", "hamming": "pillow"}
"""Interpolations of resizing that one backend has and the other has not -> that backend."""

VOLUME_LOADERS = frozenset({"LoadBiomedicalAnnotation", "LoadBiomedicalData", "LoadBiomedicalImageFromFile"})
"""Transforms that read files themselves: their data set gives paths only."""
WITHOUT_TRUTH = {"NYUDataset": "depths"}
"""Data set -> its argument that is None where a pipeline loads no ground truth, if it is not `labels`."""

LABEL_LOADERS = frozenset({"LoadAnnotations", "LoadBiomedicalAnnotation", "LoadBiomedicalData", "LoadDepthAnnotation"})

FOLDERS = frozenset({"BaseCDDataset", "BaseSegDataset", "FolderDataset"})
"""The general data sets, whose classes are the user's."""

LISTED = frozenset({"DSDLSegDataset", "DecathlonDataset"})
"""Data sets whose files and classes are in a list of their own."""

VOLUMES = frozenset({"BaseSegDataset", "DecathlonDataset", "FolderDataset"})
"""Data sets that can leave the reading of their files to transforms."""

TWO_DATES = frozenset({"BaseCDDataset", "LEVIRCDDataset"})
"""Data sets of two images of one place."""

FAMILIES: dict[str, tuple[int, bool]] = {
    "ADE20KDataset": (150, True),
    "BDD100KDataset": (19, False),
    "COCOStuffDataset": (171, False),
    "ChaseDB1Dataset": (2, False),
    "CityscapesDataset": (19, False),
    "DRIVEDataset": (2, False),
    "DarkZurichDataset": (19, False),
    "HRFDataset": (2, False),
    "ISPRSDataset": (6, True),
    "LEVIRCDDataset": (2, False),
    "LIPDataset": (20, False),
    "LoveDADataset": (7, True),
    "MapillaryDataset_v1": (66, False),
    "MapillaryDataset_v2": (124, False),
    "NightDrivingDataset": (19, False),
    "PascalContextDataset": (60, False),
    "PascalContextDataset59": (59, True),
    "PascalVOCDataset": (21, False),
    "PotsdamDataset": (6, True),
    "REFUGEDataset": (3, False),
    "STAREDataset": (2, False),
    "SynapseDataset": (9, False),
    "iSAIDDataset": (16, False),
}
"""Benchmark -> number of classes, and whether file value 0 stands for "nothing" unless the config says otherwise."""

# --- From our arguments back to the keys that users write ---------------------------------------------------------

_SUFFIXES = (("norm_cfg", "norm"), ("act_cfg", "activation"), ("conv_cfg", "conv"))
_RENAMED = {
    "any": {"with_cp": "checkpoint_activations"},
    "backbone": {"backbone_cfg": "backbone", "windiow_sizes": "window_sizes"},
    "head_part": {"kernel_updator_cfg": "kernel_updator"},
    "loss": {"ignore_label": "ignore_index"},
    "norm": {"type": "kind"},
    "activation": {"type": "kind"},
    "metric": {"iou_metrics": "metrics"},
    "dataset": {
        "data_root": "root",
        "img_suffix": "image_suffix",
        "img_suffix2": "image_suffix2",
        "seg_map_suffix": "label_suffix",
        "ann_file": "split_file",
        "metainfo.classes": "classes",
        "metainfo.palette": "palette",
        **{f"data_prefix.{key}": argument for key, argument in PREFIXES.items()},
    },
}


def argument_name(kind: str, key: str) -> str:
    """The constructor's name for a key of a config: `norm_cfg` is `norm`, `data_root` of a data set is `root`."""
    for old, new in _SUFFIXES:
        if key == old or key.endswith(f"_{old}"):
            return key[: -len(old)] + new
    return _RENAMED.get(kind, {}).get(key) or _RENAMED["any"].get(key, key)


def user_key(kind: str, argument: str) -> str:
    """The key, or dotted path, under which a config has an argument: the inverse of `argument_name`."""
    for key, name in {**_RENAMED["any"], **_RENAMED.get(kind, {})}.items():
        if name == argument:
            return key
    for old, new in _SUFFIXES:
        if argument == new or argument.endswith(f"_{new}"):
            return argument[: -len(new)] + old
    return argument


def kind_of(key: str) -> str | None:
    """The kind of part that stands under a key of a model, if any."""
    for old, kind in (("norm_cfg", "norm"), ("act_cfg", "activation")):
        if key.endswith(f"_{old}"):
            return kind
    return KINDS.get(key)
