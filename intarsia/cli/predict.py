"""``intarsia predict``: label maps and overlays for images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from intarsia.cli import options

if TYPE_CHECKING:
    from intarsia.inference.prediction import Prediction

EXAMPLES = """
[bold]A folder of photos[/]:          intarsia predict runs/first photos -o labels

[bold]Some files, and a pattern[/]:   intarsia predict weights.safetensors a.jpg "more/*.png" -o labels

Writes NAME.png, whose values are class indices, and NAME_overlay.jpg.
"""


def predict(
    weights: Annotated[Path, typer.Argument(metavar="WEIGHTS|RUN", help="A weights file, or the folder of a run.")],
    inputs: Annotated[
        list[Path], typer.Argument(metavar="INPUT...", help="Images, folders (with subfolders), patterns.")
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the results.")],
    overlay: Annotated[bool, typer.Option("--overlay/--no-overlay", help="Also write NAME_overlay.jpg.")] = True,
    slide: options.Slide = None,
    blend: options.Blend = "average",
    augment: options.Augment = None,
    config: options.ConfigBeside = None,
    device: options.Device = "auto",
) -> None:
    """Predict label maps for images. An image that cannot be used is named, and the others are done all the same."""
    from intarsia.inference.sources import find_images

    images = find_images(inputs)
    if out.exists() and not out.is_dir():
        raise ValueError(f"--out {out} is a file; give the name of a folder")

    from intarsia.cli.model import open_model
    from intarsia.cli.terminal import progress, say, warn
    from intarsia.cli.views import with_views

    model = open_model(weights, config=config, device=device)
    for note in model.notes:
        say(f"note: {note}")
    model = with_views(model, slide=slide, blend=blend, augment=augment)
    predictions = model.predictor(augment=augment is not None).predict(images)
    total, written = len(images.files), 0
    with progress("predicting") as bar:
        try:
            for prediction in predictions:
                _write(prediction, out, overlay)
                written += 1
                bar(written + len(predictions.failures), total)
        finally:
            predictions.close()
    for suffix, count in images.skipped.items():
        warn(f"{count} files {suffix or 'without suffix'} are no images and were passed over")
    say(
        f"{written} of {total} images: {out / 'NAME.png'} (values are class indices)" + (", NAME_overlay.jpg" * overlay)
    )
    if predictions.failures:
        for name, reason in predictions.failures:
            say(f"failed: {name}: {reason}", style="red")
        raise typer.Exit(1)


def _write(prediction: Prediction, out: Path, overlay: bool) -> None:
    prediction.save(out / f"{prediction.name}.png")
    if overlay:
        prediction.save_overlay(out / f"{prediction.name}_overlay.jpg")
