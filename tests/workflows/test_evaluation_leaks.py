"""Which pretraining data tasks are compared with: what is given, or what the versions say that they saw."""

from records import small_dataset
from small_tasks import small_task

from mricore.data.storage import place
from mricore.training.place import Home
from mricore.workflows import evaluation_leaks
from mricore.workflows.evaluation_leaks import leak_verdicts


def told(monkeypatch, seen=""):
    """Comparison that names the dataset it was asked about, and a version that was trained on ``seen``."""
    monkeypatch.setattr(
        evaluation_leaks, "find_leaks", lambda labelled, source, manifest: f"with {manifest.digest}"
    )
    monkeypatch.setattr(evaluation_leaks, "trained_on", lambda origin, where: seen)


def test_a_dataset_that_is_given_counts_whatever_versions_say(tmp_path, monkeypatch):
    manifest = small_dataset(place(str(tmp_path / "given")), 8)
    told(monkeypatch, "another")
    where = Home(place(str(tmp_path / "outputs")), "sqlite://")
    found = leak_verdicts([small_task()], str(tmp_path / "given"), ["models:/encoder/1"], where)
    assert found == {"shapes": f"with {manifest.digest}"}


def test_the_dataset_of_a_version_is_looked_for_among_those_here(tmp_path, monkeypatch, capsys):
    manifest = small_dataset(place(str(tmp_path / "outputs/datasets/one")), 8)
    (tmp_path / "outputs/datasets/broken").mkdir()
    (tmp_path / "outputs/datasets/broken/manifest.json").write_text("{}")
    where = Home(place(str(tmp_path / "outputs")), "sqlite://")
    origins = ["random, seed 0", "models:/encoder/1"]
    told(monkeypatch, manifest.digest)
    assert leak_verdicts([small_task()], None, origins, where) == {"shapes": f"with {manifest.digest}"}
    told(monkeypatch, "0" * 64)
    (verdict,) = leak_verdicts([small_task()], None, origins, where).values()
    assert "not compared with any pretraining data" in verdict
    assert (
        f"models:/encoder/1 was trained on dataset {'0' * 16}, which is not here" in capsys.readouterr().out
    )


def test_encoders_without_lineage_are_told_as_not_compared(tmp_path, monkeypatch):
    told(monkeypatch)
    where = Home(place(str(tmp_path / "outputs")), "sqlite://")
    (verdict,) = leak_verdicts([small_task()], None, ["sam, sha256 0"], where).values()
    assert verdict == "shapes: not compared with any pretraining data (give --pretraining DATASET)"


def test_a_verdict_says_of_which_encoders_it_does_not_speak(tmp_path, monkeypatch):
    """Else "none is in the pretraining data" would be read as if it spoke of all of them."""
    manifest = small_dataset(place(str(tmp_path / "outputs/datasets/one")), 8)
    where = Home(place(str(tmp_path / "outputs")), "sqlite://")
    told(monkeypatch)
    seen = {"models:/encoder/1": manifest.digest, "models:/encoder/2": "f" * 64}
    monkeypatch.setattr(evaluation_leaks, "trained_on", lambda origin, where: seen[origin])
    origins = [*seen, "sam, sha256 0", "random, seed 0"]
    (verdict,) = leak_verdicts([small_task()], None, origins, where).values()
    assert verdict == (
        f"with {manifest.digest}; models:/encoder/2 was trained on dataset {'f' * 16}, which is not here; "
        "of encoders that are not in the registry it is not known"
    )
