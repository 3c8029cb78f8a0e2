"""The commands of docs/weights.md are accepted, and the one for DINOv2 loads the published file."""

import re
import shlex
from itertools import pairwise
from pathlib import Path

import pytest

from mricore.config.overrides import apply_overrides
from mricore.config.recipes import recipe_named
from mricore.training.initial import initial_network

TEXT = (Path(__file__).parents[2] / "docs" / "weights.md").read_text().replace("\\\n", " ")
COMMANDS = [
    shlex.split(line) for line in re.findall(r"^    (python jobs/pretrain\.py .*)$", TEXT, re.MULTILINE)
]


def settings_of(command):
    return [value for option, value in pairwise(command) if option == "--set"]


@pytest.mark.parametrize("command", COMMANDS, ids=[" ".join(command[2:]) for command in COMMANDS])
def test_every_command_for_a_run_is_accepted(command):
    recipe = apply_overrides(recipe_named(command[2]), settings_of(command))
    assert recipe.initial.weights


def test_there_is_a_command_for_each_layout_but_maes():
    layouts = {
        apply_overrides(recipe_named(command[2]), settings_of(command)).initial.layout for command in COMMANDS
    }
    assert layouts == {"sam", "mri_core", "dinov2", "mricore"}


@pytest.mark.real_data
def test_the_command_for_dinov2_loads_the_whole_file(real_data):
    (command,) = (command for command in COMMANDS if "initial.layout=dinov2" in command)
    path = real_data / "weights" / "dinov2_vits14_imgfocus_fp16.safetensors"
    recipe = apply_overrides(
        recipe_named(command[2]), [*settings_of(command), f"initial.weights={path}", "head.prototypes=16"]
    )
    _, report = initial_network(recipe)
    assert (len(report.loaded), len(report.folded)) == (150, 24)
    assert not report.dropped
    assert not report.reshaped
    assert {name.split(".")[0] for name in report.kept} == {"head", "mask_token"}
