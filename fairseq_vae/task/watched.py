"""fairseq's hooks around a validation: partners for the own-z gap, a watch on each subset, and both in checkpoints."""

from collections import defaultdict
from typing import Any, DefaultDict, Dict, Sequence, Tuple

import torch
from fairseq.data import Dictionary
from fairseq.tasks import FairseqTask
from torch import Tensor

from .. import validation
from ..base.patience import early_stopping, restore_early_stopping
from ..base.transfer import on_device
from ..measure.diagnosis import Watch

__all__ = ["WatchedTask"]


class WatchedTask(FairseqTask):
    """A task whose validations are watched, each subset's by a watch of its own.

    Args:
        cfg: the task's flags
        dictionaries: see SentenceTask

    Attributes:
        watches: of the subsets, by name
        subset: the name of the one that is being validated
    """

    def __init__(self, cfg: Any, *dictionaries: Dictionary):
        super().__init__(cfg, *dictionaries)
        self.watches: DefaultDict[str, Watch] = defaultdict(Watch)
        self.subset = ""

    def valid_step(
        self, sample: Dict[str, Any], model: Any, criterion: Any, **kwargs: Any
    ) -> Tuple[Tensor, int, Dict[str, Any]]:
        """fairseq's validation step, on a batch with the partners that the own-z gap needs.

        Args:
            sample: fairseq's batch; as WholeDataset makes it, with `split`
            others: as in fairseq
        """
        if not sample:  # of fairseq-validate, for a worker that has run out of batches
            return torch.zeros(()), 0, {}
        self.subset = sample.get("split", "")
        if self.subset:
            partners = self.dataset(self.subset).partners(sample["numbers"], validation.MI_SENTENCES)
            if partners is not None:
                device = sample["target"].device
                moved = {
                    k: on_device(value, device) if torch.is_tensor(value) else value for k, value in partners.items()
                }
                sample = {**sample, "partner": moved}
        return super().valid_step(sample, model, criterion, **kwargs)

    def reduce_metrics(self, logging_outputs: Sequence[Dict[str, Any]], criterion: Any) -> None:
        """fairseq's hook that logs figures; the diagnosis is one in view of the subset's validation before.

        Args:
            logging_outputs: as in fairseq
            criterion: as in fairseq
        """
        logging_outputs = [log for log in logging_outputs if log]
        if not logging_outputs:
            return
        if any("_kl_dims" in log for log in logging_outputs):  # in validation, by vae_cross_entropy
            validation.log_diagnosis(self.watches[self.subset])
        super().reduce_metrics(logging_outputs, criterion)

    def post_validate(self, model: Any, stats: Dict[str, Any], agg: Any) -> None:
        """fairseq's hook after the whole validation of a subset: warn of a wrong rate.

        Args:
            model: not used
            stats: not used
            agg: the validation's meters, by name
        """
        if "_kl_dims" in agg:
            several = "," in self.cfg.valid_subset
            validation.warn(agg, self.watches[self.subset], self.subset if several else "")

    def get_checkpoint_dict(self) -> Dict[str, Any]:
        """fairseq's hook: what a checkpoint keeps so that a resumed run warns and stops as one that was not stopped.

        Official fairseq 0.12.2 does not call it.

        Returns:
            under the task's name the watches, and the memory of early stopping, which fairseq-train itself keeps
        """
        watches = {subset: watch.state_dict() for subset, watch in self.watches.items()}
        return {type(self).__name__: {"watches": watches, "early_stopping": early_stopping()}}

    def set_checkpoint_dict(self, state: Dict[str, Any]) -> None:
        """fairseq's hook as training resumes; a new training from a checkpoint, with --reset-meters, starts anew.

        Args:
            state: what `get_checkpoint_dict` gave under the task's name
        """
        if self.cfg.reset_meters or self.cfg.reset_optimizer:  # as for fairseq's own best loss
            return
        for subset, watch in state["watches"].items():
            self.watches[subset].load_state_dict(watch)
        restore_early_stopping(state["early_stopping"])
