"""Whether it is the same work: with equal weights and inputs, the same loss, labels, samples and mIoU."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from peer_parts.running import Run
from peer_parts.works import FCN, OURS, WITH, Sizes, common

LOSS, PIXELS = 1e-4, 2e-5
"""How far losses may lie apart, as a share; what share of the pixels may have another label (where two tie)."""


def pairs() -> list[tuple[str, str]]:
    """Who is compared with Intarsia on which network."""
    return [(who, network) for network, all_who in WITH.items() for who in all_who if who != OURS]


def same_network(who: str, network: str, run: Run, sizes: Sizes, job: Mapping[str, Any], out: Path) -> dict[str, Any]:
    """Loss of a batch without dropout, and labels of an image, of somebody's network and of ours with its weights.

    The job's photo has a size that every network takes as it is, its "input".
    """
    windows = sizes.window if network == FCN else None
    job = {**job, **common(sizes), "input": job["input"], "network": network}
    job |= {"work": "check", "windows": windows, "passes": 0}
    files = {
        name: str(out / f"{who}_{network.replace(', ', '_')}_{name}") for name in ("state.pt", "theirs.npy", "ours.npy")
    }
    theirs = run(who, {**job, "save": files["state.pt"], "keep": files["theirs.npy"]}, {})
    ours = run(OURS, {**job, "state": files["state.pt"], "keep": files["ours.npy"], "of": who}, {})
    for answer in (theirs, ours):
        if "error" in answer:
            return {"holds": False, "error": answer["error"]}
    first, second = theirs["facts"]["loss"], ours["facts"]["loss"]
    label = _differing(files["theirs.npy"], files["ours.npy"])
    holds = abs(first - second) <= LOSS * abs(first) and label["differ"] <= PIXELS * label["pixels"]
    return {"holds": holds, "loss": first, "loss of ours": second, **label}


def _differing(first: str, second: str) -> dict[str, int]:
    import numpy as np

    theirs, ours = np.load(first), np.load(second)
    if theirs.shape != ours.shape:
        return {"pixels": theirs.size, "differ": theirs.size, "labels": 0}
    return {"pixels": theirs.size, "differ": int((theirs != ours).sum()), "labels": len(np.unique(theirs))}


def same_labels(run: Run, sizes: Sizes, job: Mapping[str, Any], state: str, out: Path) -> dict[str, Any]:
    """The labels of MMSegmentation and ours, with equal weights, of an image that is resized and whose logits are."""
    job = {**job, **common(sizes), "work": "labels", "passes": 0, "state": state}
    files = {who: str(out / f"labels_{who}.npy") for who in ("mmseg", OURS)}
    for who, file in files.items():
        answer = run(who, {**job, "keep": file}, {})
        if "error" in answer:
            return {"holds": False, "error": answer["error"]}
    label = _differing(files["mmseg"], files[OURS])
    return {"holds": label["differ"] <= PIXELS * label["pixels"], **label}


def same_samples(run: Run, job: Mapping[str, Any], out: Path) -> dict[str, Any]:
    """A training sample of MMSegmentation's pipeline and of ours, without what is drawn: bit for bit."""
    import numpy as np

    job = {**job, "work": "pipeline", "passes": 0, "count": 1, "samples": 1, "distort": False, "flip": 1.0}
    job |= {"ratios": (0.5, 0.5), "size": (4096, 4096)}
    found = {}
    for who in ("mmseg", OURS):
        file = out / f"sample_{who}.npz"
        answer = run(who, {**job, "keep": str(file)}, {})
        if "error" in answer:
            return {"holds": False, "error": answer["error"]}
        found[who] = dict(np.load(file))
    theirs, ours = found["mmseg"], found[OURS]
    same = all(theirs[name].shape == ours[name].shape and (theirs[name] == ours[name]).all() for name in theirs)
    return {"holds": bool(same), "pixels": int(theirs["label"].size)}


def same_scores(run: Run, sizes: Sizes, job: Mapping[str, Any], state: str) -> dict[str, Any]:
    """The mIoU of MMSegmentation and ours with equal weights."""
    job = {**job, **common(sizes), "work": "evaluation", "passes": 0, "count": sizes.images[0], "state": state}
    theirs, ours = run("mmseg", job, {}), run(OURS, job, {})
    for answer in (theirs, ours):
        if "error" in answer:
            return {"holds": False, "error": answer["error"]}
    first, second = theirs["facts"]["mIoU"], ours["facts"]["mIoU"]
    return {"holds": abs(first - second) <= 1e-4, "mIoU": first, "mIoU of ours": second}  # theirs is rounded


def lines(checks: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """What was found, one a line."""
    for name, found in checks.items():
        if "error" in found:
            yield f"- {name}: **not compared**: {found['error']}"
            continue
        said = []
        if "loss" in found:
            said.append(f"loss {found['loss']:.6f} and ours {found['loss of ours']:.6f}")
        if "differ" in found:
            said.append(f"{found['differ']} of {found['pixels']} pixels differ ({found['labels']} classes among them)")
        if "mIoU" in found:
            said.append(f"mIoU {found['mIoU']:.4f} and ours {found['mIoU of ours']:.4f}")
        if not said:
            said.append(f"{found['pixels']} pixels, bit for bit" if found["holds"] else "they differ")
        yield f"- {name}: {'' if found['holds'] else '**not the same work**: '}{'; '.join(said)}"
