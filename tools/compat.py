"""Runs the end-to-end test with every supported version of nnU-Net, each in a virtual environment of its own.

    python tools/compat.py -envs compat_envs -o compat.md

nnunetv2 before 2.8.0 finds trainers in its own package only: there the package is linked (nnUNetv2_simple_trainers
--link), and the test's own trainer is put beside.
"""

import argparse
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VERSIONS = ("2.5.2", "2.6.4", "2.7.0", "2.8.0", "2.8.1")
# The learning rate schedule of 2.5.2 fails with torch >= 2.7, and its checkpoints with torch >= 2.6.
NEEDS = {"2.5.2": ("torch==2.5.1", "sympy==1.13.1")}
FIRST_WITH_EXTERNAL_TRAINERS = (2, 8, 0)
TINY_TRAINER = ROOT / "tests" / "support" / "tiny_trainers" / "SimPLeTrainer_Tiny.py"
REPORTED = ("torch", "numpy", "batchgeneratorsv2")


def set_up(version: str, folder: Path) -> Path:
    """Return the Python of an environment with this package and one version of nnU-Net."""
    python = folder / "bin" / "python"
    if (folder / "installed").exists():
        return python
    subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
    constraints = folder / "constraints.txt"
    pinned = (ROOT / "constraints.txt").read_text().splitlines()
    needs = (f"nnunetv2=={version}", *NEEDS.get(version, ()))
    free = ("dynamic-network-architectures==", *(f"{need.split('==')[0]}==" for need in needs))
    constraints.write_text("\n".join(line for line in pinned if not line.startswith(free)))
    packages = ("-e", f"{ROOT}[dev]", *needs)
    subprocess.run([python, "-m", "pip", "install", "-q", "setuptools", "wheel"], check=True)
    subprocess.run([python, "-m", "pip", "install", "-q", "-c", constraints, *packages], check=True)
    subprocess.run(["make", "-C", ROOT, "torchvision", f"VENV={folder}"], check=True)
    if tuple(map(int, version.split("."))) < FIRST_WITH_EXTERNAL_TRAINERS:
        subprocess.run([python.with_name("nnUNetv2_simple_trainers"), "--link"], check=True)
        find = "import nnunetv2.training.nnUNetTrainer.variants as variants; print(variants.__path__[0])"
        variants = subprocess.run([python, "-c", find], check=True, capture_output=True, text=True).stdout.split()[-1]
        shutil.copy(TINY_TRAINER, variants)
    (folder / "installed").touch()
    return python


def versions_of(python: Path) -> dict[str, str]:
    """Return the installed versions of the packages that nnU-Net depends on most."""
    script = f"from importlib.metadata import version; print(*[version(name) for name in {REPORTED}])"
    printed = subprocess.run([python, "-c", script], check=True, capture_output=True, text=True).stdout.split()
    return dict(zip(REPORTED, printed, strict=True))


def test(python: Path) -> tuple[bool, str, float]:
    """Run the end-to-end test; whether it passed, its last line and how many seconds it took."""
    start = time.monotonic()
    process = subprocess.run(
        [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", ROOT / "tests" / "training" / "test_end_to_end.py"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    if process.returncode:
        print(process.stdout[-8000:], process.stderr[-2000:], flush=True)
    return process.returncode == 0, process.stdout.strip().splitlines()[-1], time.monotonic() - start


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-versions", nargs="+", default=VERSIONS, help=f"Default: {' '.join(VERSIONS)}")
    parser.add_argument("-envs", type=Path, default=Path("compat_envs"), help="Folder of the environments")
    parser.add_argument("-o", type=Path, default=Path("compat.md"), help="Gets the table. Default: compat.md")
    args = parser.parse_args(argv)
    rows = [f"| nnunetv2 | Python | {' | '.join(REPORTED)} | end-to-end test |", "|---" * (len(REPORTED) + 3) + "|"]
    failed = []
    for version in args.versions:
        print(f"nnunetv2 {version}: setting up", flush=True)
        python = set_up(version, args.envs.resolve() / version)
        print(f"nnunetv2 {version}: testing", flush=True)
        passed, summary, seconds = test(python)
        print(f"nnunetv2 {version}: {summary}", flush=True)
        installed = " | ".join(versions_of(python).values())
        this_python = ".".join(map(str, sys.version_info[:3]))
        rows.append(
            f"| {version} | {this_python} | {installed} | {'passed' if passed else 'FAILED'} in {seconds:.0f} s |"
        )
        args.o.write_text("\n".join(rows) + "\n")
        failed += [] if passed else [version]
    print(f"\n{args.o.read_text()}")
    if failed:
        sys.exit(f"failed with nnunetv2 {', '.join(failed)}")


if __name__ == "__main__":
    main()
