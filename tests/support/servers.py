"""Real servers for tests, on loopback ports, ended by killing exactly the processes started here."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

BIN = Path(sys.executable).parent
ACCESS_KEY, SECRET_KEY = "testkey", "testsecret"


def free_ports(count: int) -> list[int]:
    """Ports whose partner 10,000 above (SeaweedFS's gRPC) is free as well."""
    ports: list[int] = []
    for port in range(21000 + os.getpid() % 4000, 45000):
        if len(ports) == count:
            break
        if all(_is_free(candidate) for candidate in (port, port + 10000)):
            ports.append(port)
    return ports


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def wait_for(url: str, process: subprocess.Popen, log: Path, seconds: float = 60) -> None:
    """Until the URL answers anything at all."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if process.poll() is not None:
            raise RuntimeError(f"server ended with {process.returncode}: {log.read_text()[-2000:]}")
        try:
            urllib.request.urlopen(url, timeout=2)  # noqa: S310
            return
        except urllib.error.HTTPError:
            return
        except OSError:
            time.sleep(0.2)
    raise RuntimeError(f"no answer from {url}: {log.read_text()[-2000:]}")


@contextmanager
def running(
    command: Sequence[str], url: str, log: Path, environment: dict[str, str] | None = None
) -> Iterator[None]:
    """Run a server in its own process group and kill that group in the end."""
    with log.open("w") as stream:
        process = subprocess.Popen(
            command,
            stdout=stream,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={**os.environ, **(environment or {})},
        )
    try:
        wait_for(url, process, log)
        yield
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


class S3Server:
    """A SeaweedFS S3 server that can be started again, with what it stored, at the same address."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._store = folder / "store"
        self._store.mkdir(parents=True)
        identity = {
            "name": "test",
            "credentials": [{"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}],
            "actions": ["Admin", "Read", "Write", "List", "Tagging"],
        }
        (folder / "s3.json").write_text(json.dumps({"identities": [identity]}))
        self._ports = free_ports(4)
        self._url = f"http://127.0.0.1:{self._ports[-1]}"
        self.environment = {
            "AWS_ENDPOINT_URL": self._url,
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            "AWS_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    @contextmanager
    def running(self) -> Iterator[None]:
        """Up inside, killed after."""
        master, volume, filer, s3 = self._ports
        command = [
            str(BIN / "weed"),
            "server",
            "-s3",
            "-ip=127.0.0.1",
            "-ip.bind=127.0.0.1",
            f"-dir={self._store}",
            "-master.telemetry=false",
            f"-master.port={master}",
            f"-volume.port={volume}",
            f"-filer.port={filer}",
            f"-s3.port={s3}",
            "-s3.port.iceberg=0",
            "-s3.port.lance=0",
            "-master.volumeSizeLimitMB=64",
            "-volume.max=0",
            f"-s3.config={self._folder / 's3.json'}",
        ]
        with running(command, self._url, self._folder / "server.log", {"GOMEMLIMIT": "300MiB"}):
            yield


@contextmanager
def s3_server(folder: Path) -> Iterator[dict[str, str]]:
    """A SeaweedFS S3 server; yields the environment for its clients."""
    server = S3Server(folder)
    with server.running():
        yield server.environment


@contextmanager
def mlflow_server(folder: Path, artifacts: str = "") -> Iterator[str]:
    """A tracking server with SQLite and served artifacts, in ``artifacts`` (s3://) if given; its URI."""
    folder.mkdir(parents=True, exist_ok=True)
    (port,) = free_ports(1)
    command = [
        str(BIN / "mlflow"),
        "server",
        "--host=127.0.0.1",
        f"--port={port}",
        "--workers=1",
        f"--backend-store-uri=sqlite:///{folder / 'server.db'}",
        f"--artifacts-destination={artifacts or folder / 'artifacts'}",
    ]
    uri = f"http://127.0.0.1:{port}"
    with running(
        command, f"{uri}/health", folder / "server.log", {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    ):
        yield uri
