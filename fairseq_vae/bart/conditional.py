"""The encoder of a conditional model: of sentences y, given sources x.

The stock encoder reads the source. Its states go to the decoder's cross-attention, as BART's do, and pooled to the
prior p(z|x) and to the posterior q(z|x, y), which reads the pooled states of y as well.

Shapes: B batch, T source length, U target length, C model width.
"""

from typing import Any, ClassVar, List, Optional, Tuple

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

__all__ = ["BARTCVAEEncoder"]


class BARTCVAEEncoder(BARTVAEEncoder):
    """From sources and targets to slots and the sources' states, which the decoder reads both.

    The target is read as BART reads a sentence, with <s> in front, by the encoder of the sources or by a copy of it
    that learns by itself (--target-encoder).

    Args:
        cfg, dictionary, embed_tokens: as for BARTVAEEncoder
    """

    conditional: ClassVar[bool] = True

    def __init__(self, cfg: Any, dictionary: Dictionary, embed_tokens: nn.Embedding):
        super().__init__(cfg, dictionary, embed_tokens)
        self.source_pooling = build_pooling(str(cfg.latent_pooling), embed_tokens.embedding_dim, cfg)
        self.target_encoder: Optional[TransformerEncoderBase] = None
        if str(cfg.target_encoder) == "copy":
            self.target_encoder = TransformerEncoderBase(cfg, dictionary, embed_tokens)
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
            return self.states(tokens, lengths)
        found = self.target_encoder(tokens, lengths)
        return found["encoder_out"][0], found["encoder_padding_mask"][0]
