"""Injection: how the decoder learns z. z becomes the slots of one memory tensor, and each injection reads its own.

fairseq's beam search reorders what an encoder returns; all slots travel in the one M x B x C tensor that it knows.

Shapes: B batch, U target length, C model width, Z latent dimensions, M slots in all, S slots of an injection, L decoder
layers.
"""

from typing import Any, List, Optional, Sequence, Tuple

import torch
import torch.nn as nn
from torch import Tensor

from ..base.errors import InputError
from ..base.registry import Registry

__all__ = ["Injection", "LatentMemory", "MemoryLayout", "injections", "register_injection"]


class Injection:
    """One way in which the decoder reads slots. The methods that a subclass leaves alone do nothing.

    Args:
        layers: L
        slots: the number of slots that --latent-memory-slots gives
        config: the injection's own flags, see Registry.register

    Attributes:
        cross_attention: whether the injection needs the decoder's cross-attention
    """

    cross_attention = False

    def __init__(self, layers: int, slots: int, config: Any = None):
        self.layers, self.slots = layers, slots

    def size(self) -> int:
        """S, the slots that the injection reads."""
        raise NotImplementedError

    def check(self, cfg: Any) -> None:
        """Refuse an architecture that the injection cannot work with.

        Args:
            cfg: the model's configuration, a fairseq TransformerConfig

        Raises:
            InputError: names the flag and the remedy
        """

    def before_layer(self, x: Tensor, slots: Tensor, layer: int) -> Tensor:
        """The input of a decoder layer, from x, U x B x C, and the slots, S x B x C; U x B x C."""
        return x

    def keys_values(self, slots: Tensor, layer: int) -> Optional[Tensor]:
        """The raw keys and values that stand before a layer's own, any number x B x C; None for none."""
        return None

    def states(self, slots: Tensor) -> Optional[Tensor]:
        """The states that cross-attention reads, any number x B x C; None for none."""
        return None

    def after_layers(self, x: Tensor, slots: Tensor) -> Tensor:
        """The decoder's output before its projection onto words, from x, B x U x C, and the slots; B x U x C."""
        return x


injections: Registry = Registry("injection", needs=("size", "check"))
register_injection = injections.register


@register_injection("self-attention", help="raw keys and values before each decoder layer's own")
class SelfAttentionInjection(Injection):
    """Keys and values in each layer's self-attention (Park & Lee 2021; Li et al. 2020, Optimus' "memory")."""

    def size(self) -> int:
        return self.layers * self.slots

    def keys_values(self, slots: Tensor, layer: int) -> Tensor:
        return slots[layer * self.slots : (layer + 1) * self.slots]


@register_injection("cross-attention", help="slots that BART's cross-attention reads; without it the decoder has none")
class CrossAttentionInjection(Injection):
    """States for the decoder's cross-attention, which keeps BART's pretrained weights."""

    cross_attention = True

    def size(self) -> int:
        return self.slots

    def check(self, cfg: Any) -> None:
        if cfg.no_cross_attention:
            raise InputError(
                "--latent-injection cross-attention needs the decoder's cross-attention: leave out --no-cross-attention"
            )

    def states(self, slots: Tensor) -> Tensor:
        return slots


@register_injection("embedding", help="added to every decoder input")
class EmbeddingInjection(Injection):
    """A vector added to every decoder input (Li et al. 2020, Optimus' "embedding")."""

    def size(self) -> int:
        return 1

    def check(self, cfg: Any) -> None:
        if cfg.decoder.layerdrop > 0:
            raise InputError("--decoder-layerdrop would drop z: leave embedding out of --latent-injection")

    def before_layer(self, x: Tensor, slots: Tensor, layer: int) -> Tensor:
        return x + slots if layer == 0 else x  # 1 x B x C, the same at every position


@register_injection("logits", help="a skip connection: added to every decoder output before its projection onto words")
class LogitsInjection(Injection):
    """A vector added to every decoder output: a term of the logits that is linear in z (Dieng et al. 2019)."""

    def size(self) -> int:
        return 1

    def check(self, cfg: Any) -> None:
        if cfg.decoder.output_dim != cfg.decoder.embed_dim:
            raise InputError(
                f"--latent-injection logits: --decoder-output-dim {cfg.decoder.output_dim} is not --decoder-embed-dim "
                f"{cfg.decoder.embed_dim}; leave one of the two flags out"
            )

    def after_layers(self, x: Tensor, slots: Tensor) -> Tensor:
        return x + slots.transpose(0, 1)  # B x 1 x C


class MemoryLayout:
    """The slots of each injection in the one memory tensor, in the order in which injections are registered.

    Args:
        names: the injections, in any order
        layers: L
        slots: --latent-memory-slots
        values: an object with the flags of injections as attributes; None: their defaults

    Attributes:
        size: M
        places: the injections with their slots

    Raises:
        InputError: an unknown injection, one given twice or none, or fewer than one slot

    >>> layout = MemoryLayout(["embedding", "self-attention"], layers=2, slots=3)
    >>> layout.size, [place for _, place in layout.places]
    (7, [slice(0, 6, None), slice(6, 7, None)])
    """

    def __init__(self, names: Sequence[str], layers: int, slots: int, values: Any = None):
        known = injections.names()
        if not names or any(name not in known for name in names) or len(set(names)) != len(names):
            raise InputError(
                f"--latent-injection {','.join(names)}: expected one or several of {', '.join(known)}, comma-"
                "separated, each once"
            )
        if slots < 1:
            raise InputError(f"--latent-memory-slots {slots}: expected 1 or more")
        self.places: List[Tuple[Injection, slice]] = []
        self.size = 0
        for name in known:
            if name in names:
                injection = injections[name](layers, slots, injections.config(name, values))
                self.places.append((injection, slice(self.size, self.size + injection.size())))
                self.size += injection.size()

    @classmethod
    def of(cls, cfg: Any) -> "MemoryLayout":
        """The layout of a configured model.

        Raises:
            InputError: the architecture lacks something that an injection needs
        """
        layout = cls(cfg.latent_injection.split(","), cfg.decoder.layers, cfg.latent_memory_slots, cfg)
        for injection, _ in layout.places:
            injection.check(cfg)
        if cfg.cross_self_attention:
            raise InputError("--cross-self-attention would show every layer every slot: use --latent-injection instead")
        return layout

    def before_layer(self, x: Tensor, memory: Tensor, layer: int) -> Tensor:
        """The input of a decoder layer, U x B x C, after all injections; memory: M x B x C."""
        for injection, place in self.places:
            x = injection.before_layer(x, memory[place], layer)
        return x

    def after_layers(self, x: Tensor, memory: Tensor) -> Tensor:
        """The decoder's output, B x U x C, after all injections; memory: M x B x C."""
        for injection, place in self.places:
            x = injection.after_layers(x, memory[place])
        return x

    def keys_values(self, memory: Tensor, layer: int) -> Optional[Tensor]:
        """Raw keys and values before a layer's own, of all injections, any number x B x C; None for none."""
        return joined([injection.keys_values(memory[place], layer) for injection, place in self.places])

    def states(self, memory: Tensor) -> Optional[Tensor]:
        """States that cross-attention reads, of all injections, any number x B x C; None for none."""
        return joined([injection.states(memory[place]) for injection, place in self.places])


def joined(parts: Sequence[Optional[Tensor]]) -> Optional[Tensor]:
    """The tensors that are there, in a row along their first axis; None for none."""
    found = [part for part in parts if part is not None]
    return torch.cat(found) if len(found) > 1 else found[0] if found else None


class LatentMemory(nn.Module):
    """z, B x Z, to all that the decoder learns of the source: memory, M x B x C; one affine map."""

    def __init__(self, latent_dim: int, slots: int, embed_dim: int):
        super().__init__()
        self.slots = slots
        self.project = nn.Linear(latent_dim, slots * embed_dim)

    def reset_parameters(self) -> None:
        """Slots as large as the states they stand among; BART's 0.02 would start them some 10 times smaller."""
        nn.init.normal_(self.project.weight, std=self.project.in_features**-0.5)

    def forward(self, z: Tensor) -> Tensor:
        memory = self.project(z.to(self.project.weight.dtype))  # B x M*C
        return memory.view(len(z), self.slots, -1).transpose(0, 1)  # M x B x C
