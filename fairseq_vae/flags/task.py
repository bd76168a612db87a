"""The flags of the tasks: those of all, of vae_denoising with its registered corruptions, of vae_translation."""

import dataclasses
import json
from dataclasses import dataclass, field
from typing import Any, List, Optional, Sequence, Tuple, Type

from fairseq.data.indexed_dataset import get_available_dataset_impl
from fairseq.dataclass import ChoiceEnum, FairseqDataclass
from fairseq.dataclass.constants import DDP_BACKEND_CHOICES, ZERO_SHARDING_CHOICES
from fairseq.tasks.translation import TranslationConfig
from omegaconf import II, MISSING

from ..base.corruption import corruptions
from ..base.errors import InputError
from ..base.host import fairseq_fields
from ..base.needs import GIVEN, check_sizes, plain, shown

__all__ = [
    "LATENT_MODES",
    "SentenceFlags",
    "VAEDenoisingFlags",
    "VAETranslationFlags",
    "check_noise",
    "check_training",
    "task_config",
]

LATENT_MODES = ("mean", "sample", "prior")


@dataclass
class SentenceFlags(FairseqDataclass):
    """The flags that all tasks of this package have."""

    latent_mode: ChoiceEnum(LATENT_MODES) = field(  # type: ignore[valid-type]  # made at run time
        default="mean",
        metadata={
            "help": "z at generation: the posterior's mean, a sample of the posterior, or a sample of the prior, for "
            "which --num-samples stands in for the data (in fairseq-interactive, each line of the input gets one); of "
            "bart_cvae the mean or a sample of p(z|x), which is its prior and, of x alone, its posterior, so that "
            "`prior` is refused (for the mean of --latent-prior flow, which has no closed form, 0 stands in); samples "
            "depend on --seed and the sentence's number only, which in fairseq-interactive is its line's, so that "
            "equal lines get samples of their own; in an ensemble, each model has its own z, made of the same standard "
            "normal draws (default: mean)"
        },
    )
    latent_samples: int = field(
        default=1,
        metadata={
            "help": "samples of z for each sentence; what is generated from them follows one another as hypotheses of "
            "the sentence, --nbest for each, and its first sample is the one that is alone with 1 (default: 1)",
            "needs": {"latent_mode": ("sample", "prior")},
        },
    )
    print_z: bool = field(
        default=False,
        metadata={
            "help": "print, before the other lines of a batch, each z as a line `Z-`, the sentence's number, a tab and "
            "a list of numbers, which `fairseq-vae decode` reads; an ensemble has such a line for each model, in the "
            "order of --path; with --results-path they stand in a file z-SUBSET.txt there (default: off)"
        },
    )
    aggressive_inference: bool = field(
        default=False,
        metadata={
            "help": "before each update train the encoder and the posterior alone, on new random batches, until the "
            "loss per word stops falling; then the update trains all the rest, and costs up to --aggressive-max-steps "
            "inner steps more. Of bart_cvae they train the posterior's head, with --target-encoder copy the encoder of "
            "targets too, and never that of sources, which p(y|x, z) has. It ends for good with the first validation "
            "whose mi is below that of the one before (default: off)",
            "needs": {
                "criterion": ("vae_cross_entropy",),
                "zero_latent": (False,),
                "deterministic_latent": (False,),
                "freeze_decoder": (False,),
            },
        },
    )
    aggressive_window: int = field(
        default=15,
        metadata={
            "help": "inner steps over which the loss is averaged before it is compared with that of as many steps "
            "before (default: 15)",
            "needs": {"aggressive_inference": GIVEN},
        },
    )
    aggressive_max_steps: int = field(
        default=99,
        metadata={
            "help": "inner steps of an update, at most; below twice --aggressive-window they are exactly so many "
            "(default: 99)",
            "needs": {"aggressive_inference": GIVEN},
        },
    )
    seed: int = II("common.seed")
    path: Optional[str] = II("common_eval.path")
    results_path: Optional[str] = II("common_eval.results_path")
    gen_subset: str = II("dataset.gen_subset")
    restore_file: str = II("checkpoint.restore_file")
    finetune_from_model: Optional[str] = II("checkpoint.finetune_from_model")
    save_dir: str = II("checkpoint.save_dir")
    reset_meters: bool = II("checkpoint.reset_meters")
    reset_optimizer: bool = II("checkpoint.reset_optimizer")
    valid_subset: str = II("dataset.valid_subset")
    dataset_impl: Optional[ChoiceEnum(get_available_dataset_impl())] = II(  # type: ignore[valid-type]
        "dataset.dataset_impl"
    )
    skip_invalid_size_inputs_valid_test: bool = II("dataset.skip_invalid_size_inputs_valid_test")
    train_subset: str = II("dataset.train_subset")
    max_tokens: Optional[int] = II("dataset.max_tokens")
    max_tokens_valid: Optional[int] = II("dataset.max_tokens_valid")
    cpu: bool = II("common.cpu")
    tpu: bool = II("common.tpu")
    fp16: bool = II("common.fp16")
    bf16: bool = II("common.bf16")
    amp: bool = II("common.amp")
    store_ema: bool = II("ema.store_ema")
    clip_norm: float = II("optimization.clip_norm")
    update_freq: List[int] = II("optimization.update_freq")
    use_bmuf: bool = II("optimization.use_bmuf")
    ddp_backend: DDP_BACKEND_CHOICES = II("distributed_training.ddp_backend")  # type: ignore[valid-type]
    zero_sharding: ZERO_SHARDING_CHOICES = II("distributed_training.zero_sharding")  # type: ignore[valid-type]
    disable_validation: bool = II("dataset.disable_validation")


@dataclass
class VAEDenoisingFlags(SentenceFlags):
    """The flags of vae_denoising that do not depend on registered corruptions."""

    data: str = field(default=MISSING, metadata={"help": "folder made by fairseq-preprocess --only-source"})
    noise_ratio: float = field(
        default=0.15, metadata={"help": "the corruption's ratio, 0 to 1 (default: 0.15)", "needs": {"noise": GIVEN}}
    )
    noise_splits: str = field(
        default="train",
        metadata={"help": "comma-separated splits that get the corruption (default: train)", "needs": {"noise": GIVEN}},
    )
    num_samples: int = field(
        default=0, metadata={"help": "sentences that fairseq-generate draws with --latent-mode prior (default: 0)"}
    )
    prior: Optional[str] = field(
        default=None,
        metadata={
            "help": "file of `fairseq-vae fit-prior`, from whose prior --latent-mode prior draws, or for an ensemble "
            "as many files as --path has, with colons between; None: from the model's own (default: None)",
            "needs": {"latent_mode": ("prior",)},
        },
    )
    reuse_dataloader: bool = field(
        default=False,
        metadata={
            "help": "keep data workers between epochs; they would repeat the first epoch's corruption (default: off)"
        },
    )


STOCK = {flag.name: flag for flag in dataclasses.fields(TranslationConfig)}


def needing(name: str, **needs: Tuple[Any, ...]) -> Any:
    """A flag of fairseq's task translation with what it needs beside it.

    Args:
        name: the flag's
        needs: see base.needs
    """
    return field(default=STOCK[name].default, metadata={**STOCK[name].metadata, "needs": needs})


@dataclass
class VAETranslationFlags(SentenceFlags, TranslationConfig):
    """The flags of vae_translation: those of fairseq's task translation, and its own."""

    truncate_source_left: bool = field(
        default=False,
        metadata={
            "help": "keep the last --max-source-positions tokens of a longer source, </s> among them, where "
            "--truncate-source keeps the first ones: of a dialog, the latest utterances; how many are cut is logged "
            "once a split (default: off)",
            "needs": {"truncate_source": (False,), "num_batch_buckets": (0,)},
        },
    )
    upsample_primary: int = field(
        default=1,
        metadata={
            "help": "how often an epoch has the pairs of the first file of the training set, where there are others "
            "(train, train1, train2 and so on) (default: 1)"
        },
    )
    eval_bleu: bool = needing("eval_bleu", disable_validation=(False,))
    eval_bleu_args: Optional[str] = needing("eval_bleu_args", eval_bleu=GIVEN)
    eval_bleu_detok: str = needing("eval_bleu_detok", eval_bleu=GIVEN)
    eval_bleu_detok_args: Optional[str] = needing("eval_bleu_detok_args", eval_bleu=GIVEN)
    eval_tokenized_bleu: bool = needing("eval_tokenized_bleu", eval_bleu=GIVEN)
    eval_bleu_remove_bpe: Optional[str] = needing("eval_bleu_remove_bpe", eval_bleu=GIVEN)
    eval_bleu_print_samples: bool = needing("eval_bleu_print_samples", eval_bleu=GIVEN)


def task_config() -> Type[FairseqDataclass]:
    """The dataclass of all flags of vae_denoising, with the corruptions that are registered now."""
    help = f"corruption of the encoder's input: {corruptions.help()} (default: none)"
    chooser = field(default="none", metadata={"help": help})
    own = [flag.name for flag in dataclasses.fields(VAEDenoisingFlags)] + ["noise"]
    return dataclasses.make_dataclass(
        "VAEDenoisingConfig",
        [("noise", ChoiceEnum(corruptions.names()), chooser), *fairseq_fields(corruptions.fields(), own)],
        bases=(VAEDenoisingFlags,),
        namespace={"__doc__": "The flags of vae_denoising.", "__module__": __name__},
    )


def check_training(cfg: Any) -> None:
    """Refuse flags of generation in training, a corruption of splits that training does not read, and what
    aggressive inference does not work with.

    Args:
        cfg: the task's flags

    Raises:
        InputError: the message names the flag, its value and the remedy
    """
    check_aggressive(cfg)
    defaults = {field.name: plain(field.default) for field in dataclasses.fields(VAEDenoisingFlags)}
    for name in ("latent_mode", "latent_samples", "num_samples", "print_z", "prior"):
        value = plain(getattr(cfg, name, defaults[name]))  # vae_translation has three of them
        if value != defaults[name]:
            raise InputError(
                f"{shown(name, value)} has no effect in training: give it to fairseq-generate or fairseq-interactive"
            )
    for name in ("eval_bleu_args", "eval_bleu_detok_args"):
        check_object(name, plain(getattr(cfg, name, None)))
    if hasattr(cfg, "noise") and plain(cfg.train_subset) and plain(cfg.valid_subset):
        splits = [cfg.train_subset, *cfg.valid_subset.split(",")]
        check_noise(cfg, splits)
        unknown = [name for name in cfg.noise_splits.split(",") if name not in splits]
        if unknown and str(cfg.noise) != "none":
            raise InputError(
                f"--noise-splits {cfg.noise_splits}: training reads {', '.join(splits)}, and not {', '.join(unknown)}"
            )


def check_object(name: str, value: Optional[str]) -> None:
    """Refuse the value of a flag that is no JSON object.

    Raises:
        InputError: the message names the flag and its value
    """
    try:
        good = value is None or isinstance(json.loads(value), dict)
    except ValueError:
        good = False
    if not good:
        raise InputError(f"{shown(name, value)}: expected a JSON object, e.g. '{{\"beam\": 4}}'")


WHOLE = "inner steps need each weight and its gradient as a tensor of its own"
SCALED = "inner steps do not scale the loss; --autocast-bf16 needs no scale"
OWN_STEPS = "it averages weights over steps of its own count, without inner steps"
NOT_AGGRESSIVE = (  # fairseq's flags, with their values, beside which there is no aggressive inference, and why
    ("fp16", (True,), WHOLE),
    ("bf16", (True,), WHOLE),
    ("ddp_backend", ("fully_sharded",), WHOLE),
    ("zero_sharding", ("os",), WHOLE),
    ("amp", (True,), SCALED),
    ("ddp_backend", ("slowmo",), OWN_STEPS),
    ("use_bmuf", (True,), OWN_STEPS),
    ("tpu", (True,), "it was not tried there"),
    ("disable_validation", (True,), "a fall of the validation's mi ends it"),
)


def check_aggressive(cfg: Any) -> None:
    """Refuse aggressive inference beside what it does not work with.

    Args:
        cfg: the task's flags

    Raises:
        InputError: the message names the flag, its value and the remedy
    """
    if not cfg.aggressive_inference:
        return
    check_sizes(cfg, aggressive_window=1, aggressive_max_steps=1)
    window, most = cfg.aggressive_window, cfg.aggressive_max_steps
    if window != SentenceFlags.aggressive_window and 2 * window > most:
        raise InputError(
            f"--aggressive-window {window} has no effect with --aggressive-max-steps {most}, in which no two windows "
            f"fit: give {2 * window} steps or more, or a smaller window"
        )
    for name, values, reason in NOT_AGGRESSIVE:
        value = plain(getattr(cfg, name, None))
        if value in values:
            raise InputError(
                f"--aggressive-inference does not work with {shown(name, value)}: {reason}; leave one of the two out"
            )


def check_noise(cfg: Any, splits: Sequence[str]) -> None:
    """Refuse a corruption that changes nothing.

    Args:
        cfg: the task's flags
        splits: that are read

    Raises:
        InputError: the ratio is 0, or no split that is read gets the corruption
    """
    noise = str(cfg.noise)
    if noise == "none":
        return
    if cfg.noise_ratio == 0:
        raise InputError(f"--noise {noise} has no effect with --noise-ratio 0: leave both out")
    if not set(cfg.noise_splits.split(",")) & set(splits):
        read = f"--noise-splits {' or '.join(splits)}" if splits else "a split, which fairseq-interactive has not"
        raise InputError(
            f"--noise {noise} has no effect with --noise-splits {cfg.noise_splits}: it needs {read}; or leave it out"
        )
