"""Defects of the code that Park & Lee 2021 released, by name: fairseq-train --user-dir examples/reproduce/defects.

The code is github.com/seongminp/transformers-into-vaes. The parts here do on purpose what fairseq-vae does not: padding
counts, and sentences of a batch depend on one another.

Shapes: B batch, T source length, C model width, S slots of a layer, L decoder layers.
"""

from dataclasses import dataclass, field

from torch import Tensor

import fairseq_vae
from fairseq_vae.base.errors import InputError
from fairseq_vae.latent.injection import SelfAttentionInjection, register_injection
from fairseq_vae.latent.pooling import Pooling, register_pooling


@dataclass
class PadsFlags:
    pooled_positions: int = field(
        default=256,
        metadata={"help": "positions of every sentence that are pooled, padding and all (default: 256, Park & Lee's)"},
    )


class PoolingWithPads(Pooling):
    """Pooling of as many positions of every sentence, whatever its batch (vendor_t5.py, lines 210 to 219).

    The states of padding are those of the encoder, which masks padding as keys but not as queries: each is made of the
    sentence. BART gives all padding one position, so they differ by dropout alone; T5's also by their distance.
    """

    def __init__(self, width: int, config: PadsFlags, vectors: int = 1):
        super().__init__(width, config, vectors)
        self.positions = config.pooled_positions

    def all_positions(self, hidden: Tensor) -> Tensor:
        """The states in float32.

        Args:
            hidden: T x B x C

        Raises:
            InputError: T is not the number of positions
        """
        if len(hidden) != self.positions:
            raise InputError(
                f"--pooled-positions {self.positions}: a sentence has {len(hidden)} tokens; give at least as many as "
                "the longest has"
            )
        return hidden.float()


@register_pooling("mean-with-pads", PadsFlags, help="a defect: over the sentence and its padding")
class MeanWithPads(PoolingWithPads):
    def forward(self, hidden: Tensor, padding_mask: Tensor) -> Tensor:
        return self.all_positions(hidden).mean(0)


@register_pooling("max-with-pads", PadsFlags, help="the same defect, each channel by itself")
class MaxWithPads(PoolingWithPads):
    def forward(self, hidden: Tensor, padding_mask: Tensor) -> Tensor:
        return self.all_positions(hidden).amax(0)


@register_injection("self-attention-scrambled", help="a defect: as self-attention, mostly of another sentence's z")
class ScrambledInjection(SelfAttentionInjection):
    """Keys and values whose sentences and layers are mixed (model_t5.py, build_past, lines 226 to 236).

    What is B x L x C is read as L x B x C without a transpose: sentence b in layer l gets what sentence (lB + b) // L
    was to have in layer (lB + b) % L. Of the L B pairs of a layer and a sentence, L - 1 + gcd(B, L - 1) keep the
    sentence, of which 1 + gcd(B - 1, L - 1) also keep the layer: 6 and 2 of 768 for B = 128 and L = 6. All do for
    B = 1. In a search B counts hypotheses. With S slots a layer its S slots stay together.
    """

    def keys_values(self, slots: Tensor, layer: int) -> Tensor:
        in_order = slots.transpose(0, 1)  # B x LS x C, as z's projection made them
        theirs = in_order.reshape(self.layers, slots.size(1), self.slots, -1)  # L x B x S x C; right: B x L x S x C
        return theirs[layer].transpose(0, 1)


fairseq_vae.register()
