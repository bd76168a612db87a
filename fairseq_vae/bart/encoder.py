"""The encoder: sentences to a posterior, a sample z of it, and the memory that the decoder reads."""

from typing import Any, Dict, Optional

import torch
from fairseq.models.transformer import TransformerEncoderBase
from torch import Tensor

from ..base.version import __version__
from ..latent.distributions import GaussianPosterior
from ..latent.injection import LatentMemory, MemoryLayout
from ..latent.posterior import PosteriorHead


class BARTVAEEncoder(TransformerEncoderBase):
    """Tokens to memory: the stock encoder, pooling, the posterior, z, and the slots that the decoder reads."""

    def __init__(self, cfg, dictionary, embed_tokens):
        super().__init__(cfg, dictionary, embed_tokens)
        embed_dim = embed_tokens.embedding_dim
        layout = MemoryLayout.of(cfg)
        self.deterministic_latent = cfg.deterministic_latent
        self.zero_latent = cfg.zero_latent
        self.posterior = PosteriorHead(embed_dim, cfg.latent_dim, cfg.latent_pooling, cfg.bn_mu)
        self.memory = LatentMemory(cfg.latent_dim, layout.size, cfg.decoder.embed_dim)
        # who wrote a checkpoint: an older plug-in refuses it rather than misread it
        self.register_buffer("plugin_version", torch.tensor([int(part) for part in __version__.split(".")]))

    def infer(
        self,
        src_tokens: Tensor,
        src_lengths: Optional[Tensor] = None,
        return_all_hiddens: bool = False,
        token_embeddings: Optional[Tensor] = None,
    ) -> GaussianPosterior:
        """The posterior q(z|x) of sentences, src_tokens B x T; with --zero-latent the prior."""
        if self.zero_latent:
            zeros = torch.zeros(len(src_tokens), self.memory.project.in_features, device=src_tokens.device)
            return GaussianPosterior(zeros, zeros)
        states = super().forward(src_tokens, src_lengths, return_all_hiddens, token_embeddings)
        return self.posterior(states["encoder_out"][0], states["encoder_padding_mask"][0])

    def forward(
        self,
        src_tokens: Tensor,
        src_lengths: Optional[Tensor] = None,
        return_all_hiddens: bool = False,
        token_embeddings: Optional[Tensor] = None,
        noise: Optional[Tensor] = None,
        z: Optional[Tensor] = None,
    ) -> Dict[str, Any]:
        """Encode sentences, or take z as given.

        z is the argument if given; else mu + sigma * noise, if noise is given; else a sample drawn from torch's global
        generator in training mode, unless --deterministic-latent; else mu. With --zero-latent it is 0 in any case.

        Args:
            src_tokens: B x T; with z given, only its number of rows counts
            noise: standard normal, B x Z
            z: latents to decode, B x Z

        Returns:
            fairseq's dictionary of an encoder, in which `encoder_out` is [memory], M x B x C, without padding;
            further `posterior` (None if z was given) and `z`, B x Z
        """
        posterior = None
        if z is None:
            posterior = self.infer(src_tokens, src_lengths, return_all_hiddens, token_embeddings)
            sampled = noise is not None or (self.training and not self.deterministic_latent)
            z = posterior.rsample(noise) if sampled else posterior.mu
        if self.zero_latent:
            z = torch.zeros_like(z)
        memory = self.memory(z)  # M x B x C
        slots, size, _ = memory.shape
        return {
            "encoder_out": [memory],
            "encoder_padding_mask": [torch.zeros(size, slots, dtype=torch.bool, device=memory.device)],
            "encoder_embedding": [],
            "encoder_states": [],
            "fc_results": [],
            "src_tokens": [],
            "src_lengths": [src_tokens.ne(self.padding_idx).sum(dim=1, dtype=torch.int32).unsqueeze(1)],
            "posterior": posterior,
            "z": z,
        }
