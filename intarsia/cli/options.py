"""Options that several commands take, with their help."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

_INFERENCE = "Views of an image"
_RASTERS = "Rasters (-o NAME.tif)"
_IMAGES = "Images unlike those of the training"
_DATA, _LENGTH, _CARE, _MACHINE, _MORE = "Data", "Length", "What a long run is given", "Machine", "More"

# typer reads these annotations when the program starts, on Python 3.10 too: hence Optional.
Data = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Option("--data", help="Folder of images and masks, or a data description (YAML).", rich_help_panel=_DATA),
]
Crop = Annotated[
    Optional[tuple[int, int]],  # noqa: UP045
    typer.Option("--crop", metavar="H W", help="Size of the training crops, in pixels.", rich_help_panel=_DATA),
]
Batch = Annotated[
    Optional[int],  # noqa: UP045
    typer.Option("--batch", min=1, help="Images per step, in TOTAL over all devices.", rich_help_panel=_DATA),
]
BatchPerDevice = Annotated[
    Optional[int],  # noqa: UP045
    typer.Option(
        "--batch-per-device",
        min=1,
        help="Images that a device sees at once; the rest of the total batch is accumulated.",
        rich_help_panel=_MACHINE,
    ),
]
Workers = Annotated[
    Optional[int],  # noqa: UP045
    typer.Option("--workers", min=0, help="Processes that load data, per device.", rich_help_panel=_DATA),
]
Cache = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option(
        "--cache",
        metavar="memory|DIR[:SIZE]",
        help="Keep decoded images and labels, in memory or in a folder, as they are first read: memory:20G, DIR:500G.",
        rich_help_panel=_DATA,
    ),
]
AugmentOn = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option(
        "--augment-on",
        metavar="workers|device",
        help="Where flips, colours, blur and noise are computed; on the device colours are rounded otherwise than "
        "published, and noise is other noise.",
        rich_help_panel=_DATA,
    ),
]
For = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option(
        "--for",
        metavar="DURATION",
        help="Length of the training: '200 steps', '80k steps', '20 epochs', '30m', '6h'. Schedules are rescaled.",
        rich_help_panel=_LENGTH,
    ),
]
EvalEvery = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option("--eval-every", metavar="DURATION", help="Time between evaluations.", rich_help_panel=_LENGTH),
]
SaveEvery = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option("--save-every", metavar="DURATION", help="Time between checkpoints.", rich_help_panel=_LENGTH),
]
Ema = Annotated[
    Optional[float],  # noqa: UP045
    typer.Option(
        "--ema",
        metavar="MOMENTUM",
        help="Average the weights over the steps, and evaluate and keep the average; 0.0002 or 0.001 are usual.",
        rich_help_panel=_CARE,
    ),
]
Patience = Annotated[
    Optional[int],  # noqa: UP045
    typer.Option(
        "--patience", min=1, help="Stop after so many evaluations without a better score.", rich_help_panel=_CARE
    ),
]
Freeze = Annotated[
    Optional[list[str]],  # noqa: UP045
    typer.Option(
        "--freeze",
        metavar="PATTERN",
        help="Do not train these modules or parameters: 'backbone', 'backbone.layer[12]', '*.bias'.",
        rich_help_panel=_CARE,
    ),
]
FitImages = Annotated[
    Optional[int],  # noqa: UP045
    typer.Option(
        "--fit-images",
        min=1,
        help="Evaluate so many training images beside the validation images, to see overfitting.",
        rich_help_panel=_CARE,
    ),
]
Pictures = Annotated[
    Optional[int],  # noqa: UP045
    typer.Option(
        "--pictures", min=1, help="Paint so many validation images at every evaluation.", rich_help_panel=_CARE
    ),
]
KeepEvery = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option(
        "--keep-every",
        metavar="DURATION",
        help="Keep the checkpoints at multiples of this, beside the last ones.",
        rich_help_panel=_CARE,
    ),
]
HangAfter = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option(
        "--hang-after",
        metavar="TIME",
        help="Time without progress after which every process prints where it stands; by default '30m'.",
        rich_help_panel=_CARE,
    ),
]
TensorBoard = Annotated[
    bool, typer.Option("--tensorboard", help="Log for TensorBoard, into RUN/tensorboard.", rich_help_panel=_CARE)
]
WandB = Annotated[
    bool,
    typer.Option("--wandb", help="Log to Weights & Biases (WANDB_MODE=offline works).", rich_help_panel=_CARE),
]
Compile = Annotated[
    bool, typer.Option("--compile", help="Let torch.compile make the network faster.", rich_help_panel=_MACHINE)
]
Accumulate = Annotated[
    Optional[int],  # noqa: UP045
    typer.Option(
        "--accumulate",
        min=1,
        help="Compute each step in so many parts, for a total batch that does not fit in memory.",
        rich_help_panel=_MACHINE,
    ),
]
Find = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option(
        "--find",
        metavar="lr|batch",
        help="Do not train: sweep the learning rate, or find the largest batch that fits, and say what was found.",
        rich_help_panel=_MORE,
    ),
]
Seed = Annotated[
    Optional[int],  # noqa: UP045
    typer.Option("--seed", min=0, help="Decides weights, order and augmentation.", rich_help_panel=_MORE),
]
Deterministic = Annotated[
    bool,
    typer.Option(
        "--deterministic",
        help="Only operations that give the same bits every time; costs speed, and on GPUs some have no such form.",
        rich_help_panel=_MORE,
    ),
]
TRAINED_MODEL = "A weights file, the folder of a run, a published checkpoint by name, or hf://OWNER/NAME; fetched once."
TRAINED_MODELS = f"{TRAINED_MODEL} Or several that answer together: joined by +, or the folder of `intarsia cv`."
MeanOf = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option(
        "--mean",
        metavar="probabilities|logits",
        help="What several models have a mean of; by default probabilities, of nnU-Net's networks logits.",
        rich_help_panel=_INFERENCE,
    ),
]
Weights = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option(
        "--weights",
        "--load-from",
        metavar="FILE|RUN|NAME",
        help="Start from these weights: anyone's file, or a published checkpoint. All must fit, or --allow-partial.",
        rich_help_panel=_MORE,
    ),
]
Key = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option(
        "--key",
        metavar="NAME",
        help="Where a checkpoint has the network's tensors: model_ema, or state.model; by default it is guessed.",
        rich_help_panel=_MORE,
    ),
]
Prefix = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option(
        "--prefix",
        metavar="WORD",
        help="What names of the network's tensors begin with in a checkpoint: model, or encoder; others are left out.",
        rich_help_panel=_MORE,
    ),
]
PretrainedWeights = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option(
        "--pretrained",
        metavar="auto|imagenet|none|FILE|NAME",
        help="What the backbone starts from. On --data the default is auto: what is usual for it, if it can be had. "
        "NAME: one of docs/pretrained.md, or a published checkpoint, whose backbone is taken.",
        rich_help_panel=_MORE,
    ),
]
FirstConvolution = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option(
        "--first-convolution",
        metavar="repeat|mean|zero|random",
        help="How pretrained weights for 3 bands become those for another number.",
        rich_help_panel=_MORE,
    ),
]
AllowPartial = Annotated[
    bool,
    typer.Option(
        "--allow-partial",
        help="Take of the weights what fits, as for another number of classes, and say what was not taken.",
        rich_help_panel=_MORE,
    ),
]
Devices = Annotated[
    Optional[int],  # noqa: UP045
    typer.Option(
        "--devices",
        min=1,
        help="GPUs or processes on this machine; not needed under torchrun or SLURM.",
        rich_help_panel=_MACHINE,
    ),
]
Strategy = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option(
        "--strategy",
        metavar="ddp|fsdp",
        help="What several processes hold: each the whole network, or slices of one that is too large.",
        rich_help_panel=_MACHINE,
    ),
]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda or mps.", rich_help_panel=_MACHINE)]
Precision = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option("--precision", help="32, 16 (mixed) or bf16 (mixed).", rich_help_panel=_MACHINE),
]
InferencePrecision = Annotated[
    str,
    typer.Option(
        "--precision",
        metavar="32|bf16|16|64",
        help="What the network computes in: bf16 or 16 is faster where processor or GPU have instructions for it, and "
        "a few labels differ; 64 is slower, and the same on every machine.",
        rich_help_panel=_MACHINE,
    ),
]
Set = Annotated[
    Optional[list[str]],  # noqa: UP045
    typer.Option(
        "--set",
        "--cfg-options",
        metavar="PATH=VALUE",
        help="Change a value of the config: --set model.decode_head.dropout_ratio=0 optim_wrapper.optimizer.lr=1e-3",
        rich_help_panel=_MORE,
    ),
]


def _trust(packages: Optional[list[str]]) -> None:  # noqa: UP045
    """What the person agrees to holds for this command and the processes that it starts."""
    from intarsia import consent

    for names in packages or ():
        consent.trust(names)


Trust = Annotated[
    Optional[list[str]],  # noqa: UP045
    typer.Option(
        "--trust",
        metavar="PACKAGE",
        help="Agree to run code of this package or module, which the config or the weights name: your own parts.",
        callback=_trust,
        rich_help_panel=_MORE,
    ),
]
TrustConfig = Annotated[
    bool,
    typer.Option(
        "--trust-config",
        help="Run a Python config as Python instead of reading it, and agree to code of any package.",
        rich_help_panel=_MORE,
    ),
]
Slide = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option(
        "--slide",
        metavar="[CROP [STRIDE]]",
        help="Look through sliding windows: 512 341, or 512x1024 341x683 (height x width); else as the config says.",
        rich_help_panel=_INFERENCE,
    ),
]
Blend = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option(
        "--blend",
        help="How overlapping windows are weighed: average, or gaussian or linear, which hide seams; by "
        "default as the config says.",
        rich_help_panel=_INFERENCE,
    ),
]
Augment = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option(
        "--augment",
        "--tta",
        metavar="[SCALE ...]",
        help="Average over scales and mirror images of each image: the config's, or these: 0.75 1 1.25.",
        rich_help_panel=_INFERENCE,
    ),
]
Threshold = Annotated[
    Optional[float],  # noqa: UP045
    typer.Option(
        "--threshold",
        metavar="P",
        help="Of two classes: the probability above which a pixel is foreground; by default that of the weights.",
        rich_help_panel=_INFERENCE,
    ),
]
FontFile = Annotated[
    Optional[Path],  # noqa: UP045
    typer.Option(
        "--font",
        metavar="FILE",
        help="A font for names of classes in pictures; by default one that has their letters is looked for.",
        rich_help_panel=_MORE,
    ),
]
ConfigBeside = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option(
        "--config", help="Config or recipe of the model, for weights that do not say it (.pth).", rich_help_panel=_MORE
    ),
]
Window = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option(
        "--window",
        metavar="PIXELS",
        help="What the network sees at a time: 512, or 512x1024 (height x width); by default as in training.",
        rich_help_panel=_RASTERS,
    ),
]
Overlap = Annotated[
    Optional[int],  # noqa: UP045
    typer.Option(
        "--overlap",
        min=0,
        help="Pixels that neighbouring windows share; by default about a quarter of a window.",
        rich_help_panel=_RASTERS,
    ),
]
Bands = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option(
        "--bands", metavar="3,2,1", help="Which bands the model takes, counted from 1.", rich_help_panel=_IMAGES
    ),
]
Scale = Annotated[
    Optional[str],  # noqa: UP045
    typer.Option(
        "--scale",
        metavar="MIN,MAX",
        help="Values that become the ends of the training's range (of colours 0 and 255), for all bands or a pair for "
        "each; a window c40,w400; percentiles p1,p99; or 'training': 16 bits as in training; or 'none': as they are.",
        rich_help_panel=_IMAGES,
    ),
]
MaxPixels = Annotated[
    Optional[int],  # noqa: UP045
    typer.Option(
        "--max-pixels",
        metavar="N",
        min=1,
        help="Pixels of the largest image that is read whole, by default 268,435,456.",
        rich_help_panel=_IMAGES,
    ),
]
Alpha = Annotated[
    str,
    typer.Option(
        "--alpha",
        metavar="mask|band",
        help="Whether a fourth band that the file calls alpha says where there is no data; by default its values tell.",
        rich_help_panel=_RASTERS,
    ),
]
NoData = Annotated[
    Optional[float],  # noqa: UP045
    typer.Option(
        "--nodata",
        metavar="VALUE",
        help="Pixels whose bands all have this value are no data, besides what the file says.",
        rich_help_panel=_RASTERS,
    ),
]
MinArea = Annotated[
    int,
    typer.Option("--min-area", min=0, help="Pixels of the smallest polygon that is written.", rich_help_panel=_RASTERS),
]
Simplify = Annotated[
    float,
    typer.Option(
        "--simplify", min=0, help="Pixels by which outlines of polygons may be off; 0: exact.", rich_help_panel=_RASTERS
    ),
]
Restart = Annotated[
    bool,
    typer.Option("--restart", help="Begin anew instead of going on with an interrupted run.", rich_help_panel=_RASTERS),
]
