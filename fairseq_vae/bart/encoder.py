"""The encoder: from sentences to a posterior, a sample z of it, and the slots that the decoder reads.

Shapes: B batch, T source length, C model width, Z latent dimensions, M slots.
"""

from typing import Any, Dict, List, Optional, Tuple

import torch
from fairseq.data import Dictionary
from fairseq.models.transformer import TransformerEncoderBase
from torch import Tensor

from ..base.needs import check_sizes
from ..base.version import __version__
from ..latent.blocks import check_least
from ..latent.distributions import Distribution, expanded
from ..latent.output import VAEOutput
from ..latent.pooling import build_pooling
from ..latent.posterior import posteriors
from ..latent.prior import build_prior
from ..latent.slots import LatentSlots, SlotLayout

__all__ = ["BARTVAEEncoder"]


class BARTVAEEncoder(TransformerEncoderBase):
    """From tokens to slots: the stock encoder, pooling, the posterior, z, and the slots that the decoder reads.

    Args:
        cfg: fairseq's TransformerConfig with the latent flags
        dictionary: the source's
        embed_tokens: token embeddings

    Raises:
        InputError: the architecture lacks something that an injection needs, or a flag of a part has a bad value
    """

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
        check_least(posteriors, posterior, cfg.latent_vectors)
        self.posterior = posteriors[posterior](width, dim, pool, posteriors.config(posterior, cfg))
        self.memory = LatentSlots(dim, layout.size, cfg.decoder.embed_dim, cfg.latent_vectors)
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

    def context(self, src_tokens: Tensor, src_lengths: Optional[Tensor] = None) -> Optional[Tensor]:
        """The states of the source that prior and decoder know beside z. A conditional model overrides this method.

        Args:
            src_tokens: B x T
            src_lengths: B

        Returns:
            B x T x C; None: there are none
        """
        return None

    @property
    def reads_source(self) -> bool:
        """Whether anything depends on the source: with --zero-latent a context alone does."""
        return not self.zero_latent or type(self).context is not BARTVAEEncoder.context

    def infer(
        self,
        src_tokens: Tensor,
        src_lengths: Optional[Tensor] = None,
        return_all_hiddens: bool = False,
        token_embeddings: Optional[Tensor] = None,
    ) -> Distribution:
        """The posterior q(z|x) of sentences; with --zero-latent, the prior.

        Args:
            src_tokens: B x T
            others: as in fairseq's TransformerEncoder.forward

        Returns:
            a distribution of B sentences
        """
        if self.zero_latent:
            return expanded(self.prior(self.context(src_tokens, src_lengths)), len(src_tokens))
        states = super().forward(src_tokens, src_lengths, return_all_hiddens, token_embeddings)
        return self.posterior(states["encoder_out"][0], states["encoder_padding_mask"][0])

    def forward(
        self,
        src_tokens: Tensor,
        src_lengths: Optional[Tensor] = None,
        return_all_hiddens: bool = False,
        token_embeddings: Optional[Tensor] = None,
        eps: Optional[Tensor] = None,
        z: Optional[Tensor] = None,
        z_source: Optional[Tuple[Tensor, Tensor]] = None,
        prior_eps: Optional[Tensor] = None,
    ) -> Dict[str, Any]:
        """Encode sentences, or take z as given.

        z is the argument, if given; otherwise prior.rsample(prior_eps) or posterior.rsample(eps), if one of them is
        given; otherwise, in training mode, a sample by torch's global random state, unless --deterministic-latent;
        otherwise the posterior's mean. With --zero-latent z is 0 in any case. Of draws the first columns are taken, so
        that models of different latent_dim may share them.

        Args:
            src_tokens: B x T; with z given, only the number of rows counts, unless the model has a context
            src_lengths: B
            return_all_hiddens: as in fairseq
            token_embeddings: as in fairseq
            eps: standard normal draws, B x posterior.eps_dim, or more columns
            z: latents to decode, B x Z
            z_source: B other sentences and their lengths, of whose posterior z is then; the context stays the batch's
            prior_eps: standard normal draws, B x prior.eps_dim, or more columns

        Returns:
            fairseq's dictionary of an encoder, in which `encoder_out` is [slots], M x B x C, without padding; `vae` in
            it is a VAEOutput, whose posterior is None if z was given or drawn from the prior
        """
        prior = self.prior(self.context(src_tokens, src_lengths))
        posterior = None
        if z is None and prior_eps is not None:
            z = prior.rsample(prior_eps[:, : self.prior.eps_dim])
        if z is None:
            source = (src_tokens, src_lengths) if z_source is None else z_source
            posterior = self.infer(*source, return_all_hiddens, token_embeddings)
            sampled = eps is not None or (self.training and not self.deterministic_latent)
            eps = None if eps is None else eps[:, : self.posterior.eps_dim]
            z = posterior.rsample(eps) if sampled else posterior.mean
        if self.zero_latent:
            z = torch.zeros_like(z)
        slots = self.memory(z)  # M x B x C
        count, size, _ = slots.shape
        return {
            "encoder_out": [slots],
            "encoder_padding_mask": [torch.zeros(size, count, dtype=torch.bool, device=slots.device)],
            "encoder_embedding": [],
            "encoder_states": [],
            "fc_results": [],
            "src_tokens": [],
            "src_lengths": [src_tokens.ne(self.padding_idx).sum(dim=1, dtype=torch.int32).unsqueeze(1)],
            "vae": VAEOutput(prior, z, posterior),
        }
