"""The layout of the slots, and the map from z to them."""

import math

import pytest
import torch
from helpers import SENTENCES, batch, criterion, model

from fairseq_vae.latent.slots import LatentSlots, SlotLayout

B, C, Z = 4, 8, 3


def test_the_layout_shares_every_slot_out_exactly_once():
    layout = SlotLayout(["embedding", "self-attention", "cross-attention"], layers=3, slots=2)
    numbers = [slot for _, place in layout.places for slot in range(place.start, place.stop)]
    assert numbers == list(range(layout.size)) and layout.size == 3 * 2 + 2 + 1
    slots = torch.arange(layout.size).float()[:, None, None].expand(layout.size, B, C)
    read = [layout.keys_values(slots, i)[:, 0, 0].tolist() for i in range(3)]
    assert read == [[0, 1], [2, 3], [4, 5]] and layout.states(slots)[:, 0, 0].tolist() == [6, 7]
    x = torch.zeros(5, B, C)
    assert layout.before_layer(x, slots, 0).eq(8).all() and layout.before_layer(x, slots, 1) is x
    alone = SlotLayout(["cross-attention"], layers=3, slots=4)
    slots = torch.zeros(4, B, C)
    assert alone.size == 4 and alone.keys_values(slots, 0) is None and alone.before_layer(x, slots, 0) is x
    assert SlotLayout(["embedding"], 3, 1).states(slots) is None


def test_each_vector_has_every_injection_to_itself():
    one = SlotLayout(["self-attention", "cross-attention"], layers=2, slots=2)
    layout = SlotLayout(["self-attention", "cross-attention"], layers=2, slots=2, vectors=3)
    assert layout.size == 3 * one.size == 3 * 6
    numbers = torch.arange(layout.size).float()[:, None, None].expand(layout.size, B, C)
    assert layout.keys_values(numbers, 1)[:, 0, 0].tolist() == [2, 3, 8, 9, 14, 15]
    assert layout.states(numbers)[:, 0, 0].tolist() == [4, 5, 10, 11, 16, 17]
    assert [injection.vector for injection, _ in layout.places] == [0, 0, 1, 1, 2, 2]


@pytest.mark.parametrize("injection", [[""], [], ["memory"], ["embedding", "embedding"]])
def test_unknown_injections_are_refused(injection):
    with pytest.raises(ValueError, match="--latent-injection"):
        SlotLayout(injection, layers=2, slots=1)
    with pytest.raises(ValueError, match="--latent-memory-slots 0"):
        SlotLayout(["embedding"], layers=2, slots=0)
    with pytest.raises(ValueError, match="--latent-vectors 0: expected 1 or more"):
        SlotLayout(["embedding"], layers=2, slots=1, vectors=0)


def test_slots_are_each_rows_own_affine_map():
    built = LatentSlots(Z, 5, C)
    z = torch.randn(B, Z)
    out = built(z)
    assert out.shape == (5, B, C)
    for row in range(B):
        for slot in range(5):
            rows = slice(slot * C, (slot + 1) * C)
            expected = built.project.weight[rows] @ z[row] + built.project.bias[rows]
            torch.testing.assert_close(out[slot, row], expected)


def test_a_vectors_slots_are_its_own_affine_map():
    built = LatentSlots(6, 4, C, vectors=2)
    z = torch.randn(B, 6)
    out = built(z)
    assert out.shape == (4, B, C) and built.latent_dim == 6
    for slot in range(4):
        rows, own = slice(slot * C, (slot + 1) * C), z[:, 3 * (slot // 2) : 3 * (slot // 2 + 1)]
        torch.testing.assert_close(out[slot], own @ built.project.weight[rows].T + built.project.bias[rows])


@pytest.mark.parametrize("scale", [1.0, 0.3])
@pytest.mark.parametrize("vectors", [1, 2])
def test_slots_start_as_large_as_asked(scale, vectors):
    """For z of N(0, I), whatever Z is: a channel's standard deviation over z and channels, without the bias."""
    built = LatentSlots(16 * vectors, 4, 512, vectors, scale)
    built.reset_parameters()
    slots = built(torch.randn(2000, 16 * vectors)) - built(torch.zeros(1, 16 * vectors))
    torch.testing.assert_close(slots.std(), torch.tensor(scale), rtol=0.03, atol=0)


@pytest.mark.parametrize("scale", [0.0, -1.0, math.inf, math.nan])
def test_slots_that_cannot_be_read_are_refused(scale):
    with pytest.raises(ValueError, match=f"--latent-slot-scale {scale}: expected more than 0"):
        LatentSlots(Z, 1, C, scale=scale)


@pytest.mark.parametrize("dim", [3, C, 2 * C])
def test_mirrored_slots_of_cross_attention_are_projections_of_the_states(dim):
    """A vector's first one: of all the state where z has room for it. The other slots stay."""
    layout = SlotLayout(["self-attention", "cross-attention"], layers=2, slots=2, vectors=2)
    built, mu = LatentSlots(2 * dim, layout.size, C, vectors=2), torch.nn.Linear(C, 2 * dim)
    built.reset_parameters()
    torch.nn.init.zeros_(mu.bias), torch.nn.init.zeros_(built.project.bias)
    before = built.project.weight.detach().clone().view(12, C, dim)
    built.mirror(mu, layout)
    after, maps = built.project.weight.view(12, C, dim), mu.weight.view(2, dim, C)
    states = torch.randn(2, B, C)
    read = layout.states(built(torch.einsum("kdc,kbc->bkd", maps, states).flatten(1)))
    for vector in range(2):
        own, state = maps[vector], states[vector]
        projector = own.T @ own
        torch.testing.assert_close(projector @ projector, projector)
        assert torch.linalg.matrix_rank(projector) == min(dim, C)
        torch.testing.assert_close(read[2 * vector], state @ projector)
    for slot in (0, 1, 2, 3, 5, 6, 7, 8, 9, 11):
        assert after[slot].equal(before[slot])


def test_slots_of_another_width_are_no_mirror():
    layout = SlotLayout(["cross-attention"], layers=2, slots=1)
    with pytest.raises(ValueError, match="--mirror-slots: --encoder-embed-dim 5 is not --decoder-embed-dim 8"):
        LatentSlots(Z, 1, C).mirror(torch.nn.Linear(5, Z), layout)


def test_mirrored_slots_of_a_vector_learn_apart():
    built = model("cross-attention x 2", mirror_slots=True).train()  # each of 2 slots
    criterion()(built, batch(SENTENCES))[0].backward()
    one, other = built.encoder.memory.project.weight.grad.view(4, -1)[:2]
    assert (one - other).abs().mean() > 1e-3 * one.abs().mean()  # of equal slots it is rounding
