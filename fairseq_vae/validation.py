"""Validation: sums over the latents beyond the ELBO, which the criterion logs, and the figures made of them.

Figures are functions of fairseq's meters, which hold the sums by name. Keys that begin with an underscore are hidden
from progress bars.

Shapes: B sentences of a batch, U target length, Z latent dimensions, M sentences of the tables, R numbers of a
posterior's row.
"""

import logging
import math
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

import torch
from fairseq.distributed import utils as distributed_utils
from fairseq.logging import metrics
from torch import Tensor

from .base.transfer import on_device
from .latent.distributions import Gaussian
from .latent.output import VAEOutput
from .measure.diagnosis import Watch
from .measure.metrics import active_units, mutual_information
from .measure.packing import packed

__all__ = ["MI_SENTENCES", "Statistic", "gap_statistics", "latent_statistics", "log", "log_diagnosis", "warn"]

logger = logging.getLogger(__name__)

MI_SENTENCES = 1024  # the first ones of a validation set; their mutual information costs a table of 1024 x 1024


class Statistic(torch.Tensor):
    """A tensor that adds up over batches and workers; progress bars show its shape and not its numbers."""

    def tolist(self) -> str:  # type: ignore[override]
        """The shape as text, for progress bars."""
        return "x".join(map(str, self.shape))


def plain(value: Any) -> Any:
    """A sum without the class Statistic, since meters go into checkpoints.

    fairseq adds up over workers in one tensor of all sums, of which each sum, the loss's too, comes back as a Statistic
    if one of them was.
    """
    return value.as_subclass(Tensor) if torch.is_tensor(value) else value


def latent_statistics(numbers: Sequence[int], posterior: Any, kl: Tensor, prior: Any = None) -> Dict[str, Any]:
    """Statistics of a batch's posteriors that add up over batches and workers.

    Mutual information, unlike active units, is no sum over sentences. So two tables have a row for each of the split's
    first MI_SENTENCES sentences: one has the posterior's numbers and a 1 for present, the other the sentence's KL. All
    rows but this batch's are zero. A posterior without `to_rows` has no tables, and its mutual information is not
    logged. Where each sentence has a prior of its own, a third table has the priors' numbers, and the means whose
    variance makes a unit active are those of the posteriors less those of the priors.

    Args:
        numbers: of the sentences, B
        posterior: of the batch
        kl: of the batch's sentences, nats, B x Z or B x 1
        prior: of the batch, or one for all sentences; None: the same

    Returns:
        sums by name
    """
    given = prior is not None and prior.mean.dim() > 1
    mu = posterior.mean.double() - (prior.mean.double() if given else 0)
    sums = {"_mu_sum": mu.sum(0), "_mu_square_sum": mu.square().sum(0), "_kl_dims": kl.double().sum(0)}
    if hasattr(posterior, "to_rows") and (not given or hasattr(prior, "to_rows")):
        kl = kl.sum(1, keepdim=True)  # B x 1
        for kind, distribution in (("table", posterior), *((("source", prior),) if given else ())):
            rows = torch.cat((distribution.to_rows(), torch.ones_like(kl)), dim=1)
            sums[table_key(kind, type(distribution))] = table(numbers, rows)
        sums["_mi_kl"] = table(numbers, kl)
    return {"_sentences": len(mu), **{key: value.as_subclass(Statistic) for key, value in sums.items()}}


def table(numbers: Sequence[int], rows: Tensor) -> Tensor:
    """Put the rows of those sentences that have a row in the table into a table of zeros.

    Args:
        numbers: of the sentences, B
        rows: B x R

    Returns:
        MI_SENTENCES x R
    """
    mine = [(place, number) for place, number in enumerate(numbers) if number < MI_SENTENCES]
    if not mine:
        return rows.new_zeros(1, 1).expand(MI_SENTENCES, rows.size(1))  # a view of one number: nothing to store
    places, targets = on_device(torch.tensor(mine), rows.device).unbind(1)
    return rows.new_zeros(MI_SENTENCES, rows.size(1)).index_copy(0, targets, rows[places])


SOURCE = ("src_tokens", "src_lengths", "target")  # what an encoder infers a posterior from
TABLES: Dict[str, Any] = {}  # from a table's key in the log to the class of its distributions


def table_key(kind: str, family: Any) -> str:
    """The key of the table of a class of distributions, by which `reduce_metrics`, which has no model, knows the class.

    Args:
        kind: "table", of posteriors, or "source", of priors
        family: the class
    """
    key = f"_mi_{kind}" if family is Gaussian else f"_mi_{kind}_{family.__name__.lower()}"
    TABLES[key] = family
    return key


def gap_statistics(
    model: Any,
    sample: Dict[str, Any],
    output: VAEOutput,
    target: Tensor,
    eps_of: Callable[[List[int]], Tensor],
) -> Dict[str, Any]:
    """The own-z gap: a sentence's nll under the z of its partner, less its nll under its own z.

    A partner is the next of the split's first MI_SENTENCES sentences, which alone have one; the bound is one of cost.
    Partners come mostly from other batches, so their z is inferred anew, in passes as large as the batch. Where a pass
    waits for those of the other workers, every worker makes as many as the one that needs most. Elsewhere no worker
    waits here: fairseq repeats the step of a single worker that ran out of memory.

    Args:
        model: a bart_vae
        sample: fairseq's batch, with `partner`, see SentenceDataset.partners; without it there is no gap
        output: the model's output of that batch, in evaluation
        target: B x U
        eps_of: from sentences' numbers to the eps of their z in validation

    Returns:
        the sum of the gaps in nats and the number of sentences, by name
    """
    partner = sample.get("partner")
    if partner is None:
        return {}
    assert output.nll_rows is not None
    net_input, lengths = sample["net_input"], partner["lengths"]
    room = max(net_input["src_tokens"].numel(), target.numel())
    parts = [[place for place, _ in pairs] for pairs in packed(lengths, range(len(lengths)), 1, room)]
    gap = torch.zeros((), dtype=torch.float64, device=target.device)
    for number in range(most(len(parts), target.device) if waits(model) else len(parts)):
        if number < len(parts):
            places = on_device(torch.tensor(parts[number]), target.device)  # the longest first
            rows, ids = partner["rows"][places], [partner["numbers"][place] for place in parts[number]]
            source = {name: partner[name][places] for name in SOURCE if name in partner}
            source["src_tokens"] = source["src_tokens"][:, : lengths[parts[number][0]]]
        else:  # any work: another worker has some left
            rows = torch.zeros(1, dtype=torch.long, device=target.device)
            ids, source = [0], {name: net_input[name][:1] for name in ("src_tokens", "src_lengths")}
            source["target"] = target[:1]
        own = {key: value[rows] if torch.is_tensor(value) else value for key, value in net_input.items()}
        other = model(**own, eps=eps_of(ids), z_source=source, target=target[rows])
        if number < len(parts):
            gap += (other.nll_rows - output.nll_rows[rows]).data.double().sum()
    return {"_gap": gap, "_gap_sentences": len(lengths)}


def waits(model: Any) -> bool:
    """Whether each pass of a model waits for the other workers', to gather shards or to broadcast buffers."""
    parts = model.modules()
    return any(type(m).__name__ == "FullyShardedDataParallel" or getattr(m, "broadcast_buffers", False) for m in parts)


def most(count: int, device: torch.device) -> int:
    """The largest count of all data-parallel workers."""
    if distributed_utils.get_data_parallel_world_size() == 1:
        return count
    number = torch.tensor(count, device=device)
    return int(distributed_utils.all_reduce(number, distributed_utils.get_data_parallel_group(), op="max"))


def log(total: Dict[str, Any]) -> None:
    """Log the sums and their figures: au, mi and its cap, marginal_kl, nll_gap, the KL of dimensions, the diagnosis.

    Args:
        total: sums over all batches, by name; plain ones
    """
    tables = [key for key in total if key.startswith("_mi_")]
    gaps = [key for key in total if key.startswith("_gap")]
    for key in ("_sentences", "_mu_sum", "_mu_square_sum", "_kl_dims", *tables, *gaps):
        metrics.log_scalar_sum(key, total[key])
    metrics.log_derived("au", au)
    if tables:
        metrics.log_derived("mi", mi)
        metrics.log_derived("mi_cap", mi_cap)
        metrics.log_derived("marginal_kl", marginal_kl)
    if gaps:
        metrics.log_derived("nll_gap", nll_gap)
    metrics.log_derived("kl_dim_max", lambda meters: round(float(kl_dims(meters).max()), 4))
    metrics.log_derived("kl_dim_median", lambda meters: round(float(kl_dims(meters).median()), 4))
    metrics.log_derived("kl_dim_min", lambda meters: round(float(kl_dims(meters).min()), 4))
    metrics.log_derived("kl_dims", lambda meters: " ".join(f"{value:.3f}" for value in kl_dims(meters).tolist()))
    log_diagnosis(Watch())


def log_diagnosis(watch: Watch) -> None:
    """Log the name of the fault in the use of z, or "ok", in view of the validation before.

    Of several calls in a validation fairseq keeps the first. It asks for the name batch by batch, so nothing is
    remembered here.

    Args:
        watch: of the subset's validations
    """

    def diagnosis(meters: Any) -> str:
        found = watch.judge(*seen(meters))
        return found.name if found else "ok"

    metrics.log_derived("diagnosis", diagnosis, priority=21)  # after the other figures


def au(meters: Any) -> int:
    """Active units of all sentences (Burda et al. 2016, https://arxiv.org/abs/1509.00519)."""
    return active_units(*(meters[key].sum for key in ("_mu_sum", "_mu_square_sum", "_sentences")))


def mi_table(meters: Any, kind: str = "table") -> Tuple[Any, Tensor]:
    """The distributions of the table's sentences that came in a batch, and their KL in nats, M."""
    [key] = [key for key in meters if key.startswith(f"_mi_{kind}")]
    rows = meters[key].sum
    seen = rows[:, -1] > 0
    # sums over workers are in float64
    found, kl = rows[seen, :-1].float().cpu(), meters["_mi_kl"].sum[seen, 0].float().cpu()
    return TABLES[key].from_rows(found), kl


def mi(meters: Any) -> float:
    """Mutual information of sentence and z over the table's sentences, in nats, at most log M.

    Where each sentence has a prior of its own, it is that given the source: I(z; y|x) = I(z; x, y) - I(z; x), the
    latter of the priors, which stand for the aggregated posterior of a source.
    """

    return round(information(meters, "table") - information(meters, "source"), 3)


def mi_cap(meters: Any) -> float:
    """What mi is never above, nats: log M, less the I(z; x) that mi is less."""
    return round(math.log(max(1, len(mi_table(meters)[1]))) - information(meters, "source"), 3)


def information(meters: Any, kind: str) -> float:
    """Mutual information of the table's sentences and z, or of their sources and the priors' z; 0 without a table."""
    if not any(key.startswith(f"_mi_{kind}") for key in meters):
        return 0.0
    found, kl = mi_table(meters, kind)
    eps = torch.randn(found.mean.shape, generator=torch.Generator().manual_seed(0))
    return mutual_information(found, eps) if len(kl) else 0.0


def marginal_kl(meters: Any) -> float:
    """KL of the aggregated posterior from the prior, in nats: KL - MI of the table's sentences.

    Hoffman & Johnson 2016, http://approximateinference.org/accepted/HoffmanJohnson2016.pdf. It is too large where MI is
    near its cap.
    """
    _, kl = mi_table(meters)
    return round(float(kl.mean()) - mi(meters), 3) if len(kl) else 0.0


def nll_gap(meters: Any) -> float:
    """The own-z gap, nats per sentence; 0 as long as no batch had one of its sentences."""
    return round(float(meters["_gap"].sum) / max(1.0, float(meters["_gap_sentences"].sum)), 3)


def kl_dims(meters: Any) -> Tensor:
    """The KL in nats per sentence: of each dimension, Z, or of the whole of z, 1."""
    return meters["_kl_dims"].sum.double().cpu() / max(1.0, float(meters["_sentences"].sum))


def seen(meters: Any) -> Tuple[float, Optional[float], int, float]:
    """The arguments of a diagnosis: the rate and the gap in nats per sentence (None if not measured), Z, and beta."""
    measured = "_gap_sentences" in meters and meters["_gap_sentences"].sum > 0
    gap = nll_gap(meters) if measured else None
    return float(kl_dims(meters).sum()), gap, len(meters["_mu_sum"].sum), float(meters["_kl_weight"].avg)


def warn(meters: Any, watch: Watch, subset: str = "") -> None:
    """Warn, once, of a fault that lasts from validation to validation.

    Args:
        meters: of a whole validation of a subset, by name
        watch: of the subset's validations
        subset: its name in front of the message; empty: no name
    """
    _, warning = watch.see(*seen(meters))
    alone = distributed_utils.get_data_parallel_world_size() == 1
    if warning and (alone or distributed_utils.get_data_parallel_rank() == 0):
        logger.warning(f"{subset}: {warning}" if subset else warning)
