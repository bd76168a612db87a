"""Injections alone and those that an architecture lacks; the laws of decoding are in test_decoder.py."""

import pytest
import torch
from helpers import model

from fairseq_vae.base.errors import InputError
from fairseq_vae.latent.injection import injections
from fairseq_vae.latent.slots import SlotLayout


@pytest.mark.parametrize("name", injections.names())
def test_an_injection_alone_has_all_slots(name):
    layout = SlotLayout([name], layers=3, slots=2)
    [(injection, place)] = layout.places
    assert place == slice(0, layout.size) and injection.size() == layout.size > 0


def test_each_vector_has_a_layer_of_its_own():
    layout = SlotLayout(["layer"], layers=3, slots=2, vectors=3)
    slots = torch.arange(layout.size).float()[:, None, None]
    assert [layout.keys_values(slots, layer).flatten().tolist() for layer in range(3)] == [[0, 1], [2, 3], [4, 5]]


@pytest.mark.parametrize(
    "flags, message",
    [
        ({"injection": "memory"}, "--latent-injection memory: expected"),
        ({"injection": "cross-attention", "no_cross_attention": True}, "leave out --no-cross-attention"),
        ({"cross_self_attention": True}, "--cross-self-attention"),
        ({"injection": "embedding", "decoder_layerdrop": 0.1}, "--decoder-layerdrop 0.1 would drop z: leave it o"),
        ({"injection": "layer"}, "--latent-vectors 1: --latent-injection layer expects 2, one for each of --decoder"),
        ({"injection": "layer x 3"}, "--latent-vectors 3: --latent-injection layer expects 2"),
        (
            {"injection": "layer x 2", "decoder_layerdrop": 0.1},
            "--decoder-layerdrop 0.1 would drop a vector of z: leave it out, or layer out of --latent-injection",
        ),
        ({"latent_memory_slots": 0}, "--latent-memory-slots 0"),
        ({"latent_dim": 0}, "^--latent-dim 0: expected 1 or more$"),
        ({"latent_dim": -3, "zero_latent": True}, "^--latent-dim -3: expected 1 or more$"),
    ],
)
def test_injections_that_the_architecture_lacks_are_refused(flags, message):
    with pytest.raises(InputError, match=message):
        model(**flags)
