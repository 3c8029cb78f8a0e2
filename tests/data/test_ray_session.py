"""How Ray is started, where it cannot be."""

import inspect
from pathlib import Path

import pytest
import ray

from mricore.data.cluster import TOO_SLOW, ray_session
from mricore.errors import UserError


@pytest.fixture
def failing(monkeypatch):
    """Lets Ray fail to start with a message."""

    def fails(message):
        def init(**_):
            raise Exception(message)

        monkeypatch.delenv("RAY_ADDRESS", raising=False)
        monkeypatch.setattr(ray, "is_initialized", lambda: False)
        monkeypatch.setattr(ray, "init", init)

    return fails


def test_a_machine_that_is_too_busy_for_ray_is_told_as_one(failing):
    failing("The current node timed out during startup. This could happen because ...")
    with pytest.raises(UserError, match="half a minute -> wait until it is less busy"), ray_session():
        pass


def test_ray_says_what_is_looked_for():
    node, library = TOO_SLOW
    assert node in inspect.getsource(ray._private.node)
    assert library.encode() in Path(ray._raylet.__file__).read_bytes()


def test_another_failure_is_a_fault_and_passes(failing):
    failing("something else")
    with pytest.raises(Exception, match="something else") as caught, ray_session():
        pass
    assert not isinstance(caught.value, UserError)
