"""Two processes (gloo) with uneven work: the same number of forward passes, and no trace of dummy batches."""

from types import SimpleNamespace

import pytest
import torch
from denoising import TRAIN, build
from fairseq.distributed import utils as distributed_utils
from helpers import criterion, model, write_data
from workers import together

from fairseq_vae import validation
from fairseq_vae.base.dummy import dummy_batch

pytestmark = pytest.mark.slow

FIRST = 6  # sentences that have a partner
VALID = [  # batches of each worker; None: it has run out of data, and computes on a dummy batch
    ([0, 3, 7], [2, 8]),  # two have partners, one has
    ([9, 10], [1]),  # none has, one has
    ([11], [12, 13, 14]),  # none has
    ([4, 5], None),
]
TRAINING = [([0, 3, 7], [2, 8]), ([1, 4], [5]), ([9, 10, 11], None), ([12], None)]


def samples(task, split, parts, rank):
    """A worker's batches with fairseq's mark of a dummy one."""
    data = task.dataset(split)
    own = [part[rank] for part in parts]
    return [(data.collater([data[i] for i in rows or own[0]]), rows is None) for rows in own]


def everything(parts):
    return [[i for rows in part if rows for i in rows] for part in parts]


def passes(built, task, rank):
    """Calls of each module in each validation batch, and the sums of the gaps over all workers."""
    counts, gap = [], torch.zeros(2, dtype=torch.float64)
    built.broadcast_buffers = True  # as torch's wrapper has it, whose passes then wait for one another
    for module in built.modules():
        module.register_forward_hook(lambda module, *_: calls.append(id(module)))
    order = {id(module): name for name, module in built.named_modules()}
    for sample, dummy in samples(task, "valid", VALID, rank):
        calls = []
        log = task.valid_step(sample, built, criterion())[2]
        counts.append([order[call] for call in calls])
        if not dummy:
            gap += torch.tensor([float(log["_gap"]), log["_gap_sentences"]])
    if torch.distributed.is_initialized():
        distributed_utils.all_reduce(gap, distributed_utils.get_data_parallel_group())
    return counts, gap


def averages(built, task, rank):
    """The moving averages of --bn-mu after each training step."""
    optimizer, found = SimpleNamespace(backward=torch.Tensor.backward), []
    norm = built.encoder.posterior.bn_mu
    for number, (sample, dummy) in enumerate(samples(task, "train", TRAINING, rank)):
        task.train_step(sample, built, criterion(), optimizer, number, ignore_grad=dummy)
        found.append(torch.stack((norm.mean, norm.var)))
    assert not norm.dummy_batch
    return found


def everyone(rank, data):
    validation.MI_SENTENCES = FIRST
    task = build(str(data))
    task.load_dataset("train")
    task.load_dataset("valid")
    norm = averages(model(std=0.3, bn_mu=0.5, deterministic_latent=True), task, rank)
    torch.save((passes(model(std=0.3), task, rank), norm), data / f"{rank}.pt")


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """What each of two workers found, and where the data is."""
    folder = write_data(tmp_path_factory.mktemp("data"), train=TRAIN, valid=TRAIN[:15])
    together(everyone, folder, alone=False)
    return folder, [torch.load(f"{folder}/{rank}.pt") for rank in range(2)]


def test_each_validation_batch_takes_the_same_passes_in_each_worker(found):
    """Every module is called as often, in the same order: under sharded models each call waits for all workers."""
    _, [((first, _), _), ((second, _), _)] = found
    assert first == second
    models = [calls.count("") for calls in first]
    assert models[2] == 1 and min(models[0], models[1], models[3]) >= 2, "no pass that no worker needs"


def test_uneven_workers_measure_the_gap_of_one(found, monkeypatch):
    folder, [((_, gap), _), ((_, same), _)] = found
    monkeypatch.setattr(validation, "MI_SENTENCES", FIRST)
    monkeypatch.setitem(globals(), "VALID", [(rows,) for rows in everything(VALID)])
    task = build(folder)
    task.load_dataset("valid")
    _, expected = passes(model(std=0.3), task, 0)
    assert gap.equal(same) and gap[1] == FIRST
    torch.testing.assert_close(gap, expected, rtol=1e-5, atol=1e-5)


def test_dummy_batches_do_not_enter_the_averages_of_bn_mu(found, monkeypatch):
    """Each update moves them to the moments of the sentences that any worker has, each once: those of one process. A
    single sentence has no variance, and moves nothing."""
    folder, [(_, first), (_, second)] = found
    monkeypatch.setitem(globals(), "TRAINING", [(rows,) for rows in everything(TRAINING)])
    task = build(folder)
    task.load_dataset("train")
    expected = averages(model(std=0.3, bn_mu=0.5, deterministic_latent=True), task, 0)
    for one, other, alone in zip(first, second, expected):
        assert one.equal(other)
        torch.testing.assert_close(one, alone, atol=1e-6, rtol=1e-5)
    assert expected[3].equal(expected[2]) and not expected[2].equal(expected[1])


def test_the_mark_of_a_dummy_batch_ends_with_it_even_in_an_error():
    built = model(bn_mu=0.5)
    with pytest.raises(RuntimeError), dummy_batch(torch.nn.Sequential(built)):
        assert built.encoder.posterior.bn_mu.dummy_batch
        raise RuntimeError
    assert not built.encoder.posterior.bn_mu.dummy_batch
