"""Time from the sixth click to the pseudo-mask on the annotation page, without the browser.

    python benchmarks/annotation_time.py -i .../ibsi_sts/nifti

Clicks are simulated from the published masks. The processor's time is reported beside the time on the clock: on a
machine with other work to do only the former says how long it takes. One thread.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from threadpoolctl import threadpool_limits

from nnunetv2_simple.annotate.folder import AnnotationFolder, ImageCase, read_channels
from nnunetv2_simple.annotate.masks import as_lesion, make_mask, make_preview
from nnunetv2_simple.annotate.session import Session
from nnunetv2_simple.extreme_points import extreme_points_from_mask

SETS = {
    "sarcomas, T1": ("MR_T1_image.nii.gz", "MR_T1_mask.nii.gz"),
    "tumors, PET": ("PET_image.nii.gz", "PET_mask.nii.gz"),
}


def seconds_to_mask(case: ImageCase, mask: Path, folder: Path) -> dict[str, tuple[float, float]]:
    """Return the seconds, on clock and processor, from the sixth click to what is seen first and to the exact mask."""
    points = extreme_points_from_mask(sitk.GetArrayFromImage(sitk.ReadImage(str(mask))) != 0)
    annotations = AnnotationFolder(folder, labels={"tumor": 1}, cases={case.identifier: case})
    session = Session([case], annotations, labels={"tumor": 1})
    session.open(case.identifier, read_channels(case))
    voxels = [tuple(int(v) for v in point[::-1]) for point in points]
    for voxel in voxels[:5]:
        session.click(voxel)
    start, found = (time.perf_counter(), time.process_time()), {}
    session.click(voxels[5])
    ((key, marked),) = session.outdated().items()
    lesion = as_lesion(marked, session.channels[0], label=1)
    for name, make in (("first", make_preview), ("exact", make_mask)):
        if (made := make(lesion, session.channels, session.walker_image)) is not None:
            session.masks[key] = made
            session.label_image()
            found[name] = (time.perf_counter() - start[0], time.process_time() - start[1])
    annotations.close()
    return {"first": found.get("first", found["exact"]), "exact": found["exact"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("-i", type=Path, required=True)
    args = parser.parse_args()
    print("| set | cases | mask | processor: median, largest (s) | clock: median, largest (s) |\n|---|---|---|---|---|")
    with threadpool_limits(1):
        for name, (image, mask) in SETS.items():
            times = []
            for folder in sorted(file.parent for file in args.i.glob(f"*/{mask}")):
                case = ImageCase(folder.name, (str(folder / image),))
                with tempfile.TemporaryDirectory() as scratch:
                    times.append(seconds_to_mask(case, folder / mask, Path(scratch)))
                print(f"{name} {case.identifier} {times[-1]}", file=sys.stderr, flush=True)
            for shown in ("first", "exact"):
                clock, processor = np.array([found[shown] for found in times]).T
                print(
                    f"| {name} | {len(times)} | {shown} | {np.median(processor):.2f}, {processor.max():.2f} | "
                    f"{np.median(clock):.2f}, {clock.max():.2f} |",
                    flush=True,
                )


if __name__ == "__main__":
    main()
