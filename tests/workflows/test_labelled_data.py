"""Where the data of tasks lie; phantoms are made when they are asked for, once."""

import pytest

from mricore.errors import UserError
from mricore.workflows import labelled_data
from mricore.workflows.labelled_data import task_folder


@pytest.fixture
def written(monkeypatch):
    """Folders that were written; the real writer is tested elsewhere."""
    folders = []

    def write(folder, spec, progress):
        folder.mkdir(parents=True)
        folders.append(folder)

    monkeypatch.setattr(labelled_data, "write_labelled", write)
    return folders


def test_phantoms_are_made_once_below_outputs_or_where_a_folder_is_named(written, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    first, again = task_folder("phantoms", None), task_folder("phantoms:liver", None)
    assert first == again == tmp_path / "outputs/phantom-task"
    assert task_folder("phantoms", str(tmp_path / "mine")) == tmp_path / "mine"
    assert written == [first, tmp_path / "mine"]


def test_other_tasks_need_a_folder_and_nothing_is_made_for_them(written, tmp_path):
    assert task_folder("kidney", str(tmp_path)) == tmp_path
    for name in ("kidney", "phantoms.toml"):
        with pytest.raises(UserError, match="no data"):
            task_folder(name, None)
    assert not written


def test_a_place_that_cannot_be_written_is_told_in_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        task_folder("phantoms", str(tmp_path / "file" / "below"))
