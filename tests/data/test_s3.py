"""The storage layer against a real S3 server with signatures."""

import pytest
from records import small_dataset
from servers import s3_server

from mricore.data.manifest import read_manifest
from mricore.data.shards import read_rows
from mricore.data.storage import place
from mricore.errors import UserError

pytestmark = pytest.mark.servers


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    import boto3

    with s3_server(tmp_path_factory.mktemp("s3")) as environment, pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        boto3.client("s3").create_bucket(Bucket="mri")
        yield patch


def test_a_dataset_lives_in_a_bucket(server):
    target = place("s3://mri/some/dataset")
    manifest = small_dataset(target, 30)
    assert read_manifest(target) == manifest
    assert [file.path for file in target.files()] == [
        "manifest.json",
        "shards/000000.parquet",
        "shards/000001.parquet",
    ]
    assert len(read_rows(target, "shards/000001.parquet", 1, [0, 2])) == 2
    assert not target.exists("absent")


def test_a_missing_bucket_and_a_wrong_secret_are_clear(server):
    with pytest.raises(UserError, match="no such bucket"):
        place("s3://absent/x").files()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
        with pytest.raises(UserError, match=r"permission|access|secret") as caught:
            place("s3://mri/some").files()
    assert "\n" not in str(caught.value)
