"""The encoder: from sentences to a posterior, a sample z of it, and the slots that the decoder reads.

Shapes: B batch, T source length, C model width, Z latent dimensions, M slots.
"""

from typing import Any, ClassVar, Dict, List, Optional, Tuple

import torch
import torch.nn as nn
import torch.nn.functional as F
from fairseq.data import Dictionary
from fairseq.models.transformer import TransformerEncoderBase
from torch import Tensor

from ..base.needs import check_sizes
from ..base.version import __version__
from ..latent.blocks import check_least
from ..latent.context import Context
from ..latent.distributions import Distribution, expanded
from ..latent.output import VAEOutput
from ..latent.pooling import build_pooling
from ..latent.posterior import posteriors
from ..latent.prior import build_prior
from ..latent.slots import LatentSlots, SlotLayout
from .frozen import FrozenEncoder

__all__ = ["BARTVAEEncoder"]


class BARTVAEEncoder(TransformerEncoderBase):
    """From tokens to slots: the stock encoder, pooling, the posterior, z, and the slots that the decoder reads.

    Args:
        cfg: fairseq's TransformerConfig with the latent flags
        dictionary: the source's
        embed_tokens: token embeddings

    Attributes:
        conditional: whether the model is one of sentences given sources; see bart.conditional

    Raises:
        InputError: the architecture lacks something that an injection needs, or a flag of a part has a bad value
    """

    conditional: ClassVar[bool] = False

    def __init__(self, cfg: Any, dictionary: Dictionary, embed_tokens: torch.nn.Embedding):
        super().__init__(cfg, dictionary, embed_tokens)
        width = embed_tokens.embedding_dim
        layout = SlotLayout.of(cfg)
        check_sizes(cfg, latent_dim=1)
        self.deterministic_latent = cfg.deterministic_latent
        self.zero_latent = cfg.zero_latent
        prior, posterior, pooling = (str(getattr(cfg, f"latent_{part}")) for part in ("prior", "posterior", "pooling"))
        dim = cfg.latent_vectors * cfg.latent_dim
        pool = build_pooling(pooling, width, cfg, cfg.latent_vectors)
        self.pooled_positions = getattr(pool, "positions", 0)
        check_least(posteriors, posterior, cfg.latent_vectors)
        read = 2 * width if self.conditional else width
        self.posterior = posteriors[posterior](read, dim, pool, posteriors.config(posterior, cfg))
        self.memory = LatentSlots(dim, layout.size, cfg.decoder.embed_dim, cfg.latent_vectors, cfg.latent_slot_scale)
        prior = "standard" if cfg.zero_latent else prior  # of a prior that nothing draws from no weight would learn
        self.prior = build_prior(prior, dim, cfg, cfg.latent_vectors)
        # the version that wrote a checkpoint: an older plug-in refuses the checkpoint, rather than misread it; no
        # integers, which some averages of checkpoints refuse and others round down to an older version
        self.register_buffer("plugin_version", torch.tensor([float(part) for part in __version__.split(".")]))
        self.prior.connect(self)

    def optional_state(self) -> List[str]:
        """Names, in checkpoints, of the tensors and modules that flags add to the parts or leave out."""
        posterior, prior = self.posterior, self.prior
        parts = (("posterior", posterior), ("posterior", getattr(posterior, "pooling", None)), ("prior", prior))
        return [f"encoder.{place}.{name}" for place, part in parts for name in getattr(part, "optional_state", ())]

    def frozen(self) -> FrozenEncoder:
        """A copy of the stock encoder as it is now, which stays so."""
        return FrozenEncoder(self)

    def filled(self, tokens: Tensor) -> Tensor:
        """Tokens with as much padding behind them as the pooling reads positions.

        Args:
            tokens: B x T

        Returns:
            B x T, or B x more
        """
        return F.pad(tokens, (0, max(0, self.pooled_positions - tokens.size(1))), value=self.padding_idx)

    def states(
        self,
        src_tokens: Tensor,
        src_lengths: Optional[Tensor] = None,
        return_all_hiddens: bool = False,
        token_embeddings: Optional[Tensor] = None,
    ) -> Tuple[Tensor, Tensor]:
        """The stock encoder's states of tokens.

        Args:
            src_tokens: B x T
            src_lengths, return_all_hiddens, token_embeddings: as in fairseq's TransformerEncoder.forward

        Returns:
            T x B x C, and B x T, true where a token is padding; T is at least as many as the pooling reads
        """
        tokens = self.filled(src_tokens)
        if token_embeddings is not None:
            token_embeddings = F.pad(token_embeddings, (0, 0, 0, tokens.size(1) - src_tokens.size(1)))
        found = super().forward(tokens, src_lengths, return_all_hiddens, token_embeddings)
        return found["encoder_out"][0], found["encoder_padding_mask"][0]

    def context(self, src_tokens: Tensor, src_lengths: Optional[Tensor] = None, *others: Any) -> Optional[Context]:
        """What prior, posterior and decoder know of the sources beside z. A conditional model overrides this method.

        Args:
            src_tokens: B x T
            src_lengths: B
            others: as in fairseq's TransformerEncoder.forward

        Returns:
            None: nothing
        """
        return None

    def idle(self) -> List[nn.Module]:
        """The modules that learn nothing with --zero-latent: all but the map to the slots."""
        return [module for module in self.children() if module is not self.memory]

    def inferring(self) -> List[nn.Module]:
        """The modules of the posterior, which --aggressive-inference trains alone; see aggressive.encoder_side."""
        return [module for module in self.children() if module is not self.memory and module is not self.prior]

    @property
    def reads_source(self) -> bool:
        """Whether anything depends on the source: with --zero-latent a conditional model alone does."""
        return not self.zero_latent or self.conditional

    def infer(
        self,
        src_tokens: Tensor,
        src_lengths: Optional[Tensor] = None,
        return_all_hiddens: bool = False,
        token_embeddings: Optional[Tensor] = None,
        target: Optional[Tensor] = None,
    ) -> Distribution:
        """The posterior q(z|x) of sentences; with --zero-latent, the prior.

        Args:
            src_tokens: B x T
            src_lengths, return_all_hiddens, token_embeddings: as in fairseq's TransformerEncoder.forward
            target: B x U, which a conditional model alone reads

        Returns:
            a distribution of B sentences
        """
        context = self.context(src_tokens, src_lengths, return_all_hiddens, token_embeddings)
        if self.zero_latent:
            return expanded(self.prior(context), len(src_tokens))
        return self.inferred(context, target, src_tokens, src_lengths, return_all_hiddens, token_embeddings)

    def inferred(
        self, context: Optional[Context], target: Optional[Tensor], src_tokens: Tensor, *others: Any
    ) -> Distribution:
        """The posterior of sentences whose context is known. A conditional model overrides this method.

        Args:
            context: of the sentences
            target: not used
            src_tokens: B x T
            others: as in fairseq's TransformerEncoder.forward

        Returns:
            a distribution of B sentences
        """
        return self.posterior(*self.states(src_tokens, *others))

    def distributions(
        self, src_tokens: Tensor, src_lengths: Optional[Tensor] = None, target: Optional[Tensor] = None
    ) -> Tuple[Distribution, Distribution]:
        """Posterior and prior of sentences.

        Args:
            src_tokens, src_lengths, target: as for infer

        Returns:
            q(z|x) of B sentences, and p(z) of B sentences or one for all
        """
        context = self.context(src_tokens, src_lengths)
        prior = self.prior(context)
        if self.zero_latent:
            return expanded(prior, len(src_tokens)), prior
        return self.inferred(context, target, src_tokens, src_lengths), prior

    def forward(
        self,
        src_tokens: Tensor,
        src_lengths: Optional[Tensor] = None,
        return_all_hiddens: bool = False,
        token_embeddings: Optional[Tensor] = None,
        eps: Optional[Tensor] = None,
        z: Optional[Tensor] = None,
        z_source: Optional[Dict[str, Any]] = None,
        prior_eps: Optional[Tensor] = None,
        target: Optional[Tensor] = None,
        context: Optional[Context] = None,
    ) -> Dict[str, Any]:
        """Encode sentences, or take z as given.

        z is the argument, if given; otherwise prior.rsample(prior_eps) or posterior.rsample(eps), if one of them is
        given; otherwise, in training mode, a sample by torch's global random state, unless --deterministic-latent;
        otherwise the posterior's mean. A conditional model without a target has no posterior, and takes the prior's
        mean. With --zero-latent z is 0 in any case. Of draws the first columns are taken, so that models of different
        latent_dim may share them.

        Args:
            src_tokens: B x T; with z given, only the number of rows counts, unless the model is conditional
            src_lengths: B
            return_all_hiddens: as in fairseq
            token_embeddings: as in fairseq
            eps: standard normal draws, B x posterior.eps_dim, or more columns
            z: latents to decode, B x Z
            z_source: arguments of `infer` of B other sentences, of whose posterior z is then; the context stays the
                batch's
            prior_eps: standard normal draws, B x prior.eps_dim, or more columns
            target: B x U, which a conditional model alone reads
            context: of the sources; None: made of them here

        Returns:
            fairseq's dictionary of an encoder, in which `encoder_out` is one tensor, M x B x C: the slots, none of them
            padding, and behind them a conditional model's states of the source; `vae` in it is a VAEOutput, whose
            posterior is None if z was given or is the prior's
        """
        source = (src_tokens, src_lengths, return_all_hiddens, token_embeddings)
        context = self.context(*source) if context is None else context
        prior = self.prior(context)
        posterior = None
        if z is None and prior_eps is not None:
            z = prior.rsample(prior_eps[:, : self.prior.eps_dim])
        if z is None and self.conditional and target is None and z_source is None:
            z = prior.mean.expand(len(src_tokens), -1)
        if z is None:
            if z_source is not None:
                posterior = self.infer(**z_source)
            elif self.zero_latent:
                posterior = expanded(prior, len(src_tokens))
            else:
                posterior = self.inferred(context, target, *source)
            sampled = eps is not None or (self.training and not self.deterministic_latent)
            eps = None if eps is None else eps[:, : self.posterior.eps_dim]
            z = posterior.rsample(eps) if sampled else posterior.mean
        if self.zero_latent:
            z = torch.zeros_like(z)
        out = self.memory(z)  # M x B x C
        padding_mask = torch.zeros(out.shape[1], len(out), dtype=torch.bool, device=out.device)
        if context is not None:  # in the one tensor that fairseq's beam search reorders
            out = torch.cat((out, context.states.to(out.dtype)))
            padding_mask = torch.cat((padding_mask, context.padding_mask), dim=1)
        return {
            "encoder_out": [out],
            "encoder_padding_mask": [padding_mask],
            "encoder_embedding": [],
            "encoder_states": [],
            "fc_results": [],
            "src_tokens": [],
            "src_lengths": [src_tokens.ne(self.padding_idx).sum(dim=1, dtype=torch.int32).unsqueeze(1)],
            "vae": VAEOutput(prior, z, posterior),
        }
