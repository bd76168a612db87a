import pytest
from denoising import TRAIN, VALID, build, clean, epoch, sources
from helpers import write_data


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_data(tmp_path_factory.mktemp("data"), train=TRAIN, valid=VALID)


@pytest.mark.parametrize("split, sentences", [("train", TRAIN), ("valid", VALID)])
@pytest.mark.parametrize("multiple", [1, 8])
def test_every_sentence_is_used_exactly_once_an_epoch(data, split, sentences, multiple):
    batches = epoch(build(data), split, required_batch_size_multiple=multiple)
    ids = [index for batch in batches for index in batch["id"].tolist()]
    assert sorted(ids) == list(range(len(sentences)))
    assert sources(batches) == clean(sentences)
    assert sum(batch["ntokens"] for batch in batches) == sum(len(sentence) + 1 for sentence in sentences)


def test_batches_do_not_depend_on_the_epoch_in_which_a_run_starts(data):
    compositions = [
        {tuple(batch["id"].tolist()) for batch in epoch(build(data, seed=seed), "train", number)}
        for seed, number in [(1, 1), (1, 2), (2, 1)]
    ]
    assert compositions[0] == compositions[1] != compositions[2]


def test_several_workers_of_a_cluster_share_the_sentences_out(data):
    shards = [epoch(build(data), "train", num_shards=2, shard_id=shard) for shard in range(2)]
    ids = [index for shard in shards for batch in shard if batch for index in batch["id"].tolist()]
    assert sorted(ids) == list(range(len(TRAIN)))
