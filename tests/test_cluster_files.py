"""The files of cluster/ agree with each other, with the pinned versions, and with what the code accepts.

KubeRay's own schema is not here; the last check against it is in docs/log.md.
"""

import importlib
import re
import shlex
import tomllib
from pathlib import Path

import pytest
import yaml
from docker.utils.build import exclude_paths
from ray.autoscaler._private.util import prepare_config, validate_config

from mricore.config.overrides import apply_overrides
from mricore.config.recipes import recipe_named

ROOT = Path(__file__).parents[1]
CLUSTER = ROOT / "cluster"
TEXTS = {path.name: path.read_text() for path in CLUSTER.iterdir() if path.is_file()}
YAML_FILES = sorted(name for name in TEXTS if name.endswith(".yaml"))
JOB = re.compile(r"python\s+(?:/opt/mricore/)?((?:jobs|eval|tune)/\w+\.py)([^\n`|#;)]*)")
VARIABLE = re.compile(r"\b(?:RAY|MLFLOW|AWS|MRICORE)_[A-Za-z0-9_]*[A-Za-z0-9]\b")


def documents(name):
    return list(yaml.safe_load_all(TEXTS[name]))


def pinned(package):
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    (version,) = [line.partition("==")[2] for line in lines if line.startswith(f"{package}==")]
    return version


def unfolded(text):
    """Commands on one line each: a backslash continues, and so does a line that begins with an option."""
    return re.sub(r"\s*\\\n\s*|\n\s+(?=--)", " ", text)


def commands():
    """(file, job, arguments) of every job that is called anywhere in cluster/."""
    return [
        pytest.param(job, shlex.split(arguments), id=f"{name}: {job}{arguments}"[:90])
        for name, text in TEXTS.items()
        for job, arguments in JOB.findall(unfolded(text))
    ]


@pytest.mark.parametrize(("job", "arguments"), commands())
def test_every_command_is_understood_by_its_job(job, arguments, monkeypatch):
    """The job's own parser reads it, the recipe exists, and every setting passes."""
    module = importlib.import_module(job.removesuffix(".py").replace("/", "."))
    work = {"pretrain": "pretrain", "curate": "curate_job", "plan": "plan"}[Path(job).stem]

    requests = []
    monkeypatch.setattr(module, work, requests.append)
    module.main(arguments)
    (request,) = requests
    if hasattr(request, "recipe"):
        apply_overrides(recipe_named(request.recipe), request.assignments)


def test_settings_named_in_the_text_exist():
    recipe = recipe_named("vitb16_mri").model_dump()
    named = re.findall(r"`(train|data|model|initial)\.(\w+)`", TEXTS["README.md"])
    assert len(named) > 5
    assert [f"{section}.{name}" for section, name in named if name not in recipe[section]] == []


def test_ray_accepts_the_launcher_file_also_for_one_machine():
    (several,) = documents("onprem.yaml")
    one = several | {"provider": several["provider"] | {"worker_ips": []}}
    for config, workers in ((several, 2), (one, 0)):
        prepared = prepare_config(config)
        validate_config(prepared)
        assert prepared["max_workers"] == workers


def test_the_launcher_copies_all_that_the_installation_needs():
    (config,) = documents("onprem.yaml")
    copied = {there.removeprefix("~/mricore/"): here for there, here in config["file_mounts"].items()}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    needed = {"requirements.lock", "pyproject.toml", "Makefile", "mricore"}
    needed |= {project["readme"], *project["license-files"]}
    assert {name: name for name in needed}.items() <= copied.items()
    assert all((ROOT / name).exists() for name in needed)


def test_versions_and_the_image_are_the_same_everywhere():
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    images = {image for text in TEXTS.values() for image in re.findall(r"registry[\w.]+/[\w:.-]+\w", text)}
    assert images == {f"registry.example.org/mricore:{version}"}
    rays = {found for text in TEXTS.values() for found in re.findall(r'rayVersion: "([^"]+)"', text)}
    assert rays == {pinned("ray")}
    assert f"Ray {pinned('ray').rpartition('.')[0]} cluster" in TEXTS["README.md"]


def test_the_job_brings_the_same_cluster_as_the_one_that_stays():
    (cluster,) = documents("kuberay-cluster.yaml")
    (job,) = documents("kuberay-job.yaml")
    assert job["spec"]["rayClusterSpec"] == cluster["spec"]
    assert job["spec"]["backoffLimit"] > 0


def pod_templates():
    (cluster,) = documents("kuberay-cluster.yaml")
    spec = cluster["spec"]
    return [spec["headGroupSpec"]["template"]["spec"]] + [
        group["template"]["spec"] for group in spec["workerGroupSpecs"]
    ]


def gibibytes(text):
    return int(text.removesuffix("Gi"))


def test_every_pod_has_shared_memory_the_environment_and_no_more_rights_than_it_needs():
    for pod in pod_templates():
        (container,) = pod["containers"]
        volumes = {volume["name"]: volume for volume in pod["volumes"]}
        mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
        shared = volumes[mounts["/dev/shm"]]["emptyDir"]  # noqa: S108 - a mount, not a file of ours
        assert shared["medium"] == "Memory"
        assert gibibytes(shared["sizeLimit"]) <= gibibytes(container["resources"]["limits"]["memory"]) / 2
        assert container["envFrom"] == [{"secretRef": {"name": "mricore-env"}}]
        assert set(mounts.values()) <= set(volumes)
        assert pod["securityContext"]["runAsNonRoot"] is True


def test_the_gpu_group_holds_the_recipe_of_the_job():
    (job,) = documents("kuberay-job.yaml")
    train = recipe_named("vitb16_mri").train
    assert "vitb16_mri" in job["spec"]["entrypoint"]
    _, gpu, _ = pod_templates()
    limits = gpu["containers"][0]["resources"]["limits"]
    assert int(limits["nvidia.com/gpu"]) >= train.workers
    assert int(limits["cpu"]) >= train.workers * (train.cpus_per_worker + 2)


def test_ray_never_starts_without_its_token():
    (config,) = documents("onprem.yaml")
    (cluster,) = documents("kuberay-cluster.yaml")
    starts = [
        command
        for kind in ("head", "worker")
        for command in config[f"{kind}_start_ray_commands"]
        if "ray start" in command
    ]
    assert len(starts) == 2
    assert all("RAY_AUTH_MODE=token ray start" in command for command in starts)
    assert "--dashboard-host=127.0.0.1" in starts[0]
    assert cluster["spec"]["authOptions"] == {"mode": "token"}
    assert "RAY_AUTH_MODE=token" in TEXTS["Containerfile"]


def test_every_variable_is_one_that_somebody_reads():
    """By the text of the packages that are installed: Ray, MLflow, AWS's library and ours."""
    ray, mlflow, botocore = (
        Path(importlib.import_module(name).__file__).parent for name in ("ray", "mlflow", "botocore")
    )
    read = [
        *(ray / "_private").rglob("*.py"),
        *(ray / "_common").rglob("*.py"),
        *(ray / "autoscaler" / "_private").glob("*.py"),
        *(ray / "train" / "v2" / "_internal").glob("*.py"),
        *(ray / "dashboard" / "modules" / "job").glob("*.py"),
        *mlflow.glob("environment_variables.py"),
        *botocore.glob("*.py"),
        *(ROOT / "mricore").rglob("*.py"),
    ]
    known = set(VARIABLE.findall("\n".join(path.read_text() for path in read)))
    named = {name for text in TEXTS.values() for name in VARIABLE.findall(text)}
    assert {"RAY_AUTH_MODE", "AWS_ENDPOINT_URL", "MLFLOW_TRACKING_URI"} <= named
    assert named - known == set()


def test_no_secret_is_in_the_files():
    for name, text in TEXTS.items():
        values = re.findall(r"(?:SECRET_ACCESS_KEY|ACCESS_KEY_ID|PASSWORD|AUTH_TOKEN)=(\S*)", text)
        assert set(values) <= {"...", "$(kubectl"}, name
        assert not re.search(r"\b[0-9a-f]{32,}\b|AKIA[0-9A-Z]{16}|BEGIN [A-Z ]*PRIVATE KEY", text), name
    manifests = [document for name in YAML_FILES for document in documents(name)]
    assert "Secret" not in {manifest.get("kind") for manifest in manifests}


def test_neither_data_nor_keys_get_into_the_image(tmp_path):
    """Docker's own reading of .dockerignore, on a tree with all that a working copy may hold."""
    kept = ["pyproject.toml", "mricore/data/s3.py", "mricore/report/page.html", "jobs/pretrain.py"]
    kept += ["mricore/config/policies/body.toml", "mricore/py.typed"]
    dropped = [".git/config", "outputs/runs/x/report.html", "mlflow.db", "mricore/exam.dcm", "key.pem"]
    dropped += [
        "mricore/data/patients.csv",
        "mricore/__pycache__/s3.cpython-311.pyc",
        ".venv/lib/a.py",
        "data/1.dcm",
    ]
    for name in kept + dropped:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    patterns = (ROOT / ".dockerignore").read_text().splitlines()
    patterns = [line for line in patterns if not line.startswith("#")]
    sent = {name for name in exclude_paths(str(tmp_path), patterns) if (tmp_path / name).is_file()}
    assert sent >= set(kept)
    assert sent & set(dropped) == set()


def test_all_that_the_image_copies_is_there_and_it_does_not_run_as_root():
    lines = TEXTS["Containerfile"].splitlines()
    copied = [source for line in lines if line.startswith("COPY ") for source in line.split()[1:-1]]
    assert {"requirements.lock", "mricore", "jobs"} <= set(copied)
    assert [source for source in copied if not (ROOT / source).exists()] == []
    assert [line for line in lines if line.startswith("USER ")] == ["USER 1000:1000"]
    assert "-r requirements.lock" in TEXTS["Containerfile"]
