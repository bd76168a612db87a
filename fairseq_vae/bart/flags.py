"""The flags that bart_vae adds to BART's."""

import argparse
import dataclasses

from fairseq.dataclass import ChoiceEnum, FairseqDataclass

from ..base.errors import InputError
from ..latent.pooling import POOLINGS
from ..objective.controller import CONTROLLERS


@dataclasses.dataclass
class LatentConfig(FairseqDataclass):
    """The flags that bart_vae adds to BART's."""

    latent_dim: int = dataclasses.field(default=32, metadata={"help": "dimensions of z (default: 32)"})
    latent_pooling: ChoiceEnum(POOLINGS) = dataclasses.field(
        default="mean",
        metadata={
            "help": "how the encoder's states become one vector: mean or max over the sentence, its first token, or "
            "attention with one learned query; padding never counts (default: mean)"
        },
    )
    latent_injection: str = dataclasses.field(
        default="self-attention,embedding",
        metadata={
            "help": "how the decoder learns z, one or several, comma-separated: self-attention (raw keys and values "
            "before each decoder layer's own), cross-attention (slots that BART's cross-attention reads; without it "
            "the decoder has none), embedding (added to every decoder input), logits (a skip connection: added to "
            "every decoder output before its projection onto words) (default: self-attention,embedding)"
        },
    )
    latent_memory_slots: int = dataclasses.field(
        default=1,
        metadata={"help": "slots of self-attention in each layer, and of cross-attention (default: 1)"},
    )
    deterministic_latent: bool = dataclasses.field(
        default=False,
        metadata={"help": "z = mu in training and validation: an autoencoder (default: z is sampled)"},
    )
    zero_latent: bool = dataclasses.field(
        default=False,
        metadata={
            "help": "z = 0 for every sentence and no encoder: a plain language model, the reference that a VAE is "
            "held against (default: off)"
        },
    )
    freeze_decoder: bool = dataclasses.field(
        default=False,
        metadata={
            "help": "do not train the decoder, and keep its dropout off; what it shares with the encoder (the token "
            "embeddings) and the latent layers learn on (default: off)"
        },
    )
    freeze_embeddings: bool = dataclasses.field(
        default=False, metadata={"help": "do not train the token embeddings (default: off)"}
    )
    bn_mu: float = dataclasses.field(
        default=0.0,
        metadata={
            "help": "batch-normalise mu to this fixed standard deviation, with which a sentence's KL is at least "
            "latent-dim x its square / 2 nats (Zhu et al. 2020, BN-VAE: 0.6); 0: no normalisation (default: 0)"
        },
    )
    bow_weight: float = dataclasses.field(
        default=0.0,
        metadata={
            "help": "weight in the training loss of the bag-of-words loss, in nats, of a two-layer network that "
            "predicts a sentence's words from z (Zhao et al. 2017: 1); 0: no such network (default: 0)"
        },
    )
    rate_controller: ChoiceEnum(CONTROLLERS) = dataclasses.field(
        default="none",
        metadata={
            "help": "beta, in place of the schedule's, that holds the rate, the mean KL of a sentence, at "
            "--rate-target: lagrangian (Rezende & Viola 2018, GECO), or pid (Shao et al. 2020, ControlVAE); one step "
            "an update (default: none)"
        },
    )
    rate_target: float = dataclasses.field(
        default=0.0, metadata={"help": "nats per sentence that --rate-controller holds the KL at (default: 0)"}
    )
    rate_gain: float = dataclasses.field(
        default=0.01,
        metadata={
            "help": "speed of --rate-controller: of log beta an update at a rate of twice the target for lagrangian; "
            "for pid the proportional gain, of which the integral's is a hundredth (default: 0.01)"
        },
    )
    rate_max_weight: float = dataclasses.field(
        default=1.0,
        metadata={
            "help": "upper bound of beta under --rate-controller; with 1, the ELBO's own, the target is a minimum "
            "(NewsVAE's minimum desired rate), above 1 also a maximum (default: 1)"
        },
    )
    autocast_bf16: bool = dataclasses.field(
        default=False,
        metadata={
            "help": "matrix products of training in bfloat16, on CPUs with AMX or AVX-512 BF16 and on GPUs; weights, "
            "posterior, KL, losses, validation and generation stay in float32 (default: off)"
        },
    )


def check_remedies(args: argparse.Namespace) -> None:
    """Refuse values that the flags of remedies cannot have, and controllers of a rate that nothing moves."""
    for flag in ("bn_mu", "bow_weight"):
        if getattr(args, flag) < 0:
            raise InputError(f"--{flag.replace('_', '-')} {getattr(args, flag)}: expected 0 (none) or more")
    if str(args.rate_controller) == "none":
        if args.rate_target:
            raise InputError(f"--rate-target {args.rate_target}: add --rate-controller lagrangian or pid")
        return
    for flag in ("rate_target", "rate_gain", "rate_max_weight"):
        if getattr(args, flag) <= 0:
            raise InputError(
                f"--{flag.replace('_', '-')} {getattr(args, flag)}: --rate-controller {args.rate_controller} expects "
                "more than 0"
            )
    if args.zero_latent or args.deterministic_latent:
        raise InputError(
            f"--rate-controller {args.rate_controller}: there is no rate with --zero-latent or --deterministic-latent; "
            "leave one of the flags out"
        )
