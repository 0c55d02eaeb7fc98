"""The losses that a config writes inside a head -> the terms that the head is trained on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from intarsia.config.lowering.fields import Context, Fields
from intarsia.config.lowering.names import LOSS_NAMES, OWN_LOSS
from intarsia.config.lowering.parts import component
from intarsia.config.schema.fates import bare
from intarsia.spec import Component, HeadLossSpec, TermSpec


def lower_losses(context: Context, fields: Fields, head: str, name: str) -> HeadLossSpec:
    """What a head is trained on. head: its type; name: that of its output."""
    given = fields.get("loss_decode")
    if given is None and head not in OWN_LOSS and "num_classes" not in fields:
        terms: list[TermSpec] = []
    elif given is None:
        kind = OWN_LOSS.get(head, "CrossEntropyLoss")
        terms = [TermSpec(LOSS_NAMES[kind], Component("loss", kind, {}, fields.path, context.origin(fields.path)))]
    elif isinstance(given, Mapping):
        terms = [_term(context, given, fields.at("loss_decode"))]
    else:
        context.opened(fields.at("loss_decode"))
        terms = [_term(context, item, f"{fields.at('loss_decode')}.{index}") for index, item in enumerate(given)]
    for key, only in OF_ONE_HEAD.items():
        if key in fields and head != only:
            context.problem(fields.at(key), f"{key!r} is of {only}; {head or 'this head'} has no such output")
    sampler = fields.get("sampler")
    own = OWN_TERMS.get(head) if terms else None
    return HeadLossSpec(
        head=name,
        terms=tuple(terms if own is None else own(context, fields, terms)),
        ignore_index=fields.get("ignore_index", UNKNOWN_DEPTH if head in OWN_LOSS else 255),
        align_corners=fields.get("align_corners", False),
        sampler=None if sampler is None else component(context, "sampler", sampler, fields.at("sampler")),
        accuracy=own is None,
    )


def _term(context: Context, values: Mapping[str, Any], path: str) -> TermSpec:
    """A loss, its weight and its name in the log."""
    fields = Fields(context, path, values, "loss", others=True)
    part = component(context, "loss", {"type": values.get("type"), **fields.others()}, path)
    kind = bare(part.type)
    default = LOSS_NAMES.get(kind, f"loss_{kind.removesuffix('Loss').lower()}")
    label = fields.get("loss_name", default)
    weight = float(fields.get("loss_weight", 1.0))
    if "loss" not in label:
        context.note(
            f"{fields.at('loss_name')} is {label!r}: without 'loss' in its name it is logged but not trained on"
        )
        weight = 0.0
    return TermSpec(label, part, weight)


# --- Heads with several outputs -----------------------------------------------------------------------------------

OwnTerms = Callable[[Context, Fields, list[TermSpec]], Sequence[TermSpec]]
"""The head's fields, and its losses as written -> its terms, each for an output by name."""

UNKNOWN_DEPTH = 0
"""What the ground truth of a pixel is whose depth is not known."""

LOGITS = ""
"""The output of a head that is its answer."""


def accuracy(output: str = LOGITS, name: str = "acc_seg") -> TermSpec:
    """The pixel accuracy of an output."""
    return TermSpec(name, None, 0.0, output)


def target(fields: Fields, name: str, **args: Any) -> Component:
    """What an output is compared with, if not the labels."""
    return Component("target", name, args, fields.path, fields.context.origin(fields.path))


def _dual_attention(context: Context, fields: Fields, terms: list[TermSpec]) -> Sequence[TermSpec]:
    """DANet: the sum of both attentions and each of them, with the same losses."""
    return [
        replace(term, name=f"{name}.{term.name}", output=output)
        for name, output in (("pam_cam", LOGITS), ("pam", "pam"), ("cam", "cam"))
        for term in (*terms, accuracy())
    ]


def _classes_present(context: Context, fields: Fields, terms: list[TermSpec]) -> Sequence[TermSpec]:
    """EncNet: beside the pixels, which classes the image shows."""
    found = [*(replace(term, output=LOGITS) for term in terms), accuracy()]
    if not fields.others().get("use_se_loss", True):
        return found
    default = {"type": "CrossEntropyLoss", "use_sigmoid": True, "loss_weight": 0.2}
    written = fields.get("loss_se_decode", default)
    of_image = _term(context, written, fields.at("loss_se_decode"))
    return [*found, replace(of_image, name="loss_se", output="se", target=target(fields, "ClassesPresent"))]


def _of_images(context: Context, fields: Fields, terms: list[TermSpec]) -> Sequence[TermSpec]:
    """The head of whole images: which classes the labels show."""
    if "loss_decode" not in fields:
        default = {"type": "CrossEntropyLoss", "use_sigmoid": True, "loss_weight": 0.2}
        terms = [_term(context, default, fields.at("loss_decode"))]
    present = target(fields, "ClassesPresent")
    return [replace(term, name="loss_classes", output=LOGITS, target=present) for term in terms]


def _context_and_detail(context: Context, fields: Fields, terms: list[TermSpec]) -> Sequence[TermSpec]:
    """DDRNet: the first loss is for the fused features, the second for those of the high-resolution branch."""
    if not _there_are(context, fields, terms, 2):
        return terms
    first, second = terms
    return [
        replace(first, name="loss_context", output=LOGITS),
        replace(second, name="loss_spatial", output="spatial"),
        accuracy(),
    ]


def _detail_and_sum(context: Context, fields: Fields, terms: list[TermSpec]) -> Sequence[TermSpec]:
    """GCNet (Golden Cudgel): the first loss is for the detail branch, the second for the sum of both."""
    if not _there_are(context, fields, terms, 2):
        return terms
    detail, both = terms
    return [
        replace(detail, name="loss_c4", output="c4"),
        replace(both, name="loss_c6", output=LOGITS),
        accuracy(),
    ]


def _three_branches(context: Context, fields: Fields, terms: list[TermSpec]) -> Sequence[TermSpec]:
    """PIDNet: the proportional branch, the fused features, the edges of the derivative branch, and the fused features
    once more where that branch is sure of an edge.
    """
    if not _there_are(context, fields, terms, 4):
        return terms
    proportional, integral, edges, at_edges = terms
    ignored = {"ignore_index": fields.get("ignore_index")} if "ignore_index" in fields else {}
    return [
        replace(proportional, name="loss_sem_p", output="p"),
        replace(integral, name="loss_sem_i", output=LOGITS),
        replace(edges, name="loss_bd", output="d", target=target(fields, "EdgeMap")),
        replace(at_edges, name="loss_sem_bd", output=LOGITS, target=target(fields, "LabelsAtEdges", **ignored)),
        accuracy(),
    ]


def _depths(context: Context, fields: Fields, terms: list[TermSpec]) -> Sequence[TermSpec]:
    """VPD: depths have no pixel accuracy."""
    return [replace(term, output=LOGITS) for term in terms]


def _detail(context: Context, fields: Fields, terms: list[TermSpec]) -> Sequence[TermSpec]:
    """STDC: its auxiliary head learns where details are."""
    args = {"boundary_threshold": fields.get("boundary_threshold")} if "boundary_threshold" in fields else {}
    details = target(fields, "DetailMap", **args)
    return [replace(term, output=LOGITS, target=details) for term in (*terms, accuracy())]


def _every_level(context: Context, fields: Fields, terms: list[TermSpec]) -> Sequence[TermSpec]:
    """nnU-Net: the same losses for each level but the coarsest, with half the weight of the finer one, together 1."""
    channels = fields.others().get("in_channels")
    levels = len(channels) - 1 if isinstance(channels, Sequence) else 1
    shares = [0.5**level for level in range(max(levels - 1, 1))]
    found: list[TermSpec] = []
    for level, share in enumerate(shares):
        output, behind = (f"level_{level}", f".level_{level}") if level else (LOGITS, "")
        weight = share / sum(shares)
        found += [replace(term, name=term.name + behind, output=output, weight=term.weight * weight) for term in terms]
    return [*found, accuracy()]


def _there_are(context: Context, fields: Fields, terms: list[TermSpec], count: int) -> bool:
    if len(terms) == count:
        return True
    message = f"{bare(fields.get('type'))} has {count} losses, one for each of its outputs; found {len(terms)}"
    context.problem(fields.at("loss_decode"), message, f"Give a list of {count} losses")
    return False


OWN_TERMS: dict[str, OwnTerms] = {
    "DAHead": _dual_attention,
    "DDRHead": _context_and_detail,
    "EncHead": _classes_present,
    "GCNetHead": _detail_and_sum,
    "ImageClassHead": _of_images,
    "NNUNetHead": _every_level,
    "PIDHead": _three_branches,
    "STDCHead": _detail,
    "VPDDepthHead": _depths,
}
"""Head -> what its losses are for, where it is not each of them for each output."""

OF_ONE_HEAD = {"boundary_threshold": "STDCHead", "loss_se_decode": "EncHead"}
"""Key about losses -> the one head that has it."""
