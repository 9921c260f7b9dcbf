"""The package's rooms stand in the order of the pipeline, and none imports a later one."""

import ast
from pathlib import Path

import nnunetv2_simple

PACKAGE = Path(nnunetv2_simple.__path__[0])
ROOMS = ("extreme_points", "pseudo_mask", "conversion", "training", "comparison", "demo")
ANNOTATE = "annotate"  # uses the first two rooms, and nothing uses it
SHELVES = (
    "arguments",
    "evidence",
    "files",
    "image_folders",
    "images",
    "grids",
    "nifti",
    "parallel",
)  # any room may use them
SHELVES += ("evaluation", "report", "nnunet")
SCRIPTS = {"trainers", "dataset_conversion"}


def imported_rooms(file: Path) -> set[str]:
    """The rooms of the package that a module imports, lazily or not."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            found |= {f"{node.module}.{name.name}" for name in node.names}
        elif isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
    return {name.split(".")[1] for name in found if name.startswith("nnunetv2_simple.")}


def wrong_imports(names: tuple[str, ...], forbidden: dict[str, set[str]]) -> list[str]:
    return [
        f"{file.relative_to(PACKAGE)} imports {', '.join(sorted(wrong))}"
        for name in names
        for file in [*(PACKAGE / name).rglob("*.py"), *PACKAGE.glob(f"{name}.py")]
        if (wrong := imported_rooms(file) & forbidden[name])
    ]


def test_no_room_imports_a_later_one():
    later = {room: set(ROOMS[number + 1 :]) | SCRIPTS | {ANNOTATE} for number, room in enumerate(ROOMS)}
    assert wrong_imports(ROOMS, later) == []


def test_shelves_import_the_first_two_rooms_and_each_other_only():
    assert wrong_imports(SHELVES, dict.fromkeys(SHELVES, set(ROOMS[2:]) | {ANNOTATE} | SCRIPTS - {"trainers"})) == []


def test_the_annotation_page_imports_the_first_two_rooms_and_the_shelves_only():
    assert wrong_imports((ANNOTATE,), {ANNOTATE: set(ROOMS[2:]) | SCRIPTS | {"losses", "propagation"}}) == []


def test_every_module_has_its_place():
    modules = {path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()}
    assert modules - {"__init__", "losses", "propagation", "trainer_folder"} - SCRIPTS <= {*ROOMS, *SHELVES, ANNOTATE}
