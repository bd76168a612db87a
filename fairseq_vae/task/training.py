"""fairseq's hooks around training: what to do where memory runs out, dummy batches, and aggressive inference."""

from contextlib import nullcontext
from typing import Any, Dict, Tuple

from fairseq.data import Dictionary
from fairseq.logging import metrics
from torch import Tensor

from .. import aggressive as inference  # as a module: when it is imported first, this one runs before its end
from ..base.dummy import dummy_batch
from ..base.errors import memory_remedy, reported
from .watched import WatchedTask

__all__ = ["TrainingTask"]


class TrainingTask(WatchedTask):
    """A task that trains, with --aggressive-inference by the encoder side's inner steps before each update.

    Args:
        cfg: the task's flags
        dictionaries: see SentenceTask

    Attributes:
        aggressive: the inner steps and their end; None without the flag
    """

    def __init__(self, cfg: Any, *dictionaries: Dictionary):
        super().__init__(cfg, *dictionaries)
        self.aggressive = inference.AggressiveInference(cfg) if cfg.aggressive_inference else None

    @property
    def is_aggressive(self) -> bool:
        """Whether the next update has inner steps."""
        return self.aggressive is not None and self.aggressive.active

    def get_batch_iterator(self, dataset: Any, *args: Any, **kwargs: Any) -> Any:
        """fairseq's batches; those of the training set are kept for inner steps.

        Args:
            dataset: of the sentences
            others: as in fairseq
        """
        iterator = super().get_batch_iterator(dataset, *args, **kwargs)
        if self.aggressive is not None and dataset is self.datasets.get(self.cfg.train_subset):
            self.aggressive.batches = iterator
        return iterator

    def train_step(
        self,
        sample: Dict[str, Any],
        model: Any,
        criterion: Any,
        optimizer: Any,
        update_num: int,
        ignore_grad: bool = False,
        **kwargs: Any,
    ) -> Tuple[Tensor, int, Dict[str, Any]]:
        """fairseq's training step, after the inner steps if the update has some.

        Where memory runs out, an error line names the flags that lower the peak.

        Args:
            ignore_grad: whether the batch is a dummy one, which changes no state of the model
            others: as in fairseq
        """
        own = super().train_step

        def step(batch: Dict[str, Any], dummy: bool = False) -> Tuple[Tensor, int, Dict[str, Any]]:
            with memory_remedy(), dummy_batch(model) if dummy else nullcontext():  # backward pass included
                return own(batch, model, criterion, optimizer, update_num, dummy, **kwargs)

        if self.aggressive is None:
            return step(sample, ignore_grad)
        active, steps = self.aggressive.active, 0
        if active:
            steps = self.aggressive.infer(model, optimizer, update_num, sample["target"].device, step)
        if steps or not active:  # not of an update's further batches
            metrics.log_scalar("inner_steps", steps, priority=350, round=1)
        found = step(sample, ignore_grad)
        if active:
            inference.forget(inference.encoder_side(model))  # here, so that clipping does not count them
        return found

    def optimizer_step(self, optimizer: Any, model: Any, update_num: int) -> None:
        """fairseq's step of the optimizer; while inference is aggressive, of the decoder side alone.

        Args:
            others: as in fairseq
        """
        if self.is_aggressive:
            # again: legacy_ddp puts zeros where gradients are missing
            inference.forget(inference.encoder_side(model))
        super().optimizer_step(optimizer, model, update_num)

    @reported()
    def post_validate(self, model: Any, stats: Dict[str, Any], agg: Any) -> None:
        """fairseq's hook after the whole validation of a subset; the first one's MI ends aggressive inference.

        Args:
            model: not used
            stats: the validation's figures, by name
            agg: the validation's meters, by name

        Raises:
            InputError: inference is aggressive, and there is no MI
        """
        super().post_validate(model, stats, agg)
        if self.is_aggressive and self.subset == self.cfg.valid_subset.split(",")[0]:
            assert self.aggressive is not None
            self.aggressive.validated(stats.get("mi"), stats.get("mi_cap", 0.0))

    def get_checkpoint_dict(self) -> Dict[str, Any]:
        """See WatchedTask; with whether inference is aggressive still, and the MI by which that ends."""
        state = super().get_checkpoint_dict()
        if self.aggressive is not None:
            state[type(self).__name__]["aggressive"] = self.aggressive.state_dict()
        return state

    def set_checkpoint_dict(self, state: Dict[str, Any]) -> None:
        """See WatchedTask; a checkpoint of a training that was not aggressive begins to be.

        Args:
            state: what `get_checkpoint_dict` gave under the task's name
        """
        super().set_checkpoint_dict(state)
        new = self.cfg.reset_meters or self.cfg.reset_optimizer
        if self.aggressive is not None and "aggressive" in state and not new:
            self.aggressive.load_state_dict(state["aggressive"])
