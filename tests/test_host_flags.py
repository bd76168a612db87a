"""fairseq's own flags: those that this model or machine cannot serve are refused in one line, the others work."""

import dataclasses
import subprocess
import sys
from argparse import Namespace

import pytest
import torch
from denoising import build, epoch
from fairseq.token_generation_constraints import pack_constraints
from helpers import V, arguments, batch, model, write_data
from omegaconf import OmegaConf

from fairseq_vae.base.errors import InputError
from fairseq_vae.flags.criterion import criterion_config
from fairseq_vae.flags.host import check_decoding, check_machine


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    sentences = [[i % 7, (3 * i) % 11, i % 5] for i in range(6)]
    return write_data(tmp_path_factory.mktemp("data"), train=sentences, valid=sentences, test=sentences)


@pytest.mark.parametrize("given", [{"print_alignment": "hard"}, {"print_alignment": "soft"}, {"replace_unk": ""}])
def test_words_are_aligned_with_no_words_of_the_source_not_even_by_cross_attention(data, caplog, given):
    with pytest.raises(InputError, match="the decoder reads z and never the words of the source"):
        build(data).build_generator([model("cross-attention")], Namespace(beam=2, **given))
    assert [record.levelname for record in caplog.records if record.name == "fairseq_vae.errors"] == ["ERROR"]


@pytest.mark.parametrize("flag", ["print_step", "retain_iter_history"])
def test_a_sentence_has_no_steps_of_refinement(data, flag):
    with pytest.raises(InputError, match=f"--{flag.replace('_', '-')}: .*from left to right.*leave it out"):
        build(data).build_generator([model()], Namespace(**{flag: True}))
    build(data).build_generator([model()], Namespace(**{flag: False}, print_alignment=None, replace_unk=None))


@pytest.mark.parametrize("given", [{"prefix_size": 1}, {"score_reference": True}])
def test_sentences_from_the_prior_have_no_reference(given):
    check_decoding(Namespace(**given), "mean")
    with pytest.raises(InputError, match="sentences from the prior have no reference"):
        check_decoding(Namespace(**given), "prior")


@pytest.mark.parametrize("injection", ["self-attention", "cross-attention"])
def test_interactive_constraints_are_met(data, injection):
    """As fairseq-interactive makes its batches of lines with constraints behind tabs, and without."""
    task, built = build(data), model(injection, std=0.4)
    generator = task.build_generator([built], Namespace(beam=4, max_len_b=8, constraints="ordered"))
    lines = [torch.tensor([6, 7, 8, 2]), torch.tensor([9, 2]), torch.tensor([5, 5, 2])]
    wanted = [[torch.tensor([20]), torch.tensor([11, 12])], [], [torch.tensor([14])]]
    dataset = task.build_dataset_for_inference(lines, [4, 2, 3], constraints=pack_constraints(wanted))
    for made in task.get_batch_iterator(dataset, max_sentences=3).next_epoch_itr(shuffle=False):
        found = task.inference_step(
            generator, [built], {"net_input": made["net_input"]}, constraints=made["constraints"]
        )
        for index, (best, *_) in zip(made["id"].tolist(), found):
            tokens = best["tokens"].tolist()
            for phrase in (part.tolist() for part in wanted[index]):
                assert any(tokens[i : i + len(phrase)] == phrase for i in range(len(tokens)))


def test_constraints_without_any_are_refused(data):
    task, built = build(data), model()
    generator = task.build_generator([built], Namespace(beam=2, constraints="ordered"))
    with pytest.raises(InputError, match="--constraints: they stand in the input lines of fairseq-interactive"):
        task.inference_step(generator, [built], batch([[1, 2]]))


def test_validation_takes_no_sentences_from_the_prior(data):
    flags = dataclasses.asdict(criterion_config()(sentence_avg=False, max_update=0, seed=1))
    criterion = OmegaConf.create({**flags, "_name": "vae_cross_entropy"})
    assert build(data).build_criterion(criterion) is not None
    with pytest.raises(InputError, match="--latent-mode prior: validation needs the data"):
        build(data, latent_mode="prior", num_samples=3).build_criterion(criterion)


@pytest.mark.parametrize("first", [0, 7])
def test_diverse_beam_search_works_for_any_numbers_of_the_sentences(data, first):
    """fairseq's takes the sentences' numbers for those of the batch's rows."""
    task, built, sample = build(data, latent_mode="sample"), model(std=0.4), batch([[1, 2], [3]])
    generator = task.build_generator([built], Namespace(beam=4, max_len_b=8, diverse_beam_groups=2))
    sample["id"] += first
    found = task.inference_step(generator, [built], sample)
    assert len(found) == 2 and all(len(beams) == 4 for beams in found)


def test_sentences_without_a_reference_are_not_scored(data):
    task, built, sample = build(data), model(), batch([[1, 2], [3]])
    scorer = task.build_generator([built], Namespace(score_reference=True))
    assert len(task.inference_step(scorer, [built], sample)) == 2
    with pytest.raises(InputError, match="--score-reference: these sentences have no reference"):
        task.inference_step(scorer, [built], {"net_input": sample["net_input"]})


def test_a_precision_that_the_machine_lacks_is_refused(data, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(InputError, match="--fp16: fairseq trains in float16 on a GPU alone .this machine has none"):
        check_machine(cpu=False, fp16=True, tpu=False)
    with pytest.raises(InputError, match="--amp: fairseq trains in float16 on a GPU alone .this machine has none"):
        check_machine(cpu=False, fp16=False, tpu=False, amp=True)
    with pytest.raises(InputError, match="--amp: .*--cpu"):
        build(data, amp=True, cpu=True).build_model(arguments(_name="bart_vae_tiny"))
    with pytest.raises(InputError, match="--fp16: .*--cpu.*--autocast-bf16"):
        build(data, fp16=True, cpu=True).build_model(arguments(_name="bart_vae_tiny"))
    build(data, fp16=True, cpu=True).build_model(arguments(_name="bart_vae_tiny"), from_checkpoint=True)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(InputError, match="--bf16 or --tpu: .*torch_xla, which is not installed"):
        check_machine(cpu=False, fp16=False, tpu=True)
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    check_machine(cpu=False, fp16=True, tpu=False)
    with pytest.raises(InputError, match="--fp16: .*--cpu"):
        check_machine(cpu=True, fp16=True, tpu=False)


@pytest.mark.parametrize("given", ["raw", "lazy", "cached", "fasta", "huffman"])
def test_another_format_than_the_files_have_is_refused(data, given):
    with pytest.raises(InputError, match=f"--dataset-impl {given}: .*/train is of format mmap; leave the flag out"):
        build(data, dataset_impl=given).load_dataset("train")
    build(data, dataset_impl="mmap").load_dataset("train")


@pytest.mark.parametrize("given", ["lazy", "cached"])
def test_the_old_format_is_read_both_ways(tmp_path, given):
    from fairseq.data import indexed_dataset

    folder = write_data(tmp_path)
    builder = indexed_dataset.make_builder(f"{folder}/train.bin", "cached", vocab_size=V)
    builder.add_item(torch.tensor([5, 6, 2]))
    builder.finalize(f"{folder}/train.idx")
    for implementation in (given, None):
        task = build(folder, dataset_impl=implementation)
        task.load_dataset("train")
        assert task.dataset("train")[0]["target"].tolist() == [5, 6, 2]
        assert epoch(task, "train")[0]["target"].tolist() == [[5, 6, 2]]


def test_raw_text_of_preprocess_is_named(tmp_path):
    folder = write_data(tmp_path)
    (tmp_path / "train.None-None").write_text("w1 w2\n")
    with pytest.raises(InputError, match="train.None-None is of format raw, not binarised: run fairseq-preprocess"):
        build(folder).load_dataset("train")


def test_the_import_of_the_plug_in_says_nothing():
    code = "import logging\nfrom fairseq_vae import BARTVAEModel\nlogging.warning('a warning is heard')"
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout == ""
    assert done.stderr.splitlines() == ["WARNING:root:a warning is heard"]
