import pytest
import torch
import torch.nn.functional as F

from nnunetv2_simple import propagation
from nnunetv2_simple.propagation import draw_voxels, propagate_labels

IGNORE = 2


def clustered_batch(seed=0, spatial=(4, 5, 6), width=8, batch=2):
    """Features around one direction with noise of random strength: cosines all over the range."""
    generator = torch.Generator().manual_seed(seed)
    direction = torch.randn((1, width, *[1] * len(spatial)), generator=generator)
    direction = 4 * F.normalize(direction, dim=1)
    strength = 2 * torch.rand((batch, 1, *spatial), generator=generator)
    features = direction + strength * torch.randn((batch, width, *spatial), generator=generator)
    target = torch.randint(0, 3, (batch, *spatial), generator=generator)
    return features, target


def propagate_by_pairs(features, target, *, similarity_threshold, vote_fraction, ignore_label=IGNORE):
    """Two loops; every positive of the batch is a reference."""
    references = [features[(v[0], slice(None), *v[1:])] for v in (target == 1).nonzero().tolist()]
    result = torch.zeros(target.shape, dtype=torch.bool)
    for v in (target == ignore_label).nonzero().tolist():
        z = features[(v[0], slice(None), *v[1:])]
        votes = sum(F.cosine_similarity(z, r, dim=0).item() > similarity_threshold for r in references)
        result[tuple(v)] = bool(references) and votes > vote_fraction * len(references)
    return result


def voxel_row(vectors):
    """(N, D) list of feature vectors -> (1, D, 1, 1, N)."""
    return torch.tensor(vectors, dtype=torch.float32).T[None, :, None, None]


def target_row(labels):
    return torch.tensor(labels)[None, None, None]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("similarity_threshold", "vote_fraction"), [(0.5, 0.5), (0.7, 0.4), (0.3, 0.8), (0.1, 0.9)])
def test_agrees_with_a_loop_over_all_pairs(seed, similarity_threshold, vote_fraction):
    features, target = clustered_batch(seed)
    options = {"similarity_threshold": similarity_threshold, "vote_fraction": vote_fraction}
    result = propagate_labels(features, target, num_references=1000, **options)
    expected = propagate_by_pairs(features, target, **options)
    assert torch.equal(result, expected)
    assert 0 < expected.sum() < (target == IGNORE).sum()


def test_defaults_are_those_of_the_paper():
    features, target = clustered_batch()
    direction = torch.ones_like(features)
    features = direction + torch.where(target[:, None] == 1, 0.02, 0.2) * (features - direction)
    result = propagate_labels(features, target, num_references=1000)
    assert torch.equal(result, propagate_by_pairs(features, target, similarity_threshold=0.96, vote_fraction=0.96))
    assert 0 < result.sum() < (target == IGNORE).sum()


def test_similarity_must_exceed_its_threshold():
    # The cosine of (1, 1, 1, 1) and (1, 0, 0, 0) is exactly 1/2.
    features, target = voxel_row([[1, 0, 0, 0], [1, 1, 1, 1]]), target_row([1, IGNORE])
    for threshold, expected in ((0.5, False), (0.499, True)):
        result = propagate_labels(features, target, similarity_threshold=threshold, vote_fraction=0.5)
        assert result[0, 0, 0, 1].item() is expected


def test_votes_must_exceed_their_fraction():
    # Three of four references agree.
    features = voxel_row([[1, 0], [1, 0], [1, 0], [0, 1], [1, 0]])
    target = target_row([1, 1, 1, 1, IGNORE])
    for fraction, expected in ((0.75, False), (0.74, True), (1.0, False)):
        result = propagate_labels(features, target, similarity_threshold=0.9, vote_fraction=fraction)
        assert result[0, 0, 0, 4].item() is expected


@pytest.mark.parametrize(("agreeing", "expected"), [(96, False), (97, True)])
def test_of_one_hundred_references_more_than_ninety_six_must_agree(agreeing, expected):
    vectors = [[1, 0]] * agreeing + [[0, 1]] * (100 - agreeing) + [[1, 0]]
    result = propagate_labels(voxel_row(vectors), target_row([1] * 100 + [IGNORE]))
    assert result[0, 0, 0, 100].item() is expected


@pytest.mark.parametrize("percent", range(1, 100))
def test_fraction_of_one_hundred_references_does_not_suffer_from_rounding(percent):
    vectors = [[1, 0]] * percent + [[0, 1]] * (100 - percent) + [[1, 0]]
    target = target_row([1] * 100 + [IGNORE])
    assert not propagate_labels(voxel_row(vectors), target, vote_fraction=percent / 100).any()


def test_length_of_the_features_does_not_matter():
    features = voxel_row([[2, 0], [0.001, 0], [900, 0], [0, 5]])
    result = propagate_labels(features, target_row([1, IGNORE, IGNORE, IGNORE]))
    assert result.flatten().tolist() == [False, True, True, False]


def test_zero_feature_vector_is_not_propagated():
    result = propagate_labels(voxel_row([[1, 0], [0, 0]]), target_row([1, IGNORE]))
    assert not result.any()


def test_with_fewer_positives_than_references_all_of_them_vote():
    features, target = clustered_batch()
    options = {"similarity_threshold": 0.5, "vote_fraction": 0.5}
    num_positives = int((target == 1).sum())
    expected = propagate_by_pairs(features, target, **options)
    for num_references in (num_positives, num_positives + 1, 10 * num_positives):
        generator = torch.Generator().manual_seed(num_references)
        result = propagate_labels(features, target, num_references=num_references, generator=generator, **options)
        assert torch.equal(result, expected)


def test_no_more_references_than_asked_for_vote():
    # Nine of ten positives differ; a single reference agrees with itself alone: some draws propagate, others do not.
    vectors = [[1, 0]] * 5 + [[0, 1]] * 5 + [[1, 0]]
    target = target_row([1] * 10 + [IGNORE])
    outcomes = {
        propagate_labels(voxel_row(vectors), target, num_references=1, generator=torch.Generator().manual_seed(seed))
        .any()
        .item()
        for seed in range(20)
    }
    assert outcomes == {True, False}


@pytest.mark.parametrize("label", [0, IGNORE])
def test_without_positives_nothing_is_propagated(label):
    features, target = clustered_batch()
    target[target == 1] = label
    assert not propagate_labels(features, target, similarity_threshold=-1, vote_fraction=0).any()


def test_without_unlabelled_voxels_nothing_is_propagated():
    features, target = clustered_batch()
    target[target == IGNORE] = 0
    assert not propagate_labels(features, target, similarity_threshold=-1, vote_fraction=0).any()


def test_all_unlabelled_batch_propagates_nothing():
    features, target = clustered_batch()
    result = propagate_labels(features, torch.full_like(target, IGNORE), similarity_threshold=-1, vote_fraction=0)
    assert not result.any()


@pytest.mark.parametrize("similarity_threshold", [-1.1, 0.3])
def test_only_unlabelled_voxels_are_ever_propagated(similarity_threshold):
    features, target = clustered_batch()
    result = propagate_labels(features, target, similarity_threshold=similarity_threshold, vote_fraction=0)
    assert result.any()
    assert not result[target != IGNORE].any()


def test_references_come_from_the_whole_batch():
    features, target = clustered_batch()
    target[1][target[1] == 1] = 0
    options = {"similarity_threshold": 0.4, "vote_fraction": 0.3}
    result = propagate_labels(features, target, num_references=1000, **options)
    assert result[1].any()
    assert torch.equal(result, propagate_by_pairs(features, target, **options))


def test_other_ignore_label():
    features, target = clustered_batch()
    options = {"similarity_threshold": 0.5, "vote_fraction": 0.5, "num_references": 1000}
    expected = propagate_labels(features, target, **options)
    other = torch.where(target == IGNORE, 5, target)
    assert torch.equal(propagate_labels(features, other, ignore_label=5, **options), expected)
    assert not propagate_labels(features, other, **options).any()


def test_same_seed_gives_the_same_references_and_the_global_state_is_left_alone():
    features, target = clustered_batch()
    options = {"similarity_threshold": 0.6, "vote_fraction": 0.6, "num_references": 5}
    state = torch.random.get_rng_state()
    draws = [
        propagate_labels(features, target, generator=torch.Generator().manual_seed(seed), **options)
        for seed in (3, 3, *range(10))
    ]
    assert torch.equal(draws[0], draws[1])
    assert any(not torch.equal(draws[0], other) for other in draws[2:])
    assert torch.equal(torch.random.get_rng_state(), state)


def test_size_of_the_chunks_does_not_matter(monkeypatch):
    features, target = clustered_batch()
    options = {"similarity_threshold": 0.5, "vote_fraction": 0.5, "num_references": 1000}
    expected = propagate_labels(features, target, **options)
    num_unlabelled = int((target == IGNORE).sum())
    for size in (1, 7, num_unlabelled - 1, num_unlabelled):
        monkeypatch.setattr(propagation, "VOXELS_PER_CHUNK", size)
        assert torch.equal(propagate_labels(features, target, **options), expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_features_are_compared_in_single_precision(dtype):
    features, target = clustered_batch()
    features = (features * 100).to(dtype)
    options = {"similarity_threshold": 0.5, "vote_fraction": 0.5}
    result = propagate_labels(features, target, num_references=1000, **options)
    assert torch.equal(result, propagate_by_pairs(features.double(), target, **options))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("seed", range(3))
def test_autocast_does_not_coarsen_the_vote(dtype, seed):
    features, target = clustered_batch(seed, spatial=(16, 16, 20))  # 10240 voxels
    options = {"similarity_threshold": 0.5, "vote_fraction": 0.5, "num_references": 100}
    votes = []
    for enabled in (False, True):
        with torch.autocast("cpu", dtype=dtype, enabled=enabled):
            votes.append(propagate_labels(features, target, generator=torch.Generator().manual_seed(0), **options))
    assert torch.equal(*votes)
    assert 0.1 < votes[0].float().mean() < 0.3


def test_drawn_voxels_are_different_ones_of_the_mask_each_as_often():
    mask = torch.zeros((2, 3, 4), dtype=torch.bool)
    mask[0, 1], mask[1, :, 2] = True, True
    generator, seen = torch.Generator().manual_seed(0), torch.zeros(mask.shape)
    for _ in range(2000):
        voxels = draw_voxels(mask, 3, generator=generator)
        assert voxels.counts.all()
        assert len(set(zip(*(index.tolist() for index in voxels.indices), strict=True))) == 3
        seen[voxels.indices] += 1
    assert (seen[~mask] == 0).all()
    torch.testing.assert_close(seen[mask], torch.full((7,), 2000 * 3 / 7), rtol=0.1, atol=0)


def test_where_there_are_fewer_voxels_the_rest_of_a_draw_does_not_count():
    mask = torch.zeros((1, 5, 5), dtype=torch.bool)
    mask[0, 2, 3] = mask[0, 4, 4] = True
    voxels = draw_voxels(mask, 10)
    assert voxels.counts.tolist() == [True] * 2 + [False] * 8
    drawn = [tuple(index[i].item() for index in voxels.indices) for i in range(2)]
    assert set(drawn) == {(0, 2, 3), (0, 4, 4)}


@pytest.mark.parametrize("spatial", [(4, 5, 6), (7, 8)])
@pytest.mark.parametrize("dtype", [torch.int64, torch.int16, torch.float32])
def test_result_is_boolean_without_channel_and_without_gradient(spatial, dtype):
    features, target = clustered_batch(spatial=spatial)
    features.requires_grad_()
    options = {"similarity_threshold": 0.5, "vote_fraction": 0.5, "num_references": 1000}
    expected = propagate_by_pairs(features.detach(), target, similarity_threshold=0.5, vote_fraction=0.5)
    for same in (target.to(dtype), target[:, None].to(dtype)):
        result = propagate_labels(features, same, **options)
        assert result.shape == (2, *spatial)
        assert result.dtype == torch.bool
        assert not result.requires_grad
        assert torch.equal(result, expected)


@pytest.mark.parametrize("shape", [(2, 4, 5, 7), (1, 4, 5, 6), (2, 3, 4, 5, 6), (2, 5, 6)])
def test_target_of_another_shape_is_refused(shape):
    with pytest.raises(ValueError, match="target") as error:
        propagate_labels(torch.zeros((2, 8, 4, 5, 6)), torch.zeros(shape))
    assert str(shape) in str(error.value)
    assert "(2, 8, 4, 5, 6)" in str(error.value)


@pytest.mark.parametrize("num_references", [0, -3])
def test_number_of_references_must_be_positive(num_references):
    features, target = clustered_batch()
    with pytest.raises(ValueError, match=f"num_references.*{num_references}"):
        propagate_labels(features, target, num_references=num_references)
