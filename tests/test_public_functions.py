"""The public functions: their examples, and the page that leads through them."""

import doctest
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

import nnunetv2_simple
from nnunetv2_simple import files

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("name", nnunetv2_simple.__all__)
def test_every_public_function_has_an_example_that_is_right(name):
    function = getattr(nnunetv2_simple, name)
    assert function.__name__ == name
    (example,) = doctest.DocTestFinder(recurse=False).find(function, globs=vars(inspect.getmodule(function)).copy())
    result = doctest.DocTestRunner().run(example)
    assert result.attempted > 0
    assert result.failed == 0


def test_the_example_of_whole_files_is_right():
    result = doctest.testmod(files)
    assert result.attempted > 0
    assert result.failed == 0


def test_importing_the_package_is_light():
    script = "import nnunetv2_simple, sys; print([name for name in ('torch', 'skimage') if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True).stdout == "[]\n"


def test_other_names_are_not_there():
    with pytest.raises(AttributeError, match="generate_masks"):
        _ = nnunetv2_simple.generate_masks


def test_the_python_page_runs(capsys):
    """Clicks to pseudo-mask to a trainer of one's own phases."""
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "python.md").read_text(), flags=re.DOTALL)
    names = {}
    for block in blocks:
        exec(compile(block, "docs/python.md", "exec"), names)
    assert capsys.readouterr().out.splitlines() == re.findall(r"print\(.*\)  # (.*)", "".join(blocks))
    assert [phase.name for phase in names["SimPLeTrainer_Short"].phases] == ["train", "finetune", "retrain"]
