"""The flags of vae_denoising: its own, and those of the registered corruptions."""

import dataclasses
from dataclasses import dataclass, field
from typing import Optional, Type

from fairseq.data.indexed_dataset import get_available_dataset_impl
from fairseq.dataclass import ChoiceEnum, FairseqDataclass
from omegaconf import II, MISSING

from ..base.corruption import corruptions
from ..base.host import fairseq_fields

__all__ = ["LATENT_MODES", "VAEDenoisingFlags", "task_config"]

LATENT_MODES = ("mean", "sample", "prior")


@dataclass
class VAEDenoisingFlags(FairseqDataclass):
    """The flags that do not depend on registered corruptions."""

    data: str = field(default=MISSING, metadata={"help": "folder made by fairseq-preprocess --only-source"})
    noise_ratio: float = field(default=0.15, metadata={"help": "the corruption's ratio, 0 to 1 (default: 0.15)"})
    noise_splits: str = field(
        default="train", metadata={"help": "comma-separated splits that get the corruption (default: train)"}
    )
    latent_mode: ChoiceEnum(LATENT_MODES) = field(  # type: ignore[valid-type]  # made at run time
        default="mean",
        metadata={
            "help": "z at generation: the posterior's mean, a sample of the posterior, or a sample of the prior, for "
            "which --num-samples stands in for the data; samples depend on --seed and the sentence's number only "
            "(default: mean)"
        },
    )
    num_samples: int = field(
        default=0, metadata={"help": "sentences to generate with --latent-mode prior (default: 0)"}
    )
    reuse_dataloader: bool = field(
        default=False,
        metadata={
            "help": "keep data workers between epochs; they would repeat the first epoch's corruption (default: off)"
        },
    )
    seed: int = II("common.seed")
    path: Optional[str] = II("common_eval.path")
    restore_file: str = II("checkpoint.restore_file")
    finetune_from_model: Optional[str] = II("checkpoint.finetune_from_model")
    save_dir: str = II("checkpoint.save_dir")
    dataset_impl: Optional[ChoiceEnum(get_available_dataset_impl())] = II(  # type: ignore[valid-type]
        "dataset.dataset_impl"
    )
    skip_invalid_size_inputs_valid_test: bool = II("dataset.skip_invalid_size_inputs_valid_test")
    max_tokens: Optional[int] = II("dataset.max_tokens")
    max_tokens_valid: Optional[int] = II("dataset.max_tokens_valid")
    cpu: bool = II("common.cpu")
    fp16: bool = II("common.fp16")
    tpu: bool = II("common.tpu")


def task_config() -> Type[FairseqDataclass]:
    """The dataclass of all flags of the task, with the corruptions that are registered now."""
    help = f"corruption of the encoder's input: {corruptions.help()} (default: none)"
    chooser = field(default="none", metadata={"help": help})
    own = [flag.name for flag in dataclasses.fields(VAEDenoisingFlags)] + ["noise"]
    return dataclasses.make_dataclass(
        "VAEDenoisingConfig",
        [("noise", ChoiceEnum(corruptions.names()), chooser), *fairseq_fields(corruptions.fields(), own)],
        bases=(VAEDenoisingFlags,),
        namespace={"__doc__": "The flags of vae_denoising.", "__module__": __name__},
    )
