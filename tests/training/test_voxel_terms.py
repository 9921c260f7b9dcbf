import pytest
import torch
import torch.nn.functional as F

from nnunetv2_simple.losses import crf_loss
from nnunetv2_simple.propagation import propagate_labels
from nnunetv2_simple.training.voxel_terms import ContrastiveTerm, CRFTerm, PropagationTerm, VoxelBatch

IGNORE = 2
SHAPE = (2, 1, 4, 5, 6)
LOOSE = {"similarity_threshold": 0.2, "vote_fraction": 0.3, "num_references": 1000}


def batch(*, num_classes=2, dtype=torch.float32, seed=0):
    generator = torch.Generator().manual_seed(seed)
    spatial = SHAPE[2:]
    features = 0.7 + torch.randn((2, 8, *spatial), generator=generator)
    logits = 3 * torch.randn((2, num_classes, *spatial), generator=generator)
    target = torch.randint(0, num_classes + 1, SHAPE, generator=generator)
    return features.to(dtype).requires_grad_(), logits.to(dtype).requires_grad_(), target


def apply(term, features, logits, target, foreground_labels, ignore_label):
    """Return the term's loss, and what it logs as numbers."""
    image = torch.arange(target.numel()).reshape(target.shape) / target.numel()
    spacing_mm = (3.0, 1.5, 1.2)[: target.ndim - 2]
    batch = VoxelBatch(image, features, logits, target.squeeze(1), foreground_labels, ignore_label, spacing_mm)
    loss, log = term(batch)
    assert not any(value.requires_grad for value in log.values())
    return loss, {key: value.item() for key, value in log.items()}


def all_of(label):
    return torch.full(SHAPE, label)


def two_labels(first, second):
    target = all_of(first)
    target[0] = second
    return target


def few(label, among):
    target = all_of(among)
    target[0, 0, 0, 0, :3] = label
    return target


TARGETS = {
    "nothing labelled": all_of(IGNORE),
    "no positive": two_labels(0, IGNORE),
    "no negative": two_labels(1, IGNORE),
    "nothing unlabelled": two_labels(0, 1),
    "all positive": all_of(1),
    "all negative": all_of(0),
    "few positives": few(1, among=IGNORE),
    "few negatives": few(0, among=1),
    "one sample labelled": torch.cat((batch()[2][:1].clamp(max=1), all_of(IGNORE)[:1])),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS.keys())
@pytest.mark.parametrize(
    "term", [ContrastiveTerm(), CRFTerm(), PropagationTerm(), PropagationTerm(weight=0.5, **LOOSE)]
)
def test_value_gradient_and_log_are_finite_on_degenerate_patches(term, target, dtype):
    features, logits, _ = batch(dtype=dtype)
    loss, log = apply(term, features, logits, target, [1], IGNORE)
    assert loss.shape == ()
    assert loss.dtype == torch.float32
    assert torch.isfinite(loss)
    # As in training, the term is added to another loss of features and logits.
    (loss + 0 * features.float().sum() + 0 * logits.float().sum()).backward()
    assert torch.isfinite(features.grad).all()
    assert torch.isfinite(logits.grad).all()
    assert log


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("term", [ContrastiveTerm(), CRFTerm(), PropagationTerm(**LOOSE)])
def test_extreme_logits_and_features_stay_finite(term, dtype):
    features, logits, target = batch(dtype=dtype)
    with torch.no_grad():
        logits *= 5000
        features *= 1000
        features[:, :, 0] = 0
    loss, _ = apply(term, features, logits, target, [1], IGNORE)
    (loss + 0 * features.float().sum() + 0 * logits.float().sum()).backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(features.grad).all()
    assert torch.isfinite(logits.grad).all()


@pytest.mark.parametrize(
    "term", [ContrastiveTerm(), CRFTerm(), PropagationTerm(**LOOSE)], ids=lambda term: type(term).__name__
)
def test_nothing_waits_for_the_device_or_lists_the_voxels_of_a_volume(term):
    features, logits, target = batch()
    image = torch.zeros(SHAPE)
    seen = VoxelBatch(image, features, logits, target.squeeze(1), [1], IGNORE, (3.0, 1.5, 1.2))
    term(seen)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        loss, _ = term(seen)
        loss.backward()
    used = {event.key for event in profile.key_averages()}
    assert "aten::sum" in used
    assert not used & {"aten::item", "aten::_local_scalar_dense", "aten::nonzero", "aten::masked_select"}


# --------------------------------------------------------------------------------------------------- contrastive


def contrastive_by_pairs(features, target, label, ignore_label, *, temperature=0.1, pull_negatives=True):
    z = features.detach().movedim(1, -1).reshape(-1, features.shape[1])
    labels = target.flatten()
    z, labels = z[labels != ignore_label], labels[labels != ignore_label] == label
    terms = []
    for i in range(len(z)):
        for j in range(i + 1, len(z)):
            if pull_negatives or labels[i] or labels[j]:
                s = F.cosine_similarity(z[i], z[j], dim=0) / temperature
                terms.append(F.softplus(-s if labels[i] == labels[j] else s))
    return torch.stack(terms).mean().item()


def sparse_batch(**options):
    """A batch of which about 30 voxels are labelled."""
    features, logits, target = batch(**options)
    ignore_label = logits.shape[1]
    keep = torch.rand(SHAPE, generator=torch.Generator().manual_seed(1)) < 0.15
    return features, logits, torch.where(keep, target, ignore_label)


@pytest.mark.parametrize("options", [{}, {"temperature": 0.7}, {"pull_negatives": False}])
def test_contrastive_term_over_all_labelled_voxels_equals_the_loop_over_pairs(options):
    features, logits, target = sparse_batch()
    loss, log = apply(ContrastiveTerm(**options), features, logits, target, [1], IGNORE)
    assert loss.item() == pytest.approx(contrastive_by_pairs(features, target, 1, IGNORE, **options), rel=1e-4)
    assert log == {"contrastive": pytest.approx(loss.item())}


def test_contrastive_term_of_two_classes_is_the_mean_of_one_against_the_rest():
    features, logits, target = sparse_batch(num_classes=3)
    with torch.no_grad():
        features[:, 0] += 4 * (target[:, 0] == 2)  # class 2 stands apart, class 1 does not
    loss, _ = apply(ContrastiveTerm(), features, logits, target, [1, 2], 3)
    expected = [contrastive_by_pairs(features, target, label, 3) for label in (1, 2)]
    assert expected[0] != pytest.approx(expected[1], rel=1e-2)
    assert loss.item() == pytest.approx(sum(expected) / 2, rel=1e-4)


def test_contrastive_term_samples_no_more_voxels_than_asked_for():
    features, logits, target = batch()
    apply(ContrastiveTerm(num_samples=4), features, logits, target, [1], IGNORE)[0].backward()
    moved = (features.grad.abs().sum(dim=1) > 0)[:, None]
    assert (moved & (target == 1)).sum() == 4
    assert (moved & (target == 0)).sum() == 4
    assert not (moved & (target == IGNORE)).any()


# --------------------------------------------------------------------------------------------------- propagation


def propagated(features, target, ignore_label=IGNORE):
    return propagate_labels(features, target, ignore_label=ignore_label, **LOOSE)


@pytest.mark.parametrize("weight", [0.1, 0.5])
def test_propagation_term_is_the_weighted_mean_log_likelihood_of_the_propagated_voxels(weight):
    features, logits, target = batch()
    voxels = propagated(features, target)
    assert 0 < voxels.sum() < (target == IGNORE).sum()
    # One foreground class: -log p = log(1 + exp(background logit - foreground logit)).
    expected = weight * F.softplus(logits[:, 0] - logits[:, 1])[voxels].mean().item()
    loss, log = apply(PropagationTerm(weight=weight, **LOOSE), features, logits, target, [1], IGNORE)
    assert loss.item() == pytest.approx(expected, rel=1e-5)
    assert log["propagation"] == pytest.approx(expected, rel=1e-5)


def test_logged_share_is_propagated_of_all_unlabelled_voxels():
    features, logits, target = batch()
    _, log = apply(PropagationTerm(**LOOSE), features, logits, target, [1], IGNORE)
    share = propagated(features, target).sum().item() / (target == IGNORE).sum().item()
    assert 0 < share < 1
    assert log["propagated_share"] == pytest.approx(share)


def test_propagation_term_by_hand():
    # Voxel 0 is the reference, voxel 1 agrees with it, voxel 2 does not. p(voxel 1 is positive) = 3/4.
    features = torch.tensor([[[1.0, 2.0, 0.0], [0.0, 0.0, 1.0]]])
    logits = torch.tensor([[[0.0, 0.0, 0.0], [0.0, torch.tensor(3.0).log(), 9.0]]])
    target = torch.tensor([[[1, IGNORE, IGNORE]]])
    loss, log = apply(PropagationTerm(weight=0.1), features, logits, target, [1], IGNORE)
    assert loss.item() == pytest.approx(0.1 * torch.tensor(4 / 3).log().item(), rel=1e-6)
    assert log["propagated_share"] == 0.5


def test_propagation_gradient_reaches_the_logits_of_propagated_voxels_alone_and_no_feature():
    features, logits, target = batch()
    voxels = propagated(features, target)
    apply(PropagationTerm(**LOOSE), features, logits, target, [1], IGNORE)[0].backward()
    assert features.grad is None
    assert (logits.grad[:, 1][voxels] < 0).all()
    assert (logits.grad.abs().sum(dim=1)[~voxels] == 0).all()


def test_without_propagated_voxel_the_term_is_zero_with_zero_gradient():
    features, logits, target = batch()
    loss, log = apply(PropagationTerm(similarity_threshold=1.0), features, logits, target, [1], IGNORE)
    loss.backward()
    assert loss.item() == 0
    assert (logits.grad == 0).all()
    assert log == {"propagation": 0, "propagated_share": 0, "accepted_positives": 0, "accepted_negatives": 0}


def test_propagation_of_two_classes_leaves_out_what_both_accept():
    # Directions: class 1 along x, class 2 along y. Unlabelled: towards x, towards y, between both, opposite.
    directions = [[1, 0], [0, 1], [0.9, 0.1], [0.1, 0.9], [1, 1], [-1, -1]]
    features = torch.tensor(directions, dtype=torch.float32).T[None]
    logits = torch.randn((1, 3, 6), generator=torch.Generator().manual_seed(0))
    target = torch.tensor([[[1, 2, 3, 3, 3, 3]]])
    term = PropagationTerm(weight=0.1, similarity_threshold=0.6, vote_fraction=0.5)
    loss, log = apply(term, features, logits, target, [1, 2], 3)
    p = logits.softmax(dim=1)
    assert loss.item() == pytest.approx(-0.1 * (p[0, 1, 2].log() + p[0, 2, 3].log()).item() / 2, rel=1e-5)
    assert log["propagated_share"] == 0.5
    one_class, log = apply(term, features, logits, target, [1], 3)
    assert one_class.item() == pytest.approx(-0.1 * (p[0, 1, 2].log() + p[0, 1, 4].log()).item() / 2, rel=1e-5)
    assert log["propagated_share"] == 0.5


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("missing", [1, 2])
def test_two_classes_of_which_one_is_missing_from_the_patch(missing, dtype):
    features, logits, target = batch(num_classes=3, dtype=dtype)
    target[target == missing] = 0
    for term in (ContrastiveTerm(), CRFTerm(), PropagationTerm(**LOOSE)):
        loss, _ = apply(term, features, logits, target, [1, 2], 3)
        (loss + 0 * features.float().sum()).backward()
        assert torch.isfinite(loss)
        assert torch.isfinite(features.grad).all()


@pytest.mark.parametrize("dtype", [torch.int16, torch.float32])
def test_targets_of_any_number_type_give_the_same_value(dtype):
    features, logits, target = sparse_batch()
    for term in (ContrastiveTerm(), CRFTerm(), PropagationTerm(**LOOSE)):
        expected = apply(term, features, logits, target, [1], IGNORE)[0]
        torch.testing.assert_close(apply(term, features, logits, target.to(dtype), [1], IGNORE)[0], expected)


def test_rates_are_the_shares_of_known_voxels_that_the_same_vote_accepts():
    # Reference and other positive agree, of the negatives one in two does.
    features = torch.tensor([[[1.0, 2.0, 0.0, 5.0], [0.0, 0.0, 1.0, 0.0]]])
    target = torch.tensor([[[1, 1, 0, 0]]])
    _, log = apply(PropagationTerm(), features, torch.zeros(1, 2, 4), target, [1], IGNORE)
    assert log["accepted_positives"] == 1
    assert log["accepted_negatives"] == 0.5


@pytest.mark.parametrize("weight", [1.0, 10.0])
def test_crf_term_is_the_weighted_loss_of_the_softmax(weight):
    features, logits, target = batch()
    image = torch.arange(target.numel()).reshape(target.shape) / target.numel()
    loss, log = apply(CRFTerm(weight=weight), features, logits, target, [1], IGNORE)
    expected = crf_loss(logits.softmax(dim=1), image, spacing_mm=(3.0, 1.5, 1.2)).item()
    assert loss.item() == pytest.approx(weight * expected)
    assert log == {"crf": pytest.approx(weight * expected)}
    loss.backward()
    assert features.grad is None
    assert logits.grad.abs().sum() > 0
