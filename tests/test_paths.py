"""Paths between latents: their ends, their norms, their limits."""

import pytest
import torch

from fairseq_vae.latent.paths import PATHS, along, analogy, path, slerp, typical, walk

A, B = torch.randn(2, 16, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("kind", PATHS)
def test_the_ends_are_the_ends_exactly(kind):
    points = path(A, B, 7, kind)
    assert points.shape == (7, 16) and points[0].equal(A) and points[-1].equal(B)
    back = path(B, A, 7, kind).flip(0)
    assert torch.allclose(points, back, atol=1e-6), "there and back is the same way"


@pytest.mark.parametrize("kind", ["slerp", "typical"])
def test_the_norm_goes_evenly_and_is_kept_between_equals(kind):
    norms = path(A, B, 11, kind).norm(dim=1)
    assert torch.allclose(norms, torch.linspace(A.norm(), B.norm(), 11), atol=1e-5)
    equal = path(A, B * A.norm() / B.norm(), 11, kind).norm(dim=1)
    assert torch.allclose(equal, A.norm().expand(11), atol=1e-5)


def test_slerp_turns_by_equal_angles():
    points = path(A, B, 9, "slerp")
    cosines = torch.cosine_similarity(points[1:], points[:-1])
    assert torch.allclose(cosines, cosines[0].expand(8), atol=1e-5)
    whole = torch.cosine_similarity(A, B, dim=0).acos()
    assert cosines[0].acos() * 8 == pytest.approx(whole.item(), abs=1e-3)


@pytest.mark.parametrize("b", [A * 3, -A, torch.zeros(16), A], ids=["parallel", "opposite", "zero", "same"])
@pytest.mark.parametrize("kind", PATHS)
def test_where_no_arc_is_given_the_path_is_the_line(b, kind):
    points = path(A, b, 5, kind)
    assert torch.isfinite(points).all()
    if kind == "slerp" or torch.equal(b, A * 3):
        assert torch.allclose(points, path(A, b, 5), atol=1e-5)


def test_typical_has_the_directions_of_the_line():
    t = torch.linspace(0, 1, 5)
    assert torch.allclose(torch.cosine_similarity(typical(A, B, t), path(A, B, 5)), torch.ones(5), atol=1e-6)
    assert not torch.allclose(slerp(A, B, t), typical(A, B, t), atol=1e-3), "it is another path than slerp"


def test_an_analogy_undoes_itself_and_a_walk_changes_one_dimension():
    c = analogy(A, B, torch.ones(16))
    assert torch.allclose(analogy(B, A, c), torch.ones(16), atol=1e-6)
    points = walk(A, 3, torch.tensor([-2.0, 5.0]))
    assert points[:, 3].tolist() == [-2, 5]
    rest = [i for i in range(16) if i != 3]
    assert points[0, rest].equal(A[rest]) and points[1, rest].equal(A[rest])


@pytest.mark.parametrize("kind", PATHS)
def test_points_asked_for_are_those_of_the_path_in_any_order_and_exact_at_the_ends(kind):
    points = along(A, B, torch.tensor([1.0, 0.25, 0.0, 1.0]), kind)
    assert points[0].equal(B) and points[2].equal(A) and points[3].equal(B)
    assert points[1].equal(path(A, B, 5, kind)[1])
    if kind == "lerp":
        torch.testing.assert_close(points[1], 0.75 * A + 0.25 * B)
