"""Who holds the alias and who did before, in a real registry on SQLite."""

import mlflow
import pytest

from mricore.errors import UserError
from mricore.registry.alias import Alias, events


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    uri = f"sqlite:///{tmp_path_factory.mktemp('registry') / 'mlflow.db'}"
    return mlflow.MlflowClient(uri, uri)


@pytest.fixture
def held(client, request):
    """The alias of a new model with five versions."""
    name = request.node.name
    client.create_registered_model(name)
    for _ in range(5):
        client.create_model_version(name, "file:///nowhere")
    return Alias(client, name, "champion")


def test_demoting_goes_back_along_the_promotions(held):
    assert held.holder() is None
    for number in "124":
        held.give(number, f"reason {number}")
    assert held.chain() == ["4", "2", "1"]
    assert held.take_back("it fails on knees") == ("4", "2")
    assert held.take_back("again") == ("2", "1")
    assert held.holder() == "1"
    assert held.take_back("last") == ("1", None)
    assert held.holder() is None
    with pytest.raises(UserError, match="has no champion"):
        held.take_back("nobody")
    told = events(held.tags("4"))
    assert [one.split(" ", 1)[1] for one in told] == [
        "took champion from version 2: reason 4",
        "lost champion: it fails on knees",
    ]
    tags = held.tags("2")
    assert (tags["champion.previous"], tags["champion.promoted_by"]) == ("1", "reason 2")
    assert tags["champion.demoted_by"] == "again"
    assert tags["champion.demoted_at"] > tags["champion.promoted_at"]


def test_a_version_that_returns_keeps_its_place_so_that_no_circle_forms(held):
    for number in "123":
        held.give(number, "up")
    held.give("1", "rollback")
    assert held.chain() == ["1"]
    held.give("3", "up again")
    assert held.chain() == ["3", "1"]
    held.give("1", "rollback")
    held.give("1", "once more")
    assert held.take_back("no more") == ("1", None)
    assert len(events(held.tags("1"))) == 6


def test_an_alias_of_unknown_origin_is_not_guessed_at(held):
    held.client.set_registered_model_alias(held.model, "champion", "2")
    with pytest.raises(UserError, match="not recorded who was champion before version 2"):
        held.take_back("why not")
    assert held.holder() == "2"
    held.give("3", "up")
    held.client.delete_model_version(held.model, "2")
    assert held.chain() == ["3", "2"]
    with pytest.raises(UserError, match="no version 2"):
        held.take_back("it is gone")
    held.give("1", "rollback")
    assert held.holder() == "1"


@pytest.mark.parametrize("number", ["9", "three", ""])
def test_only_a_version_that_is_there_gets_it(held, number):
    held.give("1", "first")
    with pytest.raises(UserError, match="there is no version"):
        held.give(number, "mistake")
    assert held.holder() == "1"


def test_other_aliases_are_another_matter(held):
    other = Alias(held.client, held.model, "candidate")
    held.give("1", "first")
    other.give("2", "try")
    assert (held.holder(), other.holder()) == ("1", "2")
    assert other.take_back("tried") == ("2", None)
    assert held.holder() == "1"


def test_records_come_before_the_alias_so_that_a_killed_promotion_is_repeated(held, monkeypatch):
    held.give("1", "first")

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(mlflow.MlflowClient, "set_registered_model_alias", killed)
        with pytest.raises(KeyboardInterrupt):
            held.give("2", "up")
    assert held.holder() == "1"
    held.give("2", "up")
    assert held.take_back("down") == ("2", "1")
