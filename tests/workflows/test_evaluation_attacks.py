"""Evaluations given what hospitals have: names of patients everywhere, and damaged files of any kind."""

import gzip
import json
import os
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from foreign_weights import SAM, dinov2_network
from PIL import Image
from small_tasks import DECLARATION, write_small_task

from eval.compare import main as compare
from eval.few_shot import main as few_shot
from eval.report import main as report
from mricore.config.task import load_task
from mricore.data.storage import place
from mricore.errors import UserError
from mricore.evaluation.measurements import Measurement, to_csv
from mricore.evaluation.pictures import Shown, load_pictures, save_pictures
from mricore.evaluation.tasks.reading import read_volumes
from mricore.evaluation.units import Made, Unit, store
from mricore.model.embedder import SETTINGS, Embedder
from mricore.model.weights.own_files import CHECKPOINT
from mricore.workflows.entry import run

ROOT = Path(__file__).parents[2]
BEFORE_SPLIT, AFTER_SPLIT = DECLARATION.split("[split]")
CATEGORY = '\n[categories.vendor]\nof = "{case}"\n'


def refused(script, arguments, capsys):
    """What is told of a mistake: two lines, no traceback, exit code 2."""
    assert run(script, arguments) == 2
    told = capsys.readouterr()
    assert len(told.err.splitlines()) == 2
    return told.out + told.err


@pytest.mark.parametrize(
    "text",
    [
        f'{BEFORE_SPLIT}[split]\n"DOE^JANE" = "pool"\n{AFTER_SPLIT}',
        f'{DECLARATION}{CATEGORY}values = {{ "DOE^JANE" = "A", "DOE^JANE" = "B" }}\n',
        f'{DECLARATION}{CATEGORY}values = {{ a = "x" }}\n"DOE^JANE" = "A"\n',
        DECLARATION + '\n[categories."DOE^JANE"]\nof = "{case}"\nvalues = { a = "x" }\n',
        f'{DECLARATION}\n["DOE^JANE"]\na = 1\n["DOE^JANE"]\nb = 1\n',
        DECLARATION.replace('masks = "', 'masks = "/data/DOE^JANE/'),
    ],
)
def test_no_mistake_in_a_task_tells_what_may_name_a_patient(text, tmp_path, capsys):
    (tmp_path / "task.toml").write_text(text)
    told = refused(few_shot, [f"{tmp_path / 'task.toml'}=x", "--encoder", "R=random:tiny"], capsys)
    assert "DOE" not in told
    assert "task.toml" in told


@pytest.mark.parametrize("text", ["a = " + "[" * 3000, "a = " + "1" * 5000])
def test_a_file_that_no_parser_takes_is_no_task(text, tmp_path):
    (tmp_path / "task.toml").write_text(text)
    with pytest.raises(UserError, match="is not TOML"):
        load_task(str(tmp_path / "task.toml"))


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["--data", "~nobody-here/data"], "no home folder"),
        (["--data", "x", "--out", "~nobody-here/out"], "no home folder"),
        (["--data", "x", "--out", "x" * 300], "too long"),
        (["--data", "x", "--out", "circle"], "circle"),
        (["--data", os.fsdecode(b"M\xfcller")], "not UTF-8"),
    ],
)
def test_a_path_that_leads_nowhere_is_one_clear_line(more, told, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    (tmp_path / "task.toml").write_text(DECLARATION)
    assert told in refused(few_shot, ["task.toml", "--encoder", "R=random:tiny", *more], capsys)


def test_the_home_of_nobody_holds_no_task(capsys):
    arguments = ["~nobody-here/task.toml=x", "--encoder", "R=random:tiny"]
    assert "no such home folder" in refused(few_shot, arguments, capsys)


@pytest.fixture(scope="module")
def embedder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("embedder")
    Embedder.from_network(dinov2_network(SAM), SAM, 32).save(folder)
    return folder


@pytest.mark.parametrize(
    ("name", "document"),
    [
        (SETTINGS, []),
        (CHECKPOINT[0], []),
        (SETTINGS, {"image_size": "large"}),
        (SETTINGS, {"image_size": 33}),
        (SETTINGS, {"image_size": -32}),
        (SETTINGS, {"normalization": "none"}),
    ],
)
def test_a_damaged_encoder_of_ours_is_refused_when_it_is_opened(name, document, embedder, tmp_path, capsys):
    if isinstance(document, dict):
        document = {**json.loads((embedder / SETTINGS).read_text()), **document}
    for file in embedder.iterdir() if name == SETTINGS else ():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / name).write_text(json.dumps(document))
    told = refused(few_shot, ["abdomen=x", "--encoder", f"E=mricore:{tmp_path}"], capsys)
    assert "no mricore encoder" in told or "damaged checkpoint" in told


NIFTI = DECLARATION.replace("png", "nifti").replace("_{slice}.nifti", ".nii.gz")
NIFTI = NIFTI.replace("spacing = [4.0, 1.0, 1.0]\n", "")


def write_volume(root, name, image, header=()):
    """A NIfTI image with its mask; ``header`` are (offset, bytes) written over the image's."""
    mask = np.zeros(image.shape, np.uint8)
    mask[2:4, 2:4, 1] = 1
    for folder, array in (("images", image), ("masks", mask)):
        (root / folder).mkdir(exist_ok=True)
        content = bytearray(nib.Nifti1Image(array, np.diag([1.0, 1.0, 4.0, 1.0])).to_bytes())
        for offset, change in header if folder == "images" else ():
            content[offset : offset + len(change)] = change
        (root / folder / f"{name}.nii.gz").write_bytes(gzip.compress(bytes(content)))


def test_intensities_that_no_float_holds_leave_their_case_out_and_stop_nothing(tmp_path):
    rng = np.random.default_rng(0)
    for number in range(6):
        write_volume(tmp_path, f"DOE^JANE {number}", rng.normal(size=(8, 8, 3)).astype(np.float32))
    large = rng.normal(size=(8, 8, 3))
    large[0, 0, 0] = 1e300
    write_volume(tmp_path, "double", large)
    ends = rng.normal(size=(8, 8, 3)).astype(np.float32)
    ends[0, 0, :2] = 3e38, -3e38
    write_volume(tmp_path, "ends", ends)
    # the header's slope is at byte 112
    slope = (112, np.float32(1e38).tobytes())
    write_volume(tmp_path, "slope", rng.integers(0, 99, (8, 8, 3)).astype(np.int16), [slope])
    (tmp_path / "task.toml").write_text(NIFTI)
    labelled = read_volumes(load_task(str(tmp_path / "task.toml")), tmp_path)
    assert len(labelled.volumes) == 6
    assert labelled.left_out == {"not_finite": 3}


def test_a_float_picture_under_the_name_of_a_png_needs_finite_values_too(tmp_path):
    task = write_small_task(tmp_path, pool=6, development=2, test=4)
    image = np.ones((48, 40), np.float32)
    image[0] = np.nan
    Image.fromarray(image).save(tmp_path / "images/case000_01.png", format="TIFF")
    assert read_volumes(load_task(str(task)), tmp_path).left_out == {"not_finite": 1}


def test_bytes_of_a_damaged_header_reach_no_log(tmp_path):
    # magic at byte 344, sizes of voxels at 76: nibabel logs both, to a stream that it takes at import
    for number in range(6):
        image = np.random.default_rng(number).normal(size=(8, 8, 3)).astype(np.float32)
        write_volume(tmp_path, f"case{number}", image)
    write_volume(tmp_path, "bad", np.ones((8, 8, 3), np.float32), [(344, b"DOE^"), (76, bytes(32))])
    (tmp_path / "task.toml").write_text(NIFTI)
    program = (
        "import sys; from pathlib import Path; from mricore.config.task import load_task; "
        "from mricore.evaluation.tasks.reading import read_volumes; "
        "root = Path(sys.argv[1]); print(len(read_volumes(load_task(str(root / 'task.toml')), root).volumes))"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert int(ended.stdout) >= 6
    assert ended.stderr == ""


def test_pictures_damaged_anywhere_are_told_as_damaged(tmp_path):
    rng = np.random.default_rng(0)
    image = rng.integers(0, 255, (20, 20)).astype(np.uint8)
    save_pictures(place(str(tmp_path)), "p.npz", [Shown("t", "c", 1, image, image // 99, {"k=2": image})])
    whole = (tmp_path / "p.npz").read_bytes()
    refusals = 0
    for _ in range(300):
        damaged = bytearray(whole)
        damaged[rng.integers(len(whole))] = rng.integers(256)
        (tmp_path / "p.npz").write_bytes(damaged)
        try:
            load_pictures(place(str(tmp_path)), "p.npz")
        except UserError:
            refusals += 1
    assert refusals > 200


@pytest.fixture
def results(tmp_path):
    """Results of an evaluation of one encoder."""
    unit = Unit("few_shot", "shapes", "A", 0, {}, None)
    rows = [
        Measurement("few_shot", "shapes", "strict", "A", 0, f"p{one}", f"c{one}", "mean", "dice_3d", one / 4)
        for one in range(4)
    ]
    image = np.arange(400, dtype=np.uint8).reshape(20, 20)
    facts = {"seconds": 1.0, "device": "cpu", "threads": 1}
    store(place(str(tmp_path)), unit, Made(rows, [Shown("shapes", "c0", 1, image, image // 99)]), facts)
    (tmp_path / "measurements.csv").write_bytes(to_csv(rows))
    summary = {"protocol": "few_shot", "units": [unit.digest], "encoders": {"A": {"origin": "sam"}}}
    (tmp_path / "evaluation.json").write_text(json.dumps(summary))
    return tmp_path


def test_whole_results_make_a_page(results):
    assert run(report, [str(results)]) == 0
    assert (results / "report.html").exists()


@pytest.mark.parametrize(
    ("file", "change"),
    [
        ("evaluation.json", {"units": 5}),
        ("evaluation.json", {"units": None}),
        ("evaluation.json", {"encoders": []}),
        ("evaluation.json", {"encoders": {"A": 5}}),
        ("evaluation.json", {"leaks": []}),
        ("evaluation.json", {"failed": 5}),
        ("results/*.json", {"encoder": None}),
        ("results/*.json", {"identity": 5}),
        ("results/*.json", {"seconds": "long"}),
        ("results/*.json", {"epoch": [1]}),
        ("results/*.json", {"curve": 5}),
    ],
)
@pytest.mark.parametrize("script", [report, compare])
def test_documents_of_another_form_are_told_as_damaged(script, file, change, results, capsys):
    (path,) = results.glob(file)
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    assert "is damaged" in refused(script, [str(results)], capsys)
