"""What similarity-aware propagation would label, and how much of it is right, with the network of a trained fold.

    python benchmarks/propagation.py -weak 501 -dense 502 -tr SimPLeTrainer_Paper -f 0 [-p nnUNetPlans] [-chk NAME]

Looks at batches of two patches, each centred on a foreground voxel of a training case, which the vote of
SimPLeTrainer_Paper sees as well. Unlike the fine-tuning it does not augment. The dense masks say which unlabelled
voxels are foreground. Only training cases of the dataset are looked at; it must have one foreground class, in 3D.
"""

from itertools import product

import numpy as np
import torch
from acvl_utils.cropping_and_padding.bounding_boxes import crop_and_pad_nd
from tqdm import tqdm
from trained_fold import load_fold, parse_arguments

from nnunetv2_simple.nnunet.versions import load_preprocessed_case
from nnunetv2_simple.propagation import draw_references, vote
from nnunetv2_simple.training.feature_tap import FeatureTap

NUM_ROUNDS, NUM_REFERENCES = 4, 100
THRESHOLDS, FRACTIONS = (0.96, 0.8, 0.6, 0.5, 0.4, 0.3, 0.2), (0.96, 0.5)


def patches_of(weak, dense, case: str, patch_size: list[int], rng: np.random.Generator) -> tuple[np.ndarray, ...]:
    """Return image (channels, *patch), weak and dense label (*patch) around a random foreground voxel."""
    image, label, _ = load_preprocessed_case(weak, case)
    _, reference, _ = load_preprocessed_case(dense, case)
    centre = rng.choice(np.argwhere(label[0] == 1))
    sides = [[start, start + size] for start, size in zip(centre - np.array(patch_size) // 2, patch_size, strict=True)]
    image, label, reference = (crop_and_pad_nd(np.asarray(array[:]), sides) for array in (image, label, reference))
    return image, label[0].clip(0), reference[0]


def shares_of(features, label, reference, ignore_label: int) -> dict:
    """Return for each threshold and fraction the shares that the vote accepts, and how much of it is right."""
    unlabelled, known, others = (label == kind for kind in (ignore_label, 1, 0))
    references = draw_references(features, known, NUM_REFERENCES)
    found = {}
    for threshold, fraction in product(THRESHOLDS, FRACTIONS):
        agrees = vote(features, references, similarity_threshold=threshold, vote_fraction=fraction)
        propagated = agrees & unlabelled
        found[threshold, fraction] = (
            [propagated.sum().item(), unlabelled.sum().item()],
            [(propagated & (reference == 1)).sum().item(), propagated.sum().item()],
            [(agrees & known).sum().item(), known.sum().item()],
            [(agrees & others).sum().item(), others.sum().item()],
        )
    found["all"] = [[(unlabelled & (reference == 1)).sum().item(), unlabelled.sum().item()]]
    return found


def main() -> None:
    args = parse_arguments(__doc__.splitlines()[0], checkpoint="checkpoint_train.pth")
    fold = load_fold(args)
    predictor, network = fold.predictor, fold.predictor.network.to(args.device)
    network.load_state_dict(predictor.list_of_parameters[0])
    tap = FeatureTap(network.eval(), "before_nonlinearity")
    datasets = fold.open(fold.weak), fold.open(fold.dense)
    cases = [case for case in fold.split["train"] if (load_preprocessed_case(datasets[0], case)[1][:] == 1).any()]

    torch.manual_seed(0)
    rng, counts = np.random.default_rng(0), {}
    pairs = [pair for _ in range(NUM_ROUNDS) for pair in rng.permutation(cases)[: len(cases) // 2 * 2].reshape(-1, 2)]
    for pair in tqdm(pairs, unit="batch"):
        batch = zip(
            *(patches_of(*datasets, case, predictor.configuration_manager.patch_size, rng) for case in pair),
            strict=True,
        )
        image, label, reference = (torch.from_numpy(np.stack(patches)).to(args.device) for patches in batch)
        with torch.no_grad():
            network(image.float())
        for key, found in shares_of(tap.pop(), label, reference, predictor.label_manager.ignore_label).items():
            counts.setdefault(key, []).append(found)
    sums = {key: np.sum(found, axis=0) for key, found in counts.items()}
    ((foreground, unlabelled),) = sums.pop("all")
    print(
        f"{args.tr}, fold {args.f}, {args.chk}: of the unlabelled voxels {foreground / unlabelled:.3f} are foreground"
    )
    print("| threshold, fraction | propagated | right | known positives accepted | known negatives accepted |")
    print("|---|---|---|---|---|")
    for (threshold, fraction), kinds in sums.items():
        shares = " | ".join(f"{part / whole:.4f}" if whole else "-" for part, whole in kinds)
        print(f"| {threshold}, {fraction} | {shares} |")


if __name__ == "__main__":
    main()
