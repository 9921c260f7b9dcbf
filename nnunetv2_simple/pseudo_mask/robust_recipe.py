"""Robust recipe for the initial pseudo-mask: what the six clicks say, weighed against what the image says.

The published recipe believes in edges alone. Where contrast is low or the background flat, its scribbles run round the
lesion and its walker runs out of it. Here every voxel starts from a prior probability

    logit q = shape(r) + log p(intensity | lesion) / p(intensity | surroundings),

with the radius r of the voxel in the ellipsoid that touches the faces of the box where they were clicked: where on its
face a click lies tells how the lesion is tilted. The shape term holds for any lesion that touches the six faces without
filling the box, the intensity term is learned from this image alone: histograms of the voxels the shape term calls
lesion and surroundings. One random walk from the scribbles then agrees with the image's edges and pulls towards the
prior: where there is no edge to find, what remains is the core of the ellipsoid. As the penalty on intensity
differences is relative to those the image has, no scale of intensities and no beta must be known.

How hard the prior pulls depends on how well the ellipsoid fits: a first walk tells. Where its result agrees with the
ellipsoid the lesion is a blob and the prior is right; where it does not, as in curved organs, the prior is wrong and
the image should decide. Once a network has been trained it takes the ellipsoid's place there, and has a small say where
the ellipsoid fits (see :func:`robust_walk`).

Voxels that are certainly not lesion become background inside the box as well, and no more is certain on one side of the
border than on the other: otherwise a network over-segments.
"""

from collections.abc import Sequence

import numpy as np
from scipy import ndimage
from scipy.special import expit, logit

from nnunetv2_simple.evaluation.metrics import dice
from nnunetv2_simple.extreme_points.box import LesionBox
from nnunetv2_simple.pseudo_mask.random_walker import RandomWalker

SHELL_SHARE = 0.2  # of the box, on every side: the surroundings
MIN_SHELL_VOXELS = 3
BACKGROUND_RADIUS = np.sqrt(2)  # in the box, so that sloppy clicks do no harm: through the middle of its edges
TRIAL_WEIGHT = 0.02  # of the prior in the walk that tells how well the ellipsoid fits
TRIAL_TOLERANCE = 1e-4
FITTING_WEIGHT, UNFITTING_WEIGHT = 0.07, 0.005  # of the prior where it fits, and where it does not
NETWORK_WEIGHT = 0.05  # of the prior where a network's opinion stands in for an ellipsoid that does not fit
NETWORK_SHARE = 0.1  # of a network's log odds in the prior where the ellipsoid fits
EVIDENCE_WEIGHT = 0.1  # of the prior where another model is believed
TRUSTED_FROM, TRUSTED_FULLY = 0.3, 0.6  # Cohen's kappa of another model's mask and the trial's result
LESS_TRUSTED = 0.3  # added to both where the ellipsoid fits, so that the trial's result is good already
FITS_FROM, FITS_FULLY = 0.75, 0.8  # Dice of the ellipsoid and the trial's result
MAX_NETWORK_LOG_ODDS = 4.0
CONTRAST_SHARE = 0.7  # of the root mean square difference of neighbours: an edge
FOREGROUND_THRESHOLD = 0.7
BACKGROUND_THRESHOLD = 0.3
NUM_BINS = 64
SMOOTHING_BINS = 1.5
SMALLEST_DENSITY = 1e-3
MAX_LOG_RATIO = 3.0


def robust_region(box: LesionBox) -> tuple[slice, ...]:
    """Return the region of the image the recipe looks at: the box and its surroundings."""
    return box.region([max(MIN_SHELL_VOXELS, round(SHELL_SHARE * (side.stop - side.start))) for side in box.slices])


def robust_walk(
    image: np.ndarray,
    scribbles: np.ndarray,
    box: LesionBox,
    region: tuple[slice, ...],
    *,
    spacing_mm: Sequence[float],
    background_seeds: np.ndarray | None = None,
    network_probability: np.ndarray | None = None,
    evidence: np.ndarray | None = None,
    evidence_weight: float = 1.0,
) -> np.ndarray:
    """Return the foreground probability of every voxel of the region around one lesion.

    With the share f in [0, 1] to which the ellipsoid fits, the walk's prior is

        logit q = shape(r) + log p(intensity | lesion) / p(intensity | surroundings)

    at the weight 0.005^(1 - f) * 0.07^f, or, once a network has an opinion,

        logit q = f * shape(r) + (1 - 0.9 f) * logit(network)
                  + log p(intensity | lesion) / p(intensity | surroundings)

    at the weight 0.05^(1 - f) * 0.07^f. The histograms of the intensity term are weighted by what stands before it.

    Evidence of another model is believed as far as it agrees with the first walk: with Cohen's kappa of the two inside
    the box and the trust t, which rises from 0 at a kappa of 0.3 + 0.3 f to ``evidence_weight`` at 0.6 + 0.3 f, its
    log odds replace the share t of everything before the intensity term, and the prior's weight becomes
    weight^(1 - t) * 0.1^t.

    Args:
        image: (z, y, x) float intensities of the region, not constant.
        scribbles: (z, y, x) bool of the region, foreground seeds.
        box: The box of the lesion.
        region: See :func:`robust_region`.
        spacing_mm: Voxel size (z, y, x).
        background_seeds: (z, y, x) bool of the region, voxels that are known not to be lesion; None without any.
        network_probability: (z, y, x) foreground probability in [0, 1] that a network predicts; None without one.
        evidence: (z, y, x) foreground probability in [0, 1] of another model; None without one.
        evidence_weight: How far it is believed at most, 0 to 1.

    Returns:
        (z, y, x) float in [0, 1]; at most 0.5 where nothing more probable joins a voxel to the scribbles.
    """
    in_box = box.contains(region)
    within = shape_log_odds(box.touching_radius(region))
    shape = np.where(in_box, within, -np.inf)
    background = ~in_box | (box.radius(region) > BACKGROUND_RADIUS) & ~scribbles
    if background_seeds is not None:
        background |= background_seeds
    walker = RandomWalker(contrast_weights(image, spacing_mm=spacing_mm))

    def walk(log_odds: np.ndarray, prior_weight: float, **options) -> np.ndarray:
        prior = expit(log_odds + intensity_log_odds(image, expit(log_odds)))
        found = walker.walk(scribbles, background, prior=prior, prior_weight=prior_weight, **options)
        return _in_one_piece(found, scribbles)

    trial = walk(shape, TRIAL_WEIGHT, initial=expit(shape), tolerance=TRIAL_TOLERANCE)
    fit = ellipsoid_fit(shape > 0, trial > 0.5)
    if network_probability is None:
        log_odds, weight = within, UNFITTING_WEIGHT
    else:
        share = 1 - (1 - NETWORK_SHARE) * fit
        log_odds, weight = fit * within + share * _log_odds(network_probability), NETWORK_WEIGHT
    weight = weight ** (1 - fit) * FITTING_WEIGHT**fit
    if evidence is not None:
        trust = evidence_weight * evidence_trust(evidence[in_box] > 0.5, trial[in_box] > 0.5, fit)
        log_odds = (1 - trust) * log_odds + trust * _log_odds(evidence)
        weight = weight ** (1 - trust) * EVIDENCE_WEIGHT**trust
    return walk(np.where(in_box, log_odds, -np.inf), weight, initial=trial)


def _log_odds(probability: np.ndarray) -> np.ndarray:
    return logit(probability.astype(float)).clip(-MAX_NETWORK_LOG_ODDS, MAX_NETWORK_LOG_ODDS)


def evidence_trust(evidence: np.ndarray, mask: np.ndarray, fit: float) -> float:
    """Return how far evidence is believed: 0 up to a kappa of 0.3 + 0.3 fit with what a walk found, 1 from 0.3 more on.

    Kappa is 0 where two masks agree as often as chance has it: for evidence that is noise, empty, or fills the box.

    Args:
        evidence: (voxels,) bool.
        mask: (voxels,) bool.
        fit: How well the ellipsoid fits the mask, see :func:`ellipsoid_fit`.

    Reference:
        Cohen, A coefficient of agreement for nominal scales, Educational and Psychological Measurement 20, 1960.
    """
    shares = [np.mean(values) for values in (evidence, mask)]
    by_chance = np.prod(shares) + np.prod([1 - share for share in shares])
    kappa = (np.mean(evidence == mask) - by_chance) / (1 - by_chance) if by_chance < 1 else 0.0
    return float(np.clip((kappa - TRUSTED_FROM - LESS_TRUSTED * fit) / (TRUSTED_FULLY - TRUSTED_FROM), 0, 1))


def ellipsoid_fit(ellipsoid: np.ndarray, mask: np.ndarray) -> float:
    """Return how well an ellipsoid fits what a walk found: 0 up to a Dice of 0.75, 1 from 0.8 on."""
    return float(np.clip((dice(ellipsoid, mask) - FITS_FROM) / (FITS_FULLY - FITS_FROM), 0, 1))


def _in_one_piece(probability: np.ndarray, scribbles: np.ndarray) -> np.ndarray:
    """Lower to 0.5 what is more probable but does not hang on the scribbles: it may be another lesion."""
    foreground = probability > 0.5
    loose = foreground & ~ndimage.binary_propagation(scribbles, np.ones((3, 3, 3)), mask=foreground)
    return np.where(loose, 0.5, probability)


def shape_log_odds(radius: np.ndarray) -> np.ndarray:
    """Return the log odds that a voxel at this radius (see :meth:`LesionBox.touching_radius`) is lesion.

    Lesions fill less than the inscribed ellipsoid: even odds at radius 0.9. They may be hollow or curved, so the centre
    is no certainty.
    """
    return np.clip(8 * (0.9 - radius), -6, 1)


def intensity_log_odds(image: np.ndarray, lesion_probability: np.ndarray) -> np.ndarray:
    """Return log p(intensity | lesion) / p(intensity | surroundings), from histograms weighted by a probability."""
    edges = np.linspace(*np.quantile(image, [0.005, 0.995]), NUM_BINS + 1)
    bins = np.searchsorted(edges[1:-1], image.ravel(), side="right")
    density = []
    for weights in (lesion_probability, 1 - lesion_probability):
        histogram = np.bincount(bins, weights=weights.ravel(), minlength=NUM_BINS)
        histogram = ndimage.gaussian_filter1d(histogram, SMOOTHING_BINS, mode="nearest")
        density.append(histogram / histogram.sum() + SMALLEST_DENSITY)
    log_ratio = np.log(density[0] / density[1])
    return np.clip(log_ratio, -MAX_LOG_RATIO, MAX_LOG_RATIO)[bins].reshape(image.shape)


def contrast_weights(image: np.ndarray, *, spacing_mm: Sequence[float]) -> list[np.ndarray]:
    """Return the weight of every edge, relative to the differences the image has.

        w_ij = (min(spacing_mm) / spacing_mm)^2 * exp(-(g_i - g_j)^2 / (2 * (0.7 * rms)^2))

    The first factor is that of a diffusion equation on the voxel grid; rms is the root mean square difference of
    neighbours. Differences beyond the 99th percentile of those that are not zero count as that percentile, so that a
    clip or an artefact much brighter than everything else does not make all other edges look flat.

    Args:
        image: (z, y, x) float intensities g, not constant.
        spacing_mm: Voxel size (z, y, x).

    Returns:
        As :func:`nnunetv2_simple.pseudo_mask.random_walker.gradient_weights`.
    """
    differences = [np.diff(image, axis=axis) for axis in range(3)]
    magnitudes = np.concatenate([abs(d).ravel() for d in differences])
    largest = np.quantile(magnitudes[magnitudes > 0], 0.99)
    mean_square = np.mean(np.minimum(magnitudes, largest) ** 2)
    return [
        (min(spacing_mm) / spacing) ** 2 * np.exp(-(d**2) / (2 * CONTRAST_SHARE**2 * mean_square))
        for spacing, d in zip(spacing_mm, differences, strict=True)
    ]
