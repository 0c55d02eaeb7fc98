"""The server over real HTTP: what it answers, and whom and what it does not."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import numpy as np
import pytest
from viewed_scenes import Counting, predictor, serving

from intarsia.data.description.read import read_description
from intarsia.viewer import server as module
from intarsia.viewer.class_editor import ClassEditor
from intarsia.viewer.pictures import unpack
from intarsia.viewer.samples import Collection, Run
from intarsia.viewer.server import HEADERS, PAGE, ViewerServer

Make = Callable[..., Collection]


@pytest.fixture
def server(collected: Make, data: Path) -> Iterator[ViewerServer]:
    with serving(ViewerServer(collected(115), title="a run", editor=ClassEditor(data))) as running:
        yield running


def ask(
    server: ViewerServer,
    path: str,
    *,
    method: str = "GET",
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
    token: str | None = None,
) -> tuple[http.client.HTTPResponse, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=60)
    connection.request(method, f"/{server.token if token is None else token}/{path}", body, dict(headers or {}))
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    return answer, content


def found(server: ViewerServer, name: str, **parameters: Any) -> Any:
    answer, content = ask(server, f"{name}?{urlencode(parameters)}")
    assert answer.status == 200, content
    return json.loads(content)


def status(server: ViewerServer, path: str, **more: Any) -> int:
    return ask(server, path, **more)[0].status


# --- What it answers ----------------------------------------------------------------------------------------------


def test_the_page_and_its_files(server: ViewerServer) -> None:
    for name, (_, kind) in PAGE.items():
        answer, content = ask(server, name)
        assert (answer.status, answer.getheader("Content-Type")) == (200, kind)
        assert len(content) > 100
        for header, value in HEADERS.items():
            assert answer.getheader(header) == value
    policy = HEADERS["Content-Security-Policy"]
    assert "unsafe" not in policy
    assert "http" not in policy
    assert policy.startswith("default-src 'none'")


def test_the_page_names_no_other_place() -> None:
    """Nothing in the files of the page would ask another machine for anything."""
    for file in {file for file, _ in PAGE.values()}:
        text = module._asset(file).decode().replace("http://www.w3.org/2000/svg", "")
        assert "://" not in text
        assert "style=" not in text
        assert "innerHTML" not in text


def test_what_there_is(server: ViewerServer, data: Path) -> None:
    about = found(server, "about")
    assert about == {
        "title": "a run", "note": "", "count": 6, "classes": ["dark", "bright"],
        "palette": [[0, 0, 200], [250, 220, 0]], "runs": ["run 115"], "file": str(data), "first_editable": 0,
        "sets": False, "values": 2,
    }  # fmt: skip


def test_lists_and_scores(server: ViewerServer) -> None:
    rows = found(server, "rows", start=1, count=2)
    assert rows["total"] == 6
    assert [(row["i"], row["name"].rpartition("/")[2], row["score"]) for row in rows["rows"]] == [
        (1, "x1", None),
        (2, "x2", None),
    ]
    scores = found(server, "scores", i=2)
    assert 0.8 < scores["iou"][0] < 0.9
    assert np.mean(scores["class_iou"][0]) == pytest.approx(scores["iou"][0], abs=0.001)
    assert scores["disagreement"] == pytest.approx(220 / 2200)
    assert found(server, "rows", start=2, count=1)["rows"][0]["score"] == scores["iou"][0]
    assert [row["i"] for row in found(server, "rows", low=0.8)["rows"]] == [2]
    assert [row["i"] for row in found(server, "rows", sort="score", count=2)["rows"]] == [2, 0]
    of_class = found(server, "rows", **{"class": 1, "place": "wrong"})
    assert [row["score"] for row in of_class["rows"]] == [pytest.approx(scores["class_iou"][0][1], abs=1e-3)]
    assert found(server, "place", sort="file", descending=1, i=4) == {"place": 1}
    assert found(server, "place", text="x1", i=4) == {"place": -1}


def test_pictures_and_maps(server: ViewerServer) -> None:
    sample = found(server, "sample", i=1)
    assert (sample["width"], sample["height"], sample["labelled"]) == (60, 40, True)
    assert sample["image"].endswith("x1.png")
    assert ask(server, "image?i=1")[0].getheader("Content-Type") == "image/png"
    assert ask(server, "thumbnail?i=1")[1].startswith(b"\xff\xd8")
    truth, none = unpack(ask(server, "truth?i=1")[1])
    assert none is None
    assert (truth == 1).mean() == pytest.approx(35 / 60)
    said, sure = unpack(ask(server, "prediction?i=1&run=0")[1])
    assert sure is not None
    np.testing.assert_array_equal(said[4:], truth[4:])
    packed, content = ask(server, "truth?i=1", headers={"Accept-Encoding": "gzip"})
    assert packed.getheader("Content-Encoding") == "gzip"
    assert len(content) < 500


def test_the_survey_is_started_and_seen(server: ViewerServer) -> None:
    assert found(server, "survey") == {"done": 0, "total": 6, "failed": 0, "running": False}
    assert found(server, "survey", run=1)["total"] == 6
    assert server.survey._thread is not None
    server.survey._thread.join()
    assert found(server, "survey")["done"] == 6
    assert found(server, "survey", run=0)["running"] is False


def test_a_hundred_thousand_images_are_listed_without_reading_one() -> None:
    dataset = Counting(count=100_000)
    server = ViewerServer(Collection(dataset, [Run("a", predictor(), dataset)]), title="many")
    with serving(server):
        assert found(server, "about")["count"] == 100_000
        _, content = ask(server, "rows?start=99900&count=100&sort=score&text=9")
        assert len(content) < 20_000
        rows = found(server, "rows", start=99_990, count=100)
        assert [row["i"] for row in rows["rows"]] == list(range(99_990, 100_000))
        assert rows["total"] == 100_000
        assert found(server, "place", sort="name", i=77_777) == {"place": 77_777}
        assert status(server, "rows?start=0&count=100000") == 400
        assert dataset.loaded == []
        assert ask(server, "thumbnail?i=99999")[0].status == 200
        assert dataset.loaded == [99_999]


def test_a_broken_image_says_what_is_wrong(data: Path, collected: Make) -> None:
    (data.parent / "images" / "x1.png").write_bytes(b"\x89PNG")
    with serving(ViewerServer(collected(115), title="")) as server:
        for path in ("sample?i=1", "image?i=1", "truth?i=1", "prediction?i=1", "scores?i=1", "thumbnail?i=1"):
            answer, content = ask(server, path)
            assert answer.status == 422
            assert "x1.png" in json.loads(content)["error"]
        assert status(server, "image?i=2") == 200


def test_what_nobody_has_foreseen_is_said_and_the_server_goes_on(server: ViewerServer) -> None:
    server.collection.image = lambda index: [][index]  # type: ignore[method-assign, misc]
    answer, content = ask(server, "image?i=1")
    assert answer.status == 500
    assert json.loads(content)["error"].startswith("IndexError")
    assert status(server, "image?i=1") == 500
    assert status(server, "about") == 200


# --- What it does not answer --------------------------------------------------------------------------------------


def test_it_listens_on_the_loopback_address_alone(server: ViewerServer) -> None:
    assert server.server_address[0] == "127.0.0.1"
    assert server.address == f"http://127.0.0.1:{server.server_port}/{server.token}/"
    other = ViewerServer(Collection(Counting(count=1)), title="")
    assert len(server.token) >= 32
    assert other.token != server.token
    other.server_close()


@pytest.mark.parametrize("name", ["", "view.js", "about", "image?i=0", "rows"])
def test_without_the_token_nothing_is_answered(server: ViewerServer, name: str) -> None:
    for token in ("", "x", server.token[:-1], server.token + "x", server.token.swapcase(), "%2e%2e"):
        assert status(server, name, token=token) == 404
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port)
    connection.request("GET", "/favicon.ico")
    assert connection.getresponse().status == 404
    assert status(server, name) == 200


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "", "127.0.0.1.evil.example", "[::1]:80", "x:y:z"])
def test_a_foreign_name_that_leads_here_is_not_answered(server: ViewerServer, host: str) -> None:
    assert status(server, "about", headers={"Host": host}) == 421
    assert status(server, "classes", method="POST", body=b"{}", headers={"Host": host}) == 421


def test_the_own_names_are_answered(server: ViewerServer) -> None:
    for host in ("localhost", "localhost:8000", f"127.0.0.1:{server.server_port}"):  # a tunnel may have another port
        assert status(server, "about", headers={"Host": host}) == 200
        assert status(server, "about", headers={"Host": host, "Origin": f"http://{host}"}) == 200
        assert status(server, "about", headers={"Host": host, "Origin": "http://evil.example"}) == 403
        assert status(server, "about", headers={"Host": host, "Origin": "null"}) == 403


@pytest.mark.parametrize(
    "path",
    [
        "../../etc/passwd", "server.py", "../server.py", "%2e%2e/server.py", "view.js/../server.py", "/view.js",
        "__init__.py", "index.html", "image/x0.png",
    ],
)  # fmt: skip
def test_no_file_is_opened_by_its_name(server: ViewerServer, path: str) -> None:
    assert status(server, path) == 404


@pytest.mark.parametrize(
    "path",
    [
        "image", "image?i=", "image?i=-1", "image?i=6", "image?i=1.5", "image?i=x0", "image?i=" + "1" * 500,
        "prediction?i=0&run=1", "rows?start=-1", "rows?count=501", "rows?class=2", "rows?low=nan", "rows?high=2",
        "rows?least=x",
    ],
)  # fmt: skip
def test_what_is_no_number_in_range_is_refused(server: ViewerServer, path: str) -> None:
    assert status(server, path) == 400


def test_other_wrong_requests(server: ViewerServer) -> None:
    assert status(server, "rows?sort=size") == 422
    assert status(server, "rows?place=nowhere") == 422
    assert status(server, "rows?" + "&".join(f"a{n}=1" for n in range(50))) == 422
    assert status(server, "rows?text=" + "x" * 3000) == 414
    for method in ("PUT", "DELETE", "OPTIONS", "HEAD", "CONNECT"):
        assert status(server, "about", method=method) == 501
    assert status(server, "about", method="POST", body=b"{}", headers={"Content-Type": "application/json"}) == 404


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (b"<script>alert(1)</script> x y z", b""),
        (b"GET /<script> HTTP/9.9", b""),
        (b"<script> /a HTTP/1.1", b"501"),
        (b"GET /<script>\xff/ HTTP/1.1\r\nHost: localhost", b"404"),
        (b"GET /<script>/a HTTP/1.1", b"421"),
    ],
)
def test_nothing_of_a_wrong_request_is_repeated(server: ViewerServer, line: bytes, code: bytes) -> None:
    with socket.create_connection(("127.0.0.1", server.server_port), timeout=60) as connection:
        connection.sendall(line + b"\r\n\r\n")
        answer = connection.recv(10_000)
    assert answer[9:12] == code
    assert b"<script" not in answer
    assert status(server, "about") == 200


# --- The classes --------------------------------------------------------------------------------------------------

JSON = {"Content-Type": "application/json"}


def test_names_and_colours_are_written_on_request(server: ViewerServer, data: Path) -> None:
    before = data.read_text()
    body = json.dumps({"classes": ["night", "bright"], "palette": [[1, 2, 3], [250, 220, 0]]}).encode()
    answer, content = ask(server, "classes", method="POST", body=body, headers=JSON)
    assert answer.status == 200
    assert json.loads(content) == {"file": str(data), "kept": f"{data}.bak"}
    description = read_description(data)
    assert description.classes == ("night", "bright")
    assert description.palette == ((1, 2, 3), (250, 220, 0))
    assert Path(f"{data}.bak").read_text() == before
    assert found(server, "about")["classes"] == ["night", "bright"]
    assert found(server, "about")["palette"][0] == [1, 2, 3]


def test_only_a_small_json_of_the_page_writes(
    server: ViewerServer, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = data.read_text()
    good = json.dumps({"classes": ["a", "b"], "palette": [[1, 2, 3], [4, 5, 6]]}).encode()

    def post(body: bytes, **headers: str) -> int:
        return status(server, "classes", method="POST", body=body, headers={**JSON, **headers})

    assert post(good, **{"Content-Type": "text/plain"}) == 415  # what a form of another site could send
    assert post(good, Origin="http://evil.example") == 403
    assert post(b"{", Origin=f"http://127.0.0.1:{server.server_port}") == 400
    assert post(b"[1]") == 400
    assert post(b"{}") == 422
    assert post(b"[" * 100_000) == 400
    assert status(server, "classes?classes=a") == 404
    for length in ("-1", "x", ""):
        assert post(b"", **{"Content-Length": length}) == 411
    assert post(b"", **{"Content-Length": "9" * 30}) == 413
    monkeypatch.setattr(module, "LARGEST_BODY", 10)
    assert post(good) == 413
    assert data.read_text() == before
    assert [file.name for file in data.parent.glob("data*")] == ["data.yaml"]


def test_without_a_description_nothing_is_written(collected: Make) -> None:
    with serving(ViewerServer(collected(), title="")) as server:
        assert found(server, "about")["file"] is None
        assert status(server, "classes", method="POST", body=b"{}", headers=JSON) == 409


def test_closing_ends_the_survey(collected: Make) -> None:
    server = ViewerServer(collected(115), title="")
    with serving(server):
        server.survey.start()
    assert not server.survey.running
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", server.server_port), timeout=10)


def test_the_background_of_a_single_class_is_not_to_be_edited(data: Path) -> None:
    data.write_text(
        "classes: [bright]\nlabels: {0: background, 1: bright}\nsplits:\n  train: {images: images, labels: masks}\n"
    )
    dataset = read_description(data).dataset("train")
    with serving(ViewerServer(Collection(dataset), title="", editor=ClassEditor(data))) as server:
        about = found(server, "about")
        assert (about["classes"], about["first_editable"]) == (["background", "bright"], 1)
        assert about["palette"][0] == [0, 0, 0]
        body = json.dumps({"classes": ["lamp"], "palette": [[9, 9, 9]]}).encode()
        assert status(server, "classes", method="POST", body=body, headers=JSON) == 200
        assert found(server, "about")["classes"] == ["background", "lamp"]
        assert found(server, "about")["palette"] == [[0, 0, 0], [9, 9, 9]]
    assert read_description(data).labels == {0: "background", 1: "lamp"}
