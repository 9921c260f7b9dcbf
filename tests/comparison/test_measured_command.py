import json

import pytest

from nnunetv2_simple.comparison import measured_command
from nnunetv2_simple.comparison.measured_command import note_peak_memory, peak_memory, run


def test_a_peak_is_raised_and_never_lowered(tmp_path, monkeypatch):
    file = tmp_path / "costs.json"
    assert peak_memory()["peak_memory_mb"] > 10
    for peak, noted in ((20.0, 20.0), (10.0, 20.0), (30.0, 30.0)):
        monkeypatch.setattr(
            measured_command, "peak_memory", lambda peak=peak: {"peak_memory_mb": peak, "peak_memory_of": "process"}
        )
        note_peak_memory(file)
        assert json.loads(file.read_text())["peak_memory_mb"] == noted


def test_a_console_script_runs_in_this_process(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", [])
    with pytest.raises(SystemExit) as end:
        run(["nnUNetv2_simple_trainers"])
    assert not end.value.code
    assert capsys.readouterr().out.strip()
