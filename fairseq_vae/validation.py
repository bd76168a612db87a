"""What validation says of the latent beyond the ELBO: sums that the criterion logs, and what becomes of them."""

import logging
import math

import torch
from fairseq.distributed import utils as distributed_utils
from fairseq.logging import metrics
from torch import Tensor

from .latent.distributions import GaussianPosterior
from .measure.diagnosis import Watch
from .measure.metrics import active_units, mutual_information

logger = logging.getLogger(__name__)

MI_SENTENCES = 1024  # of a validation set, the first ones: their mutual information costs a table of 1024 x 1024
watch = Watch()  # of this process: a warning comes once


class Statistic(torch.Tensor):
    """A tensor that adds up over batches and workers and that progress bars show as its shape, not its numbers."""

    def tolist(self):
        return "x".join(map(str, self.shape))


def latent_statistics(indices: Tensor, posterior) -> dict:
    """Statistics of a batch's posteriors that add up over batches and workers.

    The table has a row for each of the split's first MI_SENTENCES sentences: mu, logvar, and 1 for present. It is zero
    but for this batch's rows, since mutual information, unlike active units, is no sum over sentences.
    """
    mu, kl = posterior.mu.double(), posterior.kl().double()
    rows = torch.cat((*posterior, torch.ones_like(posterior.mu[:, :1])), dim=1)
    mine = indices < MI_SENTENCES
    if mine.any():
        table = rows.new_zeros(MI_SENTENCES, rows.size(1)).index_copy(0, indices[mine], rows[mine])
    else:  # a view of one number: nothing to store
        table = rows.new_zeros(1, 1).expand(MI_SENTENCES, rows.size(1))
    statistics = {"_mu_sum": mu.sum(0), "_mu_square_sum": mu.square().sum(0), "_kl_dims": kl.sum(0), "_mi_table": table}
    return {"_sentences": len(mu), **{key: value.as_subclass(Statistic) for key, value in statistics.items()}}


def gap_statistics(model, sample, z: Tensor, target: Tensor, nll_rows: Tensor) -> dict:
    """By how many nats the z of the next sentence in the batch explains a sentence worse than its own: a sum over the
    batch's sentences, and their number. Of the split's first MI_SENTENCES only, which bounds the cost of the decoder's
    second pass; a batch with one of them has no other z. nll_rows: of the batch's sentences under their own z, B."""
    rows = (sample["id"] < MI_SENTENCES).nonzero().flatten()
    if len(rows) < 2:
        return {"_gap": torch.zeros((), device=z.device), "_gap_sentences": 0}
    net_input = {key: value[rows] if torch.is_tensor(value) else value for key, value in sample["net_input"].items()}
    other = model(**net_input, z=z[rows].roll(1, 0), target=target[rows])[1]["nll_rows"]
    return {"_gap": (other - nll_rows[rows]).data.sum(), "_gap_sentences": len(rows)}


def log(total: dict) -> None:
    """Log the sums, and from them au, mi and its cap, marginal_kl, nll_gap, and the KL of dimensions."""
    for key in ("_sentences", "_mu_sum", "_mu_square_sum", "_kl_dims", "_mi_table", "_gap", "_gap_sentences"):
        value = total[key]  # meters go into checkpoints: a plain tensor
        metrics.log_scalar_sum(key, value.as_subclass(Tensor) if torch.is_tensor(value) else value)
    metrics.log_derived("au", au)
    metrics.log_derived("mi", mi)
    metrics.log_derived("mi_cap", lambda meters: round(math.log(max(1, len(mi_table(meters)))), 3))
    metrics.log_derived("marginal_kl", marginal_kl)
    metrics.log_derived("nll_gap", nll_gap)
    metrics.log_derived("kl_dim_max", lambda meters: round(float(kl_dims(meters).max()), 4))
    metrics.log_derived("kl_dim_median", lambda meters: round(float(kl_dims(meters).median()), 4))
    metrics.log_derived("kl_dim_min", lambda meters: round(float(kl_dims(meters).min()), 4))
    metrics.log_derived("kl_dims", lambda meters: " ".join(f"{value:.3f}" for value in kl_dims(meters).tolist()))
    metrics.log_derived("diagnosis", diagnosis)


def au(meters) -> int:
    """Active units of all sentences seen."""
    return active_units(*(meters[key].sum for key in ("_mu_sum", "_mu_square_sum", "_sentences")))


def mi_table(meters) -> Tensor:
    """mu and logvar of the table's sentences that were seen, M x 2Z."""
    table = meters["_mi_table"].sum
    return table[table[:, -1] > 0, :-1].float().cpu()  # float64 where workers were added up


def mi(meters) -> float:
    """Mutual information of the table's sentences, in nats."""
    mu, logvar = mi_table(meters).chunk(2, dim=1)
    noise = torch.randn(mu.shape, generator=torch.Generator().manual_seed(0))
    return round(mutual_information(mu, logvar, noise), 3) if len(mu) else 0.0


def marginal_kl(meters) -> float:
    """KL of the aggregated posterior from the prior, KL - MI of the table's sentences, in nats (Hoffman & Johnson
    2016); too large where MI is near its cap."""
    mu, logvar = mi_table(meters).chunk(2, dim=1)
    return round(float(GaussianPosterior(mu, logvar).kl().sum(1).mean()) - mi(meters), 3) if len(mu) else 0.0


def nll_gap(meters) -> float:
    """Nats per sentence; 0 where no batch had two sentences."""
    return round(float(meters["_gap"].sum) / max(1.0, float(meters["_gap_sentences"].sum)), 3)


def kl_dims(meters) -> Tensor:
    """Nats per sentence of each dimension, Z."""
    return meters["_kl_dims"].sum.double().cpu() / max(1.0, float(meters["_sentences"].sum))


def seen(meters) -> tuple:
    """What a diagnosis is of: the rate, the gap (None if not measured), Z, and beta."""
    gap = nll_gap(meters) if meters["_gap_sentences"].sum else None
    return float(kl_dims(meters).sum()), gap, len(kl_dims(meters)), float(meters["_kl_weight"].avg)


def diagnosis(meters) -> str:
    """The name of what is wrong with the rate, or "ok". fairseq asks for it batch by batch, too: it changes nothing."""
    found = watch.judge(*seen(meters))
    return found.name if found else "ok"


def warn(meters) -> None:
    """Warn, once, of what lasts; for the meters of a whole validation."""
    _, warning = watch.see(*seen(meters))
    alone = distributed_utils.get_data_parallel_world_size() == 1
    if warning and (alone or distributed_utils.get_data_parallel_rank() == 0):
        logger.warning(warning)
