"""A server of this machine that answers as the Hugging Face Hub does, as far as huggingface_hub asks it."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

Files = dict[str, bytes]
WRITER, READER = "hf_writer", "hf_reader"
"""Tokens: of the owner of "me", and of somebody else."""


@dataclass
class Repository:
    """branches: name -> commit. commits: its files."""

    private: bool = False
    gated: bool = False
    branches: dict[str, str] = field(default_factory=dict)
    commits: dict[str, Files] = field(default_factory=dict)
    messages: list[str] = field(default_factory=list)

    def commit(self, files: Files, branch: str = "main", message: str = "") -> str:
        """Add files to a branch; gives the commit."""
        whole = {**self.files(branch), **files}
        text = message + str(len(self.messages)) + "".join(sorted(whole))
        name = hashlib.sha1(text.encode()).hexdigest()
        self.commits[name], self.branches[branch] = whole, name
        self.messages.append(message)
        return name

    def files(self, revision: str = "main") -> Files:
        """The files of a branch or a commit."""
        return self.commits.get(self.branches.get(revision, revision), {})


@dataclass
class Hub:
    """repositories: by OWNER/NAME. large: suffixes of what goes the way of large files. asked: method and path.

    broken: a status that is the answer to everything. full: large files are not taken.
    """

    address: str = ""
    repositories: dict[str, Repository] = field(default_factory=dict)
    large: tuple[str, ...] = (".safetensors", ".bin", ".pth", ".pt")
    objects: Files = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    broken: int = 0
    full: bool = False

    def put(self, name: str, files: Files, **options: Any) -> Repository:
        """A repository with files."""
        self.repositories[name] = Repository(**options)
        self.repositories[name].commit(files)
        return self.repositories[name]


class _RefusedError(Exception):
    def __init__(self, status: int, code: str = "", message: str = "", **values: str) -> None:
        super().__init__(message)
        self.values = values
        self.status, self.code, self.message = status, code, message


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    hub: Hub

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        self.answer()

    do_HEAD = do_POST = do_PUT = do_GET  # noqa: N815

    def answer(self) -> None:
        path = urlsplit(self.path).path
        self.hub.asked.append(f"{self.command} {path}")
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        try:
            if self.hub.broken:
                raise _RefusedError(self.hub.broken, message="out of order")
            self.route([unquote(part) for part in path.strip("/").split("/")])
        except _RefusedError as error:
            said = {"X-Error-Code": error.code, "X-Error-Message": error.message}
            body = {"error": error.message, **error.values}
            self.send(json.dumps(body).encode(), error.status, **{name: text for name, text in said.items() if text})

    def send(self, data: bytes, status: int = 200, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", "Content-Length": str(len(data)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def json(self, values: Any) -> None:
        self.send(json.dumps(values).encode())

    def route(self, parts: list[str]) -> None:
        match parts:
            case ["api", "repos", "create"]:
                self.create(json.loads(self.body))
            case ["api", "validate-yaml"]:
                assert json.loads(self.body)["content"].startswith("---\n")
                self.json({"errors": [], "warnings": []})
            case ["api", "models", owner, name]:
                self.info(f"{owner}/{name}", "main")
            case ["api", "models", owner, name, "revision", revision]:
                self.info(f"{owner}/{name}", revision)
            case ["api", "models", owner, name, "tree", revision]:
                files = self.files(f"{owner}/{name}", revision)
                self.json([self.entry(path, data) for path, data in files.items()])
            case ["api", "models", owner, name, "branch", branch]:
                self.branch(self.writable(f"{owner}/{name}"), branch)
            case ["api", "models", owner, name, "preupload", _]:
                self.writable(f"{owner}/{name}")
                files = [
                    {"path": one["path"], "uploadMode": "lfs" if self.is_large(one["path"]) else "regular",
                     "shouldIgnore": False, "oid": None}
                    for one in json.loads(self.body)["files"]
                ]  # fmt: skip
                self.json({"files": files})
            case ["api", "models", owner, name, "commit", revision]:
                self.commit(f"{owner}/{name}", revision)
            case [owner, name, "info", "lfs", "objects", "batch"] if name.endswith(".git"):
                self.writable(f"{owner}/{name.removesuffix('.git')}")
                self.batch(json.loads(self.body)["objects"])
            case ["objects", _] if self.hub.full:
                raise _RefusedError(403, message="out of room")
            case ["objects", oid]:
                assert hashlib.sha256(self.body).hexdigest() == oid
                self.hub.objects[oid] = self.body
                self.json({})
            case [owner, name, "resolve", revision, *file]:
                self.file(f"{owner}/{name}", revision, "/".join(file))
            case _:
                raise _RefusedError(404, message=f"the stand-in knows nothing of {self.command} {self.path}")

    # --- who may do what ---

    def token(self) -> str:
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if token and token not in (WRITER, READER):
            raise _RefusedError(401, message="Invalid credentials in Authorization header")
        return token

    def readable(self, name: str) -> Repository:
        token, found = self.token(), self.hub.repositories.get(name)
        if found is None or (found.private and token != WRITER):
            raise _RefusedError(404 if token else 401, "RepoNotFound", "Repository not found")
        if found.gated and token != WRITER:
            raise _RefusedError(403 if token else 401, "GatedRepo", "Access to this model is restricted")
        return found

    def writable(self, name: str) -> Repository:
        if self.token() != WRITER or not name.startswith("me/"):
            raise _RefusedError(403, message="You don't have the rights to write to this repository")
        return self.readable(name)

    def files(self, name: str, revision: str) -> Files:
        found = self.readable(name)
        if revision not in (*found.branches, *found.commits):
            raise _RefusedError(404, "RevisionNotFound", "Invalid rev id")
        return found.files(revision)

    # --- what is asked ---

    def create(self, asked: dict[str, Any]) -> None:
        name = f"{asked.get('organization') or 'me'}/{asked['name']}"
        if self.token() != WRITER or not name.startswith("me/"):
            raise _RefusedError(
                403 if self.token() else 401, message="You don't have the rights to create a model there"
            )
        if name in self.hub.repositories:
            raise _RefusedError(409, message="You already created this model repo", url=f"{self.hub.address}/{name}")
        private = bool(asked.get("private") or asked.get("visibility") == "private")
        self.hub.put(name, {".gitattributes": b""}, private=private)
        self.json({"url": f"{self.hub.address}/{name}"})

    def info(self, name: str, revision: str) -> None:
        files, found = self.files(name, revision), self.hub.repositories[name]
        sha = found.branches.get(revision, revision)
        siblings = [{"rfilename": path} for path in files]
        self.json({"id": name, "sha": sha, "private": found.private, "siblings": siblings, "tags": []})

    def branch(self, found: Repository, branch: str) -> None:
        if branch in found.branches:
            raise _RefusedError(409, message="Reference already exists")
        found.branches[branch] = found.branches["main"]
        self.json({})

    def is_large(self, path: str) -> bool:
        return path.endswith(self.hub.large) if self.hub.large else False

    def entry(self, path: str, data: bytes) -> dict[str, Any]:
        oid = hashlib.sha1(data).hexdigest()
        large = {"lfs": {"oid": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 134}}
        return {"type": "file", "path": path, "size": len(data), "oid": oid, **(large if self.is_large(path) else {})}

    def batch(self, objects: list[dict[str, Any]]) -> None:
        upload = [
            {**one, "actions": {"upload": {"href": f"{self.hub.address}/objects/{one['oid']}"}}}
            if one["oid"] not in self.hub.objects
            else one
            for one in objects
        ]
        self.json({"transfer": "basic", "objects": upload})

    def commit(self, name: str, revision: str) -> None:
        found, files, message = self.writable(name), {}, ""
        for line in self.body.splitlines():
            item = json.loads(line)
            value = item["value"]
            match item["key"]:
                case "header":
                    message = value["summary"]
                case "file":
                    files[value["path"]] = base64.b64decode(value["content"])
                case "lfsFile":
                    files[value["path"]] = self.hub.objects[value["oid"]]
        sha = found.commit(files, revision, message)
        self.json({"success": True, "commitOid": sha, "commitUrl": f"{self.hub.address}/{name}/commit/{sha}"})

    def file(self, name: str, revision: str, path: str) -> None:
        files, found = self.files(name, revision), self.hub.repositories[name]
        if path not in files:
            raise _RefusedError(404, "EntryNotFound", "Entry not found")
        data = files[path]
        etag = hashlib.sha256(data).hexdigest() if self.is_large(path) else hashlib.sha1(data).hexdigest()
        headers = {
            "X-Repo-Commit": found.branches.get(revision, revision),
            "ETag": f'"{etag}"',
            "Accept-Ranges": "bytes",
        }
        wanted = self.headers.get("Range", "")
        if wanted.startswith("bytes=") and self.command == "GET":
            first, _, last = wanted.removeprefix("bytes=").partition("-")
            piece = data[int(first) : int(last) + 1 if last else None]
            place = f"bytes {first}-{int(first) + len(piece) - 1}/{len(data)}"
            self.send(piece, 206, **headers, **{"Content-Range": place, "Content-Type": "application/octet-stream"})
            return
        self.send(data, **headers, **{"Content-Type": "application/octet-stream"})


@contextmanager
def standing_in() -> Iterator[Hub]:
    """The server, while the block runs."""
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("OneHub", (Handler,), {"hub": hub}))
    hub.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
