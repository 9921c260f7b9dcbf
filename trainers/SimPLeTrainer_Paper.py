from nnunetv2_simple.training.phases import PAPER_FINETUNE, PAPER_RETRAIN, PAPER_TRAIN
from nnunetv2_simple.training.trainer import PhasedTrainer


class SimPLeTrainer_Paper(PhasedTrainer):
    """The paper's setting as its authors published it, in nnU-Net's terms, whatever SimPLeTrainer has become.

    From the published code: every iteration learns from foreground and background patches, as many of each as the
    plans' batch has (twice the GPU memory), by the sum of their cross-entropies; L_ctr and the vote see the foreground
    patches only; pairs of two negatives do not count; 2000 iterations of training, 100 of fine-tuning, 2000 of
    retraining by cross-entropy on what the network alone predicts inside the box; weight decay 1e-4.

    What remains nnU-Net's own, so that all trainers are compared on the same ground: its network (convolution,
    InstanceNorm, LeakyReLU; the authors' has InstanceNorm last, so Z is tapped before the LeakyReLU), deep supervision,
    data augmentation, normalisation, resampling and patch size; cases are drawn with replacement. Its data loader draws
    background patches around any labelled voxel, in the retraining anywhere, not around background voxels only. Of
    fewer than 100 positives all are references, and alpha is a share of them, not of 100.
    """

    phases = (PAPER_TRAIN, PAPER_FINETUNE, PAPER_RETRAIN)
