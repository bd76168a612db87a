"""The hub interface: strings in, strings out, whatever the list."""

import doctest
import json
import math
from argparse import Namespace

import pytest
import torch
from fairseq.data.encoders.gpt2_bpe_utils import bytes_to_unicode
from helpers import POSTERIORS, command_line, save_vae, write_sentencepiece

import fairseq_vae
from fairseq_vae import hub
from fairseq_vae.base.errors import InputError
from fairseq_vae.base.text import find_bpe
from fairseq_vae.checkpoints.hf_names import gpt2_numbers
from fairseq_vae.model import BARTVAEModel

LIST = ["the dog barks .", "a cat", "the cat sleeps .", "dog", "a dog sleeps the cat barks a cat ."]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("vae")
    save_vae(folder, "--max-source-positions=16", "--max-target-positions=16")
    return str(folder)


@pytest.fixture
def vae(folder):
    return BARTVAEModel.from_pretrained(folder, "checkpoint_best.pt", bpe=None)


def test_the_docstring_is_true(folder):
    finder = doctest.DocTestFinder(recurse=False)
    [example] = finder.find(hub.BARTVAEHubInterface, "hub", globs={"folder": folder})
    assert len(example.examples) == 8
    result = doctest.DocTestRunner().run(example)
    assert result.attempted == 8 and result.failed == 0


def test_it_is_the_same_class_from_both_places():
    assert fairseq_vae.BARTVAEModel is BARTVAEModel


@pytest.mark.parametrize("batch_size", [1, 2, 64])
def test_order_is_kept_and_neighbours_do_not_matter(folder, vae, batch_size):
    other = BARTVAEModel.from_pretrained(folder, "checkpoint_best.pt", bpe=None, batch_size=batch_size)
    posterior, texts, log_probs = vae.encode(LIST), vae.reconstruct(LIST), vae.log_prob(LIST, samples=3)
    assert posterior.mu.std() > 0.1 and len(set(texts)) > 1
    backwards = LIST[::-1]
    for mine, theirs in zip(other.encode(backwards), posterior):
        assert torch.allclose(mine.flip(0), theirs, atol=1e-5)
    assert other.reconstruct(backwards)[::-1] == texts
    assert torch.allclose(other.log_prob(backwards, samples=3).flip(0), log_probs, atol=1e-4)
    for sentence, mu, text, log_prob in zip(LIST, posterior.mu, texts, log_probs):
        assert torch.allclose(other.encode(sentence).mu[0], mu, atol=1e-5)
        assert other.reconstruct([sentence]) == [text]
        assert other.log_prob(sentence, samples=3).item() == pytest.approx(log_prob.item(), abs=1e-4)


def test_an_empty_list_gives_nothing(vae):
    assert vae.encode([]).mu.shape == (0, 32) and vae.reconstruct([]) == [] == vae.sample(0)
    assert vae.log_prob([]).shape == (0,)
    assert vae.interpolate([], []) == [] == vae.analogy([], [], [])


@pytest.mark.slow
@pytest.mark.parametrize("name", POSTERIORS)
def test_posteriors_of_no_sentence_are_of_the_same_form_and_none_learns(name, tmp_path):
    save_vae(tmp_path, "--latent-dim=4", *command_line(POSTERIORS[name]).split())
    vae = hub.load(str(tmp_path / "checkpoint_best.pt"), str(tmp_path), None)
    none, some = vae.encode([]), vae.encode(LIST[:2])
    assert type(none) is type(some) and not some.rsample().requires_grad
    for empty, full in zip(none, some):
        assert empty.shape == (0, *full.shape[1:]) if torch.is_tensor(full) else empty is full
    assert none.rsample().shape == none.mean.shape


def test_posteriors_and_log_prob_are_the_models_own(vae):
    """The importance-weighted bound by hand, for one sentence and given eps."""
    dictionary = vae.task.source_dictionary
    words = [dictionary.index(word) for word in "the dog barks .".split()]
    source, previous = torch.tensor([[0, *words, 2]]), torch.tensor([[2, *words]])
    posterior = vae.model.encoder.infer(source)
    assert torch.allclose(vae.encode("the dog barks .").mu, posterior.mu, atol=1e-6)
    weights = []
    for z in hand_drawn(vae, "the dog barks .", posterior, 4):
        lprobs = vae.model(source, torch.tensor([6]), previous, z=z)[0].log_softmax(-1)[0].double()
        likelihood = sum(lprobs[i, token].item() for i, token in enumerate([*words, 2]))
        normal = torch.distributions.Normal
        prior = normal(0.0, 1.0).log_prob(z).sum().item()
        proposal = normal(posterior.mu, (0.5 * posterior.logvar).exp()).log_prob(z).sum().item()
        weights.append(likelihood + prior - proposal)
    expected = torch.tensor(weights, dtype=torch.float64).logsumexp(0).item() - math.log(4)
    assert vae.log_prob("the dog barks .", samples=4).item() == pytest.approx(expected, abs=1e-3)


def hand_drawn(vae, sentence, posterior, samples):
    import zlib

    from fairseq_vae.base.stream import Purpose, standard_normal

    key = zlib.crc32(vae.tokens(sentence).numpy())
    for k in range(samples):
        yield posterior.rsample(standard_normal(1, Purpose.VALIDATION, k, [key], 32)).detach()


def test_interpolation_ends_are_the_reconstructions(vae):
    line = vae.interpolate(LIST[0], LIST[4], steps=4)
    assert len(line) == 4 and [line[0], line[-1]] == vae.reconstruct([LIST[0], LIST[4]])
    with pytest.raises(InputError, match="1 steps: expected 2 or more"):
        vae.interpolate(LIST[0], LIST[1], steps=1)


def test_sampling_depends_on_its_seed_alone(vae):
    torch.manual_seed(5)
    state = torch.random.get_rng_state()
    first = vae.sample(4, sampling=True, sampling_topp=0.9)
    assert torch.random.get_rng_state().equal(state), "the caller's random state is left alone"
    torch.manual_seed(6)
    assert vae.sample(4, sampling=True, sampling_topp=0.9) == first
    assert vae.sample(4, sampling=True, sampling_topp=0.9, seed=2) != first
    assert vae.sample(10, sampling=True)[:3] == vae.sample(3, sampling=True)
    for batch_size in (1, 3):
        vae.batch_size = batch_size
        assert vae.sample(4, sampling=True, sampling_topp=0.9) == first
    z = torch.randn(2, 32)
    assert vae.decode(z) == vae.decode(z, beam=5) and all(len(text.split()) <= 3 for text in vae.decode(z, max_len=3))


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda vae: vae.encode([""]), "'' has 0 tokens; expected 1 to 14"),
        (lambda vae: vae.encode(["a " * 15]), "has 15 tokens; expected 1 to 14"),
        (lambda vae: vae.decode(torch.zeros(32)), r"z of shape \(32,\): expected N x 32"),
        (lambda vae: vae.log_prob(["a"], samples=0), "samples=0: expected a number, 1 or more"),
        (lambda vae: vae.decode(torch.zeros(3, 32), numbers=[0, 1]), "2 numbers for 3 rows of z"),
        (lambda vae: vae.edit(["a"], [], "energy", [1.0]), "no wishes"),
        (lambda vae: vae.sample(1, seed=-1), "--seed -1: expected 0 to 4294967295"),
        (lambda vae: vae.sample(1, seed=2**32), "--seed 4294967296: expected 0 to 4294967295"),
        (lambda vae: vae.reconstruct(["a"], beam=0), "--beam 0: expected 1 or more"),
        (lambda vae: vae.reconstruct(["a"], max_len=0), "--max-len 0: expected 1 or more"),
        (
            lambda vae: vae.reconstruct(["a"], sampling_topk=3),
            "--sampling-topk 3 has no effect without --sampling: give",
        ),
    ],
)
def test_bad_input_is_named(vae, call, message):
    with pytest.raises(InputError, match=message):
        call(vae)
    assert vae.encode(["a " * 14]).mu.shape == (1, 32)


def test_missing_files_are_named(folder, tmp_path):
    with pytest.raises(InputError, match="other.pt does not exist"):
        BARTVAEModel.from_pretrained(folder, "other.pt")
    with pytest.raises(InputError, match="has no dict.txt"):
        BARTVAEModel.from_pretrained(folder, "checkpoint_best.pt", str(tmp_path))
    with pytest.raises(InputError, match="bpe gpt2: no encoder.json and vocab.bpe in"):
        BARTVAEModel.from_pretrained(folder, "checkpoint_best.pt", bpe="gpt2")


def write_gpt2(folder):
    merges = ["t h", "th e", "Ġ d", "Ġd o", "Ġdo g"]
    (folder / "encoder.json").write_text(json.dumps(gpt2_numbers(merges)))
    (folder / "vocab.bpe").write_text("\n".join(["#version: 0.2", *merges]) + "\n")
    return [str(number) for number in range(len(bytes_to_unicode()) + len(merges) + 1)]


@pytest.mark.parametrize("name, write", [("gpt2", write_gpt2), ("sentencepiece", write_sentencepiece)])
def test_a_bpe_beside_the_checkpoint_is_found(tmp_path, name, write):
    symbols = write(tmp_path)
    assert find_bpe([str(tmp_path / "elsewhere"), str(tmp_path)])["bpe"] == name
    save_vae(tmp_path, words=symbols)
    for bpe in "auto", name:
        vae = BARTVAEModel.from_pretrained(str(tmp_path), "checkpoint_best.pt", bpe=bpe)
        tokens = vae.tokens("the dog")
        assert vae.task.source_dictionary.unk() not in tokens and len(tokens) < 9
        assert vae.join(tokens) == "the dog"
    assert "\u2581" not in "".join(vae.sample(5, max_len=8, beam=1)), "samples are joined"


def test_a_dictionary_of_pieces_without_its_bpe_is_refused(tmp_path):
    save_vae(tmp_path, words=write_sentencepiece(tmp_path))
    (tmp_path / "sentencepiece.bpe.model").unlink()
    with pytest.raises(InputError, match="is of pieces, and neither .* lies beside it"):
        BARTVAEModel.from_pretrained(str(tmp_path), "checkpoint_best.pt")
    vae = BARTVAEModel.from_pretrained(str(tmp_path), "checkpoint_best.pt", bpe=None)
    assert vae.encode(["\u2581the \u2581dog"]).mu.shape == (1, 32)
    with pytest.raises(InputError, match="'The dog' has no piece of the dictionary: put its BPE beside the checkpoint"):
        vae.encode(["The dog"])


def test_filler_words_are_not_written(tmp_path):
    """GPT-2's decoder would stumble over them."""
    symbols = [*write_gpt2(tmp_path), "madeupword0000"]
    save_vae(tmp_path, words=symbols)
    vae = BARTVAEModel.from_pretrained(str(tmp_path), "checkpoint_best.pt")
    filler = vae.task.source_dictionary.index("madeupword0000")
    tokens = vae.tokens("the dog")
    assert vae.join(torch.cat((tokens[:1], torch.tensor([filler]), tokens[1:]))) == "the dog"
    generator = vae.task.build_generator([vae.model], Namespace(beam=2))
    assert generator.symbols_to_strip_from_output == {filler, vae.task.source_dictionary.eos()}
