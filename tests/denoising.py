"""Sentences, tasks on them, and the batches of an epoch."""

import random

from fairseq_vae.flags.task import task_config
from fairseq_vae.task import VAEDenoisingTask

random.seed(1)
TRAIN = [[random.randrange(25) for _ in range(random.randint(1, 20))] for _ in range(61)]
VALID = [[random.randrange(25) for _ in range(random.randint(1, 20))] for _ in range(13)]


def settings(**cfg):
    """What fairseq's other flags give a task."""
    defaults = {
        "seed": 1,
        "dataset_impl": None,
        "skip_invalid_size_inputs_valid_test": False,
        "path": None,
        "results_path": None,
        "gen_subset": "test",
        "restore_file": "checkpoint_last.pt",
        "finetune_from_model": None,
        "save_dir": "",
        "reset_meters": False,
        "reset_optimizer": False,
        "valid_subset": "valid",
        "max_tokens": None,
        "max_tokens_valid": None,
        "clip_norm": 0.0,
        "update_freq": [1],
        **dict.fromkeys(("cpu", "fp16", "tpu"), False),
    }
    return {**defaults, **cfg}


def build(data, **cfg):
    return VAEDenoisingTask.setup_task(task_config()(data=data, **settings(**cfg)))


def epoch(task, split, number=1, workers=0, **options):
    if split not in task.datasets:
        task.load_dataset(split)
    options = {"max_tokens": 100, "required_batch_size_multiple": 8, "epoch": number, **options}
    iterator = task.get_batch_iterator(task.dataset(split), num_workers=workers, disable_iterator_cache=True, **options)
    return list(iterator.next_epoch_itr(shuffle=True))


def sources(batches):
    """Sentence number to source tokens without padding."""
    return {
        index: [token for token in row if token != 1]
        for batch in batches
        for index, row in zip(batch["id"].tolist(), batch["net_input"]["src_tokens"].tolist())
    }


def clean(sentences):
    return {i: [0, *[word + 4 for word in sentence], 2] for i, sentence in enumerate(sentences)}
