"""Initial masks with the evidence of another model: Dice to painted masks with a network's, and with noise.

    python benchmarks/evidence.py -d 501 -evidence FOLDER      FOLDER: <case>.npz of a network trained on other cases

Uses the converted dataset's test cases (imagesTs, referencesTs) in nnUNet_raw; clicks are simulated from the masks.
Besides the network's opinion as it is: voxels drawn at random, smooth random blobs, all of the box, nothing, and the
network's opinion on the mirrored image (another lesion's shape in the same box).
"""

import argparse
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from nnunetv2.paths import nnUNet_raw
from scipy import ndimage

from nnunetv2_simple.evaluation.metrics import dice
from nnunetv2_simple.extreme_points.simulated_clicks import lesions_from_mask
from nnunetv2_simple.images import read_volume, spacing_zyx_mm
from nnunetv2_simple.nnunet.datasets import find_dataset
from nnunetv2_simple.pseudo_mask.generate import generate_pseudo_mask


def kinds_of_evidence(probability: np.ndarray, generator: np.random.Generator) -> dict[str, np.ndarray | None]:
    blobs = ndimage.gaussian_filter(generator.standard_normal(probability.shape), 3)
    return {
        "none": None,
        "network": probability,
        "random voxels": generator.random(probability.shape),
        "random blobs": (blobs > 0).astype(float),
        "all": np.ones(probability.shape),
        "nothing": np.zeros(probability.shape),
        "mirrored": probability[:, ::-1, ::-1],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("-d", type=int, required=True, help="Id of a converted dataset with test cases")
    parser.add_argument("-evidence", type=Path, required=True, help="Folder of <case>.npz")
    parser.add_argument("-channel", type=int, default=0, help="That the random walker sees")
    parser.add_argument("-num_cases", type=int, default=100)
    args = parser.parse_args()
    dataset, found = find_dataset(args.d, Path(nnUNet_raw)), {}
    for file in sorted(args.evidence.glob("*.npz"))[: args.num_cases]:
        image = read_volume(str(dataset / "imagesTs" / f"{file.stem}_{args.channel:04d}.nii.gz"))
        reference = read_volume(str(dataset / "referencesTs" / f"{file.stem}.nii.gz"))
        (lesion, *others), truth = lesions_from_mask(reference, labels={"lesion": 1}), sitk.GetArrayFromImage(reference)
        if others:
            continue
        probability = np.load(file)["probabilities"][1]
        generator = np.random.default_rng([*file.stem.encode()])
        found.setdefault("the network itself", []).append(dice(probability > 0.5, truth == 1))
        for kind, evidence in kinds_of_evidence(probability, generator).items():
            _, walked = generate_pseudo_mask(
                sitk.GetArrayFromImage(image).astype(float),
                lesion.extreme_points,
                spacing_mm=spacing_zyx_mm(image),
                axes=lesion.axes,
                recipe="robust",
                evidence=evidence,
                return_probability=True,
            )
            found.setdefault(kind, []).append(dice(walked > 0.5, truth == 1))
    for kind, scores in found.items():
        changes = np.subtract(scores, found["none"])
        worst = f"worst case {changes.min():+.3f}"
        print(f"{kind:20s} {np.mean(scores):.3f} ({len(scores)} cases), to none {changes.mean():+.3f}, {worst}")


if __name__ == "__main__":
    main()
