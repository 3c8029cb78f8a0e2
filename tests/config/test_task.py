"""Declarations of tasks: the shipped ones are whole, and a mistake in one is one line that says where."""

import tomllib
from importlib import resources
from pathlib import Path

import pytest

from mricore.config.patterns import Pattern, filled, names_in
from mricore.config.task import Task, load_task, task_names
from mricore.errors import UserError

BONES = """
name = "bones"
title = "Bones"

[source]
kind = "nifti"
images = "images/{case}.nii.gz"
masks = "labels/{case}.nii.gz"
patient = "{case}"

[classes]
femur = [1]
"tibia and fibula" = [2, 3]

[split]
pool = 0.5
development = 0.2
test = 0.3

[about]
licence = "CC0"
where_to_get = "nowhere"
"""


@pytest.fixture
def written(tmp_path):
    """Writes a declaration, with words replaced, and returns its path."""

    def write(*changes, content=BONES):
        for old, new in changes:
            assert old in content
            content = content.replace(old, new)
        path = tmp_path / "bones.toml"
        path.write_text(content, "utf-8")
        return str(path)

    return write


@pytest.mark.parametrize("name", task_names())
def test_a_shipped_task_says_where_its_data_come_from(name):
    task = load_task(name)
    assert task.name == name
    assert task.about.licence
    assert ("generated" if name == "phantoms" else "http") in task.about.where_to_get


def test_the_papers_public_sets_and_four_more_are_shipped():
    assert {"mmthigh", "piano"} <= set(task_names())
    assert {"abdomen", "vertebrae", "hippocampus", "kidney"} <= set(task_names())


@pytest.mark.parametrize("name", task_names())
def test_a_shipped_task_is_explained_and_survives_json(name):
    text = (resources.files("mricore.config") / "tasks" / f"{name}.toml").read_text("utf-8")
    assert text.startswith("# ")
    assert text.count("\n#") >= 3
    task = load_task(name)
    assert Task.model_validate_json(task.model_dump_json()) == task
    assert set(tomllib.loads(text)) <= set(Task.model_fields)


def test_files_of_the_thigh_muscles_are_told_apart_as_their_authors_list_them():
    source = load_task("mmthigh").source
    pattern = Pattern(source.images)
    found = pattern.match("Training/T1/THIGH_047_0002.nii.gz")
    assert [filled(mask, found) for mask in source.masks] == [
        "Training/T1/THIGH_047_others.nii.gz",
        "Training/Label/THIGH_047.nii.gz",
    ]
    other = pattern.match("Training/Others/THIGH_016_0004.nii.gz")
    assert filled(source.masks[0], other) == "Training/Others/THIGH_016_others.nii.gz"
    assert filled(source.patient, other) == "THIGH_016"
    assert pattern.match("Helsinki/STIR/THIGH_112_0001.nii.gz")
    assert pattern.match("Training/Label/THIGH_047.nii.gz") is None
    assert pattern.match("Training/Others/THIGH_016_others.nii.gz") is None


def test_files_of_the_challenge_of_abdominal_organs_are_paired_slice_by_slice():
    source = load_task("chaos").source
    found = Pattern(source.images).match("MR/13/T2SPIR/DICOM_anon/IMG-0051-00007.dcm")
    assert filled(source.masks[0], found) == "MR/13/T2SPIR/Ground/IMG-0051-00007.png"
    assert filled(source.patient, found) == "13"


def test_all_classes_are_kept_unless_some_are_asked_for(written):
    path = written()
    assert load_task(path).labels == ("femur", "tibia and fibula")
    assert load_task(path).classes == {"femur": (1,), "tibia and fibula": (2, 3)}
    one = load_task(f"{path}:femur")
    assert (one.name, one.classes, one.ignore) == ("bones-femur", {"femur": (1,)}, (2, 3))
    whole = load_task(f"{path}:any")
    assert (whole.name, whole.classes, whole.ignore) == ("bones-any", {"foreground": (1, 2, 3)}, ())
    both = load_task(f"{path}:tibia and fibula+femur")
    assert both.classes == load_task(path).classes, "in the order of the declaration"


def test_a_class_that_is_not_there_is_answered_with_those_that_are(written):
    with pytest.raises(UserError, match="'liver' is unknown -> valid names: femur, tibia and fibula, any"):
        load_task(f"{written()}:liver")


def test_patients_are_dealt_in_shares_or_by_lists(written):
    path = written(
        ("pool = 0.5", 'pool = ["a", "b"]'), ("development = 0.2\n", ""), ("test = 0.3", 'test = ["c"]')
    )
    assert load_task(path).split.pool == ("a", "b")
    assert load_task(path).split.development == ()


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("[about]", "[abut]", ("'abut'", "about")),
        ("licence =", "license =", ("[about]", "'license'", "licence")),
        ("pool =", "pol =", ("[split]", "'pol'", "pool")),
        ("pool = 0.5", "pool = 0.4", ("[split]", "add up to 1")),
        ("pool = 0.5", 'pool = "a"', ("[split] pool", "number")),
        ("pool = 0.5", 'pool = ["a"]', ("[split] development", "square brackets")),
        ("title = ", "titel = ", ("'titel'", "title")),
        ('name = "bones"', 'name = "Bones of NN"', ("name",)),
        ('kind = "nifti"', 'kind = "nrrd"', ("[source] kind", "'nrrd'", "'dicom'")),
        ('kind = "nifti"', 'kind = "png"', ("[source]", "spacing")),
        ('kind = "nifti"', 'kind = "dicom"\nturn = "header"', ("[source]", "NIfTI alone")),
        ('patient = "{case}"', 'patient = "{person}"', ("[source]", "{person}", "case")),
        ('patient = "{case}"', 'patient = "*"', ("[source]", "no *")),
        ('patient = "{case}"', "", ("[source] patient", "add this key")),
        ('patient = "{case}"', 'patient = "{case}"\nspacing = [1, 2]', ("[source] spacing",)),
        ('patient = "{case}"', 'patient = "{case}"\nspacing = [1, 2, 0]', ("[source] spacing",)),
        ('patient = "{case}"', 'patient = "{case}"\nslice_axis = 3', ("[source] slice_axis", "'thickest'")),
        ('patient = "{case}"', 'patient = "{case}"\nturn = 45', ("[source] turn", "90")),
        ("images/{case}", "images/{Case}", ("[source] images", "small letters")),
        ("images/{case}", "images/{case:[}", ("[source] images", "regular expression")),
        ("images/{case}", "/images/{case}", ("[source] images", "below")),
        ("labels/{case}", "../labels/{case}", ("[source] masks", "below")),
        ("femur = [1]", "femur = [0]", ("background",)),
        ("femur = [1]", "femur = [2]", ("two classes",)),
        ("femur = [1]", "femur = []", ("no values",)),
        ("femur = [1]", "femur = 1", ("[classes] femur", "square brackets")),
        ("femur = [1]", "any = [1]", ("'any'",)),
        ("femur = [1]", '"a+b" = [1]', ("[classes]",)),
        ("[split]", '[categories.vendor]\nof = "{vendor}"\nvalues = {x = "X"}\n[split]', ("{vendor}",)),
        ("[source]", "[source", ("line",)),
    ],
)
def test_a_mistake_is_one_line_that_says_where_and_what_is_valid(written, old, new, said):
    path = written((old, new))
    with pytest.raises(UserError) as caught:
        load_task(path)
    message = str(caught.value)
    assert path in message
    assert "\n" not in message
    for words in said:
        assert words in message


def test_a_section_that_is_none_is_told(written):
    content = BONES.replace("[about]\n", "").replace('licence = "CC0"\nwhere_to_get = "nowhere"\n', "")
    with pytest.raises(UserError, match=r"about is not a section -> write \[about\]"):
        load_task(written(content='about = "x"\n' + content))


def test_a_task_that_does_not_exist_is_answered_with_those_that_do():
    with pytest.raises(UserError, match="abdomen, chaos, hippocampus, kidney"):
        load_task("abdomens")


def test_a_pattern_tells_the_parts_of_a_name():
    pattern = Pattern("{site}/P{patient:[0-9]{3}}_*/{patient}-{slice}.png")
    assert pattern.match("a/P012_x y/012-7.png") == {"site": "a", "patient": "012", "slice": "7"}
    assert pattern.match("a/P012_x/013-7.png") is None, "a name that comes twice stands for the same text"
    assert pattern.match("a/b/P012_x/012-7.png") is None, "no placeholder crosses a folder"
    assert pattern.match("a/P012_x/012-7xpng") is None, "a dot is a dot"
    assert pattern.placeholders == ("site", "patient", "slice")


def test_a_template_is_filled_with_what_is_known():
    assert filled("m/{b}_{a}.png", {"a": "1", "b": "{a}"}) == "m/{a}_1.png", "values are not filled again"
    assert names_in("{a}{b}{a}") == ("a", "b")
    with pytest.raises(KeyError):
        filled("{c}", {})


def test_every_shipped_task_is_in_the_manual():
    manual = (Path(__file__).parents[2] / "docs" / "tasks.md").read_text("utf-8")
    for name in task_names():
        assert f"| `{name}` |" in manual
