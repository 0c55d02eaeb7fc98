"""The page's server: one process of this machine, for the person who started it.

It listens on the loopback address alone. Every address of it begins with a random token, so that neither other people
of the machine nor pages of other sites, which cannot know it, are answered; and only requests for this machine by name
are, so that no foreign name that was made to lead here is. It opens no file that a request names: images have numbers.
"""

from __future__ import annotations

import gzip
import json
import math
import os
import secrets
import sys
import threading
from collections.abc import Callable, Mapping
from functools import cache
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import resources
from typing import Any
from urllib.parse import parse_qs, urlsplit

from intarsia.viewer.class_editor import ClassEditor
from intarsia.viewer.measures import Query
from intarsia.viewer.samples import Collection
from intarsia.viewer.survey import Survey

LOOPBACK = "127.0.0.1"
HOSTS = (LOOPBACK, "localhost")
MOST_ROWS = 500
"""Images that one request lists."""
LONGEST_PATH = 2_000
LARGEST_BODY = 1 << 20
SILENT_FOR = 60
"""Seconds after which a connection that says nothing is closed."""

PAGE = {
    "": ("index.html", "text/html; charset=utf-8"),
    "api.js": ("api.js", "text/javascript; charset=utf-8"),
    "view.js": ("view.js", "text/javascript; charset=utf-8"),
    "legend.js": ("legend.js", "text/javascript; charset=utf-8"),
    "list.js": ("list.js", "text/javascript; charset=utf-8"),
    "stage.js": ("stage.js", "text/javascript; charset=utf-8"),
    "view.css": ("view.css", "text/css; charset=utf-8"),
    "icon.svg": ("icon.svg", "image/svg+xml"),
}
"""Files of this package that are served, and their media types."""

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; img-src 'self'; script-src 'self'; style-src 'self'; connect-src 'self'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}

Parameters = Mapping[str, str]


class RefusedError(Exception):
    """A request that is not answered. status: of HTTP."""

    def __init__(self, status: HTTPStatus, why: str) -> None:
        super().__init__(why)
        self.status = status


class ViewerServer(ThreadingHTTPServer):
    """Serves a collection on a port of the loopback address until it is shut down.

    title: of the page. editor: of the description that the data were given by, if they were. port: 0 takes a free one.

    Raises OSError if the port is taken.
    """

    daemon_threads = True
    allow_reuse_address = os.name == "posix"  # elsewhere it would let two programs listen on one port

    def __init__(
        self, collection: Collection, *, title: str, note: str = "", editor: ClassEditor | None = None, port: int = 0
    ) -> None:
        super().__init__((LOOPBACK, port), _Handler)
        self.collection, self.title, self.note, self.editor = collection, title, note, editor
        self.survey = Survey(collection)
        self.token = secrets.token_urlsafe(24)
        self._saving = threading.Lock()

    @property
    def address(self) -> str:
        """Where the page is, its token included."""
        return f"http://{LOOPBACK}:{self.server_port}/{self.token}/"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that has gone is no error; anything else is said as usual."""
        if not isinstance(sys.exc_info()[1], ConnectionError | TimeoutError):
            super().handle_error(request, client_address)

    def server_close(self) -> None:
        """Stop measuring, too."""
        self.survey.stop()
        super().server_close()

    # --- Answers in JSON ---

    def about(self, _: Parameters) -> Any:
        """What the page must know before it shows anything."""
        collection, editor = self.collection, self.editor
        own = len(collection.classes) - len(collection.dataset.classes)
        return {
            "title": self.title,
            "note": self.note,
            "count": len(collection),
            "classes": collection.classes,
            "palette": collection.palette,
            "sets": collection.sets,
            "values": collection.values,
            "runs": [run.name for run in collection.runs],
            "file": None if editor is None else str(editor.file),
            "first_editable": own,
        }

    def rows(self, asked: Parameters) -> Any:
        """A part of the list of images that fulfil a query."""
        query = self._query(asked)
        start, count = _number(asked, "start", 0), _number(asked, "count", 100, most=MOST_ROWS)
        found = self.collection.find(query)
        score = self.collection.measures.score(query)
        measures = self.collection.measures
        disagreement = measures.disagreement_of(query)
        rows = [
            {
                "i": index,
                "name": self.collection.name(index),
                "score": _finite(score[index]),
                "disagreement": _finite(disagreement[index]),
                "error": measures.failed.get(index),
            }
            for index in found[start : start + count].tolist()
        ]
        return {"total": len(found), "rows": rows}

    def place(self, asked: Parameters) -> Any:
        """Where an image stands in the list; -1 if it is not in it."""
        index = self._index(asked)
        (places,) = (self.collection.find(self._query(asked)) == index).nonzero()
        return {"place": int(places[0]) if len(places) else -1}

    def sample(self, asked: Parameters) -> Any:
        """What an image is."""
        index = self._index(asked)
        sample = self.collection.sample(index)
        height, width = sample.image.shape[:2]
        return {
            "i": index,
            "name": self.collection.name(index),
            "width": width,
            "height": height,
            "image": sample.meta.image_path,
            "label": sample.meta.label_path,
            "labelled": sample.label is not None,
        }

    def scores(self, asked: Parameters) -> Any:
        """What has been counted of an image, its predictions made for it."""
        index, measures = self._index(asked), self.collection.measures
        self.collection.measure(index)
        runs = range(len(self.collection.runs))
        there = [measures.truth_shows[index] | measures.shows[run, index] for run in runs]
        return {
            "iou": [_finite(measures.iou[run, index]) for run in runs],
            "confidence": [_finite(measures.confidence[run, index]) for run in runs],
            "disagreement": _finite(measures.disagreement[index]),
            "class_disagreement": [_finite(value) for value in measures.class_disagreement[index]],
            "class_iou": [
                [
                    _finite(value) if shown and math.isfinite(measures.iou[run, index]) else None
                    for value, shown in zip(measures.class_iou[run, index], there[run], strict=True)
                ]
                for run in runs
            ],
        }

    def survey_state(self, asked: Parameters) -> Any:
        """How far the survey of all images is; ``run=1`` starts it, ``run=0`` ends it."""
        if asked.get("run") == "1":
            self.survey.start()
        elif asked.get("run") == "0":
            self.survey.stop()
        return self.survey.state()

    def save_classes(self, body: bytes) -> Any:
        """Write other names and colours of the classes into the description file."""
        if self.editor is None:
            raise RefusedError(HTTPStatus.CONFLICT, "no data description was given that could be changed")
        try:
            given = json.loads(body)
        except (ValueError, RecursionError):
            raise RefusedError(HTTPStatus.BAD_REQUEST, "expected JSON") from None
        if not isinstance(given, dict):
            raise RefusedError(HTTPStatus.BAD_REQUEST, "expected classes and palette")
        with self._saving:
            kept = self.editor.save(given.get("classes"), given.get("palette"))
            description = self.editor.description
            self.collection.name_classes(description.classes, description.colours)
        return {"file": str(self.editor.file), "kept": str(kept)}

    # --- Parameters ---

    def _index(self, asked: Parameters) -> int:
        return _number(asked, "i", None, most=len(self.collection) - 1)

    def _run(self, asked: Parameters) -> int:
        return _number(asked, "run", 0, most=len(self.collection.runs) - 1)

    def _query(self, asked: Parameters) -> Query:
        label = _number(asked, "class", -1, least=-1, most=len(self.collection.classes) - 1)
        return Query(
            sort=asked.get("sort", "file"),
            descending=asked.get("descending") == "1",
            label=None if label < 0 else label,
            place=asked.get("place", "any"),
            low=_share(asked, "low", 0.0),
            high=_share(asked, "high", 1.0),
            least=_share(asked, "least", 0.0),
            text=asked.get("text", ""),
            run=self._run(asked) if self.collection.runs else 0,
        )

    # --- Pictures and maps: (bytes, media type) ---

    def thumbnail(self, asked: Parameters) -> tuple[bytes, str]:
        """A small picture of an image."""
        return self.collection.thumbnail(self._index(asked)), "image/jpeg"

    def image(self, asked: Parameters) -> tuple[bytes, str]:
        """An image for the screen."""
        return self.collection.image(self._index(asked))

    def truth(self, asked: Parameters) -> tuple[bytes, str]:
        """The label values of an image; nothing without a label."""
        return self.collection.truth_map(self._index(asked)) or b"", "application/octet-stream"

    def prediction(self, asked: Parameters) -> tuple[bytes, str]:
        """The label values and confidences that a run gives for an image."""
        return self.collection.prediction_map(self._run(asked), self._index(asked)), "application/octet-stream"


JSON: dict[str, Callable[[ViewerServer, Parameters], Any]] = {
    "about": ViewerServer.about,
    "rows": ViewerServer.rows,
    "place": ViewerServer.place,
    "sample": ViewerServer.sample,
    "scores": ViewerServer.scores,
    "survey": ViewerServer.survey_state,
}
BYTES: dict[str, Callable[[ViewerServer, Parameters], tuple[bytes, str]]] = {
    "thumbnail": ViewerServer.thumbnail,
    "image": ViewerServer.image,
    "truth": ViewerServer.truth,
    "prediction": ViewerServer.prediction,
}


class _Handler(BaseHTTPRequestHandler):
    """One connection."""

    server: ViewerServer
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "Intarsia", ""
    timeout = SILENT_FOR

    def do_GET(self) -> None:
        """The page, lists, pictures."""
        self._answer(self._get)

    def do_POST(self) -> None:
        """The one request that changes a file."""
        self._answer(self._post)

    def _get(self, name: str, asked: Parameters) -> tuple[bytes, str]:
        if name in PAGE:
            file, kind = PAGE[name]
            return _asset(file), kind
        if name in JSON:
            return _json(JSON[name](self.server, asked)), "application/json"
        if name in BYTES:
            return BYTES[name](self.server, asked)
        raise RefusedError(HTTPStatus.NOT_FOUND, "nothing here")

    def _post(self, name: str, _: Parameters) -> tuple[bytes, str]:
        if name != "classes":
            raise RefusedError(HTTPStatus.NOT_FOUND, "nothing here")
        if self.headers.get_content_type() != "application/json":
            raise RefusedError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "expected JSON")
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal():
            raise RefusedError(HTTPStatus.LENGTH_REQUIRED, "expected a Content-Length")
        if len(length) > 9 or int(length) > LARGEST_BODY:
            raise RefusedError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"expected at most {LARGEST_BODY} bytes")
        return _json(self.server.save_classes(self.rfile.read(int(length)))), "application/json"

    def _answer(self, respond: Callable[[str, Parameters], tuple[bytes, str]]) -> None:
        try:
            name, asked = self._checked()
            body, kind = respond(name, asked)
        except RefusedError as refused:
            self._refuse(refused.status, str(refused))
        except (ValueError, OSError, MemoryError, RuntimeError) as error:  # an image or a model that does not do
            self._refuse(HTTPStatus.UNPROCESSABLE_ENTITY, str(error) or type(error).__name__)
        except Exception as error:
            self._refuse(HTTPStatus.INTERNAL_SERVER_ERROR, f"{type(error).__name__}: {error}")
        else:
            self._send(HTTPStatus.OK, body, kind)

    def _checked(self) -> tuple[str, Parameters]:
        """(what is asked for, with which parameters) of a request that may ask."""
        if len(self.path) > LONGEST_PATH:
            raise RefusedError(HTTPStatus.REQUEST_URI_TOO_LONG, "too long")
        host = self.headers.get("Host", "")
        if host.rpartition(":")[0] not in HOSTS and host not in HOSTS:
            raise RefusedError(HTTPStatus.MISDIRECTED_REQUEST, "this page is for the machine that it is on")
        origin = self.headers.get("Origin")
        if origin is not None and origin != f"http://{host}":
            raise RefusedError(HTTPStatus.FORBIDDEN, "another site has no business here")
        parts = urlsplit(self.path)
        token, slash, name = parts.path.removeprefix("/").partition("/")
        if not slash or not secrets.compare_digest(token.encode(), self.server.token.encode()):
            raise RefusedError(HTTPStatus.NOT_FOUND, "nothing here; the address that was printed has the whole of it")
        return name, {key: values[-1] for key, values in parse_qs(parts.query, max_num_fields=20).items()}

    def _refuse(self, status: HTTPStatus, why: str) -> None:
        self.close_connection = True  # a body that was not read would be taken for the next request
        self._send(status, _json({"error": why}), "application/json")

    def _send(self, status: HTTPStatus, body: bytes, kind: str) -> None:
        packed = (
            len(body) > 1000 and not kind.startswith("image/") and "gzip" in self.headers.get("Accept-Encoding", "")
        )
        if packed:
            body = gzip.compress(body, 1)
        self.send_response(status)
        for name, value in HEADERS.items():
            self.send_header(name, value)
        if packed:
            self.send_header("Content-Encoding", "gzip")
        if self.close_connection:
            self.send_header("Connection", "close")
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """What is no request of the kinds above; nothing of it is repeated in the answer."""
        self.close_connection = True
        self.send_response(code)
        self.send_header("Connection", "close")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Requests are not listed: the terminal is for what the person should know."""


@cache
def _asset(name: str) -> bytes:
    return resources.files("intarsia.viewer").joinpath(name).read_bytes()


def _json(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False, allow_nan=False).encode("utf-8", "replace")


def _finite(value: Any) -> float | None:
    return round(float(value), 5) if math.isfinite(value) else None


def _number(asked: Parameters, key: str, default: int | None, *, least: int = 0, most: int = 2**31) -> int:
    text = asked.get(key, "" if default is None else str(default))
    if len(text) > 12 or not text.removeprefix("-").isdecimal() or not least <= int(text) <= most:
        raise RefusedError(HTTPStatus.BAD_REQUEST, f"{key}: expected a whole number from {least} to {most}")
    return int(text)


def _share(asked: Parameters, key: str, default: float) -> float:
    try:
        value = float(asked.get(key, default))
    except ValueError:
        value = math.nan
    if not 0 <= value <= 1:
        raise RefusedError(HTTPStatus.BAD_REQUEST, f"{key}: expected a number from 0 to 1")
    return value
