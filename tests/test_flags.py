"""The flags of model, task and criterion: none of BART's is missing, and each says its meaning and default."""

import dataclasses
from argparse import SUPPRESS, ArgumentParser

import pytest
from fairseq.models.bart.model import BARTModel

from fairseq_vae.flags.criterion import criterion_config
from fairseq_vae.flags.model import latent_config, model_config
from fairseq_vae.flags.task import task_config
from fairseq_vae.model import BARTVAEModel


def test_every_flag_of_bart_is_one_of_bart_vae():
    def flags(cls):
        parser = ArgumentParser(argument_default=SUPPRESS)
        cls.add_args(parser)
        return {action.dest for action in parser._actions} - {"help"}

    own = {field.name for field in dataclasses.fields(latent_config())} - {"_name"}
    assert flags(BARTVAEModel) == flags(BARTModel) | own
    assert {field.name for field in dataclasses.fields(model_config())} == flags(BARTVAEModel) | {"_name"}


@pytest.mark.parametrize("config", [latent_config(), task_config(), criterion_config()])
def test_every_flag_says_what_it_means_and_its_default(config):
    for field in dataclasses.fields(config):
        interpolated = isinstance(field.default, str) and field.default.startswith("${")
        if field.name in ("_name", "data", "reuse_dataloader") or interpolated:
            continue
        default = (
            {"deterministic_latent": "z is sampled"}.get(field.name, "off")
            if field.default is False
            else f"{field.default:g}"
            if field.type in (int, float)
            else field.default
        )
        assert field.metadata["help"].endswith(f"(default: {default})"), field.name
