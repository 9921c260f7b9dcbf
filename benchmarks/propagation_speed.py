"""How fast and how frugal propagation is, against a broadcast cosine similarity, and how it grows with the patch.

    python benchmarks/propagation_speed.py [-device cuda] [-o propagation_speed.md]

The broadcast computes torch.nn.functional.cosine_similarity of every unlabelled voxel with every reference at once, as
the published code does. Both sides get the same features, labels and references. Times are the median over rounds in
which both take their turn; the memory is what a call needs beyond its input, in a process of its own.
"""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from measuring import device_name, in_own_process, marked, peak_memory_mb, reset_peak_memory, timed
from tqdm import tqdm

from nnunetv2_simple.propagation import draw_voxels, features_at, propagate_labels

NUM_REFERENCES, NUM_FEATURES = 100, 32
SIMILARITY_THRESHOLD = VOTE_FRACTION = 0.96
IGNORE_LABEL, SEED = 2, 0
MIN_TIMES_FASTER, MAX_MEMORY_SHARE = 8, 1 / 8
UNLABELLED_SHARE, POSITIVE_SHARE = 0.15, 0.05  # of a patch a third of which is the box


def make_input(
    num_voxels: int, num_unlabelled: int, num_positives: int, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return features (1, D, 1, 1, V) and labels (1, 1, 1, V) in which about half of the unlabelled voxels propagate.

    Features lie round the axis of all ones, the nearer to it the smaller the voxel's own noise.
    """
    generator = torch.Generator().manual_seed(SEED)
    noise = torch.rand(num_voxels, generator=generator) * 0.4
    noise[:num_positives] = 0.1
    features = torch.randn((num_voxels, NUM_FEATURES), generator=generator) * noise[:, None] + 1
    target = torch.zeros(num_voxels, dtype=torch.int16)
    target[:num_positives] = 1
    target[num_positives : num_positives + num_unlabelled] = IGNORE_LABEL
    order = torch.randperm(num_voxels, generator=generator)
    features = features[order].T.contiguous()[None, :, None, None]
    return features.to(device), target[order][None, None, None].to(device)


def propagate(features: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    return propagate_labels(
        features,
        target,
        ignore_label=IGNORE_LABEL,
        num_references=NUM_REFERENCES,
        similarity_threshold=SIMILARITY_THRESHOLD,
        vote_fraction=VOTE_FRACTION,
        generator=torch.Generator(features.device).manual_seed(SEED),
    )


def broadcast(features: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Return the same decisions from the (unlabelled x references x D) tensor."""
    generator = torch.Generator(features.device).manual_seed(SEED)
    drawn = draw_voxels(target == 1, NUM_REFERENCES, generator=generator)
    references = features_at(features, drawn)[drawn.counts]
    unlabelled = target == IGNORE_LABEL
    vectors = features.movedim(1, -1)[unlabelled]
    similarity = F.cosine_similarity(vectors[:, None], references[None], dim=-1)
    votes = (similarity > SIMILARITY_THRESHOLD).sum(dim=1)
    accepted = torch.zeros_like(unlabelled)
    accepted[unlabelled] = votes > VOTE_FRACTION * len(references)
    return accepted


def extra_memory_mb(function: Callable, sizes: tuple[int, int, int], device: str) -> float:
    """Return the peak memory of a call beyond what is there before it."""
    device = torch.device(device)
    function(*make_input(1_000, 500, 200, device))  # loads what is loaded once
    features, target = make_input(*sizes, device)
    reset_peak_memory(device)
    before = peak_memory_mb(device)
    function(features, target)
    return peak_memory_mb(device) - before


def against_broadcast(sizes: tuple[int, int, int], device: str, *, rounds: int) -> list[str]:
    """Compare both and return the Markdown."""
    features, target = make_input(*sizes, torch.device(device))
    our_result, their_result = propagate(features, target), broadcast(features, target)  # warms up as well
    seconds = [
        (timed(propagate, features, target), timed(broadcast, features, target))
        for _ in tqdm(range(rounds), desc="against the broadcast", unit="round")
    ]
    ours, theirs = np.array(seconds).T
    our_memory, their_memory = (in_own_process(extra_memory_mb, f, sizes, device) for f in (propagate, broadcast))
    times_faster, memory_share = np.median(theirs / ours), our_memory / their_memory
    differing = (our_result != their_result).sum().item()
    propagated = our_result.sum().item() / sizes[1]
    return [
        f"{sizes[1]} unlabelled voxels, {NUM_REFERENCES} references, {NUM_FEATURES} features. Marks: at least "
        f"{MIN_TIMES_FASTER} times faster, at most {MAX_MEMORY_SHARE:.3f} of the extra memory, the same decisions; "
        "what misses its mark is bold.",
        "",
        "| | time (ms), median | extra memory (MB) |",
        "|---|---|---|",
        f"| broadcast cosine similarity | {1000 * np.median(theirs):.1f} | {their_memory:.0f} |",
        f"| propagate_labels | {1000 * np.median(ours):.1f} | {our_memory:.0f} |",
        "",
        "Times faster: "
        + marked(f"{times_faster:.1f}", reached=times_faster >= MIN_TIMES_FASTER)
        + f" (median of {rounds} rounds, smallest {(theirs / ours).min():.1f}); share of the extra memory: "
        + marked(f"{memory_share:.3f}", reached=memory_share <= MAX_MEMORY_SHARE)
        + "; decisions that differ: "
        + marked(f"{differing}", reached=differing == 0)
        + f" of {sizes[1]} ({propagated:.2f} propagated).",
    ]


def by_patch_size(patch_sizes: Sequence[tuple[int, int, int]], device: str, *, rounds: int) -> list[str]:
    """Measure batches of two patches and return the Markdown table."""
    lines = [
        "| two patches of | voxels | unlabelled | time (ms), median | extra memory (MB) | features (MB) |",
        "|" + "---|" * 6,
    ]
    for patch_size in tqdm(patch_sizes, desc="by patch size", unit="size"):
        num_voxels = 2 * int(np.prod(patch_size))
        sizes = (num_voxels, int(UNLABELLED_SHARE * num_voxels), int(POSITIVE_SHARE * num_voxels))
        features, target = make_input(*sizes, torch.device(device))
        seconds = [timed(propagate, features, target) for _ in range(rounds + 1)][1:]
        of_features = features.numel() * features.element_size() / 2**20
        del features, target
        memory = in_own_process(extra_memory_mb, propagate, sizes, device)
        lines.append(
            f"| {' x '.join(map(str, patch_size))} | {num_voxels} | {sizes[1]} | {1000 * np.median(seconds):.1f} | "
            f"{memory:.0f} | {of_features:.0f} |"
        )
    return lines


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-device", choices=("cpu", "cuda"), default="cpu", help="Default: cpu")
    parser.add_argument("-unlabelled", type=int, default=60_000, help="Unlabelled voxels. Default: 60000")
    parser.add_argument("-rounds", type=int, default=10, help="Timed rounds. Default: 10")
    parser.add_argument(
        "-sizes", type=int, nargs="+", default=[32, 48, 64, 96, 128], help="Edges of the cubic patches, in voxels"
    )
    parser.add_argument("-o", type=Path, help="[OPTIONAL] Markdown file to write")
    args = parser.parse_args(argv)
    sizes = (4 * args.unlabelled, args.unlabelled, args.unlabelled // 3)
    lines = [
        "## Propagation: time and memory",
        "",
        f"{device_name(args.device)}, torch {torch.__version__}.",
        "",
        *against_broadcast(sizes, args.device, rounds=args.rounds),
        "",
        f"{UNLABELLED_SHARE:.0%} of the voxels unlabelled, {POSITIVE_SHARE:.0%} positive:",
        "",
        *by_patch_size([(size,) * 3 for size in args.sizes], args.device, rounds=args.rounds),
    ]
    print("\n".join(lines))
    if args.o:
        args.o.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
