"""Two processes (gloo) and one with the same global batch: the same loss, beta and gradients."""

import socket

import pytest
import torch
from fairseq.distributed.legacy_distributed_data_parallel import LegacyDistributedDataParallel
from helpers import SENTENCES, B, batch, criterion, model

pytestmark = pytest.mark.slow

RATE = dict(rate_controller="lagrangian", rate_target=2.0, rate_gain=0.5)
CASES = {  # flags of the model and of the criterion
    "z = mu": (dict(deterministic_latent=True), dict(kl_schedule="linear", kl_warmup_updates=10, free_bits=0.1)),
    "sampled": ({}, dict(free_bits=1.0, free_bits_mode="sentence", word_dropout=0.3)),
    "controller": (RATE, {}),
    "bn-mu": (dict(bn_mu=0.5, deterministic_latent=True), {}),
    "denominator": (dict(deterministic_latent=True), dict(sentence_avg=True, kl_weight=0.4)),
}
ROWS = ([0, 2, 4], [1, 3])


def part(rows):
    """Rows of the batch with their ids, and no sooner padded than fairseq's collater would."""
    sample = batch([SENTENCES[i] for i in rows])
    return {**sample, "id": torch.tensor(rows)}


def update(case, parts, rank=None):
    """One update's sums as fairseq's trainer makes them: loss, beta, gradients over the sample size, controller."""
    flags, objective = CASES[case]
    built = model(std=0.3, **flags).train()
    workers = 1 if rank is None else len(parts)
    wrapped = built if rank is None else LegacyDistributedDataParallel(built, torch.distributed.group.WORLD)
    objective, totals, betas = criterion(**objective), torch.zeros(2), []
    built.set_num_updates(4)
    for rows in parts if rank is None else [parts[rank]]:
        loss, sample_size, log = objective(built, part(rows))
        loss.backward()
        totals += torch.tensor([loss.item(), sample_size])
        betas.append(float(log["kl_weight"]) / len(rows))
    if rank is not None:
        wrapped.all_reduce_grads()
        torch.distributed.all_reduce(totals)
    gradients = {name: p.grad * workers / totals[1] for name, p in built.named_parameters() if p.grad is not None}
    built.set_num_updates(5)
    if built.rate_controller is not None:
        betas.append(built.rate_controller.weight.item())
    norm = built.encoder.posterior.bn_mu
    return totals, betas[-1], gradients, norm and torch.stack((norm.mean, norm.var))


def worker(rank, port, folder):
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    torch.save({case: update(case, ROWS, rank) for case in CASES}, f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()


def test_two_processes_are_one(tmp_path):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    torch.multiprocessing.spawn(worker, (port, str(tmp_path)), nprocs=2)
    for rank in range(2):
        found = torch.load(tmp_path / f"{rank}.pt")
        for case in CASES:
            totals, beta, gradients, averages = found[case]
            if averages is not None:  # normalised by the batch, so not one's gradients, but one's averages
                torch.testing.assert_close(averages, update(case, [list(range(B))])[3], atol=1e-6, rtol=1e-5)
                continue
            for parts in ([list(range(B))], ROWS):
                expected, expected_beta, expected_gradients, _ = update(case, parts)
                torch.testing.assert_close(totals, expected, atol=0, rtol=1e-6, msg=case)
                assert beta == pytest.approx(expected_beta, abs=1e-6), case
                torch.testing.assert_close(gradients, expected_gradients, atol=1e-6, rtol=1e-5)
