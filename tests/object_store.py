"""S3, as a stand-in on this machine speaks it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest


@contextmanager
def object_store(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The store's file system, while the environment leads to it. Skips the test where moto or s3fs is missing."""
    server = pytest.importorskip("moto.server").ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    file_system = pytest.importorskip("s3fs").S3FileSystem
    server.start()
    # fsspec keeps one file system a process, with the address that the environment gave when it was made: what an
    # earlier test left would lead this one to a server that has ended, and what this one leaves the next.
    file_system.clear_instance_cache()
    try:
        host, port = server.get_host_and_port()
        for name, value in (
            ("AWS_ENDPOINT_URL", f"http://{host}:{port}"), ("AWS_ACCESS_KEY_ID", "test"),
            ("AWS_SECRET_ACCESS_KEY", "test"), ("AWS_DEFAULT_REGION", "us-east-1"),
        ):  # fmt: skip
            monkeypatch.setenv(name, value)
        yield file_system(skip_instance_cache=True)
    finally:
        file_system.clear_instance_cache()
        server.stop()
