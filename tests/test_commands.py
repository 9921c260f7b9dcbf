"""What every command has in common."""

import re
from importlib import import_module
from pathlib import Path

import pytest

from nnunetv2_simple import __version__

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10
    tomllib = pytest.importorskip("tomli")

SCRIPTS = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]["scripts"]
COMMANDS = SCRIPTS | {
    f"python -m nnunetv2_simple.dataset_conversion.{name}": f"nnunetv2_simple.dataset_conversion.{name}:main"
    for name in ("Dataset501_IBSI_STS", "Dataset503_MAMA_MIA")
}


def printed(target: str, capsys, *words: str) -> str:
    module, function = target.split(":")
    with pytest.raises(SystemExit) as end:
        getattr(import_module(module), function)(list(words))
    assert end.value.code == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_tells_its_version(command, capsys):
    assert __version__ in printed(COMMANDS[command], capsys, "--version").split()


@pytest.mark.parametrize("command", COMMANDS)
def test_every_help_ends_with_examples_and_shows_defaults_as_typed(command, capsys):
    text = printed(COMMANDS[command], capsys, "-h")
    examples = text.rpartition("examples:\n")[2]
    assert command in examples
    assert not re.search(r"Default: *[\[(]|Default: *\S+ *\d\.0\b", text)


def test_the_number_of_processes_is_nnunets(capsys):
    from nnunetv2.configuration import default_num_processes

    text = " ".join(printed(SCRIPTS["nnUNetv2_simple_convert"], capsys, "-h").split())
    assert f"nnUNet_def_n_proc, which is {default_num_processes} here" in text
