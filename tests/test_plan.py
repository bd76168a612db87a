"""fairseq-vae finetune: what a plan refuses before anything is trained, and what it says of a run."""

import shutil
from argparse import Namespace
from pathlib import Path

import finetuning
import pytest
import torch
from helpers import save_bart

from fairseq_vae.base.errors import InputError
from fairseq_vae.checkpoints.read import model_settings
from fairseq_vae.finetune.plan import Plan, check_folder, check_text, for_pairs, shape, words_of
from fairseq_vae.finetune.recipe import flags, read_recipe

pytestmark = pytest.mark.usefixtures("quick_conversion")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return finetuning.make(tmp_path_factory.mktemp("made"))


@pytest.fixture
def bart(made, tmp_path):
    return shutil.copytree(made / "bart", tmp_path / "bart") / "model.pt"


@pytest.fixture
def text(made, tmp_path):
    return shutil.copytree(made / "text", tmp_path / "text")


@pytest.fixture
def data(made, tmp_path):
    return shutil.copytree(made / "data", tmp_path / "data")


@pytest.fixture
def plan(tmp_path, bart):
    """Makes plans of one phase; nothing is written by making one."""

    def build(data, recipe="naive", bart=bart, overrides=(), **options):
        output = tmp_path / "out"
        built = Plan(str(data), str(output), recipe, None if bart is None else str(bart), overrides, **options)
        assert not output.exists()
        return built

    return build


def test_data_without_its_parts_is_refused(text, bart, plan):
    with pytest.raises(InputError, match="has no train.bin: expected"):
        plan(bart.parent)
    (text / "valid.txt").unlink()
    with pytest.raises(InputError, match="has no valid.txt: expected"):
        plan(text)


@pytest.mark.parametrize(
    "content, message",
    [(b"one\n\ntwo\n", "line 2 is empty"), (b"", "is empty"), (b"caf\xe9\n", "not UTF-8 at byte 3")],
)
def test_bad_text_is_refused_by_file_and_line(text, plan, content, message):
    (text / "valid.txt").write_bytes(content)
    with pytest.raises(InputError, match=f"valid.txt.*{message}"):
        plan(text)


@pytest.fixture
def pairs(made, tmp_path):
    return shutil.copytree(made / "pairs", tmp_path / "pairs")


@pytest.mark.parametrize(
    "change, message",
    [
        ({"train.target": None}, "pairs has no train.target: expected train.source, train.target, valid.source, "),
        ({"valid.source": None, "valid.target": None}, "pairs has no valid.source: expected"),
        ({"test.source": None}, "pairs has no test.source: expected"),
        (
            {"test.txt": "a dog\n"},
            "has train.source, of pairs, and test.txt, of sentences: expected a folder of its own",
        ),
        (
            {"valid.source": "a dog\n"},
            "valid.source has 1 lines and valid.target 4: expected as many, a source and its",
        ),
        (
            {"train.target": "a dog\n\na cat\n\n"},
            "train.target, line 2 is empty .2 in all.: remove .*, of pairs from both files",
        ),
        ({"test.source": "\n", "test.target": "a dog\n"}, "test.target has 1 sentence; expected 2 or more"),
        ({"train.source": "caf\udce9\na\nb\nc\n"}, "train.source, line 1: not UTF-8 at byte 3"),
    ],
)
def test_bad_pairs_are_refused_by_file_and_line(pairs, bart, change, message):
    for name, content in change.items():
        if content is None:
            (pairs / name).unlink()
        else:
            (pairs / name).write_text(content, errors="surrogateescape")
    with pytest.raises(InputError, match=message) as error:
        check_text(pairs, check_folder(pairs), str(bart), {"bpe": "sentencepiece"}, "test")
    assert "\n" not in str(error.value)


def test_pairs_have_the_recipes_settings_but_for_what_they_lack():
    own, sentences = read_recipe("park-lee-2021"), read_recipe("park-lee-2021")
    assert for_pairs(own) == ["task.noise", "task.noise_ratio"]
    told = {"--task=vae_translation", "--arch=bart_cvae", "--source-lang=source", "--target-lang=target"}
    for phase in own:
        found, before = (
            set(flags(settings[phase], task={"data": ""}, common={"user_dir": None})) for settings in (own, sentences)
        )
        assert found - before == {*told, "--truncate-source-left"}
        assert before - found == {"--task=vae_denoising", "--arch=bart_vae", "--noise=deletion", "--noise-ratio=0.15"}
    tiny = read_recipe("naive", ["model._name=bart_vae_tiny"])
    assert for_pairs(tiny) == [] and tiny["phase2"].model._name == "bart_cvae_tiny"
    given = read_recipe("naive", ["task.truncate_source=true"])
    for_pairs(given)
    assert given["phase2"].task.truncate_source and "truncate_source_left" not in given["phase2"].task
    with pytest.raises(InputError, match="^task.source_lang=en: expected source, as the files of pairs end$"):
        for_pairs(read_recipe("naive", ["task.source_lang=en"]))


@pytest.mark.parametrize("missing", ["sentencepiece.bpe.model", "dict.txt"])
def test_text_needs_the_barts_bpe(text, bart, plan, missing):
    (bart.parent / missing).unlink()
    message = "is plain text: expected dict.txt and encoder.json with vocab.bpe, or sentencepiece.bpe.model, beside"
    with pytest.raises(InputError, match=message):
        plan(text)
    with pytest.raises(InputError, match=message):
        plan(text, bart=None)


@pytest.mark.parametrize(
    "override, message",
    [
        (
            "phase2.model.latent_prior=mixture",
            "phase2 of the recipe: --free-bits-mode batch-dimension: .* is not known",
        ),
        ("model.latent_posterior=full", "phase2 of the recipe: --free-bits-mode batch-dimension: .* is not known"),
        ("phase2.model.latent_dim=64", "phase2 of the recipe: .* another architecture"),
    ],
)
def test_what_the_first_batch_of_a_later_phase_would_refuse_is_refused_before_the_first(data, plan, override, message):
    found = plan(data, "default", overrides=["dataset.max_tokens=64", override])
    with pytest.raises(InputError, match=message):
        found.check_parts()


def test_words_may_lie_above_the_checkpoint_as_finetune_leaves_them(text, bart, plan):
    inner = bart.parent / "phase2"
    inner.mkdir()
    bart.rename(inner / bart.name)
    found = plan(text, bart=str(inner / bart.name))
    assert found.bpe and words_of(found.bart) == str(bart.parent / "dict.txt")


def resave(bart, change):
    state = torch.load(bart)
    change(state)
    torch.save(state, bart)


@pytest.mark.parametrize(
    "spoil, message",
    [  # test_read has more of them
        (lambda bart: bart.unlink(), "model.pt does not exist"),
        (lambda bart: bart.write_bytes(bart.read_bytes()[:5000]), r"model.pt is truncated \(5,000 bytes\)"),
        (lambda bart: bart.write_bytes(b"weights"), "model.pt cannot be read"),
        (lambda bart: torch.save({"shared.weight": torch.zeros(2)}, bart), "no weights under `model`"),
        (lambda bart: torch.save({"model": {"a": torch.zeros(2)}}, bart), "has no settings"),
        (
            lambda bart: torch.save({"model": {}, "args": Namespace(arch="lstm", encoder_layers=1)}, bart),
            "is of architecture lstm, expected a BART's",
        ),
        (
            lambda bart: resave(bart, lambda state: state.update(path=Path("x"))),
            "model.pt holds pathlib",
        ),
    ],
)
def test_a_checkpoint_that_is_no_bart_is_refused(data, bart, plan, spoil, message):
    spoil(bart)
    with pytest.raises(InputError, match=message):
        plan(data)


def swap_words(bart):
    lines = (bart.parent / "dict.txt").read_text().splitlines(keepends=True)
    (bart.parent / "dict.txt").write_text("".join([lines[1], lines[0], *lines[2:]]))


@pytest.mark.parametrize(
    "spoil, message",
    [
        (
            lambda bart: resave(bart, lambda state: state["model"].update({"encoder.more": torch.zeros(1)})),
            "model.pt is of another architecture: 1 unknown, e.g. encoder.more",
        ),
        (
            lambda bart: resave(
                bart, lambda state: state["model"].update({"encoder.plugin_version": torch.tensor([99, 0, 0])})
            ),
            "model.pt was written by fairseq-vae 99.0.0; this is ",
        ),
        (swap_words, "dict.txt, line 1: "),
    ],
)
def test_weights_and_words_that_do_not_fit_are_refused(data, bart, plan, spoil, message):
    spoil(bart)
    with pytest.raises(InputError, match=message):
        plan(data).check_parts()


@pytest.mark.parametrize("more", [-1, 1])
def test_a_dictionary_one_line_off_is_refused(data, bart, plan, more):
    lines = (data / "dict.txt").read_text().splitlines(keepends=True)
    (data / "dict.txt").write_text("".join([*lines, "extra 1\n"] if more > 0 else lines[:-1]))
    with pytest.raises(InputError, match=f"{bart} has a dictionary of.*a dict.txt of {len(lines)} lines.*--srcdict"):
        plan(data).check_parts()


@pytest.mark.parametrize(
    "recipe, overrides, message",
    [
        ("default", ["model.latent_dims=8"], "phase1 of the recipe: unrecognized arguments"),
        ("nothing", [], "--recipe nothing: expected one of"),
    ],
)
def test_flags_that_do_not_exist_are_refused_at_once(data, plan, recipe, overrides, message):
    with pytest.raises(InputError, match=message):
        plan(data, recipe, overrides=overrides)


@pytest.mark.parametrize(
    "recipe, overrides, message",
    [
        ("naive", ["model.latent_injection=memory"], "--latent-injection memory"),
        ("cyclical-2019", ["criterion.kl_cycle_updates=9000"], "--kl-cycle-updates 9000"),
        (
            "default",
            ["criterion.free_bits=0.2"],
            r"phase1 of the recipe: --free-bits 0.2 has .* with --kl-weight 0.*null",
        ),
        (
            "default",
            ["phase2.criterion.kl_schedule=constant"],
            "phase2 of the recipe: --kl-warmup-updates 1500 has no ef",
        ),
        ("naive", ["model.zero_latent=true", "criterion.kl_weight=0.5"], "--kl-weight 0.5 has no effect with --zero-l"),
        ("naive", ["model.max_source_positions=5"], r"encoder.embed_positions.weight \(66x16 there, 7x16 here\)"),
    ],
)
def test_values_that_cannot_work_are_refused_before_training(data, plan, recipe, overrides, message):
    with pytest.raises(InputError, match=message):
        plan(data, recipe, overrides=overrides).check_parts()


def test_a_setting_of_the_recipe_that_has_lost_its_effect_is_taken_out_by_null(data, plan):
    flat = ["phase2.criterion.kl_schedule=constant", "phase2.criterion.kl_warmup_updates=null"]
    plan(data, overrides=flat).check_parts()


def test_a_dictionary_of_gpt2_needs_its_bpe(data, bart, plan):
    symbols = [str(number) for number in range(40001)]
    save_bart(bart.parent, words=symbols)
    (bart.parent / "sentencepiece.bpe.model").unlink()
    (data / "dict.txt").write_text("".join(f"{symbol} 1\n" for symbol in symbols))
    message = "GPT-2 BPE: put its encoder.json and vocab.bpe beside the checkpoint or the data"
    with pytest.raises(InputError, match=message):
        plan(data).check_parts()


def test_a_sentence_that_is_too_long_is_named(data, bart, plan):
    model = bart.parent / "sentencepiece.bpe.model"
    finetuning.binarise(data, "valid", ["a dog", "the cat " * 40], model)
    with pytest.raises(InputError, match="valid: line 2 of the text is too long"):
        plan(data).check_parts()


def test_random_weights_are_not_frozen(data, plan):
    with pytest.raises(InputError, match="freezes the decoder, which without --bart has random weights"):
        plan(data, "park-lee-2021", bart=None)
    plan(data, "park-lee-2021", bart=None, overrides=["model.freeze_decoder=false"])


def test_a_plan_says_where_everything_comes_from(tmp_path, text, data, bart, plan):
    built = plan(data, "default", updates={"phase1": 3})
    assert (built.bin, built.is_text, built.split) == (data, False, "test")
    assert list(built.phases) == ["phase1", "phase2"]
    assert built.bpe == {"bpe": "sentencepiece", "sentencepiece_model": str(bart.parent / "sentencepiece.bpe.model")}
    flags = built.flags("phase1", str(bart))
    assert flags[0] == str(data) and f"--save-dir={tmp_path}/out/phase1" in flags
    assert f"--finetune-from-model={bart}" in flags and "--encoder-embed-dim=16" in flags and "--max-update=3" in flags
    assert not any(flag.startswith("--finetune-from-model") for flag in built.flags("phase2", None))
    for suffix in "bin", "idx":
        (data / f"test.{suffix}").unlink()
    assert plan(data).split == "valid"
    built = plan(text)
    assert (built.bin, built.is_text, built.split) == (tmp_path / "out/data-bin", True, "test")


def test_a_run_goes_on_only_with_the_same_recipe_bart_and_data(data, bart, plan):
    first = plan(data).settings
    assert plan(data).settings == first
    other = plan(data, bart=None, overrides=["model.latent_dim=8"]).settings
    assert other["bart"] is None and other["recipe"] != first["recipe"] and other["data"] == first["data"]
    resave(bart, lambda state: state["extra_state"].update(more=1))
    finetuning.binarise(data, "test", ["a dog"], bart.parent / "sentencepiece.bpe.model")
    other = plan(data).settings
    assert other["bart"] != first["bart"] and other["recipe"] == first["recipe"]
    assert other["data"][:2] == first["data"][:2] and other["data"][2] != first["data"][2]
    assert len(first["words"]) == 2 and other["words"] == first["words"], "dictionary and BPE"
    with open(data / "dict.txt", "a") as file:
        file.write("more 1\n")
    assert plan(data).settings["words"] != first["words"]


def test_the_shape_is_the_barts_and_no_default_is_spelt_out(bart):
    settings = model_settings(torch.load(bart))
    found = shape("model.pt", settings)
    assert {"encoder_layers": 2, "decoder_ffn_embed_dim": 24, "max_source_positions": 64}.items() <= found.items()
    assert "activation_fn" not in found and "share_all_embeddings" not in found
    settings.layernorm_embedding = False
    with pytest.raises(InputError, match="--bart model.pt has layernorm_embedding off, which no flag of fairseq-train"):
        shape("model.pt", settings)


def test_a_later_phase_has_a_seed_of_its_own_unless_one_is_given(plan, data):
    """fairseq orders an epoch's sentences by seed and epoch, and each phase begins with its first epoch."""

    def seeds(recipe, *overrides):
        return [settings.common.seed for settings in plan(data, recipe, overrides=overrides).configurations.values()]

    assert seeds("default") == [1, 1001] and seeds("naive") == [1]
    assert seeds("default", "common.seed=7") == [7, 1007]
    assert seeds("default", "phase2.common.seed=4") == [1, 4]
