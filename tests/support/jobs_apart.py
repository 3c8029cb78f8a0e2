"""Jobs in processes of their own, and what they leave on disks and in buckets."""

import os
import subprocess
from pathlib import Path

import boto3
from servers import BIN

ROOT = Path(__file__).parents[2]


def environment(folder, **changes):
    """A process of its own: its home, its Ray, nothing from other tests."""
    ray_folder = folder / "ray"
    ray_folder.mkdir(exist_ok=True)
    own = {
        name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "MLFLOW_", "AWS_"))
    }
    path = f"{BIN}{os.pathsep}{own['PATH']}"  # as in an activated environment
    return {
        **own,
        "PATH": path,
        "HOME": str(folder),
        "RAY_TMPDIR": str(ray_folder),
        "PYTHONPATH": str(ROOT),
        **changes,
    }


def upload(folder, bucket):
    client = boto3.client("s3")
    client.create_bucket(Bucket=bucket)
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        client.upload_file(str(path), bucket, path.relative_to(folder).as_posix())


def all_files(*folders):
    return [
        path for folder in folders for path in folder.rglob("*") if path.is_file() and not path.is_symlink()
    ]


def output_of(command, folder, settings):
    """What a job says on both streams; it must end well."""
    result = subprocess.run(command, cwd=folder, env=settings, capture_output=True, check=False, timeout=240)
    said = result.stdout + result.stderr
    assert result.returncode == 0, said.decode()[-3000:]
    return said


def objects(bucket):
    """{name: content} of everything in a bucket."""
    client = boto3.client("s3")
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket)
    names = [entry["Key"] for page in pages for entry in page.get("Contents", [])]
    return {name: client.get_object(Bucket=bucket, Key=name)["Body"].read() for name in names}
