"""Policies: the shipped ones are complete and safe, and a mistake in a file is one line that says where."""

import json
import re
import tomllib
from importlib import resources
from typing import get_args

import pytest

from mricore.config.curation import Curation, Location, Protocol
from mricore.config.overrides import apply_overrides, validated
from mricore.config.policy import load_policy, policy_names
from mricore.config.recipes import tiny
from mricore.errors import UserError
from mricore.imaging.anatomy import FACE_BEARING, LOCATIONS, UNKNOWN


def shipped_text(name):
    return (resources.files("mricore.config") / "policies" / f"{name}.toml").read_text("utf-8")


@pytest.fixture
def written(tmp_path):
    """Writes a policy file and returns its path."""

    def write(content, encoding="utf-8"):
        path = tmp_path / "mine.toml"
        path.write_bytes(content.encode(encoding))
        return str(path)

    return write


def test_the_default_policy_is_the_default_of_the_settings():
    assert load_policy("body") == Curation()


def test_the_default_file_states_every_setting_so_that_it_can_be_copied_and_edited():
    document = tomllib.loads(shipped_text("body"))
    stated = sum(len(keys) for keys in document.values())
    assert stated == len(Curation.model_fields) - 1, "all but protocols, which are shown as a comment"


@pytest.mark.parametrize("name", policy_names())
def test_every_line_of_a_shipped_policy_is_explained(name):
    explained = False
    for line in shipped_text(name).splitlines():
        key = line.partition("=")[0].strip()
        if line.startswith("#"):
            explained = True
        elif "=" in line and key not in {"name", "any", "not"}:
            assert explained, f"{key} in {name}.toml has no comment above it"
            explained = False


@pytest.mark.parametrize("name", policy_names())
def test_no_shipped_policy_lets_a_face_in(name):
    policy = load_policy(name)
    assert set(policy.exclude_locations) >= FACE_BEARING
    assert policy.unknown_location == "exclude"


def test_the_example_names_its_protocols_one_by_one():
    protocols = load_policy("musculoskeletal").protocols
    assert len(protocols) > 15
    assert Protocol(name="MR elbow", any_of=("elbow", "elbows", "ellenbogen", "coude")) in protocols


def test_a_file_changes_what_it_says_and_nothing_else(written):
    policy = load_policy(
        written(
            "[sampling]\nseed = 7\n[exclude]\nwords = []\n[volumes]\nspacing_tolerance = 1\n"
            '[[protocol]]\nname = "A"\nany = ["knee"]\nnot = ["hip"]\n'
            '[[protocol]]\nname = "B"\nany = ["x", "y"]\n'
            '[duplicates]\nnear_duplicates = "drop"\n'
        )
    )
    assert policy == Curation(
        seed=7,
        exclude_words=(),
        spacing_tolerance=1.0,
        near_duplicates="drop",
        protocols=(
            Protocol(name="A", any_of=("knee",), none_of=("hip",)),
            Protocol(name="B", any_of=("x", "y")),
        ),
    )


def test_an_empty_file_is_the_default_policy(written):
    assert load_policy(written("")) == Curation()


def test_a_file_of_a_windows_editor_is_read(written):
    assert load_policy(written("[sampling]\r\nseed = 3\r\n", "utf-8-sig")).seed == 3


@pytest.mark.parametrize("name", policy_names())
def test_a_policy_survives_the_json_of_a_recipe(name):
    recipe = tiny().model_copy(update={"curation": load_policy(name)})
    again = validated(json.loads(recipe.model_dump_json()))
    assert again == recipe
    assert hash(again.curation.protocols) == hash(recipe.curation.protocols)
    assert Curation.model_validate(recipe.curation.model_dump(mode="json")) == recipe.curation


def test_the_command_line_overrides_a_policy():
    recipe = tiny().model_copy(update={"curation": load_policy("musculoskeletal")})
    protocols = '[{"name": "MR knee", "any_of": ["knee"]}]'
    changed = apply_overrides(
        recipe, ["curation.exams_per_protocol=10", f"curation.protocols={protocols}"]
    ).curation
    assert changed.exams_per_protocol == 10
    assert changed.protocols == (Protocol(name="MR knee", any_of=("knee",)),)
    with pytest.raises(UserError, match=r"exclude_locations.*'brain'"):
        apply_overrides(recipe, ['curation.exclude_locations=["brian"]'])


NAMED = '[[protocol]]\nname = "MR knee"\n'


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("[sampling]\nexams = 3", ("[sampling]", "'exams'", "exams_per_protocol")),
        ("[samples]\nseed = 3", ("'samples'", "anatomy, exclude, sampling, protocol")),
        ("seed = 3", ("'seed'", "sampling")),
        ("sampling = 3", ("sampling", "[sampling]")),
        ('[anatomy]\nexclude = ["brian"]', ("[anatomy] exclude", "'brian'", "'brain'", "'whole_body'")),
        ('[anatomy]\nexclude = ["unknown"]', ("[anatomy] exclude", "'unknown'")),
        ('[anatomy]\nexclude = "brain"', ("[anatomy] exclude", "square brackets")),
        ('[anatomy]\nunknown = "maybe"', ("[anatomy] unknown", "'maybe'", "'exclude' or 'include'")),
        ('[exclude]\nwords = ["knee", " "]', ("[exclude] words", "' '")),
        ('[exclude]\nwords = ["колено"]', ("[exclude] words", "Latin")),
        ("[exclude]\nwords = [3]", ("[exclude] words", "quotation marks")),
        ('[sampling]\nexams_per_protocol = "150"', ("[sampling] exams_per_protocol", "whole number")),
        ("[sampling]\nexams_per_protocol = 1.5", ("[sampling] exams_per_protocol", "whole number")),
        (
            "[sampling]\nexams_per_protocol = 0",
            ("[sampling] exams_per_protocol", "greater than or equal to 1"),
        ),
        ("[sampling]\nseed = true", ("[sampling] seed", "whole number")),
        ("[sampling]\nseed = 2020-01-01", ("[sampling] seed", "whole number")),
        ("[sampling]\none_exam_per_patient = 1", ("[sampling] one_exam_per_patient", "true or false")),
        ("[volumes]\nspacing_tolerance = nan", ("[volumes] spacing_tolerance",)),
        ('[duplicates]\nrepeated_volumes = "no"', ("[duplicates] repeated_volumes", "'keep' or 'drop'")),
        ('[protocol]\nname = "MR knee"', ("[protocol]", "[[protocol]]")),
        (NAMED + "any = []", ("protocol 1 (MR knee), any", "at least one")),
        (NAMED + 'any = [""]', ("protocol 1 (MR knee), any", "''")),
        (NAMED + 'any = "knee"', ("protocol 1 (MR knee), any", "square brackets")),
        (NAMED, ("protocol 1 (MR knee), any", "add this key")),
        (NAMED + 'any = ["knee"]\nall = ["x"]', ("protocol 1", "'all'", "name, any, not")),
        ('[[protocol]]\nname = " "\nany = ["knee"]', ("protocol 1", "name")),
        (NAMED + 'any = ["a"]\n[[protocol]]\nany = ["b"]', ("protocol 2 (without a name), name",)),
        (
            NAMED + 'any = ["a"]\n[[protocol]]\nname = "mr KNEE"\nany = ["b"]',
            ("[[protocol]]", "2 protocols", "'mr knee'"),
        ),
        ("[sampling]\nseed = 1\nseed = 2\n", ("overwrite", "line 3")),
        ("[sampling\nseed = 1", ("line 1",)),
    ],
)
def test_a_mistake_is_one_line_that_says_where_and_what_is_valid(written, content, said):
    path = written(content)
    with pytest.raises(UserError) as caught:
        load_policy(path)
    message = str(caught.value)
    assert path in message
    assert "\n" not in message
    for words in said:
        assert words in message


def test_a_file_in_another_encoding_is_told(written):
    with pytest.raises(UserError, match="UTF-8"):
        load_policy(written('[exclude]\nwords = ["h\u00fcfte"]', "latin-1"))


@pytest.mark.parametrize("name", ["knees", "all_anatomy", ".", "", "absent/body.toml"])
def test_a_policy_that_does_not_exist_is_answered_with_those_that_do(name):
    with pytest.raises(UserError) as caught:
        load_policy(name)
    for known in policy_names():
        assert known in caught.value.remedy


def test_the_names_of_locations_are_those_that_are_found_in_headers():
    assert set(get_args(Location)) == set(LOCATIONS) - {UNKNOWN}


def test_the_default_file_lists_the_names_of_all_locations():
    listed = re.search(r"# All names: (.*?)\.\n", shipped_text("body"), re.DOTALL).group(1)
    names = re.sub(r"\([^)]*\)", "", listed.replace("\n#", "")).split(",")
    assert sorted(name.strip() for name in names) == sorted(get_args(Location))
