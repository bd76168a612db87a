"""Everything works on a device, here a pretended one, with the CPU's numbers, and a step waits less than stock's."""

import logging
from argparse import Namespace

import pytest
import torch
from fairseq import utils
from fairseq.logging import metrics
from helpers import EVERY_INJECTION, POSTERIORS, PRIORS, abreast, command_line, save_vae, write_data
from pretended import Device, moved, moved_trainer, pinned
from test_pairs import LAYERS, NEEDY, RATE, SIZES, batches, trainer

from fairseq_vae.base.corruption import corruptions
from fairseq_vae.checkpoints.load import load_model
from fairseq_vae.data import SentenceDataset
from fairseq_vae.hub import BARTVAEHubInterface
from fairseq_vae.latent.pooling import poolings
from fairseq_vae.measure.scoring import Scorer
from fairseq_vae.objective.controller import CONTROLLERS
from fairseq_vae.objective.free_bits import FREE_BITS_MODES
from fairseq_vae.objective.terms import KERNELS, terms

SENTENCES = [[i % 7, (3 * i) % 11, i % 5, 2][: 1 + i % 4] for i in range(24)]
PARTS = abreast(  # a new part joins by its registration
    [command_line(flags) for name, flags in PRIORS.items() if ("prior", name) not in NEEDY],
    [f"--latent-pooling={name}" for name in poolings.names()],
    [f"--latent-injection={name}" for name in EVERY_INJECTION],
)
MODELS = [
    *map(" ".join, PARTS),
    *(command_line(f) for name, f in POSTERIORS.items() if ("posterior", name) not in NEEDY and name != "diagonal"),
    pytest.param(LAYERS, id="several vectors"),
    "--deterministic-latent",
    "--zero-latent",
]
OBJECTIVES = [
    *map(
        " ".join,
        abreast(
            [
                *(f"--{name.replace('_', '-')}-weight=0.5" for name in terms.names()),
                *(f"--mmd-weight=0.5 --mmd-kernel={name}" for name in KERNELS),
            ],
            [
                *(f"--free-bits=0.2 --free-bits-mode={name}" for name in FREE_BITS_MODES),
                *(f"--rate-controller={name} {RATE}" for name in CONTROLLERS if name != "none"),
                "--kl-schedule=linear --kl-warmup-updates=3",
            ],
            [f"--noise={name}" for name in corruptions.names()],
            [
                "--bn-mu=0.5 --posterior-max-variance=0.5",
                "--word-dropout=0.3 --label-smoothing=0.1",
                "--freeze-decoder --freeze-embeddings",
                "--checkpoint-activations",
                "--update-freq=2",
                "--store-ema --ema-decay=0.9",
            ],
        ),
    ),
    "--aggressive-inference --aggressive-window=1 --aggressive-max-steps=2",
]
GENERATION = {
    "beam": {"beam": 3},
    "greedy": {"beam": 1},
    "sampling": {"sampling": True, "beam": 2},
    "top-k": {"sampling": True, "sampling_topk": 5, "beam": 2},
    "nucleus": {"sampling": True, "sampling_topp": 0.9, "beam": 2},
    "small nucleus": {"sampling": True, "sampling_topp": 0.3, "beam": 1},
}
TIMES = ("wall", "ups", "wps")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    logging.disable(logging.ERROR)
    yield write_data(tmp_path_factory.mktemp("data"), train=SENTENCES, valid=SENTENCES[:9], test=SENTENCES[:7])
    logging.disable(logging.NOTSET)


def steps(built, count=2):
    """Some updates and a validation: the weights, and what was logged."""
    metrics.reset()  # fairseq's meters outlive a trainer
    built.begin_epoch(1)
    each = built.cfg.optimization.update_freq[0]
    prepare = pinned if built.cuda else dict
    samples = [prepare(sample) for sample in batches(built.task, "train")]
    with metrics.aggregate(new_root=True) as trained:
        for number in range(count):
            built.train_step(samples[number * each : (number + 1) * each])
    with metrics.aggregate(new_root=True) as validated:
        for sample in batches(built.task, "valid"):
            built.valid_step(prepare(sample))
    values = {**trained.get_smoothed_values(), **{f"valid {k}": v for k, v in validated.get_smoothed_values().items()}}
    weights = {name: tensor.detach().cpu() for name, tensor in built.model.state_dict().items()}
    return weights, {key: value for key, value in values.items() if not key.endswith(TIMES)}


@pytest.mark.slow
@pytest.mark.parametrize("flags", [*MODELS, *OBJECTIVES])
def test_training_and_validation_have_the_cpus_numbers(data, flags):
    given = [*SIZES.split(), "--dropout=0", "--adam-eps=1e-3", *flags.split()]
    with Device():
        weights, values = steps(moved_trainer(trainer(data, given)))
    expected, logged = steps(trainer(data, given))
    assert weights.keys() == expected.keys() and values.keys() == logged.keys()
    for name, tensor in weights.items():
        torch.testing.assert_close(tensor, expected[name], rtol=1e-5, atol=1e-6, msg=name)
    for key, value in values.items():
        if isinstance(value, float):
            assert value == pytest.approx(logged[key], rel=2e-3, abs=2e-3), key


def saved(folder, *flags, std=0.5):
    """A tiny VAE with its words, data and checkpoint."""
    save_vae(folder, "--latent-dim=4", "--max-source-positions=32", "--max-target-positions=32", *flags, std=std)
    model, cfg, task = load_model(str(folder / "checkpoint_best.pt"), str(folder), latent_mode="mean", num_samples=0)
    with torch.no_grad():  # so that sentences end one before the other
        model.decoder.output_projection.weight[task.target_dictionary.eos()] *= 5
    return BARTVAEHubInterface(cfg, task, model), task


TEXTS = ["the dog barks .", "a cat", "the cat sleeps .", "dog", "a dog sleeps the cat barks a cat ."]


def tensors(distribution):
    """The tensors among a distribution's fields, and in distributions among them."""
    fields = [
        [field] if torch.is_tensor(field) else tensors(field) for field in distribution if hasattr(field, "__len__")
    ]
    return [tensor.cpu() for field in fields for tensor in field]


def hub_calls(vae):
    """The results of everything that the hub interface does; of a conditional model, beside sources."""
    given = {"targets": TEXTS[1:] + TEXTS[:1]} if vae.model.conditional else {}
    sources = {"sources": TEXTS} if given else {}
    posterior = vae.encode(TEXTS, **given)
    found = {
        "encode": tensors(posterior),
        "decode": vae.decode(posterior.mean, beam=2, max_len=5, **sources),
        "reconstruct": vae.reconstruct(TEXTS, max_len=5, **given),
        "sample": vae.sample(len(TEXTS), max_len=5, sampling=True, sampling_topp=0.9, **sources),
        "log_prob": vae.log_prob(TEXTS, samples=3, **given).cpu(),
    }
    if given:
        return {**found, "respond": vae.respond(TEXTS, n=2, max_len=5)}
    return {**found, "interpolate": vae.interpolate(TEXTS[0], TEXTS[1], steps=3, max_len=5)}


def scores(vae, task):
    """What the evaluation asks of the model."""
    sentences = [vae.tokens(text) for text in TEXTS]
    dataset = SentenceDataset(sentences, [len(tokens) for tokens in sentences], task.source_dictionary)
    scorer = Scorer(vae.model, dataset, max_tokens=20)
    posterior, prior = scorer.distributions()
    sums = scorer.importance(posterior, prior, 2)
    return [
        *tensors(posterior),
        *tensors(prior),
        sums.nll,
        sums.nll_iw,
        scorer.nll(posterior.mean, "z"),
    ], sums.effective


EVERYTHING = (
    "--latent-injection=self-attention,cross-attention,embedding,logits --bn-mu=0.5 --word-dropout=0.3 "
    f"--label-smoothing=0.1 --rate-controller=pid {RATE} --free-bits=0.2 --bow-weight=0.5 --mmd-weight=0.5"
)


def waits(data, *flags):
    """Waits of the third update, and the lines that cause them."""
    with Device() as device:
        built = moved_trainer(trainer(data, [flag for part in flags for flag in part.split()]))
        metrics.reset()
        built.begin_epoch(1)
        for sample in batches(built.task, "train")[:3]:
            sample = pinned(sample)
            device.reset()
            built.train_step([sample])
        metrics.reset()
    return sum(device.waits.values()), device.places


def test_a_training_step_waits_for_the_device_no_more_often_than_stock_barts(data):
    shared = " ".join(flag for flag in SIZES.split() if not flag.startswith(("--latent", "--arch", "--criterion")))
    heads = "--encoder-attention-heads=2 --decoder-attention-heads=2"
    stock, _ = waits(data, shared, heads, "--arch=bart_base --criterion=cross_entropy")
    inner = "--aggressive-inference --aggressive-max-steps=2"  # no window ends
    vamp = command_line(PRIORS["vamp"])  # fairseq's encoder runs twice
    for flags, passes in (("", 1), (EVERYTHING, 1), (f"{EVERYTHING} {inner}", 3), (vamp, 2)):
        count, places = waits(data, SIZES, flags)
        assert count < passes * stock, places
        assert not [place for place in places if place.startswith(("fairseq_vae/", "bart/", "latent/", "objective/"))]


@pytest.mark.slow
@pytest.mark.parametrize("flags", MODELS)
def test_hub_and_evaluation_have_the_cpus_results(tmp_path, flags):
    vae, task = saved(tmp_path, *flags.split())
    expected, numbers = hub_calls(vae), scores(vae, task)
    with Device():
        moved(vae.model)
        found, others = hub_calls(vae), scores(vae, task)
    for key in ("encode", "log_prob"):
        torch.testing.assert_close(found.pop(key), expected.pop(key), rtol=1e-5, atol=5e-5)
    assert found == expected
    torch.testing.assert_close(others[0], numbers[0], rtol=1e-5, atol=5e-5)
    # of weights whose logarithms, nats of 100 in float32, may differ by 1e-5 of that
    torch.testing.assert_close(others[1], numbers[1], rtol=1e-3, atol=0)


@pytest.mark.slow
@pytest.mark.parametrize("search", GENERATION)
def test_generation_has_the_cpus_words(tmp_path, search):
    vae, task = saved(tmp_path)
    generator = task.build_generator([vae.model], Namespace(max_len_b=5, **GENERATION[search]))

    def words(move):
        found = []
        task.lines = 0
        for task.cfg.latent_mode in ("mean", "sample", "prior"):
            for sample in vae.batches(TEXTS):
                for batch in (sample, {"net_input": sample["net_input"]}):  # the second as fairseq-interactive has it
                    found += task.inference_step(generator, [vae.model], move(batch))
        return [(one["tokens"].tolist(), float(one["score"])) for hypotheses in found for one in hypotheses]

    expected = words(dict)
    with Device():
        moved(vae.model)
        found = words(utils.move_to_cuda)
    assert [tokens for tokens, _ in found] == [tokens for tokens, _ in expected]
    assert [score for _, score in found] == pytest.approx([score for _, score in expected], abs=1e-4)
    assert len({len(tokens) for tokens, _ in expected}) > 1, "no sentence ends before another"
