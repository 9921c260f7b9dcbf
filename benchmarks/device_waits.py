"""How often the loss of a training step waits for the device, and how many operations it takes.

    python benchmarks/device_waits.py [-o device_waits.md]

The loss of each phase and its gradient, of one batch of real trainers, under torch's profiler on the CPU. A wait is an
operation whose result the host needs before it can go on: on a GPU the queue of work runs empty meanwhile. An operation
is one that calls no other, about a kernel on a GPU.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile
from training_cost import VARIANTS, default_plans, make_batch, make_trainer, nnunet_folders

WAITS = ("aten::_local_scalar_dense", "aten::nonzero", "aten::masked_select")  # aten::item calls the first of them


def count(variant: str, plans: dict) -> tuple[int, int, int]:
    """Return the waits of the loss, the operations of the loss, and those of its gradient, without the network's."""
    trainer = make_trainer(variant, plans, torch.device("cpu"))
    trainer.network.train()
    batch = make_batch(trainer)
    events = {}
    for _ in range(2):  # the first time has more to do
        trainer.loss.image = batch["data"]
        output = trainer.network(batch["data"])
        with profile(activities=[ProfilerActivity.CPU]) as of_loss:
            loss = trainer.loss(output, batch["target"])
        with profile(activities=[ProfilerActivity.CPU]) as of_gradient:
            loss.backward()
        events = {"loss": of_loss.events(), "gradient": of_gradient.events()}
    waits = sum(event.name in WAITS for event in [*events["loss"], *events["gradient"]])
    return waits, *(sum(not event.cpu_children for event in of_part) for of_part in events.values())


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("-patch", type=int, nargs=3, default=[40, 80, 80], help="Patch size (z, y, x), in voxels")
    parser.add_argument("-spacing", type=float, nargs=3, default=[1.0] * 3, help="Voxel size (z, y, x), in mm")
    parser.add_argument("-features", type=int, default=8, help="Features of the first stage. Default: 8")
    parser.add_argument("-o", type=Path, help="[OPTIONAL] Markdown file to write")
    args = parser.parse_args(argv)
    plans = default_plans(args.patch, 2, spacing_mm=args.spacing, base_features=args.features)
    with nnunet_folders():
        counts = {variant: count(variant, plans) for variant in VARIANTS}
    stock_gradient = counts["stock"][2]
    lines = [
        "## Training: waits for the device",
        "",
        f"torch {torch.__version__}, CPU. Patch {args.patch}, batch 2, voxels of {args.spacing} mm. The operations of "
        f"the gradient are those beyond stock nnU-Net's {stock_gradient}, most of which are the network's.",
        "",
        "| | waits | operations of the loss | of its gradient |",
        "|---|---|---|---|",
        *(
            f"| {name} | {waits} | {loss} | {gradient - stock_gradient:+d} |"
            for name, (waits, loss, gradient) in counts.items()
        ),
    ]
    print("\n".join(lines))
    if args.o:
        args.o.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
