"""Units run in parallel, each is kept once it is done, none is computed twice, a failure stops no other."""

import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import boto3
import numpy as np
import pytest
import torch
from ray import cloudpickle
from ray.exceptions import RayTaskError
from servers import s3_server

from mricore.config.running import Running
from mricore.data.storage import Place, place
from mricore.errors import UserError
from mricore.evaluation.measurements import Measurement, from_csv
from mricore.evaluation.pictures import load_pictures, shown
from mricore.evaluation.runner import run_units
from mricore.evaluation.tasks.volume import SliceKey
from mricore.evaluation.units import Made, Unit, done_digests, kept, store

cloudpickle.register_pickle_by_value(sys.modules[__name__])
ROOT = Path(__file__).parents[2]


def row(unit_draw, value, encoder="enc"):
    return Measurement("knn", "task", "strict", encoder, unit_draw, "P1", "C1", "mean", "accuracy", value)


def unit(draw, work, encoder="enc", inputs=("data",), **identity):
    return Unit("knn", "task", encoder, draw, {"seed": 0, **identity}, work, inputs)


def marking(folder):
    """Work that leaves a file for each time that it is done, and gives what depends on threads alone."""

    def work(data, device):
        mark = Path(folder) / f"{data['draw']}-{time.monotonic_ns()}"
        mark.write_text(f"{device} {torch.get_num_threads()}")
        generator = torch.Generator().manual_seed(data["draw"])
        matrix = torch.randn(200, 200, generator=generator)
        return Made([row(data["draw"], float((matrix @ matrix.T / 40).softmax(0).std()))])

    return work


def planned(folder, count):
    """Units, and the inputs that they name."""
    work = marking(folder)
    units = [unit(draw, work, inputs=(f"data{draw}",)) for draw in range(count)]
    return units, {f"data{draw}": partial(dict, draw=draw) for draw in range(count)}


@pytest.fixture
def out(tmp_path):
    return place(str(tmp_path / "out"))


@pytest.fixture
def marks(tmp_path):
    (tmp_path / "marks").mkdir()
    return tmp_path / "marks"


@pytest.mark.usefixtures("ray_cluster")
def test_units_are_computed_once_and_gpus_are_never_taken_by_accident(out, marks, capsys):
    units, inputs = planned(marks, 3)
    first = run_units(units, inputs, out, Running())
    assert [one.draw for one in first.rows] == [0, 1, 2]
    assert first.failures == []
    assert {mark.read_text() for mark in marks.iterdir()} == {"cpu 1"}
    inputs = dict.fromkeys(inputs, None)  # what is done needs no inputs
    again = run_units(units, inputs, out, Running())
    assert again == first
    assert len(list(marks.iterdir())) == 3
    assert "3 of 3 units are done already" in capsys.readouterr().out
    assert done_digests(out) == {one.digest for one in units}


@pytest.mark.usefixtures("ray_cluster")
def test_one_at_a_time_and_two_at_once_give_the_same_numbers(tmp_path, marks):
    units, inputs = planned(marks, 4)
    found = [
        run_units(units, inputs, place(str(tmp_path / str(most))), Running(concurrency=most)).rows
        for most in (1, 2)
    ]
    assert found[0] == found[1]
    assert len({one.value for one in found[0]}) == 4


@pytest.mark.usefixtures("ray_cluster")
def test_a_failed_unit_is_told_in_one_line_without_its_message_and_others_go_on(out, marks, capsys):
    def broken(data, device):
        raise ValueError("/home/user/DOE^JANE/scan.dcm")

    def mistaken(data, device):
        raise UserError("too few slices", "give more")

    def dying(data, device):
        os._exit(7)

    units, inputs = planned(marks, 1)
    inputs["data"] = dict
    units = [unit(7, broken, encoder="bad"), unit(8, mistaken), unit(9, dying), *units]
    ran = run_units(units, inputs, out, Running())
    assert [one.draw for one in ran.rows] == [0]
    assert {one.unit.draw: one.is_users for one in ran.failures} == {7: False, 8: True, 9: False}
    told = capsys.readouterr().out
    lines = [line for line in told.splitlines() if line.startswith("failed: ")]
    assert len(lines) == 3
    assert "DOE" not in told
    assert any("knn of bad on task, draw 7: ValueError in test_runner.py" in line for line in lines)
    assert any("too few slices (give more)" in line for line in lines)
    assert any("its process ended" in line for line in lines)
    # what failed is tried again by the next command
    mended = [unit(7, lambda data, device: Made([row(7, 1.0)]), encoder="bad"), units[-1]]
    assert run_units(mended, inputs, out, Running()).failures == []


@pytest.mark.usefixtures("ray_cluster")
def test_inputs_that_cannot_be_made_take_only_their_own_units_with_them(out, marks, capsys):
    def mistaken():
        raise UserError("a plain encoder has no neck", "choose others")

    def dead():
        raise RayTaskError("f", "traceback of /home/DOE", ValueError("DOE"))

    units, inputs = planned(marks, 3)
    inputs |= {"data0": mistaken, "data2": dead}
    for _ in range(2):  # the second time nothing is left that could be computed
        ran = run_units(units, inputs, out, Running())
        assert [one.draw for one in ran.rows] == [1]
        assert {one.unit.draw: one.is_users for one in ran.failures} == {0: True, 2: False}
    told = capsys.readouterr().out
    assert told.count("failed: data0: a plain encoder has no neck (choose others)") == 2
    assert "DOE" not in told


@pytest.mark.usefixtures("ray_cluster")
@pytest.mark.parametrize(("setting", "what"), [("cpus", "CPUs"), ("gpus", "GPUs")])
def test_what_the_cluster_has_no_room_for_is_refused_and_does_not_wait_for_ever(setting, what, out):
    with pytest.raises(UserError, match=f"a unit needs 64 {what}"):
        run_units([], {}, out, Running(**{setting: 64}))


def test_the_digest_tells_units_apart_and_forgets_names(tmp_path):
    one = unit(0, None, settings={"lr": 1e-3, "mode": "strict"}, encoder_digest="a")
    same = unit(0, None, "other name", ("x",), encoder_digest="a", settings={"mode": "strict", "lr": 1e-3})
    assert one.digest == same.digest
    others = [
        unit(1, None, settings={"lr": 1e-3, "mode": "strict"}, encoder_digest="a"),
        unit(0, None, settings={"lr": 1e-4, "mode": "strict"}, encoder_digest="a"),
        unit(0, None, settings={"lr": 1e-3, "mode": "strict"}, encoder_digest="b"),
    ]
    assert len({one.digest, *(other.digest for other in others)}) == 4


def test_rows_pictures_and_facts_of_a_unit_are_kept_and_a_new_name_is_taken_over(out):
    image = np.arange(12.0).reshape(3, 4)
    picture = shown("task", SliceKey("C1", 2), image, None, {})
    made = Made([row(0, float("nan")), row(0, 0.25)], [picture], curve=[1.0, 0.5])
    one = unit(0, None)
    assert kept(out, one) is None
    store(out, one, made, {"seconds": 2.5})
    assert 0.25 in [found.value for found in kept(out, one)]
    assert load_pictures(out, f"pictures/{one.digest}.npz")[0].key == picture.key
    renamed = unit(0, None, encoder="ours")
    assert {found.encoder for found in kept(out, renamed)} == {"ours"}
    stored = from_csv(out.read_bytes(f"results/{one.digest}.csv"))
    assert {found.encoder for found in stored} == {"ours"}
    assert 0.25 in [found.value for found in kept(out, renamed)]


@pytest.mark.faults
@pytest.mark.parametrize("ending", ["csv", "json"])
def test_a_unit_whose_files_were_damaged_is_not_done(ending, out):
    one = unit(0, None)
    store(out, one, Made([row(0, 0.25)]), {})
    file = Path(out.uri) / f"results/{one.digest}.{ending}"
    whole = file.read_bytes()
    for damaged in (b"", whole[:-7], whole.replace(b"0.25", b"0.35").replace(b"rows", b"lows")):
        file.write_bytes(damaged)
        assert kept(out, one) is None
    file.unlink()
    assert kept(out, one) is None


@pytest.mark.servers
def test_units_are_kept_in_an_object_store(tmp_path, monkeypatch):
    with s3_server(tmp_path / "s3") as environment:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        boto3.client("s3").create_bucket(Bucket="results")
        out, one = place("s3://results/evaluation"), unit(0, None)
        assert done_digests(out) == set()
        assert kept(out, one) is None
        store(out, one, Made([row(0, 0.25)]), {})
        assert done_digests(out) == {one.digest}
        assert kept(out, one) == [row(0, 0.25)]


KILLED = """
import time
from functools import partial
from pathlib import Path
from mricore.config.running import Running
from mricore.data.cluster import ray_session
from mricore.data.storage import place
from mricore.evaluation.measurements import Measurement
from mricore.evaluation.runner import run_units
from mricore.evaluation.units import Made, Unit

def work(data, device):
    (Path(sys.argv[1]) / f"{data}-{time.monotonic_ns()}").touch()
    time.sleep(0.0 if data < 2 else WAIT)
    return Made([Measurement("knn", "task", "strict", "e", data, "P", "C", "mean", "accuracy", data / 10)])

units = [Unit("knn", "task", "e", draw, {}, work, (str(draw),)) for draw in range(5)]
with ray_session(cpus=1):
    ran = run_units(units, {str(draw): partial(int, draw) for draw in range(5)}, place(OUT), Running())
print([row.value for row in ran.rows])
"""


def command(folder, wait):
    """The program above for a folder, and its environment."""
    text = KILLED.replace("WAIT", str(wait)).replace("MARKS", repr(str(folder / "marks")))
    text = text.replace("sys.argv[1]", repr(str(folder / "marks")))
    text = text.replace("OUT", repr(str(folder / "out")))
    path = folder / f"killed_{wait}.py"
    path.write_text(text)
    return [sys.executable, str(path)], {**os.environ, "PYTHONPATH": str(ROOT)}


@pytest.mark.faults
@pytest.mark.slow
def test_a_killed_evaluation_goes_on_and_recomputes_nothing_that_is_done(tmp_path, marks):
    arguments, environment = command(tmp_path, 600)
    process = subprocess.Popen(arguments, env=environment, start_new_session=True, stdout=subprocess.PIPE)
    out = Place(str(tmp_path / "out"))
    try:
        end = time.monotonic() + 60
        while time.monotonic() < end and (len(done_digests(out)) < 2 or len(list(marks.iterdir())) < 3):
            time.sleep(0.1)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert len(done_digests(out)) == 2
    arguments, environment = command(tmp_path, 0)
    ended = subprocess.run(arguments, env=environment, capture_output=True, text=True, check=True)
    assert "2 of 5 units are done already" in ended.stdout
    assert "[0.0, 0.1, 0.2, 0.3, 0.4]" in ended.stdout
    begun = sorted(int(mark.name.partition("-")[0]) for mark in marks.iterdir())
    assert begun == [0, 1, 2, 2, 3, 4]
