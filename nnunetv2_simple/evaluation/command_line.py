"""nnUNetv2_simple_evaluate: predictions scored against the clicks of their cases."""

import csv
import io
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from nnunetv2_simple.arguments import command_parser, listed, parse_labels
from nnunetv2_simple.evaluation.click_scores import CASE_SCORES, CLICK_SCORE, score_clicks, summarise_clicks
from nnunetv2_simple.extreme_points.annotation_files import find_annotations
from nnunetv2_simple.extreme_points.lesions import read_lesions
from nnunetv2_simple.files import save_json_atomically, written_atomically
from nnunetv2_simple.image_folders import predicted_labels, prediction_files
from nnunetv2_simple.images import label_array, read_volume, spacing_zyx_mm

COLUMNS = (*CASE_SCORES, CLICK_SCORE)


def main(argv: Sequence[str] | None = None) -> int:
    parser = command_parser(
        "Score predictions against clicks, where there are no dense masks: lesions found or missed, false positives, "
        "how far the prediction reaches too far or not far enough.",
        "nnUNetv2_simple_evaluate -p PREDICTIONS -a CLICKS",
    )
    parser.add_argument("-p", type=Path, required=True, help="Folder of predictions: <case>.nii.gz")
    parser.add_argument("-a", type=Path, required=True, help="Annotated lesions, as for nnUNetv2_simple_convert")
    parser.add_argument(
        "-labels",
        nargs="+",
        help="[OPTIONAL] Foreground classes, like tumor=1 node=2. Default: those "
        "of dataset.json beside the predictions, where nnUNetv2_predict writes it",
    )
    parser.add_argument(
        "-o",
        type=Path,
        help="[OPTIONAL] Folder for click_scores.json and click_scores.csv. Default: the folder of the predictions",
    )
    args = parser.parse_args(argv)
    try:
        has_labels = not args.labels and (args.p / "dataset.json").is_file()
        labels = predicted_labels(args.p) if has_labels else parse_labels(args.labels)
        if not labels:
            raise ValueError(f"{args.p / 'dataset.json'} has no class of a single label: name them with -labels")
        cases = score_folder(args.p, args.a, labels)
        summary = summarise_clicks(cases)
        output = args.o or args.p
        output.mkdir(parents=True, exist_ok=True)
        save_json_atomically({"all": summary, "cases": cases}, output / "click_scores.json")
        with written_atomically(output / "click_scores.csv") as beside:
            beside.write_text(_csv(cases), encoding="utf-8")
    except (ValueError, OSError) as error:
        print(f"ERROR: {error}", file=sys.stderr)
        return 2
    print(table(cases, summary))
    print(f"Lesions found: {summary['num_found']} of {summary['num_lesions']}. Written to {output}/click_scores.*")
    return 0


def score_folder(predictions: Path, annotations: Path, labels: Mapping[str, int]) -> dict[str, dict]:
    """Score every prediction of a folder, by case identifier.

    Raises:
        ValueError: If a prediction or an annotation cannot be read, a predicted case has no annotation, or there is no
            prediction.
    """
    found = prediction_files(predictions)
    annotation_files, others = find_annotations(annotations, list(found), other_inputs=[predictions])
    if missing := [case for case in found if case not in annotation_files]:
        raise ValueError(f"no annotation in {annotations} for these predictions: {listed(missing)}")
    if others:
        print(f"WARNING {len(others)} annotations belong to no prediction, such as {others[0]}", file=sys.stderr)
    scores = {}
    for case, file in found.items():
        prediction = read_volume(str(file))
        lesions = read_lesions(annotation_files[case], prediction, case=case, labels=labels)
        array = label_array(prediction, str(file))
        if unknown := sorted(set(np.unique(array).tolist()) - {0, *labels.values()}):
            raise ValueError(f"{file} holds the labels {unknown[:10]}, expected 0 and {dict(labels)}; give -labels")
        scores[case] = score_clicks(array, lesions, spacing_mm=spacing_zyx_mm(prediction))
    return scores


def _csv(cases: Mapping[str, Mapping]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["case", *COLUMNS])
    writer.writerows([case, *(scores[key] for key in COLUMNS)] for case, scores in cases.items())
    return text.getvalue()


def table(cases: Mapping[str, Mapping], summary: Mapping) -> str:
    """Return the scores of cases, and of all of them together, as a table of text."""
    rows = [["case", *COLUMNS]]
    for case, scores in [*cases.items(), ("all", summary)]:
        rows.append([case, *(_shown(scores[key]) for key in COLUMNS)])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)


def _shown(value: float | None) -> str:
    if value is None:
        return "-"
    return str(value) if isinstance(value, int) else f"{value:.3g}"


if __name__ == "__main__":
    sys.exit(main())
