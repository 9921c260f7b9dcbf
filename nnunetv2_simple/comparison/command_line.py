"""nnUNetv2_simple_compare: every method on the same plans, splits and schedules, scored against dense masks."""

import argparse
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch
from nnunetv2.paths import nnUNet_preprocessed, nnUNet_raw, nnUNet_results

from nnunetv2_simple.arguments import add_flag, add_num_processes, add_option, command_parser, existing_folder
from nnunetv2_simple.comparison.datasets import (
    check_datasets,
    dataset_json,
    find_datasets,
    find_test_cases,
    walker_channel,
)
from nnunetv2_simple.comparison.methods import METHODS, choose_methods
from nnunetv2_simple.comparison.results import collect_results, score_predictions
from nnunetv2_simple.comparison.run import CommandError, check_trainers, run_missing
from nnunetv2_simple.comparison.settings import Comparison
from nnunetv2_simple.comparison.steps import shell_script
from nnunetv2_simple.comparison.tables import write_tables
from nnunetv2_simple.evaluation.metrics import TOLERANCE_MM
from nnunetv2_simple.files import only_one, read_json, remove_partial_files, save_json_atomically
from nnunetv2_simple.image_folders import foreground_labels
from nnunetv2_simple.nnunet.datasets import find_dataset
from nnunetv2_simple.report.page import write_report

FIXED_SETTINGS = ("configuration", "plans", "length", "mirror", "images", "nnUNet_results")


def parse_arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = command_parser(
        "Train, predict and score every row of the paper's table and the baselines, on the same plans, splits and "
        "schedules. Finished steps are skipped, so the same command resumes after an interruption.",
        "# everything, fold 0",
        "nnUNetv2_simple_compare -weak 501 -dense 502 -i TEST_IMAGES -ref TEST_MASKS -o COMPARISON",
        "# three methods, three folds, a quarter of the epochs",
        "nnUNetv2_simple_compare -weak 501 -dense 502 -methods simple walker full -f 0 1 2 -length 250epochs "
        "-i TEST_IMAGES -ref TEST_MASKS -o COMPARISON",
        "# a shell script of nnU-Net's commands for a scheduler",
        "nnUNetv2_simple_compare -weak 501 -i TEST_IMAGES -ref TEST_MASKS -o COMPARISON --print-commands > commands.sh",
    )
    parser.add_argument("-weak", type=int, required=True, help="Id of the dataset nnUNetv2_simple_convert wrote")
    add_option(parser, "dense", "Id of the same cases with dense masks, for full supervision", type=int)
    add_option(parser, "f", "Folds", nargs="+", default=["0"])
    keys = ", ".join(method.key for method in METHODS)
    add_option(parser, "methods", f"Some of {keys}. Default: all there are labels for", nargs="+")
    parser.add_argument("-i", type=existing_folder, required=True, help="Folder of test images, named as nnU-Net's")
    parser.add_argument("-ref", type=existing_folder, required=True, help="Folder of their dense masks: <case>.nii.gz")
    parser.add_argument("-o", type=Path, required=True, help="Output folder")
    add_option(parser, "c", "Configuration", default="3d_fullres")
    add_option(parser, "p", "Plans", default="nnUNetPlans")
    add_option(parser, "length", "Suffix of the trainers, such as 50epochs. Default: the full schedules")
    add_option(parser, "tolerance_mm", "Of the normalised surface Dice (NSD)", type=float, default=TOLERANCE_MM)
    add_option(parser, "device", "Device for training and prediction", choices=["cuda", "cpu", "mps"], default="cuda")
    add_option(parser, "line_every_s", "Seconds between lines of progress in a log or pipe", type=float, default=30.0)
    add_num_processes(parser, "Processes for preprocessing, prediction and scoring")
    add_option(parser, "disable_tta", "Predict without mirroring: faster, less accurate", action="store_true")
    add_flag(parser, "print-commands", "Print the missing steps as a shell script of nnU-Net's commands, run nothing")
    add_flag(parser, "report-only", "Score and report existing predictions, without training and predicting")
    return parser.parse_args(argv)


def find_comparison(args: argparse.Namespace) -> Comparison:
    """Return what is to be compared.

    Raises:
        ValueError: If anything asked for is not there or does not fit the rest.
    """
    folders = {"nnUNet_raw": nnUNet_raw, "nnUNet_preprocessed": nnUNet_preprocessed, "nnUNet_results": nnUNet_results}
    if unset := [name for name, folder in folders.items() if not folder]:
        raise ValueError(f"nnU-Net's folders must be set in the environment, got none for {', '.join(unset)}")
    if args.np < 0:
        raise ValueError(f"the number of processes must be at least 0, got {args.np}")
    if not 0 <= args.tolerance_mm < float("inf"):
        raise ValueError(f"-tolerance_mm must be at least 0 and finite, got {args.tolerance_mm}")
    if wrong := [fold for fold in args.f if fold != "all" and not fold.isdecimal()]:
        raise ValueError(f"folds must be integers or 'all', got {wrong}")
    raw, preprocessed, results = (Path(str(folder)).absolute() for folder in folders.values())
    weak = find_dataset(args.weak, raw).name
    methods = choose_methods(args.methods, has_dense=args.dense is not None)
    content = dataset_json(raw / weak)
    comparison = Comparison(
        datasets=find_datasets(
            {method.labels for method in methods},
            weak=weak,
            dense=None if args.dense is None else find_dataset(args.dense, raw).name,
            folders=[raw, preprocessed, results],
        ),
        methods=methods,
        folds=list(dict.fromkeys(fold if fold == "all" else int(fold) for fold in args.f)),
        configuration=args.c,
        plans=args.p,
        length=args.length,
        device=args.device,
        num_processes=args.np,
        mirror=not args.disable_tta,
        images=args.i,
        references=args.ref,
        cases=find_test_cases(args.i, args.ref, content),
        labels=foreground_labels(content),
        tolerance_mm=args.tolerance_mm,
        file_ending=content["file_ending"],
        walker_channel=walker_channel(raw / weak),
        output_folder=args.o.absolute(),
        raw=raw,
        preprocessed=preprocessed,
        results=results,
        line_every_s=args.line_every_s,
    )
    check_datasets(comparison)
    return comparison


def remember_settings(comparison: Comparison) -> None:
    """Note in the output folder what its predictions and scores depend on; refuse a folder of other settings.

    Raises:
        ValueError: Naming the setting that differs.
    """
    file = comparison.output_folder / "settings.json"
    holds_results = any((comparison.output_folder / name).is_dir() for name in ("predictions", "scores"))
    now = {key: value for key, value in comparison.settings().items() if key in FIXED_SETTINGS}
    now |= {f"dataset of {kind} labels": dataset for kind, dataset in comparison.datasets.items()}
    before = read_json(file) if holds_results and file.is_file() else {}
    for key in now.keys() & before.keys():
        if now[key] != before[key]:
            raise ValueError(
                f"{comparison.output_folder} holds a comparison with another {key}, {before[key]} instead of "
                f"{now[key]}: choose another output folder"
            )
    save_json_atomically(before | now, file)


def compare(comparison: Comparison, *, report_only: bool) -> None:
    """Run what is missing (unless ``report_only``), score the predictions, write tables and report.

    Raises:
        CommandError: If one of nnU-Net's commands fails.
        ValueError: If the output folder holds a comparison of other settings, if a trainer cannot be found, if a
            prediction does not fit its reference, or if there is nothing to report.
        BlockingIOError: If another comparison writes to the output folder, or shares a step that is missing.
    """
    folder, say = comparison.output_folder, partial(print, file=sys.stderr, flush=True)
    folder.mkdir(parents=True, exist_ok=True)
    with only_one(folder / ".lock", str(folder)):
        for place in (folder, *folder.glob("costs"), *folder.glob("scores/*")):
            remove_partial_files(place)
        remember_settings(comparison)
        if not report_only:
            run_missing(comparison)
        say("scoring the predictions")
        scores = score_predictions(comparison, say)
        if not scores:
            raise ValueError(f"there are no predictions of all test cases in {folder} yet")
        say("writing the report")
        write_tables(collect_results(comparison, scores), folder)
        write_report(folder / "comparison.json", folder / "report.html")


def main(argv: Sequence[str] | None = None) -> int:
    args = parse_arguments(argv)
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        comparison = find_comparison(args)
        if args.print_commands:
            check_trainers(comparison)
            words = [word for word in words if word.replace("_", "-").lstrip("-") != "print-commands"]
            print(shell_script(comparison, ("nnUNetv2_simple_compare", *words, "--report-only")), end="")
            return 0
        if args.device == "cuda" and not args.report_only and not torch.cuda.is_available():
            raise ValueError("there is no CUDA device here, choose -device cpu or mps")
        compare(comparison, report_only=args.report_only)
    except (ValueError, OSError) as error:
        print(f"ERROR: {error}", file=sys.stderr)
        return 2
    except CommandError as error:
        print(f"FAILED: {error}\nFinished steps are kept: run the same command again to resume.", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; run the same command again to resume", file=sys.stderr)
        return 130
    print((comparison.output_folder / "comparison.md").read_text(encoding="utf-8"))
    print(f"report: {comparison.output_folder / 'report.html'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
