"""Injections alone and those that an architecture lacks; the laws of decoding are in test_decoder.py."""

import pytest
from helpers import model

from fairseq_vae.base.errors import InputError
from fairseq_vae.latent.injection import injections
from fairseq_vae.latent.slots import SlotLayout


@pytest.mark.parametrize("name", injections.names())
def test_an_injection_alone_has_all_slots(name):
    layout = SlotLayout([name], layers=3, slots=2)
    [(injection, place)] = layout.places
    assert place == slice(0, layout.size) and injection.size() == layout.size > 0


@pytest.mark.parametrize(
    "flags, message",
    [
        ({"injection": "memory"}, "--latent-injection memory: expected"),
        ({"injection": "cross-attention", "no_cross_attention": True}, "leave out --no-cross-attention"),
        ({"cross_self_attention": True}, "--cross-self-attention"),
        ({"injection": "embedding", "decoder_layerdrop": 0.1}, "--decoder-layerdrop"),
        ({"latent_memory_slots": 0}, "--latent-memory-slots 0"),
    ],
)
def test_injections_that_the_architecture_lacks_are_refused(flags, message):
    with pytest.raises(InputError, match=message):
        model(**flags)
