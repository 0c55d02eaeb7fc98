"""The vocabulary of data and their evaluation: loaders, data sets, pipelines, metrics."""

from __future__ import annotations

from intarsia.config.schema.fates import Area, nothing, refused, to
from intarsia.config.schema.notation import DICT, FILES, OPTIONAL, SCOPE, TYPE

_OUTPUT_DIR = to(
    "submission.folder of format_only; a note otherwise, for scores are counted without files", "str | None"
)
_FORMAT_ONLY = to("submission: test images are written for the benchmark's server, and not scored", "bool")

PREFIX = to('put before the names of its scores, "prefix/mIoU", where it is one of several metrics', "str | None")

_PIXELS = "int | tuple[int, int] | None"
_DIRECTION = "Literal['horizontal', 'vertical', 'diagonal']"

DATA_AREAS: dict[str, Area] = {
    "dataloader": {
        "batch_size": to("batch_size (per process)", "int"),
        "num_workers": to("workers", "int"),
        "dataset": to("dataset, transforms", DICT),
        "sampler": to("shuffle", OPTIONAL),
        "persistent_workers": to("persistent_workers: those of evaluations live as long as the run", "bool"),
        "pin_memory": to("pin_memory, where there is a GPU", "bool"),
        "prefetch_factor": nothing("the loader decides how far it reads ahead"),
        "timeout": nothing("a worker that dies is reported at once"),
        "drop_last": nothing("every training batch is full; evaluation sees every image exactly once"),
        "collate_fn": to("nothing: one function makes batches, in the place of MMEngine's two", OPTIONAL),
        "batch_sampler": refused("the order of samples is a function of seed and step", None),
        "worker_init_fn": refused(
            "workers have no state: every sample has its own random stream", None, {"type": "worker_init_fn"}
        ),
        "num_batch_per_epoch": to("first_batches: as if the data set had so many, its first ones", "int | None"),
    },
    "sampler": SCOPE
    | {
        "type": TYPE,
        "shuffle": to("shuffle", "bool"),
        "rare": to("rare.classes: of train, classes by index that samples are drawn for", "list[int] | None"),
        "every": to("rare.every: of so many samples, one is drawn for each class of `rare`", "int"),
        "seed": to("order_seed: of the order of samples, in the place of randomness.seed", "int | None"),
        "round_up": nothing("every image is seen exactly once in evaluation, every training batch is full"),
    },
    "dataset": SCOPE
    | {
        "type": TYPE,
        "data_root": to("argument `root`", "str | None"),
        "data_prefix": to("arguments `images`, `labels` ...", DICT),
        "img_suffix": to("argument `image_suffix`", "str | Sequence[str]"),
        "seg_map_suffix": to("argument `label_suffix`", "str"),
        "ann_file": to("argument `split_file`", "str | list[str]"),
        "metainfo": to("arguments `classes`, `palette`", OPTIONAL),
        "ignore_index": to("argument `ignore_index`", "int"),
        "reduce_zero_label": to("argument `reduce_zero_label`", "bool"),
        "label_table": to("argument `label_table`", OPTIONAL),
        "pipeline": to("transforms, label_size", "list[dict]"),
        "backend_args": FILES,
        "file_client_args": FILES,
        "indices": to("argument `indices`: so many first images, or these", "int | Sequence[int] | None"),
        "filter_cfg": nothing("no data set of the original filters by it; ann_file or indices choose images"),
        "test_mode": to(
            "argument `test_mode` of DecathlonDataset; others read ground truth where it is loaded", "bool"
        ),
        "serialize_data": nothing("the list of files is small"),
        "lazy_init": nothing("files are listed once, when the data set is built"),
        "max_refetch": nothing("a file that cannot be read is an error that names it"),
    },
    "metainfo": {
        "classes": to("argument `classes`", "Sequence[str]"),
        "palette": to("argument `palette`", "Sequence[Sequence[int]] | None"),
        "dataset_type": nothing("a name for people"),
        "task_name": nothing("a name for people"),
    },
    "label_table": {
        "values": to("argument `values`", "dict | list[tuple[int, int]] | None"),
        "colours": to("argument `colours`", "dict | list[tuple[Any, int]] | None"),
        "ignore_index": to("argument `ignore_index`", "int"),
        "outside": to("argument `outside`", "str"),
    },
    "wrapper of data sets": SCOPE
    | {
        "type": TYPE,
        "dataset": to("argument `dataset`", DICT),
        "datasets": to("argument `datasets`", "list[dict]"),
        "times": to("argument `times`", "int"),
        "oversample_thr": to("argument `oversample_thr`", "float"),
        "pipeline": to("transforms, after those of the data set inside", "list[dict]"),
        "skip_type_keys": to("transforms, without those of these types", "Sequence[str] | None"),
        "verify_meta": nothing("parts with other classes are an error"),
        "ignore_keys": nothing("parts with other classes are an error"),
        "lazy_init": nothing("files are listed once, when the data set is built"),
    },
    "LoadImageFromFile": SCOPE
    | {
        "type": nothing("images are read by the data set"),
        "color_type": to("dataset argument `bands`", "str"),
        "imdecode_backend": to("dataset argument `bands`", "str | None"),
        "to_float32": nothing("images keep their stored type until they are normalised, in float32, on the device"),
        "ignore_empty": refused("a file that cannot be read is an error that names it", False),
        "backend_args": FILES,
        "file_client_args": FILES,
    },
    "LoadSingleRSImageFromFile": SCOPE
    | {
        "type": to("dataset argument `bands`: all bands, as they are in the file"),
        "to_float32": nothing("images keep their stored type until they are normalised, in float32, on the device"),
    },
    "LoadAnnotations": SCOPE
    | {
        "type": to("label_size, by its place in the pipeline"),
        "reduce_zero_label": to("must agree with the data set's", "bool | None"),
        "imdecode_backend": nothing("label files are lossless, every decoder gives the same"),
        "with_seg": refused("only label maps are loaded", True),
        "with_bbox": refused("only label maps are loaded", False),
        "with_label": refused("only label maps are loaded", False),
        "with_keypoints": refused("only label maps are loaded", False),
        "backend_args": FILES,
        "file_client_args": FILES,
    },
    "LoadMultipleRSImageFromFile": SCOPE
    | {
        "type": to("dataset argument `bands`: all that the files have"),
        "to_float32": nothing("images keep their stored type until they are normalised, in float32, on the device"),
    },
    "ConcatCDInput": SCOPE
    | {
        "type": nothing("a data set of two dates gives both as one image, which all transforms move together"),
        "input_keys": refused("the first date's bands come first", ["img", "img2"], ("img", "img2")),
    },
    "LoadDepthAnnotation": SCOPE
    | {
        "type": to("label_size, by its place in the pipeline"),
        "depth_rescale_factor": to("dataset argument `depth_rescale_factor`", "float"),
        "decode_backend": refused("depths are read from picture files", "cv2", "pillow"),
        "to_float32": refused("depths are real numbers", True),
        "backend_args": FILES,
        "file_client_args": FILES,
    },
    "PackSegInputs": SCOPE
    | {
        "type": nothing("batches are made by the loader"),
        "meta_keys": nothing("the metadata of a sample are fixed"),
    },
    "transform": {
        "clip_object_border": nothing("there are no boxes"),
        "backend_args": FILES,
        "file_client_args": FILES,
    },
    "TestTimeAug": SCOPE | {"type": TYPE, "transforms": to("inference.augmented", "list[list[dict]]")},
    "TestTimeAug: Resize": SCOPE
    | {
        "type": TYPE,
        "scale": to("inference.augmented.scales, a ViewSize; of a Resize before the views: .first", _PIXELS),
        "scale_factor": to("inference.augmented.scales", "float | tuple[float, float] | None"),
        "keep_ratio": to("inference.augmented.scales: a factor is a ViewSize where it is not True", "bool"),
        "interpolation": to(
            "inference.augmented.scales",
            "Literal['nearest', 'bilinear', 'bicubic', 'area', 'lanczos', 'antialiased', 'box', 'hamming']",
        ),
        "backend": to("inference.augmented.scales", "Literal['cv2', 'pillow']"),
        "clip_object_border": nothing("there are no boxes"),
    },
    "TestTimeAug: RandomFlip": SCOPE
    | {
        "type": TYPE,
        "prob": to("inference.augmented.flips (0: as it is, 1: flipped)", "float"),
        "direction": to("inference.augmented.flips", _DIRECTION),
    },
    "MultiScaleFlipAug": SCOPE
    | {
        "type": TYPE,
        "transforms": to("inference.augmented", "list[dict]"),
        "scales": to("inference.augmented.scales", f"{_PIXELS} | list"),
        "scale_factor": to("inference.augmented.scales", "float | list[float] | None"),
        "allow_flip": to("inference.augmented.flips", "bool"),
        "flip_direction": to("inference.augmented.flips", f"{_DIRECTION} | list[{_DIRECTION}]"),
        "resize_cfg": to("inference.augmented.scales", DICT),
        "flip_cfg": nothing("the views say whether and how they are mirrored"),
        "img_scale": refused("of MMSegmentation 0.x; write scales"),
        "img_ratios": refused("of MMSegmentation 0.x; write scale_factor, or scales multiplied by them"),
        "flip": refused("of MMSegmentation 0.x; write allow_flip"),
    },
    "tta_model": SCOPE | {"type": TYPE},
    "Evaluator": SCOPE | {"type": TYPE, "metrics": to("metric: one, or several of one pass", "dict | list[dict]")},
    "metric of one's own": {"prefix": PREFIX},
    "DumpResults": SCOPE
    | {
        "type": to("a note: `intarsia predict` writes predictions"),
        "out_file_path": nothing("`intarsia predict -o` says where to"),
        "collect_device": nothing("predictions are not collected"),
        "collect_dir": nothing("predictions are not collected"),
    },
    "CityscapesMetric": SCOPE
    | {
        "type": TYPE,
        "ignore_index": to("metric argument `ignore_index`", "int"),
        "output_dir": _OUTPUT_DIR,
        "format_only": _FORMAT_ONLY,
        "keep_results": to("a note; what format_only writes is kept, and scores are counted without files", "bool"),
        "collect_device": nothing("counts are summed where they are"),
        "collect_dir": nothing("counts are summed where they are"),
        "prefix": PREFIX,
    },
    "DepthMetric": SCOPE
    | {
        "type": TYPE,
        "depth_metrics": to("metric argument `depth_metrics`", "Sequence[str] | None"),
        "min_depth_eval": to("metric argument `min_depth_eval`", "float"),
        "max_depth_eval": to("metric argument `max_depth_eval`", "float"),
        "crop_type": to("metric argument `crop_type`", "str | None"),
        "depth_scale_factor": nothing("`intarsia predict` writes depths as float32, or in thousandths"),
        "output_dir": to("a note: scores are counted without files, which `intarsia predict` writes", "str | None"),
        "format_only": refused("depths are written by `intarsia predict WEIGHTS IMAGES -o OUT`", False),
        "collect_device": nothing("sums are added where they are"),
        "collect_dir": nothing("sums are added where they are"),
        "prefix": PREFIX,
    },
    "IoUMetric": SCOPE
    | {
        "type": TYPE,
        "iou_metrics": to(
            "metric argument `metrics`",
            "Sequence[Literal['mIoU', 'mDice', 'mFscore', 'mFscore_mmseg', 'mBoundaryIoU', 'fwIoU', 'kappa', "
            "'imageIoU', 'interval', 'ECE']]",
        ),
        "groups": to("metric argument `groups`", "dict[str, list[str]]"),
        "empty_images": to("metric argument `empty_images`", "Literal['one', 'skip']"),
        "ignore_index": to("metric argument `ignore_index`", "int"),
        "nan_to_num": to("metric argument `nan_to_num`", "float | None"),
        "beta": to("metric argument `beta`", "float"),
        "output_dir": _OUTPUT_DIR,
        "format_only": _FORMAT_ONLY,
        "collect_device": nothing("counts are summed where they are"),
        "collect_dir": nothing("counts are summed where they are"),
        "prefix": PREFIX,
    },
}
