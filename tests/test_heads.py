"""A classifier of mu by fairseq's own task and criterion `sentence_prediction`: the encoder and the head learn."""

import fairseq_cli.train
import pytest
import torch
from fairseq.data import Dictionary, indexed_dataset
from helpers import SENTENCES, V, batch, configuration, model, save_vae, write_data

from fairseq_vae.base.errors import InputError

WORDS = [f"w{i}" for i in range(V - 5)]
FLAGS = (
    "--task sentence_prediction --num-classes 2 --init-token 0 --add-prev-output-tokens --max-positions 30 "
    "--arch bart_vae_tiny --max-source-positions 32 --max-target-positions 32 --criterion sentence_prediction "
    "--pooler-dropout 0.1 --pooler-activation-fn linear --optimizer adam --lr 0.02 --batch-size 8 --cpu "
    "--num-workers 0 --no-epoch-checkpoints --no-progress-bar --save-interval-updates 12 "
    "--best-checkpoint-metric accuracy --maximize-best-checkpoint-metric"
).split()


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Sentences of which the first word tells the label, as fairseq-preprocess writes them, and a VAE."""
    folder = tmp_path_factory.mktemp("heads")
    draw = torch.Generator().manual_seed(1)
    sentences = torch.randint(2, V - 5, (48, 6), generator=draw)
    labels = torch.arange(48) % 2
    sentences[:, 0] = labels
    (folder / "input0").mkdir()
    (folder / "label").mkdir()
    write_data(folder / "input0", train=sentences[:40].tolist(), valid=sentences[40:].tolist())
    words = Dictionary()
    for name in ("no", "yes"):
        words.add_symbol(name)
    words.save(str(folder / "label" / "dict.txt"))
    for split, own in (("train", labels[:40]), ("valid", labels[40:])):
        builder = indexed_dataset.make_builder(str(folder / "label" / f"{split}.bin"), "mmap", vocab_size=10)
        for label in own.tolist():
            builder.add_item(torch.tensor([words.nspecial + label, words.eos()]))
        builder.finalize(str(folder / "label" / f"{split}.idx"))
    sizes = ("--max-source-positions=32", "--max-target-positions=32")
    save_vae(folder / "vae", *sizes, words=WORDS, std=0.1)
    return folder


def train(data, save_dir, updates):
    arguments = [str(data), "--save-dir", str(save_dir), *FLAGS, f"--max-update={updates}"]
    arguments += ["--finetune-from-model", str(data / "vae" / "checkpoint_best.pt")]
    fairseq_cli.train.main(configuration("training", arguments))
    return torch.load(save_dir / "checkpoint_last.pt", map_location="cpu")


def test_encoder_and_head_learn_from_a_vae_and_go_on_where_they_stopped(data, tmp_path):
    straight = train(data, tmp_path / "straight", 24)
    assert straight["extra_state"]["best"] >= 75, "% of valid; chance is 50"
    train(data, tmp_path / "parts", 12)
    resumed = train(data, tmp_path / "parts", 24)
    assert resumed["model"].keys() == straight["model"].keys()
    assert all(value.equal(resumed["model"][key]) for key, value in straight["model"].items())
    before = torch.load(data / "vae" / "checkpoint_best.pt", map_location="cpu")["model"]
    own = {key for key in straight["model"] if key.startswith("classification_heads.")}
    assert own and not set(before) & own
    moved = {key for key, value in before.items() if not value.equal(straight["model"][key])}
    assert any(key.startswith("encoder.layers.") for key in moved) and "encoder.posterior.mu.weight" in moved
    assert not any(key.startswith(("decoder.layers.", "encoder.memory.")) for key in moved), "nothing is decoded"


def test_a_head_reads_mu_alone():
    built = model(std=0.3)
    built.register_classification_head("kind", num_classes=3)
    sample = batch(SENTENCES)["net_input"]
    logits, extra = built(**sample, features_only=True, classification_head_name="kind")
    assert logits.shape == (len(SENTENCES), 3)
    assert logits.equal(built.classification_heads["kind"](extra["posterior"].mean))
    built.train()
    again, _ = built(**sample, features_only=True, classification_head_name="kind")
    assert torch.allclose(again, logits), "no noise of z in training"


@pytest.mark.parametrize("flags", [{"zero_latent": True}, {"arch": "bart_cvae"}])
def test_a_model_without_a_z_of_sentences_has_no_head(flags):
    with pytest.raises(InputError, match="a classification head reads mu of a sentence"):
        model(**flags).register_classification_head("kind", num_classes=2)
