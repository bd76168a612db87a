"""Flags of model, criterion and task that together have no effect in training: each is refused by its name.

What shapes the weights (--latent-dim, the choice of prior, posterior, pooling and injection) may stand in any run,
since it must fit the checkpoint from which training starts.
"""

import dataclasses
from types import SimpleNamespace
from typing import Any, Dict, Sequence

from omegaconf import DictConfig, OmegaConf

from ..base.errors import InputError
from ..base.host import declared
from ..base.needs import check_needs, is_given, plain, shown
from ..latent.pooling import check_vectors
from .criterion import VAECrossEntropyFlags, check_beta
from .model import LatentFlags, check_promises, check_slots
from .task import SentenceFlags, check_noise, check_training

__all__ = ["check_effects", "check_generation", "flags_of"]


OF_TRAINING = ("aggressive_inference", "eval_bleu", "load_alignments", "upsample_primary")


def flags_of(cfg: Any) -> Dict[str, Any]:
    """The flags of a configuration by name: of an argparse.Namespace, a dataclass, or hydra's; none of None."""
    if isinstance(cfg, DictConfig):
        return OmegaConf.to_container(cfg, resolve=True, enum_to_str=True)  # type: ignore[return-value]
    return {} if cfg is None else dict(vars(cfg))  # fairseq's legacy tasks keep no configuration


def check_effects(model: Any, criterion: Any, task: Any) -> None:
    """Refuse a flag that has no effect in the training of a model.

    A model, criterion or task that is not of this package has its part of the check if its flags say what they need.

    Args:
        model: its flags
        criterion: its flags
        task: its flags

    Raises:
        InputError: the message names the flag, its value, and what would make it count
    """
    values: Dict[str, Any] = {}
    own: Dict[str, Any] = {}
    for group, cfg in (("model", model), ("criterion", criterion), ("task", task)):
        given, name = flags_of(cfg), name_of(group, cfg)
        own[group] = type(cfg) if dataclasses.is_dataclass(cfg) else declared(group, name)
        for field in dataclasses.fields(own[group]) if own[group] else ():
            values[field.name] = given.get(field.name, field.default)
        if group == "criterion":
            values["criterion"] = "vae_cross_entropy" if is_a(own[group], VAECrossEntropyFlags) else name
    check_needs((field for config in own.values() if config for field in dataclasses.fields(config)), values)
    merged = SimpleNamespace(**{name: plain(value) for name, value in values.items()})
    if is_a(own["model"], LatentFlags):
        check_vectors(str(merged.latent_pooling), merged.latent_vectors)
        check_slots(merged)
        check_promises(merged)
    if is_a(own["criterion"], VAECrossEntropyFlags):
        check_beta(merged)
        if getattr(merged, "load_alignments", False):  # of translation and vae_translation
            raise InputError(
                "--load-alignments has no effect with --criterion vae_cross_entropy, which reads no alignments: leave "
                "it out"
            )
    if is_a(own["task"], SentenceFlags):
        check_training(merged)


def check_generation(task: Any, splits: Sequence[str], zero_latent: bool) -> None:
    """Refuse a flag of the task that has no effect in generation.

    Args:
        task: its flags
        splits: that are read; fairseq-interactive reads none
        zero_latent: whether the model has --zero-latent

    Raises:
        InputError: the message names the flag, its value, and what would make it count
    """
    values = flags_of(task)
    config = type(task) if dataclasses.is_dataclass(task) else declared("task", name_of("task", task))
    fields = dataclasses.fields(config) if config else ()
    check_needs(fields, values)
    if "noise" in values:
        check_noise(SimpleNamespace(**values), splits)
    for field in fields:
        value = values.get(field.name, field.default)
        if field.name in OF_TRAINING and is_given(field, value):
            raise InputError(f"{shown(field.name, value)} has no effect in generation: give it to fairseq-train")
    if values.get("num_samples") and not splits:
        raise InputError(
            f"--num-samples {values['num_samples']} has no effect in fairseq-interactive, which draws a sentence for "
            "each line of its input: leave it out, and give so many lines, or --latent-samples"
        )
    if zero_latent and plain(values["latent_mode"]) == "sample":
        raise InputError("--latent-mode sample has no effect with a model of --zero-latent: leave it out")
    if zero_latent and values.get("prior"):
        raise InputError("--prior has no effect with a model of --zero-latent: leave it out")


def name_of(group: str, cfg: Any) -> Any:
    """The registered name of what a configuration is of; None if it has none."""
    given = flags_of(cfg)
    return given.get("_name") or given.get("arch" if group == "model" else group)


def is_a(config: Any, kind: type) -> bool:
    """Whether a dataclass, or None, is of a kind."""
    return config is not None and issubclass(config, kind)
