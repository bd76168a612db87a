"""The encoder of a conditional model: of sentences y, given sources x.

The stock encoder reads the source. Its states go to the decoder's cross-attention, as BART's do, and pooled to the
prior p(z|x) and to the posterior q(z|x, y), which reads the pooled states of y as well.

Shapes: B batch, T source length, U target length, C model width.
"""

import copy
from typing import Any, ClassVar, List, Mapping, Optional, Tuple, TypeVar

import torch.nn as nn
from fairseq.data import Dictionary
from fairseq.models.transformer import TransformerEncoderBase
from torch import Tensor

from ..base.errors import InputError
from ..latent.context import Context
from ..latent.distributions import Distribution
from ..latent.pooling import build_pooling
from .encoder import BARTVAEEncoder
from .frozen import with_start

__all__ = ["BARTCVAEEncoder", "with_first_layers"]

AnyEncoder = TypeVar("AnyEncoder", bound=TransformerEncoderBase)
AnyModule = TypeVar("AnyModule", bound=nn.Module)


class BARTCVAEEncoder(BARTVAEEncoder):
    """From sources and targets to slots and the sources' states, which the decoder reads both.

    The target is read as BART reads a sentence, with <s> in front, by the encoder of the sources or by a copy of it
    that learns by itself (--target-encoder), and by as many of its layers, from the first, as --target-encoder-layers
    says: their pass is all that z costs.

    Args:
        cfg, dictionary, embed_tokens: as for BARTVAEEncoder

    Raises:
        InputError: as for BARTVAEEncoder, or the encoder has fewer layers than are to read targets
    """

    conditional: ClassVar[bool] = True

    def __init__(self, cfg: Any, dictionary: Dictionary, embed_tokens: nn.Embedding):
        super().__init__(cfg, dictionary, embed_tokens)
        self.source_pooling = build_pooling(str(cfg.latent_pooling), embed_tokens.embedding_dim, cfg)
        self.target_encoder: Optional[TransformerEncoderBase] = None
        self.target_layers = cfg.target_encoder_layers or len(self.layers)
        if not 0 <= cfg.target_encoder_layers <= len(self.layers):
            raise InputError(
                f"--target-encoder-layers {cfg.target_encoder_layers}: expected 0, for all, or 1 to "
                f"{len(self.layers)}, the layers of the encoder"
            )
        if str(cfg.target_encoder) == "copy":
            self.target_encoder = TransformerEncoderBase(cfg, dictionary, embed_tokens)
            del self.target_encoder.layers[self.target_layers :]
            self.target_encoder.num_layers = self.target_layers
        self.starts = dictionary.bos()

    def context(self, src_tokens: Tensor, src_lengths: Optional[Tensor] = None, *others: Any) -> Context:
        """The sources' states; see Context.of for sources of no token.

        Args:
            src_tokens: B x T
            src_lengths: B
            others: as in fairseq's TransformerEncoder.forward
        """
        if not src_tokens.size(1):
            states = self.embed_tokens.weight.new_zeros(0, len(src_tokens), self.embed_tokens.embedding_dim)
            return Context.of(states, src_tokens.eq(self.padding_idx), self.source_pooling)
        return Context.of(*self.states(src_tokens, src_lengths, *others), self.source_pooling)

    def idle(self) -> List[nn.Module]:
        """The modules without an effect with --zero-latent: those of the posterior."""
        parts = (self.posterior, self.source_pooling, self.target_encoder)
        return [module for module in parts if module is not None]

    def inferring(self) -> List[nn.Module]:
        """The modules of the posterior; the decoder reads the sources' own as well, a learned prior their pooling."""
        pooling = None if self.prior.conditional else self.source_pooling
        return [module for module in (self.posterior, self.target_encoder, pooling) if module is not None]

    def inferred(
        self, context: Optional[Context], target: Optional[Tensor], src_tokens: Tensor, *others: Any
    ) -> Distribution:
        """The posterior q(z|x, y) of sources and targets.

        Args:
            context: of the sources
            target: y and </s>, B x U
            src_tokens, others: not used

        Raises:
            InputError: there is no target
        """
        if target is None:
            raise InputError("bart_cvae: a posterior is one of a source and a target, and there is no target")
        return self.posterior(*self.target_states(target), context)

    def target_states(self, target: Tensor) -> Tuple[Tensor, Tensor]:
        """The states of targets.

        Args:
            target: y and </s>, B x U; a task may have put <s> in front

        Returns:
            as states, of U + 1 tokens
        """
        tokens = self.filled(with_start(target, self.padding_idx, self.starts))
        lengths = tokens.ne(self.padding_idx).sum(1)
        if self.target_encoder is None:
            return with_first_layers(self, self.target_layers).states(tokens, lengths)
        found = self.target_encoder(tokens, lengths)
        return found["encoder_out"][0], found["encoder_padding_mask"][0]


def with_first_layers(encoder: AnyEncoder, count: int) -> AnyEncoder:
    """The same encoder, its weights shared, as if it ended behind its first layers; a layer norm at the end stays.

    Args:
        encoder: one of fairseq's
        count: number of layers, from 1
    """
    if count == len(encoder.layers):
        return encoder
    layers = with_modules(encoder.layers, dict(list(encoder.layers.named_children())[:count]))
    return with_modules(encoder, {**encoder._modules, "layers": layers})


def with_modules(module: AnyModule, children: Mapping[str, Optional[nn.Module]]) -> AnyModule:
    """A module with other children, its own weights and its state shared."""
    found = copy.copy(module)
    found._modules = dict(children)
    return found
