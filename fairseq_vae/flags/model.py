"""The flags that bart_vae adds to BART's: its own, and the flags of registered parts."""

import argparse
import dataclasses
import functools
import math
from typing import Any, Iterable, Iterator, List, Optional, Tuple, Type

from fairseq.dataclass import ChoiceEnum, FairseqDataclass
from fairseq.models.bart.model import BARTModel

from ..base.errors import InputError
from ..base.host import fairseq_fields
from ..base.needs import Needs, plain, shown
from ..base.registry import Registry
from ..latent.injection import injections
from ..latent.pooling import poolings
from ..latent.posterior import posteriors
from ..latent.prior import priors
from ..latent.slots import SlotLayout
from ..objective.controller import CONTROLLERS
from ..objective.terms import has_parameters, terms

__all__ = [
    "REGISTRIES",
    "LatentFlags",
    "check_promises",
    "check_pruning",
    "check_rate",
    "check_slots",
    "latent_config",
    "model_config",
]

REGISTRIES: Tuple[Registry, ...] = (priors, posteriors, poolings, injections, terms)
TARGET_ENCODERS = ("shared", "copy")
RATE: Needs = {"rate_controller": tuple(name for name in CONTROLLERS if name != "none")}


@dataclasses.dataclass
class LatentFlags(FairseqDataclass):
    """The flags that do not depend on registered parts."""

    latent_dim: int = dataclasses.field(default=32, metadata={"help": "dimensions of each vector of z (default: 32)"})
    latent_vectors: int = dataclasses.field(
        default=1,
        metadata={
            "help": "vectors that z consists of, each pooled by a learned query of its own and with slots of its own; "
            "more than 1 with --latent-pooling attention (default: 1)",
        },
    )
    latent_memory_slots: int = dataclasses.field(
        default=1,
        metadata={
            "help": "slots of each latent vector, in each layer's self-attention (in one layer's with "
            "--latent-injection layer) and in cross-attention (default: 1)"
        },
    )
    latent_slot_scale: float = dataclasses.field(
        default=1.0,
        metadata={
            "help": "standard deviation that slots start with, for z of N(0, I); at 1 they are as large as what "
            "BART's layer norm makes of a token, and at a rate of a few nats most of it is noise: below 1 the decoder "
            "keeps more of what it was pretrained for; slots of --mirror-slots start as they are (default: 1)",
            "needs": {"zero_latent": (False,)},
        },
    )
    mirror_slots: bool = dataclasses.field(
        default=False,
        metadata={
            "help": "start each vector's first slot of cross-attention as what mu tells of the pooled state: the map "
            "from z is the transpose of the map to mu, so that the slot is the pooled state's projection to as many "
            "dimensions as the vector has (the whole state where --latent-dim is --encoder-embed-dim or more), and "
            "BART's cross-attention starts on what it was pretrained to read (default: off)",
            "needs": {"latent_injection": ("cross-attention",), "zero_latent": (False,)},
        },
    )
    deterministic_latent: bool = dataclasses.field(
        default=False,
        metadata={
            "help": "z = mu in training and validation: an autoencoder (default: z is sampled)",
            "needs": {"zero_latent": (False,)},
        },
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
    rate_controller: ChoiceEnum(CONTROLLERS) = dataclasses.field(  # type: ignore[valid-type]  # made at run time
        default="none",
        metadata={
            "help": "beta, in place of the schedule's, that holds the rate, the mean KL of a sentence, at "
            "--rate-target: lagrangian (Rezende & Viola 2018, GECO), or pid (Shao et al. 2020, ControlVAE); one step "
            "an update (default: none)",
            "needs": {"criterion": ("vae_cross_entropy",)},
        },
    )
    rate_target: float = dataclasses.field(
        default=0.0,
        metadata={"help": "nats per sentence that --rate-controller holds the KL at (default: 0)", "needs": RATE},
    )
    rate_gain: float = dataclasses.field(
        default=0.01,
        metadata={
            "help": "speed of --rate-controller: of log beta an update at a rate of twice the target for lagrangian; "
            "for pid the proportional gain, of which the integral's is a hundredth (default: 0.01)",
            "needs": RATE,
        },
    )
    rate_max_weight: float = dataclasses.field(
        default=1.0,
        metadata={
            "help": "upper bound of beta under --rate-controller; with 1, the ELBO's own, the target is a minimum "
            "(NewsVAE's minimum desired rate), above 1 also a maximum (default: 1)",
            "needs": RATE,
        },
    )
    rate_start: float = dataclasses.field(
        default=-1.0,
        metadata={
            "help": "beta under --rate-controller before its first step, e.g. the small one of a training before, from "
            "which the rate comes down slowly instead of falling far below its target; -1: the papers', 1 for "
            "lagrangian and 0 for pid (default: -1)",
            "needs": RATE,
        },
    )
    autocast_bf16: bool = dataclasses.field(
        default=False,
        metadata={
            "help": "matrix products of training in bfloat16, on CPUs with AMX or AVX-512 BF16 and on GPUs; weights, "
            "posterior, KL, losses, validation and generation stay in float32 (default: off)",
            "needs": {"fp16": (False,), "bf16": (False,)},
        },
    )


@dataclasses.dataclass
class ConditionalFlags(LatentFlags):
    """The flags of bart_cvae beyond those of bart_vae that do not depend on registered parts."""

    target_encoder: ChoiceEnum(TARGET_ENCODERS) = dataclasses.field(  # type: ignore[valid-type]  # made at run time
        default="shared",
        metadata={
            "help": "what reads the target for the posterior: the encoder of the source, or a copy of it, which starts "
            "with the same weights, shares the token embeddings and learns by itself (default: shared)",
            "needs": {"zero_latent": (False,)},
        },
    )
    target_encoder_layers: int = dataclasses.field(
        default=0,
        metadata={
            "help": "how many layers of the encoder, or of its copy, read the target for the posterior, from the "
            "first; 0: all (default: 0). Fewer make a training step faster, by as much as the layers left out take",
            "needs": {"zero_latent": (False,)},
        },
    )


def choice(registry: Registry, default: str, text: str) -> Tuple[Any, Any]:
    """Make a flag that chooses a part by its name.

    Args:
        registry: of the parts
        default: the name of a part
        text: the flag's help, without the names

    Returns:
        the flag's type and dataclass field
    """
    help = f"{text}: {registry.help()} (default: {default})"
    return ChoiceEnum(registry.names()), dataclasses.field(default=default, metadata={"help": help})


def latent_config(conditional: bool = False) -> Type[FairseqDataclass]:
    """The dataclass of all flags that bart_vae or bart_cvae adds to BART's, with the parts that are registered now.

    Args:
        conditional: whether for bart_cvae

    Raises:
        InputError: a part's flag has the name of another flag
    """
    default = "self-attention,embedding"
    injection = dataclasses.field(
        default=default,
        metadata={
            "help": "how the decoder learns z, one or several, comma-separated: "
            f"{injections.help()} (default: {default})"
        },
    )
    chosen: List[Tuple[str, Any, Any]] = [
        ("latent_prior", *choice(priors, "conditional" if conditional else "standard", "p(z)")),
        ("latent_posterior", *choice(posteriors, "diagonal", "q(z|x)")),
        (
            "latent_pooling",
            *choice(
                poolings,
                "mean",
                "how the encoder's states become the vectors that z is made of; padding never counts",
            ),
        ),
        ("latent_injection", str, injection),
    ]
    own = [field.name for field in dataclasses.fields(LatentFlags)] + [name for name, _, _ in chosen]
    return dataclasses.make_dataclass(
        "LatentConfig",
        chosen + fairseq_fields(part_fields(), own),
        bases=(ConditionalFlags if conditional else LatentFlags,),
        namespace={"__doc__": "The flags that the model adds to BART's.", "__module__": __name__},
    )


def part_fields() -> Iterable[dataclasses.Field]:
    """The flags of the registered parts that belong to the model."""
    for registry in REGISTRIES:
        yield from registry.fields(has_parameters if registry is terms else None)


def check_rate(args: argparse.Namespace) -> None:
    """Refuse bad values of a rate controller's flags, and a controller in a model without a rate.

    Args:
        args: the model's flags

    Raises:
        InputError: the message names the flag, its value and the remedy
    """
    if str(args.rate_controller) == "none":
        return
    for flag in ("rate_target", "rate_gain", "rate_max_weight"):
        if not 0 < getattr(args, flag) < math.inf:
            raise InputError(
                f"--{flag.replace('_', '-')} {getattr(args, flag)}: --rate-controller {args.rate_controller} expects "
                "more than 0"
            )
    start, lagrangian = args.rate_start, str(args.rate_controller) == "lagrangian"
    if start != -1 and not (0 < start if lagrangian else 0 <= start):
        raise InputError(f"--rate-start {start}: expected {'more than 0' if lagrangian else '0 or more'}")
    if not start <= args.rate_max_weight:
        raise InputError(f"--rate-start {start}: expected at most --rate-max-weight {args.rate_max_weight}")
    if args.zero_latent or args.deterministic_latent:
        raise InputError(
            f"--rate-controller {args.rate_controller}: there is no rate with --zero-latent or --deterministic-latent; "
            "leave one of the flags out"
        )


def check_pruning(args: argparse.Namespace) -> None:
    """Refuse to prune layers beside another encoder, whose layers fairseq would drop from the checkpoint.

    Args:
        args: the model's flags

    Raises:
        InputError: the message names both flags
    """
    others = {
        "align_weight": ("the frozen encoder", 0.0),
        "target_encoder": ("the encoder of targets", "shared"),
    }
    for flag in ("encoder_layers_to_keep", "decoder_layers_to_keep"):
        for name, (encoder, default) in others.items():
            if getattr(args, flag, None) and plain(getattr(args, name, default)) != default:
                raise InputError(
                    f"{shown(name, getattr(args, name))}: with {shown(flag, getattr(args, flag))} fairseq drops the "
                    f"layers of {encoder}: leave one of the two out"
                )


def check_slots(values: Any) -> None:
    """Refuse slots that no injection has more of.

    Args:
        values: an object with the flags of the latent and of injections as attributes

    Raises:
        InputError: --latent-memory-slots is more than 1, and the number of slots in all does not depend on it; or see
            SlotLayout
    """

    def size(names: List[str], slots: int) -> int:
        return SlotLayout(names, 1, slots, values).size

    slots, names = values.latent_memory_slots, values.latent_injection
    if slots > 1 and size(names.split(","), slots) == size(names.split(","), 1):
        able = " or ".join(name for name in injections.names() if size([name], slots) != size([name], 1))
        raise InputError(
            f"--latent-memory-slots {slots} has no effect with --latent-injection {names}: only {able} has several "
            "slots; leave one of the two out"
        )


def check_promises(values: Any) -> None:
    """Refuse flags that have an effect together, but not the one that one of them promises.

    Args:
        values: an object with the flags of the latent, of priors and of posteriors as attributes

    Raises:
        InputError: the message names both flags, their values and the remedy
    """
    if values.mirror_slots and values.bn_mu:
        raise InputError(
            f"--mirror-slots starts slots as the pooled states, which --bn-mu {values.bn_mu} rescales: leave one of "
            "the two out"
        )
    if values.bn_mu and values.latent_prior != "standard":
        raise InputError(
            f"--bn-mu {values.bn_mu} promises a least KL from N(0, I), and --latent-prior {values.latent_prior} may "
            "follow mu: leave it out, or give --latent-prior standard"
        )
    if values.posterior_max_variance and values.latent_prior != "standard":
        raise InputError(
            f"{shown('posterior_max_variance', values.posterior_max_variance)} commits to a rate under N(0, I) alone, "
            f"not under --latent-prior {values.latent_prior}: leave one of the two out"
        )


def bart_fields() -> Iterator[Tuple[str, Any, Any]]:
    """BART's own flags as optional, typed dataclass fields, read from BART's parser so that none is missing or stale.

    A registered dataclass types the model's configuration in hydra and keeps checkpoints free of pickled objects.

    Returns:
        name, type and field of each flag, for dataclasses.make_dataclass
    """
    parser = argparse.ArgumentParser(argument_default=argparse.SUPPRESS, add_help=False)
    BARTModel.add_args(parser)
    for action in parser._actions:
        kind = bool if action.nargs == 0 else action.type if action.type in (int, float, str) else Any
        if action.choices and kind is Any:  # argparse's values are strings unless a type says otherwise
            kind = str
        # the trainer compares base_layers with 0, before any architecture could fill in a None
        default = 0 if action.dest == "base_layers" else None
        yield action.dest, Optional[kind], dataclasses.field(default=default, metadata={"help": action.help})


@functools.lru_cache(maxsize=None)
def model_config(conditional: bool = False) -> Type[FairseqDataclass]:
    """The dataclass of all flags of a model: BART's, and the latent flags with the parts that are registered now.

    Args:
        conditional: whether of bart_cvae
    """
    name = "BARTCVAEConfig" if conditional else "BARTVAEConfig"
    return dataclasses.make_dataclass(
        name, bart_fields(), bases=(latent_config(conditional),), namespace={"__module__": __name__}
    )
