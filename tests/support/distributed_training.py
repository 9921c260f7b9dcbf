"""One of the processes that train together, as nnU-Net's run_ddp starts them, but with gloo on the CPU.

    python distributed_training.py RANK WORLD_SIZE PORT steps|train|fail OUTPUT.json

"steps" takes one training step in each phase that learns weak labels, "train" goes through a whole training, "fail"
through one whose last process fails when pseudo-masks are written.
"""

import json
import os
import sys
from pathlib import Path

import torch
import torch.distributed as dist
from nnunetv2.run.run_training import get_trainer_from_args
from nnunetv2.training.nnUNetTrainer import nnUNetTrainer as trainer_module
from torch.nn.parallel import DistributedDataParallel

from nnunetv2_simple.propagation import draw_voxels
from nnunetv2_simple.training.feature_tap import unwrap
from nnunetv2_simple.training.phases import first_epoch

PLANS, TRAINER = "nnUNetPlans_tiny", "SimPLeTrainer_Brief"


def make_trainer():
    trainer = get_trainer_from_args("501", "3d_fullres", 0, TRAINER, PLANS, device=torch.device("cpu"))
    trainer.device = torch.device("cpu")  # nnU-Net takes it for granted that several processes mean GPUs
    trainer.grad_scaler = None
    return trainer


def fixed_batch(trainer) -> dict:
    """So few labelled voxels that none is left out by chance."""
    patch_size = trainer.configuration_manager.patch_size
    generator = torch.Generator().manual_seed(0)
    target = torch.full((2, 1, *patch_size), 2)
    target[:, :, 6, 12, 4:20] = 1
    target[:, :, 2, 4, 4:20] = 0
    scales = trainer._get_deep_supervision_scales()
    scaled = [torch.nn.functional.interpolate(target.float(), scale_factor=tuple(scale)).long() for scale in scales]
    return {"data": torch.randn(2, 1, *patch_size, generator=generator), "target": scaled, "keys": ["a", "b"]}


def checksums(trainer) -> list[float]:
    return [tensor.double().abs().sum().item() for tensor in unwrap(trainer.network).state_dict().values()]


def steps() -> dict:
    result = {}
    for phase in ("train", "finetune"):
        trainer = make_trainer()
        trainer.seed = 3
        trainer.current_epoch = next(first_epoch(trainer.phases, p) for p in trainer.phases if p.name == phase)
        trainer.initialize()
        trainer.network.train()
        outputs = trainer.train_step(fixed_batch(trainer))
        trainer.on_train_epoch_end([outputs])
        result[phase] = {"loss": float(outputs["loss"]), "weights": checksums(trainer)}
        trainer._seed_random_numbers()
        result[phase]["sampled"] = draw_voxels(torch.ones(1, 10_000) > 0, 5).indices[1].tolist()
    return result


def train() -> dict:
    trainer = make_trainer()
    trainer.run_training()
    return {"weights": checksums(trainer), "share": trainer._own_share(trainer._training_cases())}


def fail() -> dict:
    trainer = make_trainer()
    write_pseudo_masks = trainer.write_pseudo_masks

    def fail_at_pseudo_masks(**options) -> None:
        trainer._converted_dataset = lambda: 1 / 0
        write_pseudo_masks(**options)

    if trainer.local_rank == dist.get_world_size() - 1:
        trainer.write_pseudo_masks = fail_at_pseudo_masks
    trainer.run_training()
    return {}


def main(rank: str, world_size: str, port: str, what: str, output: str) -> None:
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=port)
    if int(world_size) > 1:
        dist.init_process_group("gloo", rank=int(rank), world_size=int(world_size))
        trainer_module.DDP = lambda network, device_ids: DistributedDataParallel(network)  # a CPU has no device ids
    Path(output).write_text(json.dumps({"steps": steps, "train": train, "fail": fail}[what]()))
    if int(world_size) > 1:
        dist.destroy_process_group()


if __name__ == "__main__":
    main(*sys.argv[1:])
