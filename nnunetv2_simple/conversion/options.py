"""The part of the command line that all conversion scripts share."""

import argparse
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from nnunetv2.paths import nnUNet_preprocessed, nnUNet_raw
from tqdm import tqdm

from nnunetv2_simple.arguments import add_flag, add_num_processes, add_option, listed, parse_labels
from nnunetv2_simple.conversion.cases import DEFAULT_RECIPE, Case, Conversion, WalkerImage, unannotated_cases
from nnunetv2_simple.conversion.convert import (
    annotation_warnings_of,
    cases_of_part,
    changed_cases,
    check_dataset,
    convert_dataset,
    converted_cases,
    dropped_cases,
    examine_cases,
    quality_warnings_of,
)
from nnunetv2_simple.conversion.dataset_files import classes_without_lesion
from nnunetv2_simple.conversion.input_folders import read_case_list
from nnunetv2_simple.conversion.new_images import describe_new_images
from nnunetv2_simple.pseudo_mask.scribbles import RECIPES
from nnunetv2_simple.report.quality_page import QUALITY_FOLDER, describe_outside

DEFAULT_MARGIN_MM = 10.0
MAX_WORST, MAX_LINE = 5, 200  # pseudo-masks to look at first; characters of what is said of each


def add_common_options(
    parser: argparse.ArgumentParser, *, dataset_id: int | None = None, dataset_name: str | None = None
) -> None:
    """Add the options that every conversion script has. Without a default, id and name are required."""
    written = f". Default: {dataset_id}" if dataset_id else ""
    parser.add_argument(
        "-d",
        type=int,
        required=dataset_id is None,
        default=dataset_id,
        help=f"Dataset id of the dataset to write{written}",
    )
    written = f". Default: {dataset_name}" if dataset_name else ""
    parser.add_argument(
        "-n",
        required=dataset_name is None,
        default=dataset_name,
        help=f"Dataset name, the Name of DatasetXXX_Name{written}",
    )
    add_option(
        parser, "dense", "Also write a fully supervised dataset of this id, with the dense masks as labels", type=int
    )
    add_option(parser, "num_test", "Number of randomly chosen test cases", type=int, default=0)
    add_option(parser, "test_seed", "Seed for -num_test", type=int, default=0)
    add_option(
        parser,
        "subtraction_channel",
        "Add the difference that the random walker sees as the last channel of the dataset",
        action="store_true",
    )
    add_option(
        parser,
        "unannotated",
        "Label of what is far from every box of a clicked case: background, if all its lesions are annotated; ignore, "
        "if there may be others (index lesion only)",
        choices=["background", "ignore"],
        default="background",
    )
    margin_help = f"With -unannotated ignore: how far around the boxes is background. Default: {DEFAULT_MARGIN_MM:g}"
    add_option(parser, "margin_mm", margin_help, type=float)
    add_option(parser, "evidence_weight", "Largest weight of -evidence, 0 to 1", type=float, default=1.0)
    add_option(parser, "recipe", "Recipe for the pseudo-masks", choices=list(RECIPES), default=DEFAULT_RECIPE)
    add_option(parser, "beta", "beta of the random walker, for the recipe paper. Default: 130", type=float)
    add_option(
        parser,
        "jitter_mm",
        "Standard deviation (mm) of the error added to simulated clicks",
        type=float,
        default=0.0,
    )
    add_option(parser, "jitter_seed", "Seed for -jitter_mm", type=int, default=0)
    add_num_processes(parser, "Number of worker processes")
    add_option(parser, "num_parts", "Number of jobs that share the cases", type=int, default=1)
    add_option(parser, "part_id", "Index of this job, from 0", type=int, default=0)
    add_option(parser, "dask", "Address of a Dask scheduler that runs the conversion, such as tcp://host:8786")
    add_option(
        parser,
        "overwrite",
        "Convert finished cases again and, unless in parts, remove cases that are no longer in the input",
        action="store_true",
    )
    add_option(
        parser,
        "changed",
        "Convert finished cases again whose input or options have changed, such as clicks, and leave the others alone",
        action="store_true",
    )
    add_option(
        parser,
        "exclude",
        "Cases to leave out: identifiers, or text files with one per line, as the quality page saves them",
        nargs="+",
    )
    add_flag(parser, "dry-run", "Check all input, report every problem and warning, and write nothing")


def convert(
    find_cases: Callable[[], Sequence[Case]],
    args: argparse.Namespace,
    channel_names: Sequence[str],
    *,
    walker_image: WalkerImage = WalkerImage(),  # noqa: B008 (frozen)
    labels: Sequence[str] = (),
) -> int:
    """Convert the cases as the command line asks for.

    Args:
        find_cases: Lists the cases; may raise ValueError.
        args: What was given for :func:`add_common_options`.
        channel_names: nnU-Net's channel names.
        walker_image: Which channel, or difference of channels, the random walker sees.
        labels: The classes, as in ``tumor=1 node=2``; one class by default.

    Returns:
        The exit status: 0, 1 if a case failed, 2 if nothing was done.
    """
    try:
        conversion = _conversion(args, channel_names, walker_image, parse_labels(labels))
        found = find_cases()
        excluded = excluded_cases(args.exclude or (), [case.identifier for case in found])
        cases = _with_test_cases([case for case in found if case.identifier not in excluded], args)
        options = {
            "part_id": args.part_id,
            "num_parts": args.num_parts,
            "num_processes": args.np,
            "dask_scheduler": args.dask,
            "excluded": excluded,
        }
        if args.dry_run:
            return _examine(cases, conversion, overwrite=args.overwrite, changed=args.changed, **options)
        return _convert(cases, conversion, overwrite=args.overwrite, changed=args.changed, **options)
    except (ValueError, OSError) as error:
        print(f"ERROR: {error}", file=sys.stderr)
        return 1 if args.dry_run else 2


def excluded_cases(words: Sequence[str], identifiers: Sequence[str]) -> set[str]:
    """Return the identifiers that are named, or listed in a file that is named.

    Raises:
        ValueError: Naming a word that is neither a case nor a file, or a line of a file that is no case.
    """
    excluded = set()
    for word in words:
        names = [word]
        if word not in identifiers and Path(word).is_file():
            names = read_case_list(Path(word), may_be_empty=True)
        if unknown := [name for name in names if name not in identifiers]:
            where = f" in {word}" if names != [word] else ", which is no file either"
            raise ValueError(f"-exclude: there is no case {listed(unknown)}{where}")
        excluded.update(names)
    return excluded


def _conversion(
    args: argparse.Namespace, channel_names: Sequence[str], walker_image: WalkerImage, labels: Mapping[str, int]
) -> Conversion:
    if not nnUNet_raw:
        raise ValueError("nnUNet_raw must be set to the folder of nnU-Net's raw datasets")
    if not re.fullmatch(r"[A-Za-z0-9_.-]+", args.n):
        raise ValueError(f"the dataset name may only hold letters, digits, '_', '-' and '.', got {args.n!r}")
    for dataset_id in (args.d, args.dense):
        if dataset_id is not None and not 1 <= dataset_id <= 999:
            raise ValueError(f"nnU-Net's dataset ids are the numbers 1 to 999, got {dataset_id}")
    raw = Path(nnUNet_raw)
    folders = [raw / f"Dataset{args.d:03d}_{args.n}"]
    if args.dense is not None:
        folders.append(raw / f"Dataset{args.dense:03d}_{args.n}_dense")
    check_dataset_ids(raw, folders)
    return Conversion(
        folders[0],
        channel_names,
        labels=labels,
        walker_image=walker_image,
        recipe=args.recipe,
        beta=args.beta,
        subtraction_channel=args.subtraction_channel,
        unannotated_margin_mm=_margin_mm(args),
        evidence_weight=args.evidence_weight,
        jitter_mm=args.jitter_mm,
        jitter_seed=args.jitter_seed,
        dense_dataset_folder=folders[1] if args.dense is not None else None,
        preprocessed_folder=Path(nnUNet_preprocessed) if nnUNet_preprocessed else None,
    )


def _margin_mm(args: argparse.Namespace) -> float | None:
    if args.unannotated == "background":
        if args.margin_mm is not None:
            raise ValueError("-margin_mm belongs to -unannotated ignore")
        return None
    return DEFAULT_MARGIN_MM if args.margin_mm is None else args.margin_mm


def check_dataset_ids(raw: Path, folders: Sequence[Path]) -> None:
    """Refuse to write a dataset whose id another one has: nnU-Net finds datasets by their id alone."""
    for folder in folders:
        prefix = folder.name.split("_")[0]
        same_id = {other.name for other in [*raw.glob(f"{prefix}_*"), *folders] if other.name.startswith(prefix + "_")}
        if same_id != {folder.name}:
            raise FileExistsError(f"dataset ids must be unique, got {sorted(same_id)}; choose another dataset id")


def _with_test_cases(cases: Sequence[Case], args: argparse.Namespace) -> list[Case]:
    if not 0 <= args.num_test < max(len(cases), 1):
        raise ValueError(f"-num_test must leave some of the {len(cases)} cases for training, got {args.num_test}")
    test = np.random.default_rng(args.test_seed).permutation(len(cases))[: args.num_test]
    return [replace(case, is_test=case.is_test or index in test) for index, case in enumerate(cases)]


def _convert(cases: Sequence[Case], conversion: Conversion, *, overwrite: bool, changed: bool, **options) -> int:
    kept = {name: options[name] for name in ("num_parts", "excluded")}
    dropped = dropped_cases(cases, conversion, overwrite=overwrite, **kept)
    part = cases_of_part(cases, part_id=options["part_id"], num_parts=options["num_parts"])
    anew = set(changed_cases(part, conversion)) if changed else set()
    before = set() if overwrite else converted_cases(part, conversion) - anew
    bar = progress_bar("converting")
    failures = convert_dataset(cases, conversion, overwrite=overwrite, changed=changed, progress=bar, **options)
    if changed:
        print("Labels have changed: if the dataset is already preprocessed, run nnUNetv2_preprocess again")
    if dropped:
        print(f"removed, excluded or no longer in the input: {', '.join(dropped)}")
    for identifiers, warning in by_sentence(annotation_warnings_of(part, conversion)):
        print(f"WARNING {identifiers}: {warning}", file=sys.stderr)
    for identifier, reason in sorted(failures.items()):
        print(f"FAILED {identifier}: {reason}", file=sys.stderr)
    now = converted_cases(part, conversion)
    print(
        f"{len(now)} of {len(part)} cases are in {conversion.dataset_folder}: {len(now - before)} converted now, "
        f"{len(now & before)} before, {len(failures)} failed"
    )
    if not (conversion.dataset_folder / "dataset.json").exists():
        print("There is no dataset.json yet: it is written once every case is done and one of them is for training.")
    else:
        if empty := classes_without_lesion(conversion):
            print(f"WARNING: no training case has a lesion of the class {', '.join(empty)}", file=sys.stderr)
        print(describe_outside(conversion.unannotated_margin_mm, unannotated_cases(cases)))
        _say_what_comes_next(part, conversion)
    return 1 if failures else 0


def _say_what_comes_next(cases: Sequence[Case], conversion: Conversion) -> None:
    """Name the page to look at, the pseudo-masks to look at first, and the next command."""
    worst = quality_warnings_of(cases, conversion)
    print(f"Quality page: {conversion.dataset_folder / QUALITY_FOLDER / 'index.html'}")
    if worst:
        print(f"Look first at these, {min(len(worst), MAX_WORST)} of {len(worst)} pseudo-masks with warnings:")
    for identifier, warnings in list(worst.items())[:MAX_WORST]:
        print(f"    {identifier}: {'; '.join(warnings)}"[:MAX_LINE])
    number = conversion.dataset_folder.name.partition("_")[0].removeprefix("Dataset").lstrip("0")
    print(f"Next: nnUNetv2_plan_and_preprocess -d {number} -c 3d_fullres --verify_dataset_integrity")
    print(describe_new_images(conversion))


def _examine(cases: Sequence[Case], conversion: Conversion, *, overwrite: bool, changed: bool, **options) -> int:
    refusal, kept = None, {name: options[name] for name in ("num_parts", "excluded")}
    try:
        check_dataset(cases, conversion, overwrite=overwrite, changed=changed, **kept)
    except (ValueError, FileExistsError) as error:
        refusal = error
    del options["excluded"]
    problems, warnings = examine_cases(cases, conversion, progress=progress_bar("checking"), **options)
    for kind, found in (("WARNING", warnings), ("PROBLEM", problems)):
        for identifiers, sentence in by_sentence(found):
            print(f"{kind} {identifiers}: {sentence}")
    for identifier in dropped_cases(cases, conversion, overwrite=overwrite, **kept):
        print(f"WARNING {identifier}: would be removed, because it is excluded or no longer in the input")
    if refusal:
        print(f"PROBLEM with the dataset: {refusal}")
    num_cases = len(cases_of_part(cases, part_id=options["part_id"], num_parts=options["num_parts"]))
    print(f"{num_cases} cases checked, {len(problems)} with problems, {len(warnings)} with warnings; nothing written")
    return 1 if problems or refusal else 0


def by_sentence(found: Mapping[str, Sequence[str]]) -> Iterator[tuple[str, str]]:
    """Return each sentence once, with the cases it is said of."""
    cases: dict[str, list[str]] = {}
    for identifier, sentences in sorted(found.items()):
        for sentence in sentences:
            cases.setdefault(sentence, []).append(identifier)
    for sentence, identifiers in cases.items():
        yield listed(identifiers), sentence


def progress_bar(what: str) -> Callable[[Sequence, Iterator], Iterator]:
    """Return what shows a bar over the finished cases while they are iterated over."""
    return lambda cases, finished: tqdm(finished, total=len(cases), desc=what, unit="case")
