"""Images as the frames of a film: what a folder of numbered pictures is."""

from __future__ import annotations

from collections.abc import Iterator

from intarsia.data.image_reader import ImageReader
from intarsia.inference.inputs.finding import Failure, FoundImages
from intarsia.inference.inputs.images import ImageStream
from intarsia.inference.inputs.video import Frame


class ImageFrames(Iterator[Frame]):
    """Images in their order, `rate` a second. Those that cannot be read are left out, and go to `failures`.

    Has what `Frames` has of a video file, so that both can be predicted alike.
    """

    def __init__(self, found: FoundImages, *, rate: float, reader: ImageReader | None = None) -> None:
        self._stream = ImageStream(found, reader=reader)
        self.source = str(found.files[0].path.parent)
        self.name = found.files[0].path.parent.name
        self.rate, self.live = rate, False
        self.duration: float | None = len(found.files) / rate
        self.given = 0
        self.rounded = 0
        self.announced = len(found.files)
        self.lost: tuple[int, ...] = ()
        self.breaks_off: tuple[float, float] | None = None

    @property
    def failures(self) -> list[Failure]:
        """Images that could not be used, and why."""
        return self._stream.failures

    @property
    def shown(self) -> float:
        """Seconds that the frames so far take."""
        return self.given / self.rate

    def __next__(self) -> Frame:
        _, image = next(self._stream)
        frame = Frame(self.given, self.given / self.rate, image)
        self.given += 1
        return frame

    def close(self) -> None:
        """Stop decoding ahead."""
        self._stream.close()
