"""Injections."""

from typing import Optional, Sequence

import torch.nn as nn
from torch import Tensor

from ..base.errors import InputError

INJECTIONS = ("self-attention", "cross-attention", "embedding", "logits")


class MemoryLayout:
    """Which of the M slots of the one memory tensor serves which injection.

    The slots stand in this order: for each decoder layer `slots` keys-and-values of its self-attention, then `slots`
    states for cross-attention, then one vector that is added to the decoder's input, then one that is added to its
    output, which the projection onto words turns into a term of the logits that is linear in z. All of them travel in
    one M x B x C tensor, so that beam search reorders them together.
    """

    def __init__(self, injection: Sequence[str], layers: int, slots: int):
        unknown = [name for name in injection if name not in INJECTIONS]
        if unknown or not injection or len(set(injection)) != len(injection):
            raise InputError(
                f"--latent-injection {','.join(injection)}: expected one or several of {', '.join(INJECTIONS)}, "
                "comma-separated, each once"
            )
        if slots < 1:
            raise InputError(f"--latent-memory-slots {slots}: expected 1 or more")
        self.slots = slots
        self.per_layer = slots if "self-attention" in injection else 0
        start = layers * self.per_layer
        self.cross_attention = slice(start, start + slots) if "cross-attention" in injection else None
        if self.cross_attention:
            start += slots
        self.embedding = slice(start, start + 1) if "embedding" in injection else None
        if self.embedding:
            start += 1
        self.logits = slice(start, start + 1) if "logits" in injection else None
        self.size = start + (1 if self.logits else 0)  # M

    @classmethod
    def of(cls, cfg) -> "MemoryLayout":
        """The layout of a configured model; refuses an injection that the architecture lacks."""
        layout = cls(cfg.latent_injection.split(","), cfg.decoder.layers, cfg.latent_memory_slots)
        if layout.cross_attention and cfg.no_cross_attention:
            raise InputError(
                "--latent-injection cross-attention needs the decoder's cross-attention: leave out --no-cross-attention"
            )
        if layout.embedding and cfg.decoder.layerdrop > 0:
            raise InputError("--decoder-layerdrop would drop z: leave embedding out of --latent-injection")
        if layout.logits and cfg.decoder.output_dim != cfg.decoder.embed_dim:
            raise InputError(
                f"--latent-injection logits: --decoder-output-dim {cfg.decoder.output_dim} is not --decoder-embed-dim "
                f"{cfg.decoder.embed_dim}; leave one of the two flags out"
            )
        if cfg.cross_self_attention:
            raise InputError("--cross-self-attention would show every layer every slot: use --latent-injection instead")
        return layout

    def self_attention(self, layer: int) -> Optional[slice]:
        """The slots of one decoder layer's self-attention, or None."""
        return slice(layer * self.per_layer, (layer + 1) * self.per_layer) if self.per_layer else None


class LatentMemory(nn.Module):
    """z, B x Z, to all that the decoder learns of the source: memory, M x B x C; one affine map."""

    def __init__(self, latent_dim: int, slots: int, embed_dim: int):
        super().__init__()
        self.slots = slots
        self.project = nn.Linear(latent_dim, slots * embed_dim)

    def forward(self, z: Tensor) -> Tensor:
        memory = self.project(z.to(self.project.weight.dtype))  # B x M*C
        return memory.view(len(z), self.slots, -1).transpose(0, 1)  # M x B x C
