"""Files that are there whole or not at all."""

import os

import pytest
from support.full_disk import full_disk

from nnunetv2_simple.files import save_json_atomically, written_atomically


def test_a_file_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    file, done = tmp_path / "file", []
    sync, rename = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda number: done.append((os.readlink(f"/proc/self/fd/{number}"), sync(number))))
    monkeypatch.setattr(os, "replace", lambda *names: done.append((str(names[0]), rename(*names))))
    with written_atomically(file) as beside:
        beside.write_text("whole")
    assert [name for name, _ in done] == [str(beside)] * 2
    assert file.read_text() == "whole"


def test_a_full_disk_names_the_file_and_leaves_the_one_before(tmp_path):
    file = tmp_path / "notes.json"
    save_json_atomically([1], file)
    with full_disk(100), pytest.raises(OSError, match=str(file)):
        save_json_atomically(list(range(1000)), file)
    assert file.read_text() == "[\n    1\n]"
    assert list(tmp_path.iterdir()) == [file]
