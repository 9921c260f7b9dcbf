"""How well does the click score, which needs no painted masks, predict the Dice? Rank correlations.

    python benchmarks/click_score_correlation.py -p FOLDER FOLDER ... -ref REFERENCES

Each folder holds the predictions of one checkpoint or method for the same cases. The clicks are simulated from the
references.
Spearman's correlation is that of the means over the cases, over the folders; and that over all cases of all folders.
"""

import argparse
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr

from nnunetv2_simple.evaluation.click_scores import CASE_SCORES, CLICK_SCORE, score_clicks
from nnunetv2_simple.evaluation.metrics import dice
from nnunetv2_simple.extreme_points.simulated_clicks import lesions_from_mask
from nnunetv2_simple.images import label_array, read_volume, spacing_zyx_mm

SCORES = (CLICK_SCORE, "box_iou", "outside_share", "face_distance_mm", "click_distance_mm")


def score_folder(predictions: Path, references: Path) -> list[dict]:
    scored = []
    for file in sorted(predictions.glob("*.nii.gz")):
        image, reference = read_volume(str(file)), read_volume(str(references / file.name))
        truth, prediction = label_array(reference, str(file)), label_array(image, str(file))
        lesions = lesions_from_mask(reference, labels={"lesion": 1}) if truth.any() else []
        scores = score_clicks(prediction, lesions, spacing_mm=spacing_zyx_mm(reference))
        scored.append(
            {key: scores[key] for key in (*CASE_SCORES, CLICK_SCORE)} | {"dice": dice(prediction > 0, truth > 0)}
        )
    return scored


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("-p", type=Path, nargs="+", required=True, help="Folders of predictions")
    parser.add_argument("-ref", type=Path, required=True, help="Folder of references")
    args = parser.parse_args()
    found = {folder: score_folder(folder, args.ref) for folder in args.p}
    known = {key: [] for key in (*SCORES, "dice")}
    for folder, cases in found.items():
        for key, values in known.items():
            values.append(np.mean([case[key] for case in cases if case[key] is not None] or [np.nan]))
        print(f"{folder.name}: " + ", ".join(f"{key} {values[-1]:.3f}" for key, values in known.items()))
    cases = [case for scored in found.values() for case in scored]
    for key in SCORES:
        pairs = [(case[key], case["dice"]) for case in cases if case[key] is not None]
        if len({value for value, _ in pairs}) < 2:  # nothing to correlate
            continue
        over_cases = spearmanr(*zip(*pairs, strict=True)).statistic
        over_folders = spearmanr(known[key], known["dice"]).statistic
        counts = f"over {len(found)} folders {over_folders:+.2f}, over {len(pairs)} cases {over_cases:+.2f}"
        print(f"{key:18s} to Dice: {counts}")


if __name__ == "__main__":
    main()
