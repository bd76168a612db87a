"""fairseq-generate and fairseq-interactive: whose z, how it is searched, and that nothing else changes a sentence."""

import contextlib
import copy
import functools
import io
import json
import random
import re
from itertools import product

import pytest
import torch
from denoising import build
from fairseq_cli import generate, interactive
from helpers import bart, batch, configuration, model, save_vae, write_data
from test_cli import run

from fairseq_vae.base.errors import InputError
from fairseq_vae.base.files import fingerprint
from fairseq_vae.base.stream import APART, Purpose, standard_normal
from fairseq_vae.checkpoints.priors import save_prior
from fairseq_vae.cli.main import main
from fairseq_vae.hub import load
from fairseq_vae.latent.fitted import FittedGaussian, FittedMixture

words = random.Random(5)
SENTENCES = [[words.randrange(25) for _ in range(words.choice((1, 2, 3, 5, 9)))] for _ in range(12)]
SENTENCES.append(SENTENCES[3])  # one comes twice
TEXT = [" ".join(f"w{word}" for word in sentence) for sentence in SENTENCES]
Z = 8


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Data, two models of its words, of which the second has other weights and another latent_dim, and priors."""
    folder = tmp_path_factory.mktemp("generation")
    names = [f"w{i}" for i in range(25)]
    flags = ("--max-source-positions=32", "--max-target-positions=32")
    save_vae(folder, *flags, f"--latent-dim={Z}", words=names)
    save_vae(folder / "other", *flags, "--latent-dim=5", words=names, std=0.4)
    write_data(folder, test=SENTENCES)
    (folder / "lines.txt").write_text("\n".join(TEXT) + "\n")
    (folder / "empty.txt").write_text("\n" * 13)
    (folder / "constrained.txt").write_text("".join(f"{text}\tw{i}\tw{i + 1} w20\n" for i, text in enumerate(TEXT)))
    gaussian = FittedGaussian({"mu": torch.ones(Z), "tril": 0.5 * torch.eye(Z)})
    save_prior(gaussian, folder / "prior.safetensors", fingerprint(folder / "checkpoint_best.pt"))
    mixture = FittedMixture({"logits": torch.zeros(2), "mus": torch.randn(2, 5), "trils": torch.eye(5).repeat(2, 1, 1)})
    save_prior(mixture, folder / "other/prior.safetensors", fingerprint(folder / "other/checkpoint_best.pt"))
    return folder


def printed(command, folder, flags="", path="checkpoint_best.pt", lines="lines.txt", **changed):
    """What a command of fairseq prints, run in this process; changed: batch_size, max_tokens, buffer_size."""
    cfg = copy.deepcopy(configured(command, folder, flags, path))
    cfg.interactive.input = str(folder / lines)
    for name, value in changed.items():
        setattr(cfg.interactive if name == "buffer_size" else cfg.dataset, name, value)
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        {"generate": generate, "interactive": interactive}[command].main(cfg)
    return output.getvalue()


@functools.lru_cache(maxsize=None)
def configured(command, folder, flags, path):
    kind = {"generate": "generation", "interactive": "interactive_generation"}[command]
    paths = ":".join(f"{folder}/{part}" for part in path.split(":"))
    given = [str(folder), "--task=vae_denoising", f"--path={paths}", "--cpu", "--num-workers=0", *flags.split()]
    if "--max-len-b" not in flags:
        given.append("--max-len-b=10")
    if command == "generate":
        given.append("--gen-subset=test")
        if "--latent-mode=prior" in flags:
            given.append(f"--num-samples={len(TEXT)}")
    return configuration(kind, given)


def found(output, letter="H"):
    """Texts of a letter's lines, by the sentence's number, in order."""
    result = {}
    for number, text in re.findall(rf"^{letter}-(\d+)\t(.*)$", output, re.MULTILINE):
        result.setdefault(int(number), []).append(text.split("\t")[-1])
    return result


BOTH = "checkpoint_best.pt:other/checkpoint_best.pt"
MODES = {"mean": "", "sample": "--latent-mode=sample", "prior": "--latent-mode=prior"}
METHODS = {
    "beam": "--beam=4 --nbest=2",
    "temperature": "--beam=2 --temperature=1.7",
    "sampling": "--sampling --beam=2 --nbest=2",
    "top-k": "--sampling --sampling-topk=5 --beam=1",
    "nucleus": "--sampling --sampling-topp=0.8 --beam=2 --nbest=2",
    "diverse beam": "--beam=4 --diverse-beam-groups=2 --nbest=4",
    "diverse siblings": "--beam=3 --diversity-rate=0.5",
    "length by the source": "--beam=2 --max-len-a=1.2 --max-len-b=1",
    "prefix": "--beam=3 --prefix-size=2 --nbest=2",
    "prefix and sampling": "--sampling --sampling-topp=0.8 --beam=2 --nbest=2 --prefix-size=3",
    "the source's length": "--beam=3 --match-source-len",
    "constraints": "--beam=4 --constraints=unordered",
    "constraints in order": "--beam=4 --constraints=ordered",
    "the reference": "--score-reference",
}
GENERATE_ALONE = ("prefix", "prefix and sampling", "the reference")  # the others have no reference
NOT_OF_THE_PRIOR = (*GENERATE_ALONE, "the source's length", "length by the source")


def runs(folder, method, flags, path, sizes):
    """The hypotheses of a command line under each of some (command, buffer size, sizes of a batch)."""
    result = []
    for command, buffer, size in sizes:
        if command not in (["generate"] if method in GENERATE_ALONE else ["generate", "interactive"]):
            continue
        if method.startswith("constraints") and command == "generate":
            continue
        own = {"buffer_size": buffer, **size} if command == "interactive" else size
        lines = "constrained.txt" if method.startswith("constraints") else "lines.txt"
        result.append(found(printed(command, folder, flags, path, lines, **own)))
    return result


def modes_of(method):
    return [mode for mode in MODES if mode != "prior" or method not in NOT_OF_THE_PRIOR]


SIZES = [
    ("generate", 0, {"batch_size": 64}),
    ("generate", 0, {"batch_size": None, "max_tokens": 24}),
    ("interactive", 1, {"batch_size": 1}),
    ("interactive", 5, {"batch_size": 2}),
]
ENSEMBLES = ("beam", "nucleus", "diverse beam", "prefix", "constraints")  # the methods that two models are tried with
IN_EVERY_MODE = ("beam", "sampling", "prefix")  # the others take turns
CASES = [
    (mode, method, models)
    for turn, (method, models) in enumerate(product(METHODS, (1, 2)))
    for number, mode in enumerate(modes_of(method))
    if (method in IN_EVERY_MODE or number == turn // 2 % len(modes_of(method))) and (models == 1 or method in ENSEMBLES)
]


@pytest.mark.slow
@pytest.mark.parametrize("mode, method, models", CASES)
def test_a_sentence_is_the_same_by_either_command_in_any_batch_and_buffer(folder, mode, method, models):
    """Two models, of which each has its own z, with two samples of z for each sentence where there are samples."""
    draws = 2 if models == 2 and mode != "mean" else 1
    flags = f"{MODES[mode]} {METHODS[method]}" + (" --latent-samples=2" if draws == 2 else "")
    turn = CASES.index((mode, method, models)) % 2
    sizes = [SIZES[turn], SIZES[3 - turn]]  # one of each command; the others are the next case's
    if method in GENERATE_ALONE or method.startswith("constraints"):  # which take one command
        sizes = SIZES
    first, *others = runs(folder, method, flags, BOTH if models == 2 else "checkpoint_best.pt", sizes)
    nbest = int((re.search(r"--nbest=(\d)", flags) or [0, "1"])[1])
    assert {number: len(texts) for number, texts in first.items()} == {i: nbest * draws for i in range(len(TEXT))}
    assert others and all(other == first for other in others)
    for number, texts in first.items():
        wanted = []
        if "prefix" in method:
            wanted = TEXT[number].split()[: int(re.search(r"--prefix-size=(\d)", flags)[1])]
        assert all(text.split()[: len(wanted)] == wanted for text in texts)
        if method == "the reference":
            assert set(texts) == {TEXT[number]}
        if method == "the source's length":
            assert all(len(text.split()) <= len(TEXT[number].split()) + 2 for text in texts), "<s> and </s> count"
        if method.startswith("constraints"):
            assert all({f"w{number}", "w20"} <= set(text.split()) for text in texts)
            assert all(re.search(rf"\bw{number + 1} w20\b", text) for text in texts)


@pytest.fixture(scope="module")
def vae(folder):
    return load(str(folder / "checkpoint_best.pt"), str(folder), None)


DECODING = [
    ("--beam=3", {"beam": 3}),
    ("--beam=1 --sampling", {"sampling": True}),
    ("--beam=1 --sampling --sampling-topk=3", {"sampling": True, "sampling_topk": 3}),
    (
        "--beam=1 --sampling --sampling-topp=0.7 --temperature=1.5",
        {"sampling": True, "sampling_topp": 0.7, "temperature": 1.5},
    ),
]


@pytest.mark.slow
@pytest.mark.parametrize("flags, chosen, prior", [(*row, number % 2 > 0) for number, row in enumerate(DECODING)])
def test_samples_of_a_seed_are_the_same_in_hub_fairseq_and_command(folder, capsys, flags, chosen, prior):
    path = str(folder / "prior.safetensors") if prior else None
    vae = load(str(folder / "checkpoint_best.pt"), str(folder), None, prior=path)
    expected = vae.sample(len(TEXT), seed=3, max_len=10, **chosen)
    own = f"--latent-mode=prior --seed=3 {flags}" + (f" --prior={path}" if prior else "")
    for command, buffer, size in (SIZES[0], SIZES[1], SIZES[3]):
        more = {"buffer_size": buffer} if buffer else {}
        lines = printed(command, folder, own, lines="empty.txt", **size, **more)
        assert [found(lines, "D")[i] for i in range(len(TEXT))] == [[text] for text in expected]
    given = [flag for flag in flags.split() if "beam=1" not in flag] + ([f"--prior={path}"] if prior else [])
    command = ["sample", str(folder / "checkpoint_best.pt"), f"-n={len(TEXT)}", "--seed=3", "--max-len=10", *given]
    assert main([*command, "--batch-size=2"]) == 0
    assert capsys.readouterr().out.splitlines() == expected


@pytest.mark.parametrize("chosen", [DECODING[0][1], DECODING[3][1]], ids=["beam", "nucleus"])
@pytest.mark.parametrize("precision", [torch.float32, torch.float16, torch.bfloat16])
def test_samples_are_the_same_in_any_batch_in_any_precision(folder, chosen, precision):
    vae = load(str(folder / "checkpoint_best.pt"), str(folder), None).to(precision)
    expected = vae.sample(12, seed=3, max_len=6, **chosen)
    for vae.batch_size in (1, 5):
        assert vae.sample(12, seed=3, max_len=6, **chosen) == expected
    assert len(set(expected)) > 5


def test_the_hubs_top_k_counts(vae):
    """1 word is greedy search, also beside the nucleus of all words."""
    greedy = vae.sample(10, beam=1, max_len=10)
    assert vae.sample(10, sampling=True, sampling_topk=1, max_len=10) == greedy
    assert vae.sample(10, sampling=True, max_len=10) != greedy


@pytest.mark.slow
def test_half_precision_is_the_hubs(folder):
    vae = load(str(folder / "checkpoint_best.pt"), str(folder), None)
    vae.model.half()
    for flags, chosen in DECODING[:2]:
        lines = printed("generate", folder, f"--latent-mode=prior --seed=3 --fp16 {flags}", batch_size=4)
        assert [found(lines, "D")[i][0] for i in range(len(TEXT))] == vae.sample(len(TEXT), 3, max_len=10, **chosen)


def posterior_draws(vae, draws, dim=Z, seed=1):
    """Of each sentence the z's of its own numbers, N x draws x Z."""
    posterior = vae.encode(TEXT)
    return torch.stack(
        [
            posterior.rsample(
                standard_normal(seed, Purpose.GENERATION, 0, [i + k * APART for i in range(len(TEXT))], dim)
            )
            for k in range(draws)
        ],
        1,
    )


def printed_z(lines):
    return {number: [json.loads(z) for z in own] for number, own in found(lines, "Z").items()}


@pytest.mark.slow
@pytest.mark.parametrize("command, buffer, size, draws", [(*SIZES[0], 1), (*SIZES[1], 3), (*SIZES[3], 3)])
def test_samples_of_the_posterior_are_those_of_the_sentences_own_numbers_and_printed(
    folder, vae, capsys, monkeypatch, command, buffer, size, draws
):
    flags = f"--latent-mode=sample --beam=2 --nbest=2 --print-z --latent-samples={draws}"
    lines = printed(command, folder, flags, **size, **({"buffer_size": buffer} if buffer else {}))
    z = posterior_draws(vae, draws)
    for number, own in printed_z(lines).items():
        torch.testing.assert_close(torch.tensor(own), z[number], atol=1e-5, rtol=1e-5)
    texts = {number: own[::2] for number, own in found(lines, "D").items()}  # the better one of each z
    assert [text for i in range(len(TEXT)) for text in texts[i]] == vae.decode(z.flatten(0, 1), beam=2, max_len=10)
    assert set(found(lines, "S")) == set(printed_z(lines)) == set(range(len(TEXT)))
    assert all(len(own) == 1 for own in found(lines, "S").values())

    vectors = re.findall(r"^Z-\d+\t(.*\n)", lines, re.MULTILINE)  # grep ^Z- | cut -f2
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO("".join(vectors).encode())))
    assert main(["decode", str(folder / "checkpoint_best.pt"), "--input=-", "--beam=2", "--max-len=10"]) == 0
    order = [int(number) for number in re.findall(r"^Z-(\d+)", lines, re.MULTILINE)][::draws]
    assert capsys.readouterr().out.splitlines() == [text for i in order for text in texts[i]]


@pytest.mark.slow
def test_words_drawn_from_several_zs_are_independent(folder, vae):
    """The first draw is what is alone without the flag; each is what the hub decodes under the draw's own number."""
    flags = "--latent-mode=sample --beam=1 --sampling"
    three = found(printed("generate", folder, f"{flags} --latent-samples=3", batch_size=5))
    assert {number: own[:1] for number, own in three.items()} == found(printed("generate", folder, flags))
    z = posterior_draws(vae, 3)
    for i, k in ((0, 0), (0, 2), (7, 1), (12, 2)):
        assert three[i][k] == vae.decode(z[i, k : k + 1], sampling=True, max_len=10, first=i + k * APART)[0]
    assert TEXT[3] == TEXT[12] and three[3] != three[12], "equal lines have draws of their own"


@pytest.mark.slow
def test_a_line_gets_as_many_samples_of_the_prior_as_are_asked_for(folder):
    """70 draws of one line, more than are decoded together; a blank line is one."""
    (folder / "one.txt").write_text("\n")
    flags = "--latent-mode=prior --beam=1 --latent-samples=70 --print-z"
    lines = printed("interactive", folder, flags, lines="one.txt")
    expected = standard_normal(1, Purpose.GENERATION, 0, [k * APART for k in range(70)], Z)
    torch.testing.assert_close(torch.tensor(printed_z(lines)[0]), expected)
    assert len(found(lines)[0]) == 70 and len(set(found(lines)[0])) > 9


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
def test_each_model_of_an_ensemble_has_its_own_z(folder, mode):
    """Those that it has alone; a model beside itself changes nothing."""
    flags = f"{MODES[mode]} --beam=3 --print-z"
    alone = [printed("generate", folder, flags, path) for path in BOTH.split(":")]
    both, twice = (printed("generate", folder, flags, path) for path in (BOTH, "checkpoint_best.pt:checkpoint_best.pt"))
    for number, own in printed_z(both).items():
        assert own == [printed_z(one)[number][0] for one in alone] and [len(z) for z in own] == [Z, 5]
    assert found(twice) == found(alone[0]) and found(both) not in map(found, alone)


@pytest.mark.slow
def test_each_model_of_an_ensemble_has_its_own_fitted_prior(folder):
    paths = [folder / "prior.safetensors", folder / "other/prior.safetensors"]
    flags = "--latent-mode=prior --beam=2 --print-z --prior="
    both = printed_z(printed("generate", folder, f"{flags}{paths[0]}:{paths[1]}", BOTH))
    alone = [printed_z(printed("generate", folder, f"{flags}{p}", part)) for p, part in zip(paths, BOTH.split(":"))]
    for number, own in both.items():
        assert own == [one[number][0] for one in alone]
    with pytest.raises(InputError, match="expected a file for each of the 2 checkpoints of --path, in their order"):
        printed("generate", folder, f"{flags}{paths[0]}", BOTH)


@pytest.mark.slow
@pytest.mark.parametrize(
    "command, flags, message",
    [
        (
            "generate",
            "--sampling --beam=1 --sampling-topk=3 --sampling-topp=0.5",
            "--sampling-topk 3 has no effect with --samp",
        ),
        ("interactive", "--constraints --sampling --beam=1", "--constraints: --sampling is another search"),
        ("interactive", "--constraints --diverse-beam-groups=2 --beam=4", "--constraints: --diverse-beam-groups 2 is"),
        ("generate", "--constraints", "they stand in the input lines of fairseq-interactive"),
        ("generate", "--latent-mode=prior --prefix-size=1", "sentences from the prior have no reference"),
        ("generate", "--latent-mode=prior --match-source-len", "sentences from the prior have no source"),
        ("generate", "--latent-samples=2", "--latent-samples 2 has no effect without --latent-mode sample or prior"),
        ("interactive", "--latent-mode=prior --num-samples=9", "--num-samples 9 has no effect in fairseq-interactive"),
    ],
)
def test_what_does_not_go_together_is_refused_in_one_line(folder, command, flags, message):
    lines = "constrained.txt" if "constraints" in flags else "lines.txt"
    with pytest.raises(InputError, match=message) as error:
        printed(command, folder, flags, lines=lines, batch_size=1)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "flags, wish", [({"print_z": True}, "--print-z"), ({"latent_mode": "sample"}, "--latent-mode sa")]
)
def test_a_model_without_a_latent_has_no_z(folder, flags, wish):
    with pytest.raises(InputError, match=f"{wish}.* needs a checkpoint of bart_vae"):
        build(str(folder), **flags).inference_step(None, [model(), bart()], batch([[1, 2]]))


@pytest.mark.slow
def test_constraints_that_no_sentence_can_meet_are_refused_by_their_line(folder):
    def constrained(phrase):
        (folder / "phrase.txt").write_text(f"w1 w2\nw1\t{phrase}\n")
        flags = "--constraints=ordered --beam=2 --max-len-b=5"
        return found(printed("interactive", folder, flags, lines="phrase.txt", buffer_size=2, batch_size=2))

    assert constrained("w2 w3\tw4 w5 w6")[1] == ["w2 w3 w4 w5 w6"]
    with pytest.raises(
        InputError, match="line 2: its constraints have 6 tokens, and a sentence 5 at most: raise --max-"
    ):
        constrained("w2 w3 w4 w5\tw6 w7")
    with pytest.raises(InputError, match="line 2: a constraint has a word that .*dict.txt lacks"):
        constrained("w2 never")


@pytest.mark.slow
def test_a_line_that_is_too_long_is_left_out_though_it_is_alone_in_its_buffer(folder):
    (folder / "long.txt").write_text("w1\n" + "w2 " * 40 + "\nw3\n")
    flags, size = "--beam=2 --skip-invalid-size-inputs-valid-test", {"buffer_size": 1, "batch_size": 1}
    shown = found(printed("interactive", folder, flags, lines="long.txt", **size))
    assert sorted(shown) == [0, 2]
    assert shown == found(printed("interactive", folder, flags, lines="long.txt", buffer_size=3))
    with pytest.raises(InputError, match="line 2 of the text is too long, 40 tokens where 30 fit .*or skip them with"):
        printed("interactive", folder, "--beam=2", lines="long.txt", **size)


@pytest.mark.slow
@pytest.mark.parametrize("where", ["standard output", "a file"])
def test_zs_are_printed_where_the_sentences_are(folder, tmp_path, where):
    """By the real command line, whose file is opened by fairseq."""
    flags = "--gen-subset test --user-dir fairseq_vae --task vae_denoising --cpu --max-len-b 10 --beam 2 --batch-size 4"
    to = f" --results-path {tmp_path}" if where == "a file" else ""
    output = run(f"fairseq-generate {folder} --path {folder}/checkpoint_best.pt {flags} --print-z{to}")
    lines = (tmp_path / "generate-test.txt").read_text() if to else output
    z_lines = (tmp_path / "z-test.txt").read_text() if to else output
    assert ("\nZ-" in output) == (not to) and "BLEU4" in lines
    expected = printed("generate", folder, "--beam=2 --print-z", batch_size=4)
    assert found(z_lines, "Z") == found(expected, "Z") and len(found(z_lines, "Z")) == len(TEXT)
    for letter in "STHD":
        assert found(lines, letter) == found(expected, letter) and len(found(lines, letter)) == len(TEXT)


@pytest.mark.slow
def test_the_real_interactive_command_reads_lines_as_they_come(folder):
    flags = "--user-dir fairseq_vae --task vae_denoising --cpu --max-len-b 10 --latent-mode sample --sampling --beam 2"
    output = run(
        f"fairseq-interactive {folder} --path {folder}/checkpoint_best.pt {flags} --nbest 2 --latent-samples 2 "
        "--print-z",
        stdin="".join(f"{text}\n" for text in TEXT),
    )
    own = "--latent-mode=sample --sampling --beam=2 --nbest=2 --latent-samples=2 --print-z"
    assert found(output) == found(printed("generate", folder, own)) and {
        len(own) for own in found(output).values()
    } == {4}
    assert {len(own) for own in found(output, "Z").values()} == {2}
