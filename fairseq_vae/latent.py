"""The latent variable: pooling, posterior and what the decoder reads of z. Torch only, no fairseq.

Shapes everywhere: B batch, T source length, C model width, Z latent size, M memory slots, L decoder layers.
"""

import math
from typing import NamedTuple, Optional, Sequence

import torch
import torch.nn as nn
import torch.nn.functional as F
from torch import Tensor

from .errors import InputError

POOLINGS = ("mean", "max", "first", "attention")
INJECTIONS = ("self-attention", "cross-attention", "embedding", "logits")

# Soft bound of the log-variance: the standard deviation stays in (0.018, 55), so no exp() overflows in half precision
# and a long phase without KL cannot drive it to minus infinity.
LOGVAR_BOUND = 8.0


class GaussianPosterior(NamedTuple):
    """Diagonal Gaussian q(z|x) = N(mu, diag(exp(logvar))), one row a sentence; always float32.

    Attributes:
        mu: mean, B x Z
        logvar: log-variance, B x Z
    """

    mu: Tensor
    logvar: Tensor

    def rsample(self, noise: Optional[Tensor] = None) -> Tensor:
        """z = mu + exp(logvar / 2) * noise, B x Z (Kingma & Welling 2014, the reparameterisation).

        noise: standard normal, B x Z; drawn from torch's global generator if None.
        """
        if noise is None:
            noise = torch.randn_like(self.mu)
        return self.mu + torch.exp(0.5 * self.logvar) * noise.to(self.mu)

    def kl(self) -> Tensor:
        """KL(q(z|x) || N(0, I)) of each dimension in nats, B x Z (Kingma & Welling 2014, appendix B).

        0.5 * (mu^2 + exp(logvar) - 1 - logvar), written so that it is exactly 0 at mu = logvar = 0.
        """
        return 0.5 * (self.mu.square() + torch.expm1(self.logvar) - self.logvar)

    def log_prob(self, z: Tensor) -> Tensor:
        """log q(z|x) of each row in nats, B."""
        square = (z - self.mu).square() * torch.exp(-self.logvar)
        return -0.5 * (square + self.logvar + math.log(2 * math.pi)).sum(-1)


def pool(hidden: Tensor, padding_mask: Tensor, how: str, query: Optional[Tensor] = None) -> Tensor:
    """One vector a sentence from the encoder's states; padding never counts, on either side.

    Args:
        hidden: encoder states, T x B x C
        padding_mask: true where a token is padding, B x T
        how: "mean", "max" (over time, each channel by itself), "first" (the first token that is not padding),
            "attention" (softmax over time of hidden . query / sqrt(C))
        query: learned vector of "attention", C

    Returns:
        pooled states in float32, B x C
    """
    hidden = hidden.float().transpose(0, 1)  # B x T x C
    if how == "first":
        first = padding_mask.logical_not().int().argmax(dim=1)  # B
        return hidden[torch.arange(len(hidden), device=hidden.device), first]
    if how == "max":
        return hidden.masked_fill(padding_mask.unsqueeze(-1), -math.inf).amax(dim=1)
    if how == "mean":
        scores = torch.zeros_like(padding_mask, dtype=hidden.dtype)
    elif how == "attention":
        scores = hidden @ query.float() / math.sqrt(hidden.size(-1))  # B x T
    else:
        raise ValueError(f"unknown pooling {how!r}: choose one of {', '.join(POOLINGS)}")
    weights = scores.masked_fill(padding_mask, -math.inf).softmax(dim=1)
    return torch.einsum("bt,btc->bc", weights, hidden)


class FixedScaleBatchNorm(nn.Module):
    """gamma * (mu - mean) / sqrt(var + EPSILON) + shift: gamma is fixed, the shift learned (Zhu et al. 2020, BN-VAE).
    The mean KL of a sentence is then at least Z * gamma^2 / 2 nats, less what EPSILON takes.

    In training, mean and (biased) variance over the batch that this worker sees at a time: its rows depend on one
    another. Otherwise their moving averages, of the rows of all workers; so, too, in training for a batch of one row.
    """

    EPSILON = 1e-5
    MOMENTUM = 0.1

    def __init__(self, dim: int, gamma: float):
        super().__init__()
        self.gamma = gamma
        self.shift = nn.Parameter(torch.zeros(dim))
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("var", torch.ones(dim))

    def forward(self, mu: Tensor) -> Tensor:
        if self.training:
            mean, var = mu.mean(0), mu.var(0, unbiased=False)  # Z
            self.remember(mean.detach(), var.detach(), len(mu))
        if not self.training or len(mu) == 1:
            mean, var = self.mean.to(mu, copy=True), self.var.to(mu, copy=True)  # the next batch changes them in place
        return self.gamma * (mu - mean) * torch.rsqrt(var + self.EPSILON) + self.shift.to(mu)

    def remember(self, mean: Tensor, var: Tensor, rows: int) -> None:
        """Move the averages towards the moments of all workers' rows; one row alone has no variance."""
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            sums = rows * torch.stack((mean, var + mean.square(), torch.ones_like(mean)))  # 3 x Z
            torch.distributed.all_reduce(sums)
            mean, square = sums[:2] / sums[2]
            var = (square - mean.square()).clamp(min=0)
        elif rows == 1:
            return
        for average, value in ((self.mean, mean), (self.var, var)):
            average.lerp_(value.to(average), self.MOMENTUM)


class PosteriorHead(nn.Module):
    """Encoder states T x B x C to a GaussianPosterior over Z dimensions, computed in float32 whatever the model's
    precision; the log-variance is LOGVAR_BOUND * tanh(raw / LOGVAR_BOUND). bn_mu: the scale of a batch normalisation of
    the mean, 0 for none."""

    def __init__(self, embed_dim: int, latent_dim: int, pooling: str, bn_mu: float = 0.0):
        super().__init__()
        self.pooling = pooling
        self.bn_mu = FixedScaleBatchNorm(latent_dim, bn_mu) if bn_mu > 0 else None
        self.query = nn.Parameter(torch.zeros(embed_dim)) if pooling == "attention" else None
        self.mu = nn.Linear(embed_dim, latent_dim)
        self.logvar = nn.Linear(embed_dim, latent_dim)

    def forward(self, hidden: Tensor, padding_mask: Tensor) -> GaussianPosterior:
        with torch.autocast(hidden.device.type, enabled=False):
            pooled = pool(hidden, padding_mask, self.pooling, self.query)  # B x C
            mu, raw = (F.linear(pooled, m.weight.float(), m.bias.float()) for m in (self.mu, self.logvar))  # B x Z
            if self.bn_mu is not None:
                mu = self.bn_mu(mu)
            return GaussianPosterior(mu, LOGVAR_BOUND * torch.tanh(raw / LOGVAR_BOUND))


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
