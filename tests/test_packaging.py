import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]


def test_a_wheel_holds_everything_and_puts_no_generic_name_into_site_packages(tmp_path):
    source = tmp_path / "source"  # a build writes into its source tree
    shutil.copytree(ROOT, source, ignore=shutil.ignore_patterns(".*", "build", "demo_output", "*.egg-info"))
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", tmp_path, source],
        check=True,
    )
    wheel = zipfile.ZipFile(next(tmp_path.glob("*.whl")))
    names = wheel.namelist()
    tops = {name.split("/")[0] for name in names if ".dist-info/" not in name}
    assert tops == {"nnunetv2_simple"}
    for folder in ("nnunetv2_simple", "trainers", "dataset_conversion"):
        package = "nnunetv2_simple" if folder == "nnunetv2_simple" else f"nnunetv2_simple/{folder}"
        for file in (ROOT / folder).glob("*.py"):
            assert f"{package}/{file.name}" in names
    for file in (ROOT / "nnunetv2_simple" / "report" / "templates").iterdir():
        assert f"nnunetv2_simple/report/templates/{file.name}" in names
    # slow with every nnU-Net, but only since 2.8.1 nnU-Net itself excludes it
    metadata = wheel.read(next(name for name in names if name.endswith("/METADATA"))).decode()
    requirements = map(Requirement, re.findall("^Requires-Dist: (.+)$", metadata, re.MULTILINE))
    (torch,) = (requirement.specifier for requirement in requirements if requirement.name == "torch")
    versions = ("2.1.1", "2.1.2", "2.8.0", "2.9.0", "2.9.1+cu128", "2.10.0", "2.13.0")
    assert [version in torch for version in versions] == [False, True, True, False, False, True, True]
