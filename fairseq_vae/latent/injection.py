"""Injection: how the decoder learns z. z becomes slots, one tensor for all injections; each injection reads its share.

fairseq's beam search reorders the encoder's output, a tensor of the layout M x B x C. So the slots of all injections
travel in one tensor of that layout.

Shapes: B batch, U target length, C model width, Z latent dimensions, M slots in all, S slots of an injection, L decoder
layers.
"""

from typing import Any, Optional

from torch import Tensor

from ..base.errors import InputError
from ..base.registry import Registry

__all__ = ["Injection", "injections", "register_injection"]


class Injection:
    """One way in which the decoder reads slots. The methods that a subclass leaves alone do nothing.

    Args:
        layers: L
        slots: --latent-memory-slots
        config: the injection's own flags, see Registry.register

    Attributes:
        cross_attention: whether the injection needs the decoder's cross-attention
        vector: number of the latent vector that the slots are made of, from 0

    >>> import torch
    >>> injection = injections["embedding"](layers=2, slots=1)
    >>> x, slots = torch.zeros(5, 2, 4), torch.ones(1, 2, 4)
    >>> injection.before_layer(x, slots, layer=0).equal(x + 1), injection.keys_values(slots, layer=0)
    (True, None)
    """

    cross_attention = False
    vector = 0

    def __init__(self, layers: int, slots: int, config: Any = None):
        self.layers, self.slots = layers, slots

    def size(self) -> int:
        """S, the number of slots that the injection reads."""
        raise NotImplementedError

    def check(self, cfg: Any) -> None:
        """Refuse an architecture that the injection cannot work with.

        Args:
            cfg: the model's configuration, a fairseq TransformerConfig

        Raises:
            InputError: the architecture does not fit; the message names the flag and the remedy
        """

    def before_layer(self, x: Tensor, slots: Tensor, layer: int) -> Tensor:
        """Change the input of a decoder layer.

        Args:
            x: the layer's input, U x B x C
            slots: the injection's own, S x B x C
            layer: the layer's number, from 0

        Returns:
            U x B x C
        """
        return x

    def keys_values(self, slots: Tensor, layer: int) -> Optional[Tensor]:
        """The raw keys and values that stand before a layer's own.

        Args:
            slots: the injection's own, S x B x C
            layer: the layer's number, from 0

        Returns:
            any number x B x C; None for none
        """
        return None

    def states(self, slots: Tensor) -> Optional[Tensor]:
        """The states that cross-attention reads.

        Args:
            slots: the injection's own, S x B x C

        Returns:
            any number x B x C; None for none
        """
        return None

    def after_layers(self, x: Tensor, slots: Tensor) -> Tensor:
        """Change the decoder's output before its projection onto words.

        Args:
            x: the output of the last layer, B x U x C
            slots: the injection's own, S x B x C

        Returns:
            B x U x C
        """
        return x


injections: Registry = Registry("injection", ("size", "check"), counts=lambda name: {"latent_injection": (name,)})
register_injection = injections.register


@register_injection("self-attention", help="raw keys and values before each decoder layer's own")
class SelfAttentionInjection(Injection):
    """Keys and values in each layer's self-attention.

    Park & Lee 2021, https://arxiv.org/abs/2108.02446; Li et al. 2020, https://arxiv.org/abs/2004.04092, Optimus'
    "memory".
    """

    def size(self) -> int:
        return self.layers * self.slots

    def keys_values(self, slots: Tensor, layer: int) -> Tensor:
        return slots[layer * self.slots : (layer + 1) * self.slots]


@register_injection("layer", help="the same, but each latent vector in a decoder layer of its own")
class LayerInjection(Injection):
    """Keys and values in the self-attention of one layer: of latent vector k, from 0, in layer k alone.

    A vector for each layer is DELLA's (Hu et al. 2022, https://arxiv.org/abs/2207.06130). There a low-rank product of
    the vector and the layer's own values takes the place of the values; here they stay as they are.
    """

    def size(self) -> int:
        return self.slots

    def check(self, cfg: Any) -> None:
        if cfg.latent_vectors != cfg.decoder.layers:
            raise InputError(
                f"--latent-vectors {cfg.latent_vectors}: --latent-injection layer expects {cfg.decoder.layers}, one "
                "for each of --decoder-layers"
            )
        if cfg.decoder.layerdrop > 0:
            raise InputError(
                f"--decoder-layerdrop {cfg.decoder.layerdrop} would drop a vector of z: leave it out, or layer out of "
                "--latent-injection"
            )

    def keys_values(self, slots: Tensor, layer: int) -> Optional[Tensor]:
        return slots if layer == self.vector else None


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
    """A vector added to every decoder input.

    Li et al. 2020, https://arxiv.org/abs/2004.04092, Optimus' "embedding".
    """

    def size(self) -> int:
        return 1

    def check(self, cfg: Any) -> None:
        if cfg.decoder.layerdrop > 0:
            raise InputError(
                f"--decoder-layerdrop {cfg.decoder.layerdrop} would drop z: leave it out, or embedding out of "
                "--latent-injection"
            )

    def before_layer(self, x: Tensor, slots: Tensor, layer: int) -> Tensor:
        return x + slots if layer == 0 else x  # 1 x B x C, the same at every position


@register_injection("logits", help="a skip connection: added to every decoder output before its projection onto words")
class LogitsInjection(Injection):
    """A vector added to every decoder output, a term of the logits that is linear in z.

    Dieng et al. 2019, https://arxiv.org/abs/1807.04863.
    """

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
