import numpy as np
import pytest
import torch
import torch.nn.functional as F

from nnunetv2_simple.demo.phantom import generate_phantom
from nnunetv2_simple.losses import _half_window, crf_loss, partial_cross_entropy, voxel_contrastive_loss

IGNORE = 2


def random_batch(num_classes=2, seed=0, spatial=(3, 4, 5), ignore_label=IGNORE):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn((2, num_classes, *spatial), generator=generator)
    target = torch.randint(0, ignore_label + 1, (2, *spatial), generator=generator)
    return logits, target


# ------------------------------------------------------------------------------------------ partial cross-entropy


def test_partial_cross_entropy_by_hand():
    # p(correct) = 3/4 and 1/2; the third voxel is unlabelled.
    logits = torch.tensor([[[0.0, 0.0, 9.0], [np.log(3.0), 0.0, -9.0]]])
    target = torch.tensor([[1, 0, IGNORE]])
    expected = (np.log(4 / 3) + np.log(2)) / 2
    assert partial_cross_entropy(logits, target, ignore_label=IGNORE).item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(("num_classes", "ignore_label"), [(2, 2), (4, 4)])
def test_partial_cross_entropy_is_the_cross_entropy_of_the_labelled_voxels(num_classes, ignore_label):
    logits, target = random_batch(num_classes, ignore_label=ignore_label)
    labelled = target != ignore_label
    expected = F.cross_entropy(logits.movedim(1, -1)[labelled], target[labelled])
    result = partial_cross_entropy(logits, target, ignore_label=ignore_label)
    assert result.shape == ()
    torch.testing.assert_close(result, expected)


def test_partial_cross_entropy_averages_over_voxels_not_over_samples():
    logits, target = random_batch()
    target[0] = IGNORE
    target[0, 0, 0, 0] = 1
    labelled = target != IGNORE
    expected = F.cross_entropy(logits.movedim(1, -1)[labelled], target[labelled])
    torch.testing.assert_close(partial_cross_entropy(logits, target, ignore_label=IGNORE), expected)


@pytest.mark.parametrize("dtype", [torch.int64, torch.int16, torch.uint8, torch.float32])
def test_partial_cross_entropy_takes_targets_with_and_without_channel_of_any_type(dtype):
    logits, target = random_batch()
    expected = partial_cross_entropy(logits, target, ignore_label=IGNORE)
    for same in (target.to(dtype), target[:, None].to(dtype)):
        torch.testing.assert_close(partial_cross_entropy(logits, same, ignore_label=IGNORE), expected)


def test_partial_cross_entropy_takes_two_dimensional_patches():
    logits, target = random_batch(spatial=(6, 7))
    labelled = target != IGNORE
    expected = F.cross_entropy(logits.movedim(1, -1)[labelled], target[labelled])
    torch.testing.assert_close(partial_cross_entropy(logits, target[:, None], ignore_label=IGNORE), expected)


def test_partial_cross_entropy_of_a_good_prediction_is_lower():
    _, target = random_batch()
    good = F.one_hot(target.clamp(max=1), 2).movedim(-1, 1) * 6.0
    scores = [
        partial_cross_entropy(logits, target, ignore_label=IGNORE).item()
        for logits in (good, torch.zeros_like(good), -good)
    ]
    assert scores[0] < 0.01 < scores[1] < scores[2]


def test_partial_cross_entropy_has_gradient_on_labelled_voxels_alone():
    logits, target = random_batch()
    logits.requires_grad_()
    partial_cross_entropy(logits, target, ignore_label=IGNORE).backward()
    gradient = logits.grad.abs().sum(dim=1)
    assert torch.isfinite(logits.grad).all()
    assert (gradient[target != IGNORE] > 0).all()
    assert (gradient[target == IGNORE] == 0).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_partial_cross_entropy_of_a_patch_without_labels_is_zero(dtype):
    logits = random_batch()[0].to(dtype).requires_grad_()
    loss = partial_cross_entropy(logits, torch.full((2, 1, 3, 4, 5), IGNORE), ignore_label=IGNORE)
    loss.backward()
    assert loss.item() == 0
    assert (logits.grad == 0).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_partial_cross_entropy_of_half_precision_logits(dtype):
    logits, target = random_batch()
    logits = (logits * 20).to(dtype).requires_grad_()
    result = partial_cross_entropy(logits, target, ignore_label=IGNORE)
    expected = partial_cross_entropy(logits.detach().double(), target, ignore_label=IGNORE)
    result.backward()
    assert result.item() == pytest.approx(expected.item(), rel=1e-5)
    assert torch.isfinite(logits.grad).all()


def test_partial_cross_entropy_of_a_large_half_precision_patch_does_not_overflow():
    logits = torch.zeros((1, 2, 48, 48, 48), dtype=torch.float16)  # the sum, 76 653, exceeds float16
    target = torch.zeros((1, 48, 48, 48), dtype=torch.int64)
    assert partial_cross_entropy(logits, target, ignore_label=IGNORE).item() == pytest.approx(np.log(2), rel=1e-4)


@pytest.mark.parametrize("shape", [(2, 3, 4, 6), (1, 3, 4, 5), (2, 2, 3, 4, 5), (2, 4, 5)])
def test_partial_cross_entropy_refuses_a_target_of_another_shape(shape):
    with pytest.raises(ValueError, match="target") as error:
        partial_cross_entropy(torch.zeros((2, 2, 3, 4, 5)), torch.zeros(shape), ignore_label=IGNORE)
    assert str(shape) in str(error.value)
    assert "(2, 2, 3, 4, 5)" in str(error.value)


# ------------------------------------------------------------------------------------------ voxel contrastive loss


def contrastive_by_pairs(positives, negatives, *, temperature=0.1, pull_negatives=True):
    positives, negatives = np.asarray(positives, dtype=float), np.asarray(negatives, dtype=float)
    z = [(v, 1) for v in positives] + [(v, 0) for v in negatives]
    terms = []
    for i in range(len(z)):
        for j in range(i + 1, len(z)):
            (a, label_a), (b, label_b) = z[i], z[j]
            if label_a == label_b == 0 and not pull_negatives:
                continue
            s = a @ b / np.linalg.norm(a) / np.linalg.norm(b) / temperature
            terms.append(np.logaddexp(0, -s) if label_a == label_b else np.logaddexp(0, s))
    return np.mean(terms)


def random_features(num_positives, num_negatives, width=6, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return (
        torch.randn((num_positives, width), generator=generator) + 0.4,
        torch.randn((num_negatives, width), generator=generator),
    )


def test_contrastive_loss_by_hand():
    # Pairs: (p1, p2) cosine 0 -> log 2; (p1, n) cosine 1 -> log(1 + e^2); (p2, n) cosine 0 -> log 2.
    positives, negatives = torch.tensor([[2.0, 0.0], [0.0, 3.0]]), torch.tensor([[5.0, 0.0]])
    expected = (2 * np.log(2) + np.log1p(np.exp(2))) / 3
    result = voxel_contrastive_loss(positives, negatives, temperature=0.5)
    assert result.item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("pull_negatives", [True, False])
@pytest.mark.parametrize("temperature", [0.1, 0.5, 2.0])
@pytest.mark.parametrize(("num_positives", "num_negatives"), [(7, 5), (1, 9), (9, 1), (4, 0), (1, 1)])
def test_contrastive_loss_equals_the_mean_over_pairs(num_positives, num_negatives, temperature, pull_negatives):
    positives, negatives = random_features(num_positives, num_negatives)
    options = {"temperature": temperature, "pull_negatives": pull_negatives}
    result = voxel_contrastive_loss(positives, negatives, **options)
    assert result.shape == ()
    assert result.dtype == torch.float32
    assert result.item() == pytest.approx(contrastive_by_pairs(positives, negatives, **options), rel=1e-4)


def test_contrastive_loss_has_the_papers_defaults():
    positives, negatives = random_features(7, 5)
    expected = contrastive_by_pairs(positives, negatives, temperature=0.1, pull_negatives=True)
    assert voxel_contrastive_loss(positives, negatives).item() == pytest.approx(expected, rel=1e-4)


def test_negatives_alone_are_pulled_together_only_when_asked():
    _, negatives = random_features(0, 5)
    nothing = torch.zeros((0, 6))
    pulled = voxel_contrastive_loss(nothing, negatives)
    assert pulled.item() == pytest.approx(contrastive_by_pairs(nothing, negatives), rel=1e-4)
    assert voxel_contrastive_loss(nothing, negatives, pull_negatives=False).item() == 0


@pytest.mark.parametrize("pull_negatives", [True, False])
@pytest.mark.parametrize(("num_positives", "num_negatives"), [(0, 0), (1, 0), (0, 1)])
def test_contrastive_loss_without_a_pair_is_zero_with_zero_gradient(num_positives, num_negatives, pull_negatives):
    positives, negatives = (z.requires_grad_() for z in random_features(num_positives, num_negatives))
    loss = voxel_contrastive_loss(positives, negatives, pull_negatives=pull_negatives)
    loss.backward()
    assert loss.item() == 0
    for z in (positives, negatives):
        assert (z.grad == 0).all()


def test_contrastive_loss_of_separated_features_is_lower():
    positives, negatives = random_features(20, 20)
    axis = torch.zeros(6)
    axis[0] = 20
    separated = voxel_contrastive_loss(positives + axis, negatives - axis).item()
    mixed = voxel_contrastive_loss(positives, negatives).item()
    swapped = voxel_contrastive_loss(
        torch.cat((positives[:10] + axis, negatives[:10] - axis)),
        torch.cat((positives[10:] + axis, negatives[10:] - axis)),
    ).item()
    assert separated < 0.05 < mixed < swapped


def test_contrastive_gradient_step_lowers_the_loss():
    positives, negatives = (z.requires_grad_() for z in random_features(10, 10))
    loss = voxel_contrastive_loss(positives, negatives)
    loss.backward()
    assert torch.isfinite(positives.grad).all()
    assert torch.isfinite(negatives.grad).all()
    after = voxel_contrastive_loss(positives - 0.1 * positives.grad, negatives - 0.1 * negatives.grad)
    assert after.item() < loss.item()


def test_contrastive_gradient_is_finite_at_zero_vectors():
    positives, negatives = random_features(5, 5)
    positives[0] = negatives[:2] = 0
    positives.requires_grad_()
    negatives.requires_grad_()
    loss = voxel_contrastive_loss(positives, negatives)
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(positives.grad).all()
    assert torch.isfinite(negatives.grad).all()


@pytest.mark.parametrize("scale", [0.01, 7.0, 1e4])
def test_contrastive_loss_ignores_the_length_of_the_features(scale):
    positives, negatives = random_features(6, 7)
    expected = voxel_contrastive_loss(positives, negatives)
    torch.testing.assert_close(voxel_contrastive_loss(positives * scale, negatives), expected, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(voxel_contrastive_loss(positives, negatives * scale), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_contrastive_loss_of_half_precision_features_is_computed_in_single_precision(dtype):
    positives, negatives = (z.to(dtype).requires_grad_() for z in random_features(8, 9))
    loss = voxel_contrastive_loss(positives, negatives)
    loss.backward()
    expected = contrastive_by_pairs(positives.detach().double(), negatives.detach().double())
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(expected, rel=1e-4)
    assert torch.isfinite(positives.grad).all()
    assert torch.isfinite(negatives.grad).all()


def test_contrastive_loss_of_long_half_precision_features_does_not_overflow():
    positives, negatives = (z.half() * 1000 for z in random_features(4, 4))  # squares exceed float16
    expected = contrastive_by_pairs(positives.double(), negatives.double())
    assert voxel_contrastive_loss(positives, negatives).item() == pytest.approx(expected, rel=1e-4)


def test_contrastive_loss_is_computed_in_single_precision_under_autocast():
    for seed in range(5):
        positives, negatives = random_features(2, 1, seed=seed)
        expected = contrastive_by_pairs(positives, negatives)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert voxel_contrastive_loss(positives, negatives).item() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("shapes", [((3, 4), (3, 5)), ((3,), (3, 4)), ((3, 4), (1, 3, 4))])
def test_contrastive_loss_refuses_features_that_are_no_matrices_of_one_width(shapes):
    with pytest.raises(ValueError, match="positives and negatives") as error:
        voxel_contrastive_loss(*(torch.ones(shape) for shape in shapes))
    for shape in shapes:
        assert str(shape) in str(error.value)


@pytest.mark.parametrize("temperature", [0.0, -0.5])
def test_contrastive_loss_refuses_a_temperature_that_is_not_positive(temperature):
    with pytest.raises(ValueError, match="temperature") as error:
        voxel_contrastive_loss(*random_features(3, 3), temperature=temperature)
    assert str(temperature) in str(error.value)


# ------------------------------------------------------------------------------------------------------- CRF loss

GRIDS = [((3, 4, 5), (3.0, 1.5, 1.2)), ((5, 6), (1.3, 2.0)), ((1, 4, 3), (6.0, 2.0, 1.0))]


def crf_by_pairs(p, image, spacing_mm, *, position_sigma_mm=6.0, intensity_sigma=0.5, window_radius_mm=5.0):
    """The sum over all ordered pairs of voxels, without any window of offsets."""
    spacing_mm = torch.tensor(spacing_mm, dtype=torch.float64)
    voxels = torch.cartesian_prod(*(torch.arange(n) for n in p.shape[2:])).reshape(-1, p.ndim - 2)
    positions = voxels * spacing_mm
    distance = (positions[:, None] - positions[None]).norm(dim=2)
    near = (distance > 0) & (distance <= window_radius_mm)
    total = 0
    for probabilities, intensities in zip(p.flatten(2), image.flatten(2), strict=True):
        difference2 = (intensities[:, :, None] - intensities[:, None, :]).square().sum(dim=0)
        kernel = torch.exp(-(distance**2) / (2 * position_sigma_mm**2) - difference2 / (2 * intensity_sigma**2))
        total = total + (kernel * (1 - probabilities.T @ probabilities))[near].sum()
    reach = [range(-20, 21)] * len(spacing_mm)
    steps = torch.cartesian_prod(*map(torch.tensor, reach)).reshape(-1, len(spacing_mm)) * spacing_mm
    window = ((steps.norm(dim=1) > 0) & (steps.norm(dim=1) <= window_radius_mm)).sum()
    return total / (len(p) * len(voxels) * window)


def crf_batch(spatial, num_classes=3, channels=2):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn((2, num_classes, *spatial), generator=generator, dtype=torch.float64)
    return logits.requires_grad_(), torch.randn((2, channels, *spatial), generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("options", [{}, {"position_sigma_mm": 2.0, "intensity_sigma": 1.5, "window_radius_mm": 3.0}])
@pytest.mark.parametrize(("spatial", "spacing_mm"), GRIDS)
def test_crf_loss_and_its_gradient_equal_the_sum_over_all_pairs(spatial, spacing_mm, options):
    logits, image = crf_batch(spatial)
    loss = crf_loss(logits.softmax(dim=1), image, spacing_mm=spacing_mm, **options)
    expected = crf_by_pairs(logits.softmax(dim=1), image, spacing_mm, **options)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    gradient, expected_gradient = (torch.autograd.grad(value, logits)[0] for value in (loss, expected))
    torch.testing.assert_close(gradient, expected_gradient, rtol=1e-4, atol=1e-9)


def test_crf_loss_by_hand():
    # Two voxels 2 mm apart, equal intensities, opposite labels: both ordered pairs cost exp(-4 / 72); two of the four
    # pairs of voxel and offset exist.
    p = torch.tensor([[[[1.0, 0.0]], [[0.0, 1.0]]]])
    loss = crf_loss(p, torch.zeros(1, 1, 1, 2), spacing_mm=(9.0, 2.0), window_radius_mm=3.0)
    assert loss.item() == pytest.approx(np.exp(-4 / 72) / 2, rel=1e-6)


def test_crf_loss_prefers_labels_that_follow_the_image():
    image = torch.zeros(1, 1, 6, 6, 6)
    image[..., 3:] = 3
    follows = torch.zeros(1, 1, 6, 6, 6)
    follows[..., 3:] = 1
    cuts = follows.transpose(-1, -2)
    good, bad = (
        crf_loss(torch.cat((1 - mask, mask), dim=1), image, spacing_mm=(2.0, 1.0, 1.0)) for mask in (follows, cuts)
    )
    unsure = crf_loss(torch.full((1, 2, 6, 6, 6), 0.5), image, spacing_mm=(2.0, 1.0, 1.0))
    assert good < 1e-6
    assert good < bad < unsure


def test_crf_loss_is_about_the_same_at_another_voxel_size():
    def loss(size, spacing_mm):
        mask = (torch.arange(size) >= size // 2).float().expand(1, 1, size, size)
        return crf_loss(torch.cat((1 - mask, mask), dim=1), torch.zeros(1, 1, size, size), spacing_mm=spacing_mm)

    assert loss(24, (2.0, 2.0)).item() == pytest.approx(loss(96, (0.5, 0.5)).item(), rel=0.1)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_crf_loss_of_half_precision(dtype):
    logits, image = crf_batch((3, 4, 5))
    half = logits.detach().to(dtype).requires_grad_()
    loss = crf_loss(half.softmax(dim=1), image.to(dtype), spacing_mm=(3.0, 1.5, 1.2))
    loss.backward()
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(crf_by_pairs(logits.softmax(dim=1), image, (3.0, 1.5, 1.2)).item(), rel=0.05)
    assert torch.isfinite(half.grad).all()


def test_crf_loss_without_neighbour_in_reach_is_zero_with_zero_gradient():
    logits, image = crf_batch((3, 4, 5))
    loss = crf_loss(logits.softmax(dim=1), image, spacing_mm=(6.0, 6.0, 6.0))
    loss.backward()
    assert loss.item() == 0
    assert (logits.grad == 0).all()


@pytest.mark.parametrize("spacing_mm", [(1.0, 1.0, 1.0), (1.0, 0.8, 0.8), (3.0, 1.0, 1.0)])
@pytest.mark.parametrize("prediction", ["near the tumor", "smooth noise", "noise"])
def test_crf_loss_of_fine_voxels_needs_few_offsets(spacing_mm, prediction):
    phantom = generate_phantom(np.random.default_rng(0), shape=(40, 64, 64), spacing_mm=spacing_mm)
    image = torch.tensor(phantom.post_contrast, dtype=torch.float32)[None, None]
    image = (image - image.mean()) / image.std()
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn((1, 2, *image.shape[2:]), generator=generator)
    if prediction == "near the tumor":
        tumor = torch.tensor(phantom.tumor, dtype=torch.float32)[None, None]
        logits = noise + torch.cat((2 - 4 * tumor, 4 * tumor - 2), dim=1)
    else:
        logits = 2 * noise if prediction == "noise" else F.avg_pool3d(10 * noise, 5, stride=1, padding=2)
    p = logits.softmax(dim=1)
    every = crf_loss(p, image, spacing_mm=spacing_mm, max_offsets=10_000)
    assert crf_loss(p, image, spacing_mm=spacing_mm).item() == pytest.approx(every.item(), rel=0.01)
    assert len(_half_window(spacing_mm, 5.0, 10_000)) > 64 >= len(_half_window(spacing_mm, 5.0, 64)) > 32


def test_crf_loss_keeps_nothing_of_the_window_for_the_gradient():
    saved = []
    logits, image = crf_batch((8, 8, 8), num_classes=2, channels=1)
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: saved.append(tensor.numel()), lambda tensor: tensor):
        crf_loss(logits.float().softmax(dim=1), image, spacing_mm=(1.0, 1.0, 1.0))
    assert sum(saved) <= 4 * logits.numel()  # 257 offsets


@pytest.mark.parametrize(
    ("probabilities", "image", "options", "message"),
    [
        ((2, 2, 4, 4), (2, 1, 4, 5), {}, "probabilities and image"),
        ((2, 2, 4), (2, 1, 4), {}, "probabilities and image"),
        ((2, 2, 4, 4), (2, 1, 4, 4), {"spacing_mm": (1.0, 1.0, 1.0)}, "spacing_mm must be 2 positive"),
        ((2, 2, 4, 4), (2, 1, 4, 4), {"spacing_mm": (1.0, 0.0)}, "spacing_mm must be 2 positive"),
        ((2, 2, 4, 4), (2, 1, 4, 4), {"intensity_sigma": 0.0}, "must be positive"),
        ((2, 2, 4, 4), (2, 1, 4, 4), {"max_offsets": 0}, "must be positive"),
    ],
)
def test_crf_loss_refuses_what_does_not_belong_together(probabilities, image, options, message):
    with pytest.raises(ValueError, match=message):
        crf_loss(torch.rand(probabilities), torch.rand(image), **({"spacing_mm": (1.0, 1.0)} | options))
