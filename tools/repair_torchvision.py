"""Make torchvision importable beside a CPU-only torch, in the environment this runs in.

nnU-Net's trainer look-up imports timm, and timm imports torchvision. The torchvision wheels of the package index are
built for CUDA; beside a CPU-only torch their compiled operators do not load, and torchvision then fails while it
registers the output shapes of two of them ("operator torchvision::nms does not exist"). Declaring these operators
first lets the import succeed; nothing of nnU-Net calls them. Where torchvision imports already, or is not installed,
nothing is changed.
"""

import importlib.util
import subprocess
import sys
from pathlib import Path

DECLARATION = (
    "import torch.library  # declared by tools/repair_torchvision.py of nnunetv2_simple\n"
    'for name in ("nms", "qnms"):\n'
    '    signature = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"\n'
    '    torch.library.define(f"torchvision::{name}", signature)\n'
)


def torchvision_imports() -> bool:
    return subprocess.run([sys.executable, "-c", "import torchvision"], capture_output=True).returncode == 0


def main() -> None:
    if importlib.util.find_spec("torchvision") is None or torchvision_imports():
        return
    module = Path(importlib.util.find_spec("torchvision").origin).parent / "_meta_registrations.py"
    original = module.read_text()
    module.write_text(DECLARATION + original)
    if not torchvision_imports():
        module.write_text(original)
        sys.exit("torchvision does not import, and declaring its operators does not help")
    print(f"torchvision is a CUDA build beside a CPU-only torch: declared its operators in {module}")


if __name__ == "__main__":
    main()
