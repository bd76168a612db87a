"""Slots: z as the decoder reads it, in one tensor, and the place of each injection in that tensor.

fairseq's beam search reorders what an encoder returns; all slots travel in the one M x B x C tensor that it knows.

Shapes: B batch, U target length, C model width, Z latent dimensions, K latent vectors, M slots in all, S slots of an
injection, L decoder layers.
"""

import math
from typing import Any, List, Optional, Sequence, Tuple

import torch
import torch.nn as nn
from torch import Tensor

from ..base.errors import InputError
from .blocks import blockwise
from .injection import Injection, injections

__all__ = ["LatentSlots", "SlotLayout"]


class SlotLayout:
    """The place of each injection's slots among all slots, in the order in which injections are registered.

    Each latent vector has every injection to itself; the slots of a vector stand together.

    Args:
        names: the injections, in any order
        layers: L
        slots: --latent-memory-slots
        values: an object with the flags of injections as attributes; None: their defaults
        vectors: K

    Attributes:
        size: M
        places: each injection with the place of its slots

    Raises:
        InputError: an injection is unknown or given twice, there is none, or there is less than one slot or vector

    >>> layout = SlotLayout(["embedding", "self-attention"], layers=2, slots=3)
    >>> layout.size, [place for _, place in layout.places]
    (7, [slice(0, 6, None), slice(6, 7, None)])
    """

    def __init__(self, names: Sequence[str], layers: int, slots: int, values: Any = None, vectors: int = 1):
        known = injections.names()
        if not names or any(name not in known for name in names) or len(set(names)) != len(names):
            raise InputError(
                f"--latent-injection {','.join(names)}: expected one or several of {', '.join(known)}, comma-"
                "separated, each once"
            )
        for flag, value in (("memory-slots", slots), ("vectors", vectors)):
            if value < 1:
                raise InputError(f"--latent-{flag} {value}: expected 1 or more")
        self.places: List[Tuple[Injection, slice]] = []
        self.size = 0
        for vector in range(vectors):
            for name in known:
                if name in names:
                    injection = injections[name](layers, slots, injections.config(name, values))
                    injection.vector = vector
                    self.places.append((injection, slice(self.size, self.size + injection.size())))
                    self.size += injection.size()

    @classmethod
    def of(cls, cfg: Any) -> "SlotLayout":
        """The layout of a configured model.

        Args:
            cfg: the model's configuration, a fairseq TransformerConfig with the latent flags

        Raises:
            InputError: the architecture lacks something that an injection needs
        """
        names = cfg.latent_injection.split(",")
        layout = cls(names, cfg.decoder.layers, cfg.latent_memory_slots, cfg, cfg.latent_vectors)
        for injection, _ in layout.places:
            injection.check(cfg)
        if cfg.cross_self_attention:
            raise InputError("--cross-self-attention would show every layer every slot: use --latent-injection instead")
        return layout

    def before_layer(self, x: Tensor, slots: Tensor, layer: int) -> Tensor:
        """Change the input of a decoder layer by all injections.

        Args:
            x: the layer's input, U x B x C
            slots: M x B x C
            layer: the layer's number, from 0

        Returns:
            U x B x C
        """
        for injection, place in self.places:
            x = injection.before_layer(x, slots[place], layer)
        return x

    def after_layers(self, x: Tensor, slots: Tensor) -> Tensor:
        """Change the decoder's output by all injections.

        Args:
            x: the output of the last layer, B x U x C
            slots: M x B x C

        Returns:
            B x U x C
        """
        for injection, place in self.places:
            x = injection.after_layers(x, slots[place])
        return x

    def keys_values(self, slots: Tensor, layer: int) -> Optional[Tensor]:
        """The raw keys and values of all injections that stand before a layer's own.

        Args:
            slots: M x B x C
            layer: the layer's number, from 0

        Returns:
            any number x B x C; None for none
        """
        return joined([injection.keys_values(slots[place], layer) for injection, place in self.places])

    def states(self, slots: Tensor) -> Optional[Tensor]:
        """The states of all injections that cross-attention reads.

        Args:
            slots: M x B x C

        Returns:
            any number x B x C; None for none
        """
        return joined([injection.states(slots[place]) for injection, place in self.places])


def joined(parts: Sequence[Optional[Tensor]]) -> Optional[Tensor]:
    """Join the tensors among the parts along their first axis; None for no tensor."""
    found = [part for part in parts if part is not None]
    return torch.cat(found) if len(found) > 1 else found[0] if found else None


class LatentSlots(nn.Module):
    """An affine map from z to all slots. Without a context, the decoder learns of the source through them alone.

    Of K latent vectors each has a map of its own to M / K slots.

    Args:
        latent_dim: Z
        slots: M
        embed_dim: C
        vectors: K
        scale: standard deviation that slots start with, for z of N(0, I); --latent-slot-scale

    Raises:
        InputError: the scale is not above 0, or not finite

    >>> LatentSlots(latent_dim=3, slots=7, embed_dim=4)(torch.zeros(2, 3)).shape
    torch.Size([7, 2, 4])
    """

    def __init__(self, latent_dim: int, slots: int, embed_dim: int, vectors: int = 1, scale: float = 1.0):
        super().__init__()
        if not 0 < scale < math.inf:
            raise InputError(f"--latent-slot-scale {scale}: expected more than 0")
        self.latent_dim, self.slots, self.vectors, self.scale = latent_dim, slots, vectors, scale
        self.project = nn.Linear(latent_dim // vectors, slots * embed_dim)

    def reset_parameters(self) -> None:
        """Make slots `scale` times as large as the states beside them, which BART's layer norms make 1 a channel."""
        nn.init.normal_(self.project.weight, std=self.scale * self.project.in_features**-0.5)

    @torch.no_grad()
    def mirror(self, mu: nn.Linear, layout: SlotLayout, width: Optional[int] = None) -> None:
        """Start a slot of cross-attention of each vector as the pooled state that z was made of, as far as z holds it.

        Each vector's map W from pooled states to mu becomes orthonormal, and the map from z to its first slot of
        cross-attention W^T: the slot is the projection W^T W h of the pooled state h, all of h where Z / K is at least
        C. So BART's pretrained cross-attention starts on what it was trained to read. Further slots of the vector keep
        their own start: equal ones would have equal gradients, and stay equal. Of a conditional model's mu, the part
        that reads the source starts at 0.

        Args:
            mu: the affine map of the posterior from pooled states to mu, changed in place
            layout: of the M slots
            width: C of the encoder; None: all that mu reads

        Raises:
            InputError: encoder and decoder are of different widths
        """
        width = width or mu.in_features
        rows = self.project.weight.view(self.slots, -1, self.project.in_features)  # M x C x Z/K
        if rows.size(1) != width:
            raise InputError(
                f"--mirror-slots: --encoder-embed-dim {width} is not --decoder-embed-dim {rows.size(1)}; leave it out"
            )
        nn.init.zeros_(mu.weight)
        maps = mu.weight[:, :width].unflatten(0, (self.vectors, -1))  # K x Z/K x C
        for own in maps:
            nn.init.orthogonal_(own)
        for injection, place in layout.places:
            if injection.cross_attention:
                rows[place.start] = maps[injection.vector].t()

    def forward(self, z: Tensor) -> Tensor:
        """
        Args:
            z: B x Z

        Returns:
            slots, M x B x C
        """
        z = z.to(self.project.weight.dtype)
        if self.vectors > 1:
            z = z.view(len(z), self.vectors, -1)
        slots = blockwise(z, self.project.weight, self.project.bias)  # B x M*C
        return slots.view(len(z), self.slots, -1).transpose(0, 1)  # M x B x C
