"""Pairs of source and target: fairseq's own reading and batches, every pair once, and generation from p(z|x)."""

import contextlib
import io
import json
import logging
import random
import re
from argparse import Namespace
from contextlib import nullcontext

import numpy as np
import pytest
import torch
from denoising import epoch, settings
from fairseq.logging import metrics
from fairseq.tasks.translation import TranslationConfig, TranslationTask
from fairseq_cli import generate, interactive
from helpers import (
    Z,
    arguments,
    configuration,
    criterion,
    model,
    save_trained,
    write_data,
    write_pairs,
    write_sentences,
)
from omegaconf import OmegaConf
from workers import train

from fairseq_vae.base.errors import InputError
from fairseq_vae.base.stream import APART, Purpose, standard_normal
from fairseq_vae.checkpoints.load import load_model
from fairseq_vae.checkpoints.read import load_safely
from fairseq_vae.flags.criterion import criterion_config
from fairseq_vae.flags.effects import check_effects, check_generation
from fairseq_vae.flags.task import VAETranslationFlags, task_config
from fairseq_vae.task import VAEDenoisingTask, VAETranslationTask

numbers = random.Random(3)


def words(least, most):
    return [numbers.randrange(25) for _ in range(numbers.randint(least, most))]


PAIRS = [(words(0, 12), words(1, 9)) for _ in range(8)]
TRAIN = [(words(1, 3), words(1, 2)) for _ in range(61)]
VALID = [([], [4, 2]), *PAIRS, (words(11, 11), [1])]
SOURCES = [" ".join(f"w{word}" for word in source) for source, _ in VALID]


def build(data, cls=VAETranslationTask, config=VAETranslationFlags, **cfg):
    known = {"train_subset": "train", "required_seq_len_multiple": 1, "dataset_impl": None}
    own = {name: value for name, value in settings(**cfg).items() if cls is VAETranslationTask or name in cfg}
    return cls.setup_task(config(data=data, **{**known, **own}))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_pairs(tmp_path_factory.mktemp("pairs"), train=TRAIN, valid=VALID, test=VALID)


def tokens(sentence):
    return [*[word + 4 for word in sentence], 2]


def rows(padded):
    return [[token for token in row if token != 1] for row in padded.tolist()]


READINGS = [
    {},
    {"left_pad_source": False},
    {"truncate_source": True, "max_source_positions": 6},
    {"required_seq_len_multiple": 8},
    {"source_lang": "tgt", "target_lang": "src", "max_target_positions": 20},
]


@pytest.mark.parametrize("cfg", READINGS)
def test_batches_are_those_of_fairseqs_translation_and_have_every_pair_once(data, cfg):
    stock, own = build(data, TranslationTask, TranslationConfig, **cfg), build(data, **cfg)
    if "source_lang" in cfg:  # the empty source would be an empty target
        own.refuse_empty = lambda path, sizes: None
    stock.load_dataset("valid")
    seen = []
    for batch in epoch(own, "valid"):
        expected = stock.dataset("valid").collater([stock.dataset("valid")[i] for i in batch["id"].tolist()])
        assert all(batch["net_input"].pop(name).equal(value) for name, value in expected["net_input"].items())
        assert batch["target"].equal(expected["target"]) and batch["ntokens"] == expected["ntokens"]
        assert not batch["net_input"] and batch.keys() - expected.keys() == {"split", "numbers", "places"}
        assert batch["split"] == "valid" and batch["numbers"] == batch["id"].tolist()
        assert batch["places"].equal(batch["target"].flatten().ne(1).nonzero().flatten())
        seen += batch["numbers"]
    assert sorted(seen) == list(range(len(VALID)))


def test_batches_do_not_depend_on_the_epoch_in_which_a_run_starts_and_none_is_dropped(data):
    found = [
        {tuple(batch["id"].tolist()) for batch in epoch(build(data, seed=seed), "train", number, max_sentences=4)}
        for seed, number in [(1, 1), (1, 2), (2, 1)]
    ]
    assert found[0] == found[1] != found[2]
    assert sorted(sum(found[0], ())) == list(range(len(TRAIN)))


def test_partners_have_targets_and_lengths_that_bound_both_sides(data):
    own = build(data, skip_invalid_size_inputs_valid_test=True)
    batches = epoch(own, "valid", max_positions=(12, 9))
    kept = own.dataset("valid").kept.tolist()
    assert kept == [i for i, (x, y) in enumerate(VALID) if len(x) < 12 and len(y) < 9] and len(kept) > 5
    for batch in batches:
        found = own.dataset("valid").partners(batch["numbers"], 1024)
        assert found["rows"].tolist() == list(range(len(batch["numbers"])))
        nexts = [kept[(kept.index(number) + 1) % len(kept)] for number in batch["numbers"]]
        assert found["numbers"] == nexts
        assert rows(found["src_tokens"]) == [tokens(VALID[i][0]) for i in nexts]
        assert rows(found["target"]) == [tokens(VALID[i][1]) for i in nexts]
        assert found["lengths"] == [max(map(len, VALID[i])) + 1 for i in nexts]
        assert found["src_tokens"][:, 0].ne(1).all(), "padding is at the end"


def test_a_source_is_cut_from_the_left_and_how_many_are_is_logged_once_a_split(data, caplog):
    caplog.set_level(logging.INFO, "fairseq_vae.task.translation")
    own = build(data, truncate_source_left=True, max_source_positions=6)
    found = {}
    for batch in epoch(own, "valid", max_positions=(6, 99)):
        found.update(zip(batch["id"].tolist(), rows(batch["net_input"]["src_tokens"])))
    assert [found[i] for i in range(len(VALID))] == [tokens(source)[-6:] for source, _ in VALID]
    assert own.dataset("valid").src_sizes.tolist() == [len(found[i]) for i in range(len(VALID))]
    count = sum(len(source) > 5 for source, _ in VALID)
    told = [f"--truncate-source-left: the beginnings of {count} of {len(VALID)} sources of valid are cut off"]
    assert [record.getMessage() for record in caplog.records if "fairseq_vae" in record.name] == told
    caplog.clear()
    build(data, truncate_source=True, max_source_positions=6).load_dataset("valid")
    [told] = [record.getMessage() for record in caplog.records if "fairseq_vae" in record.name]
    assert told == f"--truncate-source: the ends of {count} of {len(VALID)} sources of valid are cut off"


@pytest.mark.parametrize("flag", ["truncate_source", "truncate_source_left"])
def test_lines_of_fairseq_interactive_are_cut_as_a_split_is(data, flag):
    own = build(data, max_source_positions=6, **{flag: True})
    own.load_dataset("valid")
    lines = [torch.tensor(tokens(source)) for source, _ in VALID]
    found = own.build_dataset_for_inference(lines, [len(line) for line in lines])
    assert [found[i]["source"].tolist() for i in range(len(lines))] == [
        own.dataset("valid")[i]["source"].tolist() for i in range(len(lines))
    ]


def test_pairs_of_tokens_are_as_the_task_has_them(data, tmp_path):
    sides = [[torch.tensor(tokens(pair[side])) for pair in VALID] for side in (0, 1)]
    own = build(data)
    own.load_dataset("valid")
    denoising = VAEDenoisingTask.setup_task(task_config()(data=write_data(tmp_path), **settings()))
    for whole, start in ((own, []), (denoising, [0])):
        found = whole.pairs(*sides).collater([whole.pairs(*sides)[i] for i in range(len(VALID))])
        order = found["id"].tolist()
        assert rows(found["net_input"]["src_tokens"]) == [[*start, *tokens(VALID[i][0])] for i in order]
        assert rows(found["target"]) == [tokens(VALID[i][1]) for i in order]


def cvae(own):
    """A tiny conditional model whose prior and words depend on source and z."""
    torch.manual_seed(1)
    built = own.build_model(arguments(_name="bart_cvae_tiny"), from_checkpoint=True)
    with torch.no_grad():
        for name, parameter in built.named_parameters():
            if parameter.dim() > 1:
                parameter.normal_(std=0.4)
                if "embed_tokens" in name:
                    parameter[1] = 0
    return built.eval()


def hypotheses(built, own, max_sentences, draws):
    generator = own.build_generator([built], Namespace(beam=3, max_len_b=8))
    found = {}
    for batch in epoch(own, "test", max_sentences=max_sentences, max_tokens=None):
        for number, beams in zip(batch["numbers"], own.inference_step(generator, [built], batch)):
            assert len(beams) == 3 * draws
            found[number] = [beam["tokens"].tolist() for beam in beams]
    return found


@pytest.mark.parametrize("mode, draws", [("mean", 1), ("sample", 3)])
@torch.no_grad()
def test_generation_is_that_of_each_source_and_z_alone(data, capsys, mode, draws):
    """z is the mean of p(z|x), or its draw of the pair's own number; beams of several rows are reordered together."""
    own = build(data, latent_mode=mode, latent_samples=draws, print_z=True)
    built = cvae(own)
    found = hypotheses(built, own, 3, draws)
    printed_z = re.findall(r"^Z-(\d+)\t(.*)$", capsys.readouterr().out, re.MULTILINE)
    for size in (1, None):
        assert hypotheses(built, build(data, latent_mode=mode, latent_samples=draws), size, draws) == found
    generator = own.build_generator([built], Namespace(beam=3, max_len_b=8))
    for number in (0, 4, 9):
        source = own.dataset("test").collater([own.dataset("test")[number]])["net_input"]["src_tokens"]
        prior = built.encoder.prior(built.encoder.context(source))
        for k in range(draws):
            eps = standard_normal(1, Purpose.GENERATION, 0, [number + k * APART], Z)
            z = prior.mean if mode == "mean" else prior.rsample(eps)
            own_z = [json.loads(line) for index, line in printed_z if int(index) == number]
            torch.testing.assert_close(torch.tensor(own_z[k]), z[0], rtol=1e-5, atol=1e-5)
            alone = {"id": torch.tensor([number + k * APART]), "net_input": {"src_tokens": source, "z": z}}
            beams = generator.generate([built], alone)[0]
            assert [beam["tokens"].tolist() for beam in beams] == found[number][3 * k : 3 * k + 3]
    assert len({str(texts) for texts in found.values()}) > 5
    if draws > 1:
        assert any(texts[:3] != texts[3:6] for texts in found.values())


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Checkpoints of vae_translation and of fairseq's translation, with their data."""
    folder = tmp_path_factory.mktemp("model")
    write_pairs(folder, test=VALID, valid=VALID)
    flags = ["--arch=bart_cvae_tiny", "--source-lang=src", "--target-lang=tgt", f"--latent-dim={Z}"]
    flags += ["--max-source-positions=16", "--max-target-positions=16"]
    for name in ("vae_translation", "translation"):
        names = [f"w{i}" for i in range(25)]
        save_trained(folder, f"{name}.pt", (*flags, f"--task={name}", "--criterion=vae_cross_entropy"), names, 0.4)
    (folder / "lines.txt").write_text("\n".join(SOURCES) + "\n")
    return folder


def printed(command, folder, path, *flags):
    """The hypotheses that a command of fairseq prints, by number."""
    given = [str(folder), f"--path={folder}/{path}", "--cpu", "--num-workers=0", "--max-len-b=8", "--beam=2", *flags]
    given += ["--gen-subset=test"] if command is generate else [f"--input={folder}/lines.txt"]
    cfg = configuration("interactive_generation" if command is interactive else "generation", given)
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        command.main(cfg)
    found = {}
    for number, text in re.findall(r"^D-(\d+)\t\S+\t(.*)$", output.getvalue(), re.MULTILINE):
        found.setdefault(int(number), []).append(text)
    return found


@pytest.mark.slow
def test_either_command_generates_the_same_and_checkpoints_go_between_the_tasks(folder):
    own = "--task=vae_translation"
    drawn = [own, "--latent-mode=sample", "--latent-samples=2"]
    first = printed(generate, folder, "vae_translation.pt", *drawn, "--batch-size=4")
    assert sorted(first) == list(range(len(VALID))) and all(len(texts) == 2 for texts in first.values())
    assert printed(interactive, folder, "vae_translation.pt", *drawn, "--buffer-size=3", "--batch-size=2") == first
    stock = ["--task=translation", "--required-batch-size-multiple=1"]  # fairseq drops the rest
    mean = printed(generate, folder, "translation.pt", own)
    assert printed(generate, folder, "vae_translation.pt", *stock) == mean != first


def test_load_model_reads_the_data_of_either_task_as_pairs(folder, tmp_path):
    for name in ("vae_translation", "translation"):
        built, cfg, own = load_model(str(folder / f"{name}.pt"), str(folder))
        assert type(own) is VAETranslationTask and built.conditional and own.cfg.max_source_positions == 16
        own.load_dataset("test")
        assert own.dataset("test").split == "test" and len(own.dataset("test")) == len(VALID)
    state = torch.load(folder / "translation.pt")
    state["cfg"]["task"]["_name"] = "denoising"
    torch.save(state, tmp_path / "other.pt")
    with pytest.raises(InputError, match="other.pt is of bart_cvae and of the task denoising: expected one of tra.*, "):
        load_model(str(tmp_path / "other.pt"), str(folder))


OBJECTIVE = OmegaConf.create({"_name": "vae_cross_entropy", "sentence_avg": False, "max_update": 0, "seed": 1})


def test_validation_is_of_source_and_target_and_has_partners(data):
    own = build(data)
    built = cvae(own)
    loss, _, log = own.valid_step(epoch(own, "valid")[0], built, criterion())
    assert torch.isfinite(torch.as_tensor(loss)) and log["_gap_sentences"] == log["nsentences"] and log["_gap"] != 0


def test_bleu_in_validation_is_fairseqs_and_its_sums_can_be_saved_for_torchs_safe_loader(data, tmp_path):
    own = build(data, eval_bleu=True, eval_bleu_args='{"beam": 2, "max_len_b": 6}')
    built, objective, logs = cvae(own), criterion(), []
    with metrics.aggregate(new_root=True) as whole:
        for batch in epoch(own, "valid", max_sentences=4):
            _, _, log = own.valid_step(batch, built, objective)
            own.reduce_metrics([log], objective)
            logs.append(log)
    assert len(logs) > 2 and whole["_bleu_totals"].sum.tolist() == [
        sum(log[f"_bleu_totals_{n}"] for log in logs) for n in range(4)
    ]
    assert whole["_bleu_counts"].sum.sum() > 0 and whole.get_smoothed_value("bleu") >= 0
    torch.save(whole.state_dict(), tmp_path / "meters.pt")
    load_safely(str(tmp_path / "meters.pt"))


def test_sentences_can_be_given_their_corrupted_selves(tmp_path):
    """bart_cvae under vae_denoising: validation has partners with targets, and `sample` draws from p(z|x)."""
    folder = write_data(tmp_path, valid=[y for _, y in VALID], test=[y for _, y in VALID])
    flags = {"noise": "deletion", "noise_ratio": 0.5, "noise_splits": "valid,test"}
    own = VAEDenoisingTask.setup_task(task_config()(data=folder, **settings(latent_mode="sample", **flags)))
    built = cvae(own)
    _, _, log = own.valid_step(epoch(own, "valid")[0], built, criterion())
    assert log["_gap"] != 0
    batch = epoch(own, "test")[0]
    part = own.with_draws([built], own.rows(batch, [1, 0]), [5, 3])
    assert part["net_input"]["prior_eps"].equal(standard_normal(1, Purpose.GENERATION, 0, [5, 3], Z))
    own = VAEDenoisingTask.setup_task(task_config()(data=folder, **settings(latent_mode="prior", num_samples=3)))
    with pytest.raises(InputError, match="--latent-mode prior: bart_cvae draws z from p.z|x. of a source x: give sour"):
        own.build_generator([built], Namespace(beam=1))


def test_what_has_no_meaning_for_a_conditional_model_is_refused(data):
    own = build(data)
    built = cvae(own)
    for flags, message in (
        ({"score_reference": True}, "--score-reference: the likelihood of a reference is an integral over z"),
        ({"print_alignment": "hard"}, "--print-alignment: the decoder attends to z beside the words of the source"),
    ):
        with pytest.raises(InputError, match=message):
            own.build_generator([built], Namespace(beam=1, **flags))
    with pytest.raises(InputError, match="bart_cvae beside other models: expected bart_cvae alone, or none"):
        own.build_generator([built, model()], Namespace(beam=1))


@pytest.mark.parametrize(
    "cfg, message",
    [
        (
            {"latent_mode": "prior"},
            "--latent-mode prior: here z is drawn from p.z.x. of a source x, by --latent-mode s",
        ),
        ({"latent_samples": 0}, "--latent-samples 0: expected 1 or more"),
        ({"left_pad_target": True}, "--left-pad-target: the posterior reads targets from the left; leave it out"),
        (
            {"source_lang": "en"},
            "has no dict.en.txt: give the folder that fairseq-preprocess --source-lang",
        ),
    ],
)
def test_bad_flags_are_refused_by_name(data, cfg, message):
    with pytest.raises(InputError, match=message):
        build(data, **{"target_lang": "tgt", **cfg})


@pytest.mark.parametrize(
    "cfg, message",
    [
        (
            {"truncate_source": True},
            "--truncate-source-left has no effect with --truncate-source: leave one of the two",
        ),
        ({"num_batch_buckets": 2}, "--truncate-source-left has no effect with --num-batch-buckets 2: leave one of the"),
        ({"latent_mode": "sample"}, "--latent-mode sample has no effect in training: give it to fairseq-generate"),
    ],
)
def test_flags_without_an_effect_are_refused_before_training(data, cfg, message):
    own = build(data, truncate_source_left=True, fp16=False, bf16=False, **cfg)
    own.build_model(arguments(_name="bart_cvae_tiny"))
    with pytest.raises(InputError, match=message):
        own.build_criterion(OBJECTIVE)


def test_a_model_of_sentences_alone_is_refused(data):
    with pytest.raises(InputError, match="--task vae_translation: bart_vae infers z from the source alone.*bart_cvae"):
        build(data).build_model(arguments(_name="bart_vae_tiny"))


def test_bad_data_is_refused_by_file_line_and_remedy(tmp_path):
    def refused(message, folder, split=None, **cfg):
        with pytest.raises(InputError, match=message) as error:
            own = build(str(folder), **cfg)
            epoch(own, split, max_positions=(12, 9))
        assert "\n" not in str(error.value)

    refused("none does not exist: give the one that fairseq-preprocess --source-lang", tmp_path / "none")
    (tmp_path / "alone").mkdir()
    write_data(tmp_path / "alone", train=[[1]])
    refused("alone has no pairs of two languages: .*or --task vae_denoising", tmp_path / "alone")
    words = VAETranslationTask.setup_task(
        VAETranslationFlags(data=str(tmp_path / "alone"), **settings()), from_checkpoint=True
    )
    with pytest.raises(InputError, match="alone has no pairs of two languages: give the folder that .* and targets$"):
        words.load_dataset("test")
    refused("has no dict.a.txt and no dict.b.txt: give", tmp_path / "alone", source_lang="a", target_lang="b")
    pairs = [([1], [2]), ([3] * 14, [4]), ([5], [6] * 11), ([7] * 12, [])]
    folder = tmp_path / "pairs"
    folder.mkdir()
    write_pairs(folder, empty=[], train=pairs, valid=pairs[:2], test=pairs[:3:2], uneven=pairs[:2])
    write_sentences(folder / "uneven.src-tgt.tgt", [[1]])
    write_sentences(folder / "half.src-tgt.src", [[1]])
    refused("test1.src-tgt.src.bin does not exist: --test1pref of fairseq-preprocess --source-lang", folder, "test1")
    refused("half.src-tgt.tgt.bin does not exist: --halfpref of", folder, "half")
    refused("empty.src-tgt.src.bin has no sentences", folder, "empty")
    refused("uneven.src-tgt.src has 2 lines and .*uneven.src-tgt.tgt 1: expected as many", folder, "uneven")
    refused("train.src-tgt.tgt: line 4 of the text is empty .1 empty lines", folder, "train")
    remedy = (
        r"--max-source-positions is 12 \(15 needed\). Cut sources with --max-source-positions 12 and --truncate-sou"
    )
    refused(rf"valid: the source of line 2 is too long \(such lines: 1\); for the longest, {remedy}", folder, "valid")
    refused(
        r"test: the target of line 2 is too long .*--max-target-positions is 9 \(12 needed\). Short", folder, "test"
    )
    lines = (folder / "dict.tgt.txt").read_text().splitlines(keepends=True)
    (folder / "dict.tgt.txt").write_text("".join([lines[1], lines[0], *lines[2:]]))
    refused(
        r"dict.tgt.txt and dict.src.txt differ from line 1 on, .*run fairseq-preprocess with --joined-dictionary",
        folder,
    )


@pytest.mark.parametrize(
    "flags, message",
    [
        (
            {"upsample_primary": 2},
            "^--upsample-primary 2 has no effect: .*train.src-tgt.src is the only file of train",
        ),
        ({"upsample_primary": 0}, "^--upsample-primary 0: expected 1 or more$"),
        ({"source_lang": "tgt"}, "^--source-lang tgt has no effect without --target-lang: give that too, or leave --s"),
        ({"target_lang": "src"}, "^--target-lang src has no effect without --source-lang: give that too, or leave --t"),
    ],
)
def test_what_fairseq_would_ignore_is_refused(data, flags, message):
    with pytest.raises(InputError, match=message):
        build(data, **flags).load_dataset("train", combine=True)
    assert build(data, source_lang="src").cfg.target_lang == "tgt"


@pytest.mark.parametrize("config, name", [(TranslationConfig, "translation"), (VAETranslationFlags, "vae_translation")])
def test_alignments_are_refused_since_nothing_reads_them(config, name):
    objective = criterion_config()(sentence_avg=False, max_update=100)
    for given in (False, True):
        cfg = config(load_alignments=given)
        with pytest.raises(InputError, match="^--load-alignments has no effect with") if given else nullcontext():
            check_effects(Namespace(_name="bart_cvae"), objective, cfg)


@pytest.mark.parametrize("name", ["eval_bleu_args", "eval_bleu_detok_args"])
@pytest.mark.parametrize("value", ["{beam: 4}", "4", ""])
def test_arguments_that_are_no_json_object_are_refused(name, value):
    objective = criterion_config()(sentence_avg=False, max_update=100)
    for given in ('{"beam": 4}', value):
        cfg = VAETranslationFlags(**settings(eval_bleu=True, **{name: given}))
        with pytest.raises(InputError, match="expected a JSON object, e.g.") if given == value else nullcontext():
            check_effects(Namespace(_name="bart_cvae"), objective, cfg)


def test_generation_refuses_flags_of_training():
    for name, value in {"eval_bleu": True, "load_alignments": True, "upsample_primary": 2}.items():
        with pytest.raises(
            InputError, match=f"^--{name.replace('_', '-')}.* has no effect in generation: give it to fa"
        ):
            check_generation(VAETranslationFlags(**settings(**{name: value})), ["test"], False)
    with pytest.raises(InputError, match="^--eval-tokenized-bleu has no effect without --eval-bleu: give that too"):
        check_generation(VAETranslationFlags(**settings(eval_tokenized_bleu=True)), ["test"], False)


def test_subsets_that_are_combined_are_read_one_after_another(tmp_path):
    write_pairs(tmp_path, valid=PAIRS[1:3], valid1=PAIRS[3:6])
    own = build(str(tmp_path), upsample_primary=1, truncate_source_left=True, max_source_positions=3)
    own.load_dataset("valid", combine=True)
    found = own.dataset("valid")
    assert [found[i]["source"].tolist() for i in range(5)] == [tokens(source)[-3:] for source, _ in PAIRS[1:6]]
    assert np.asarray(found.src_sizes).tolist() == [min(3, len(source) + 1) for source, _ in PAIRS[1:6]]


@pytest.mark.slow
def test_a_resumed_training_of_pairs_is_one_that_was_not_stopped(data, tmp_path):
    flags = (
        "--task=vae_translation --source-lang=src --target-lang=tgt --arch=bart_cvae_tiny --latent-prior=conditional"
    )
    flags += " --dropout=0.1 --free-bits=0.5 --free-bits-mode=sentence --max-target-positions=32"
    (whole, _), _, (resumed, _) = (  # states, and what was said
        train(data, tmp_path / name, f"{flags} --max-epoch={epochs}")
        for name, epochs in (("whole", 2), ("stopped", 1), ("stopped", 2))
    )
    assert whole["model"].keys() == resumed["model"].keys() and "encoder.prior.mu.weight" in whole["model"]
    for name, weight in whole["model"].items():
        assert weight.equal(resumed["model"][name]), name
    for number, moments in whole["optimizer"].items():
        others = resumed["optimizer"][number]
        assert all(torch.as_tensor(value).equal(torch.as_tensor(others[key])) for key, value in moments.items())
