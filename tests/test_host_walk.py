"""A walk through fairseq's flags of BART and of generation, taken from the parsers: a new one joins by itself."""

import argparse
import copy
import dataclasses
import logging

import pytest
import torch
from fairseq import options, tasks
from fairseq.dataclass.configs import GenerationConfig
from fairseq.models.bart.model import BARTModel
from helpers import configuration, write_data
from test_pairs import SIZES, step, trainer, validate

from fairseq_vae.base.errors import InputError

pytestmark = pytest.mark.slow

SENTENCES = [[i % 7, (3 * i) % 11, i % 5, 2][: 1 + i % 4] for i in range(24)]
SAMPLING = ["--sampling", "--nbest=5"]
GENERATION = {  # flags that need others, or a value of their own
    "sampling": SAMPLING,
    "sampling_topk": [*SAMPLING, "--sampling-topk=3"],
    "sampling_topp": [*SAMPLING, "--sampling-topp=0.8"],
    "diverse_beam_groups": ["--beam=4", "--diverse-beam-groups=2"],
    "diverse_beam_strength": ["--beam=4", "--diverse-beam-groups=2", "--diverse-beam-strength=0.9"],
}
REFUSED_IN_GENERATION = {"print_alignment", "replace_unk", "print_step", "retain_iter_history", "constraints"}
BART = {  # flags of BART that need others, or a value of their own; None: not here
    **{f"{side}_embed_dim": ["--encoder-embed-dim=8", "--decoder-embed-dim=8"] for side in ("encoder", "decoder")},
    **{f"{side}_attention_heads": [f"--{side}-attention-heads=4"] for side in ("encoder", "decoder")},
    **{f"{side}_embed_path": None for side in ("encoder", "decoder")},  # a file
    **{f"{side}_xformers_att_config": None for side in ("encoder", "decoder")},  # another package
    **{f"{side}_layers_to_keep": None for side in ("encoder", "decoder")},  # stock BART fails in training, too
    **{f"max_{side}_positions": [f"--max-{side}-positions=20"] for side in ("source", "target")},
    "quant_noise_scalar": None,  # stock BART fails, too: it cannot quantise learned positions
    "base_layers": None,  # more than one worker
    "decoder_output_dim": ["--decoder-output-dim=16"],  # stock BART fails with another one than the width
    "quant_noise_pq": ["--quant-noise-pq=0.1", "--quant-noise-pq-block-size=2"],
    "quant_noise_pq_block_size": ["--quant-noise-pq=0.1", "--quant-noise-pq-block-size=4"],
    "offload_activations": ["--checkpoint-activations", "--offload-activations"],
    "adaptive_softmax_cutoff": ["--adaptive-softmax-cutoff=5,10"],
}
REFUSED_OF_BART = {"adaptive_softmax_cutoff", "cross_self_attention", "decoder_layerdrop"}


def bart_flags():
    parser = argparse.ArgumentParser(add_help=False)
    BARTModel.add_args(parser)
    return [action for action in parser._actions if BART.get(action.dest, "") is not None]


def generation_flags():
    parser = options.get_generation_parser()
    names = {field.name for field in dataclasses.fields(GenerationConfig)} - {"lm_path", "lm_weight"}  # of two models
    return [action for action in parser._actions if action.dest in names]


def given(action, special):
    """The flag with a value that is not its default."""
    if action.dest in special:
        return special[action.dest]
    flag = action.option_strings[-1]
    if action.nargs == 0:
        return [flag]
    other = [str(choice) for choice in action.choices or () if str(choice) != str(action.default)]
    return [f"{flag}={other[0] if other else {int: '2', float: '0.5'}.get(action.type, 'w3')}"]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    logging.disable(logging.ERROR)
    yield write_data(tmp_path_factory.mktemp("data"), train=SENTENCES, valid=SENTENCES[:9], test=SENTENCES[:5])
    logging.disable(logging.NOTSET)


@pytest.fixture(scope="module")
def built(data):
    model = trainer(data, SIZES.split()).model.eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(std=0.3)
    return model


@pytest.mark.parametrize("action", generation_flags(), ids=lambda action: action.option_strings[-1])
def test_a_flag_of_generation_works_or_is_refused_in_one_line(data, built, action):
    arguments = [data, "--task=vae_denoising", "--max-len-b=8", "--cpu", *given(action, GENERATION)]
    cfg = configuration("generation", arguments)
    task = tasks.setup_task(cfg.task)
    task.load_dataset("test")
    dataset = task.dataset("test")
    sample = dataset.collater([dataset[i] for i in range(5)])
    prefix = sample["target"][:, : cfg.generation.prefix_size] if cfg.generation.prefix_size else None
    try:
        generator = task.build_generator([built], cfg.generation)
        found = task.inference_step(generator, [built], copy.deepcopy(sample), prefix_tokens=prefix)
    except InputError:
        assert action.dest in REFUSED_IN_GENERATION
    else:
        assert action.dest not in REFUSED_IN_GENERATION
        assert len(found) == 5 and all(len(beams) > 0 for beams in found)


@pytest.mark.parametrize("action", bart_flags(), ids=lambda action: action.option_strings[-1])
def test_a_flag_of_bart_trains_and_validates_or_is_refused_in_one_line(data, action):
    try:
        made = trainer(data, [*SIZES.split(), *given(action, BART)])
        step(made)
        values = validate(made)
    except InputError:
        assert action.dest in REFUSED_OF_BART
    else:
        assert action.dest not in REFUSED_OF_BART
        assert values["loss"] > 0
