"""fairseq's own flags that this model or this machine cannot serve: refused in one line, where fairseq would crash.

docs/reference/host-flags.md lists those with which stock fairseq fails in the same way; they are fairseq's to refuse.
"""

import importlib.util
import math
from typing import Any, Optional

import torch

from ..base.errors import InputError
from ..base.needs import shown

__all__ = ["check_decoding", "check_machine", "check_search"]

NO_WORDS = "the decoder reads z and never the words of the source, so no word of it is aligned with one of these"
BESIDE_Z = "the decoder attends to z beside the words of the source, and fairseq would take z for one of these"
NO_INTEGRAL = "the likelihood of a reference is an integral over z, which `fairseq-vae evaluate` estimates"
NO_STEPS = "the decoder writes a sentence once, from left to right, and has no steps of refinement"
NOT_OF_THIS_MODEL = {
    "print_alignment": NO_WORDS,
    "replace_unk": NO_WORDS,
    "print_step": NO_STEPS,
    "retain_iter_history": NO_STEPS,
}
NOT_OF_PAIRS = {"print_alignment": BESIDE_Z, "replace_unk": BESIDE_Z, "score_reference": NO_INTEGRAL}
NOT_OF_THE_PRIOR = {
    "prefix_size": "reference",
    "score_reference": "reference",
    "match_source_len": "source",
    "max_len_a": "source",
}
NO_BEAM = ("sampling", "diverse_beam_groups", "diversity_rate", "match_source_len")  # searches of their own


def check_decoding(args: Any, latent_mode: str, conditional: bool = False) -> None:
    """Refuse flags of generation that have no meaning for a sentence from z.

    Args:
        args: fairseq's flags of generation; absent ones count as not given
        latent_mode: the task's
        conditional: whether the models are of sentences given sources

    Raises:
        InputError: names the flag
    """
    if conditional and latent_mode == "prior":
        raise InputError(
            "--latent-mode prior: bart_cvae draws z from p(z|x) of a source x: give sources and --latent-mode sample"
        )
    for name, reason in {**NOT_OF_THIS_MODEL, **(NOT_OF_PAIRS if conditional else {})}.items():
        if getattr(args, name, None) not in (None, False):
            raise InputError(f"--{name.replace('_', '-')}: {reason}; leave it out")
    for name, lacking in NOT_OF_THE_PRIOR.items():
        if latent_mode == "prior" and getattr(args, name, None):
            raise InputError(
                f"--{name.replace('_', '-')}: sentences from the prior have no {lacking}; leave it out, or give "
                "--latent-mode mean or sample"
            )
    topk, topp = getattr(args, "sampling_topk", -1), getattr(args, "sampling_topp", -1.0)
    if topk > 0 and 0 < topp < 1:
        raise InputError(f"--sampling-topk {topk} has no effect with --sampling-topp {topp}: leave one of the two out")
    for name in NO_BEAM if getattr(args, "constraints", None) else ():
        value = getattr(args, name, None) or 0
        if value > 0:
            raise InputError(
                f"--constraints: {shown(name, value)} is another search than the one that meets them; leave one of the "
                "two out"
            )


def check_search(
    beam: int = 5,
    sampling: bool = False,
    sampling_topk: int = -1,
    sampling_topp: float = 1.0,
    temperature: float = 1.0,
    max_len: Optional[int] = None,
    seed: int = 1,
) -> None:
    """Refuse values with which no sentence can be searched or drawn; arguments as of the hub's `decode`.

    Raises:
        InputError: names the flag

    >>> check_search(sampling_topk=5)
    Traceback (most recent call last):
    fairseq_vae.base.errors.InputError: --sampling-topk 5 has no effect without --sampling: give that too, or leave \
--sampling-topk out
    """
    for name, value, good, wanted in (
        ("beam", beam, beam >= 1, "1 or more"),
        ("temperature", temperature, 0 < temperature < math.inf, "a number above 0"),
        ("max_len", max_len, max_len is None or max_len >= 1, "1 or more"),
        ("seed", seed, 0 <= seed < 2**32, f"0 to {2**32 - 1}"),
        ("sampling_topk", sampling_topk, sampling_topk == -1 or sampling_topk >= 1, "1 or more, or -1: all words"),
        ("sampling_topp", sampling_topp, 0 < sampling_topp <= 1, "a number above 0, at most 1"),
    ):
        if not good:
            raise InputError(f"{shown(name, value)}: expected {wanted}")
    for name, value, default in (("sampling_topk", sampling_topk, -1), ("sampling_topp", sampling_topp, 1)):
        if value != default and not sampling:
            raise InputError(
                f"{shown(name, value)} has no effect without --sampling: give that too, or leave {shown(name)} out"
            )


def check_machine(cpu: bool, fp16: bool, tpu: bool, amp: bool = False) -> None:
    """Refuse a precision that this machine cannot train in.

    Args:
        cpu: --cpu
        fp16: --fp16 or --memory-efficient-fp16
        amp: --amp
        tpu: --tpu; fairseq-train sets it for --bf16 and --memory-efficient-bf16, too

    Raises:
        InputError: names the flag and what to give in its place
    """
    instead = "leave it out, or give --autocast-bf16: products in bfloat16, on GPUs and on CPUs that have them"
    if (fp16 or amp) and (cpu or not torch.cuda.is_available()):
        where = "--cpu" if cpu else "this machine has none that torch can use"
        flag = "--fp16" if fp16 else "--amp"
        raise InputError(f"{flag}: fairseq trains in float16 on a GPU alone ({where}); {instead}")
    if tpu and importlib.util.find_spec("torch_xla") is None:
        raise InputError(
            f"--bf16 or --tpu: fairseq-train takes both to a TPU by torch_xla, which is not installed; {instead}"
        )
