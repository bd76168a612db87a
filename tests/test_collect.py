"""Collecting: what must not change a collection."""
# ruff: noqa: F811  fixtures are imported

import shutil

import numpy as np
import pytest
import torch
from evaluation import checkpoint, made, made_up  # noqa: F401  fixtures
from fairseq.data import Dictionary
from helpers import save_vae, write_gpt2, write_sentencepiece, write_tokens
from test_layerwise import layered
from torch.distributions import Normal, kl_divergence

from fairseq_vae.base.errors import InputError
from fairseq_vae.base.store import Store
from fairseq_vae.base.text import Joiner, build_bpe, find_bpe
from fairseq_vae.checkpoints.load import load_model
from fairseq_vae.collect import collect, load_split, score, short, text_fingerprint
from fairseq_vae.hub import load
from fairseq_vae.measure.collection import resumed
from fairseq_vae.measure.scoring import Scorer


@pytest.fixture(scope="module")
def loaded(made, checkpoint):
    built, _, task = load_model(checkpoint, str(made))
    return built, load_split(built, task, "test", 4096, 1)


def scored(scorer, samples):
    store = Store()
    store.make("posterior prior", scorer.distributions)
    score(store, scorer, samples)
    return store


def test_batches_order_and_resuming_change_nothing(loaded):
    built, scorer = loaded
    whole = scored(scorer, 3)
    for max_tokens in (12, 50):
        other = scored(Scorer(built, scorer.dataset, max_tokens, 1), 3)
        assert other.keys() == whole.keys()
        for name, values in other.items():
            for mine, theirs in zip(values, whole[name]):
                torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-6)
    posterior, prior = whole["posterior"], whole["prior"]
    parts = [scorer.importance(posterior, prior, 3, indices) for indices in ([11, 0, 7], [1, 2, 3, 4, 5, 6, 8, 9, 10])]
    with np.errstate(all="ignore"):  # sentences of the other part
        first, second = (part.nll_iw for part in parts)
    torch.testing.assert_close(first[[11, 0, 7]], whole["nll_iw"][[11, 0, 7]], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(second[1:7], whole["nll_iw"][1:7], rtol=1e-5, atol=1e-6)


def test_the_kl_of_layer_wise_latents_is_of_each_dimension_and_the_mean_over_all_samples(loaded):
    _, scorer = loaded
    dim, size, samples = scorer.model.latent_dim, len(scorer), 3
    store = Store()
    store.make("posterior prior", lambda: (layered(size, dim, vectors=2), layered(dim, vectors=2, seed=1)))
    score(store, scorer, samples)
    posterior, prior = store["posterior"], store["prior"]
    expected = []
    for sample in range(samples):
        z = posterior.rsample(scorer.eps([(i, sample) for i in range(size)])).double()
        q, p = (one.conditionals(z) for one in (posterior, prior))
        each = [Normal(one.mu, (0.5 * one.logvar).exp()) for one in (q, p)]
        expected.append(kl_divergence(*each))
    torch.testing.assert_close(store["kl"], torch.stack(expected).mean(0))
    assert not expected[0].allclose(expected[1])


def test_pieces_of_single_bytes_are_decoded_by_the_bpe_beside_the_checkpoint(tmp_path):
    """Those of most sentencepiece models, and GPT-2's: nothing else joins them, and nothing else may be asked to."""
    pieces = write_sentencepiece(tmp_path, byte_fallback=True)
    save_vae(tmp_path, "--latent-dim=4", words=pieces)
    settings = find_bpe([str(tmp_path)])
    bpe, words = build_bpe(settings), Dictionary.load(str(tmp_path / "dict.txt"))
    texts = ["the dog barks", "a cat sleeps on the dog"]
    (tmp_path / "data").mkdir()
    tokens = [[*map(words.index, bpe.encode(text).split())] for text in texts]
    write_tokens(tmp_path / "data/test", tokens, len(words))
    shutil.copy(tmp_path / "dict.txt", tmp_path / "data/dict.txt")
    found = collect(str(tmp_path / "checkpoint_best.pt"), str(tmp_path / "data"), samples=1, generate=2)
    assert found.texts == texts and len(found.samples) == len(found.reconstructions) == 2
    (tmp_path / "sentencepiece.bpe.model").unlink()
    with pytest.raises(InputError, match="data/dict.txt is of pieces, and neither .* give sentences as pieces"):
        load(str(tmp_path / "checkpoint_best.pt"), str(tmp_path / "data"))
    with pytest.raises(InputError, match="single bytes: put its sentencepiece.bpe.model beside the checkpoint"):
        collect(str(tmp_path / "checkpoint_best.pt"), str(tmp_path / "data"), samples=1, generate=2)
    found = collect(str(tmp_path / "checkpoint_best.pt"), str(tmp_path / "data"), samples=1, words=10)
    assert found.texts is None and found.samples is None


def test_texts_that_an_older_decoder_joined_are_not_mixed_with_new_ones(tmp_path):
    """A kept collection of before, whose fingerprint of text named the tokenizer alone."""
    words = Dictionary()
    for piece in write_sentencepiece(tmp_path, byte_fallback=True):
        words.add_symbol(piece)
    settings = find_bpe([str(tmp_path)])
    found = text_fingerprint(Joiner(words, settings), settings)
    model = short(settings["sentencepiece_model"])
    assert found == f"sentencepiece-2+{model}"
    resumed(made_up().settings._replace(text=f"sentencepiece+{model}"), made_up().given, str(tmp_path / "kept"))
    with pytest.raises(InputError, match=r"belongs to other settings \(text: sentencepiece\+"):
        resumed(made_up().settings._replace(text=found), made_up().given, str(tmp_path / "kept"))
    (tmp_path / "gpt2").mkdir()
    write_gpt2(tmp_path / "gpt2")
    settings = find_bpe([str(tmp_path / "gpt2")])
    assert text_fingerprint(Joiner(words, settings), settings).startswith("gpt2+"), "whose texts are as before"
