"""Passwords in addresses are shown nowhere: not in errors, not in the lines of jobs."""

import pytest
from small import small_recipe

from mricore.config.addresses import without_credentials
from mricore.data.storage import place
from mricore.errors import UserError
from mricore.registry.load import load
from mricore.registry.publish import tracking_at
from mricore.training.launch import RunRecord
from mricore.training.place import Home
from mricore.training.telemetry import Tracked, require_tracking
from mricore.workflows.summary import last_lines

ADDRESS = "http://user:sec%40ret@127.0.0.1:9/mlflow"


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        (ADDRESS, "http://***@127.0.0.1:9/mlflow"),
        ("postgresql+psycopg2://me:pw@db:5432/mlflow", "postgresql+psycopg2://***@db:5432/mlflow"),
        ("https://token@host", "https://***@host"),
        ("http://a:b@c@host/x", "http://***@host/x"),
        ("http://host:5000/a@b", "http://host:5000/a@b"),
        ("models:/mri-core@champion", "models:/mri-core@champion"),
        ("sqlite:////home/me@work/mlflow.db", "sqlite:////home/me@work/mlflow.db"),
        ("s3://bucket/a@b", "s3://bucket/a@b"),
    ],
)
def test_user_and_password_are_hidden_and_nothing_else(address, shown):
    assert without_credentials(address) == shown
    assert without_credentials(f"MLflow at {address} is down") == f"MLflow at {shown} is down"


def test_no_error_and_no_line_shows_them(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    where = Home(place(str(tmp_path)), ADDRESS)
    with pytest.raises(UserError, match=r"http://\*\*\*@127") as down:
        require_tracking(where)
    with pytest.raises(UserError) as foreign:
        load("https://user:sec%40ret@host/model")
    with tracking_at(ADDRESS), pytest.raises(UserError) as absent:
        load("models:/absent@champion")
    recipe, tracked = small_recipe(), Tracked(ADDRESS, "1", "abc")
    lines = last_lines(RunRecord("tiny-1", "abc", model_version="4"), where, recipe, "manifest", tracked)
    said = [str(one.value) for one in (down, foreign, absent)]
    assert "***@127.0.0.1" in lines
    assert "; champion stays: python jobs/publish.py tiny-1 --name mri-core" in lines
    assert "sec" not in "\n".join([*said, lines])
