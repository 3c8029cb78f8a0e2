"""The dependency rule of docs/design.md, checked on every import in the package."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LAYERS = (
    {"workflows"},
    {"tuning", "registry", "report"},
    {"training"},
    {"evaluation", "objective"},
    {"model", "augment", "data"},
    {"imaging"},
    {"config", "study_records"},
    {"records", "errors", "revision"},
)
RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names}
ONLY_IN = {
    "ray": {"data", "evaluation", "training", "tuning"},
    "mlflow": {"training", "registry"},
    "torch": {"augment", "model", "objective", "evaluation", "training", "data", "workflows"},
    "torchvision": set(),
    "segment_anything": {"model"},
    "pydicom": {"imaging"},
    "boto3": {"data"},
    "optuna": {"tuning"},
    "nibabel": {"evaluation", "imaging"},
}
LEARNING_CORE = ("augment", "model", "objective")
CORE_MAY_IMPORT = {"torch", "numpy", "safetensors", "mricore", "xformers", "triton"}


def imports(path):
    """(line, full module name) of every import statement of a file, wherever it stands."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno} imports relatively"
            yield node.lineno, node.module
            if node.module == "mricore":
                yield from ((node.lineno, f"mricore.{alias.name}") for alias in node.names)


def layer_of(path):
    return path.relative_to(ROOT / "mricore").parts[0].removesuffix(".py")


MODULES = [path for path in sorted((ROOT / "mricore").rglob("*.py")) if path != ROOT / "mricore/__init__.py"]


def test_every_package_has_a_layer():
    packages = {
        path.name.removesuffix(".py") for path in (ROOT / "mricore").iterdir() if path.name[0] not in "_."
    }
    assert {name for name in packages if name != "py.typed"} == set(RANK)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_down_only(path):
    layer = layer_of(path)
    for line, module in imports(path):
        parts = module.split(".")
        if parts[0] == "mricore" and len(parts) > 1 and parts[1] != layer:
            assert RANK[parts[1]] > RANK[layer], f"{path}:{line}: {layer} must not import {module}"
        assert layer in ONLY_IN.get(parts[0], {layer}), f"{path}:{line}: {layer} must not import {parts[0]}"


@pytest.mark.parametrize("path", [path for path in MODULES if layer_of(path) in LEARNING_CORE], ids=str)
def test_the_learning_core_needs_torch_and_numpy_alone(path):
    import sys

    for line, module in imports(path):
        package = module.split(".")[0]
        assert package in CORE_MAY_IMPORT or package in sys.stdlib_module_names, f"{path}:{line}: {module}"


@pytest.mark.parametrize("folder", ["jobs", "tune", "eval"])
def test_entry_points_are_a_page_and_define_nothing_but_main(folder):
    for path in (ROOT / folder).glob("*.py"):
        text = path.read_text()
        assert text.count("\n") <= 60, path
        names = [
            node.name for node in ast.parse(text).body if isinstance(node, ast.FunctionDef | ast.ClassDef)
        ]
        assert set(names) <= {"main"}, f"{path} defines {names}"
        assert path.stem not in __import__("sys").stdlib_module_names, (
            f"{path} would replace a standard module"
        )


@pytest.mark.parametrize(
    ("module", "blocked"),
    [
        ("mricore.training.step", ("ray", "mlflow", "pyarrow", "pydicom", "sklearn", "boto3")),
        ("mricore.training.initial", ("ray", "mlflow", "pyarrow", "pydicom", "sklearn", "boto3")),
        ("mricore.model.embedder", ("ray", "mlflow", "pyarrow", "pydicom", "sklearn", "boto3")),
        ("mricore.imaging.volumes", ("torch", "ray", "mlflow", "pyarrow")),
    ],
)
def test_what_must_run_alone_does(module, blocked):
    """Imports in functions of other modules and by name do not show in the source that is checked above."""
    code = f"import sys; sys.modules.update(dict.fromkeys({blocked!r})); import {module}"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_entry_points_import_neither_ray_nor_mlflow():
    for folder in ("jobs", "tune", "eval"):
        for path in (ROOT / folder).glob("*.py"):
            packages = {module.split(".")[0] for _, module in imports(path)}
            assert packages <= {"argparse", "sys", "pathlib", "collections", "mricore"}, path
