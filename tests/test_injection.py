"""The layout of the slots, and the memory they stand in; the laws of decoding are in test_model.py."""

import pytest
import torch

from fairseq_vae.latent.injection import LatentMemory, MemoryLayout, injections

B, C, Z = 4, 8, 3


def test_the_layout_shares_every_slot_out_exactly_once():
    layout = MemoryLayout(["embedding", "self-attention", "cross-attention"], layers=3, slots=2)
    slots = [slot for _, place in layout.places for slot in range(place.start, place.stop)]
    assert slots == list(range(layout.size)) and layout.size == 3 * 2 + 2 + 1
    memory = torch.arange(layout.size).float()[:, None, None].expand(layout.size, B, C)
    read = [layout.keys_values(memory, i)[:, 0, 0].tolist() for i in range(3)]
    assert read == [[0, 1], [2, 3], [4, 5]] and layout.states(memory)[:, 0, 0].tolist() == [6, 7]
    x = torch.zeros(5, B, C)
    assert layout.before_layer(x, memory, 0).eq(8).all() and layout.before_layer(x, memory, 1) is x
    alone = MemoryLayout(["cross-attention"], layers=3, slots=4)
    memory = torch.zeros(4, B, C)
    assert alone.size == 4 and alone.keys_values(memory, 0) is None and alone.before_layer(x, memory, 0) is x
    assert MemoryLayout(["embedding"], 3, 1).states(memory) is None


@pytest.mark.parametrize("injection", [[""], [], ["memory"], ["embedding", "embedding"]])
def test_unknown_injections_are_refused(injection):
    with pytest.raises(ValueError, match="--latent-injection"):
        MemoryLayout(injection, layers=2, slots=1)
    with pytest.raises(ValueError, match="--latent-memory-slots 0"):
        MemoryLayout(["embedding"], layers=2, slots=0)


def test_memory_is_each_rows_own_affine_map():
    memory = LatentMemory(Z, 5, C)
    z = torch.randn(B, Z)
    out = memory(z)
    assert out.shape == (5, B, C)
    for row in range(B):
        for slot in range(5):
            rows = slice(slot * C, (slot + 1) * C)
            expected = memory.project.weight[rows] @ z[row] + memory.project.bias[rows]
            torch.testing.assert_close(out[slot, row], expected)


@pytest.mark.parametrize("name", injections.names())
def test_an_injection_alone_has_all_slots(name):
    layout = MemoryLayout([name], layers=3, slots=2)
    [(injection, place)] = layout.places
    assert place == slice(0, layout.size) and injection.size() == layout.size > 0
