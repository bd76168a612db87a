"""Aggressive inference: the rule by which inner steps end, what each step trains, its end, and an exact resumption."""

import logging
import math
from argparse import Namespace

import numpy as np
import pytest
import torch
from denoising import build
from fairseq.logging import metrics
from helpers import POSTERIORS, PRIORS, abreast, arguments, batch, model, write_data
from test_effects import refusal
from test_pairs import RATE, SIZES, batches, trainer
from workers import train, write_splits

from fairseq_vae.aggressive import AggressiveInference, WindowRule, encoder_side
from fairseq_vae.base.errors import InputError
from fairseq_vae.base.stream import APART, Purpose
from fairseq_vae.validation import latent_statistics

AGGRESSIVE = "--aggressive-inference --aggressive-window=2 --aggressive-max-steps=5"
SENTENCES = [[i % 7, (3 * i) % 11, i % 5, 2][: 1 + i % 4] for i in range(24)]


def steps(losses, words, window, most):
    """Steps that a rule takes of a row of losses."""
    rule = WindowRule(window, most)
    for pair in zip(losses, words):
        if not rule.goes_on(torch.tensor(pair)):
            return rule.steps
    raise AssertionError("the rule wants more losses")


@pytest.mark.parametrize(
    "losses, words, window, most, expected",
    [
        ([8, 6, 5, 5, 4, 7, 0, 0], [1] * 8, 2, 99, 6),  # means 7, 5, 5.5
        ([8, 6, 5, 5, 4, 6, 0, 0], [1] * 8, 2, 99, 6),  # 7, 5, 5: not below
        ([9, 8, 7, 6, 5, 4, 3, 2], [1] * 8, 2, 7, 7),  # always better
        ([9, 1, 4], [9, 1, 8], 1, 99, 2),  # 1, 1: the mean is per word
        ([4, 8, 6, 6, 0], [1, 7, 2, 2, 1], 2, 99, 4),  # 12 / 8 and 12 / 4, not the means of ratios 2.6 and 3
        ([5, math.nan, 1, 1], [1] * 4, 1, 99, 2),
        ([5, 6, 7], [1] * 3, 15, 2, 2),  # no window ends
    ],
)
def test_inner_steps_end_at_the_first_window_that_is_not_below_the_last(losses, words, window, most, expected):
    losses, words = [list(map(float, row)) for row in (losses, words)]
    assert steps(losses, words, window, most) == expected


def test_the_rule_of_the_paper_on_any_losses():
    """The authors' loop, which compares every 15 steps and makes fewer than 100, in numpy."""
    found = set()
    for seed in range(40):
        draws = np.random.default_rng(seed)
        losses, words = 200 + 40 * draws.random(200) - 0.3 * np.arange(200), draws.integers(20, 40, 200)
        means = losses[:90].reshape(6, 15).sum(1) / words[:90].reshape(6, 15).sum(1)
        rises = [15 * (i + 1) for i in range(1, 6) if means[i] >= means[i - 1]]
        assert steps(losses, words.astype(float), 15, 99) == min([*rises, 99])
        found.add(min([*rises, 99]))
    assert len(found) > 3


ENCODER = ("layers.", "layernorm", "embed_positions")


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("prior, posterior", abreast(PRIORS, POSTERIORS))
def test_every_weight_is_on_one_side(prior, posterior, shared):
    built = model(**{**PRIORS[prior], **POSTERIORS[posterior]}, share_all_embeddings=shared, bow_weight=1)
    mine = {id(parameter) for parameter in encoder_side(built)}
    named = dict(built.named_parameters())
    inside = [name for name, parameter in named.items() if id(parameter) in mine]
    ours = ("encoder.posterior.",)
    if not built.conditional:
        ours += tuple(f"encoder.{part}" for part in ENCODER) + (() if shared else ("encoder.embed_tokens",))
    assert inside and set(inside) == {name for name in named if name.startswith(ours)}
    assert any("decoder" in name for name in named) and any("bow" in name for name in named)


CONDITIONAL = "--arch=bart_cvae_tiny --latent-pooling=attention"
GIVEN = {  # flags of conditional models, and what inner steps train of them beside the posterior's head
    CONDITIONAL: (),
    f"{CONDITIONAL} --latent-prior=standard": ("source_pooling.",),
    f"{CONDITIONAL} --target-encoder=copy --target-encoder-layers=1": tuple(
        f"target_encoder.{part}" for part in ENCODER
    ),
}


@pytest.mark.parametrize("flags", GIVEN)
def test_inner_steps_leave_a_conditional_models_prior_and_likelihood_as_they_are(data, flags):
    """p(z|x) and p(y|x, z), to the bit: the source's encoder is theirs."""
    made, samples = built(data, f"{AGGRESSIVE} {flags}")
    task, criterion, sample = made.task, made.get_criterion(), samples[0]
    z = torch.randn(len(sample["id"]), made.model.latent_dim)

    def of_p_and_of_q():
        with torch.no_grad():
            made.model.eval()
            prior = made.model.encoder.prior(made.model.encoder.context(sample["net_input"]["src_tokens"]))
            likelihood = made.model(**sample["net_input"], z=z, target=sample["target"]).nll_rows
            posterior = made.model.encoder.infer(sample["net_input"]["src_tokens"], target=sample["target"])
        return (prior.mean, likelihood), posterior.mean

    def step(batch):
        made.model.train()
        return task.train_step(batch, made.model, criterion, made.optimizer, 1)

    before, kept = of_p_and_of_q(), state(made)
    assert task.aggressive.infer(made.model, made.optimizer, 0, torch.device("cpu"), step) >= 2
    task.aggressive.active = False
    after = of_p_and_of_q()
    assert all(one.equal(other) for one, other in zip(before[0], after[0])) and not before[1].allclose(after[1])
    named = {name for name, _ in made.model.named_parameters() if "k_proj.bias" not in name}  # softmax is blind to it
    ours = tuple(f"encoder.{part}" for part in ("posterior.", *GIVEN[flags]))
    assert changed(kept, state(made)) & named == {name for name in named if name.startswith(ours)}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    logging.disable(logging.ERROR)
    yield write_data(tmp_path_factory.mktemp("data"), train=SENTENCES, valid=SENTENCES[:9])
    logging.disable(logging.NOTSET)


def built(data, flags):
    """A trainer whose task knows its batches, and the batches of one update."""
    made = trainer(data, [*SIZES.split(), *flags.split()])
    made.begin_epoch(1)
    return made, batches(made.task, "train")[: made.cfg.optimization.update_freq[0]]


def state(made):
    """Weights and buffers, and Adam's moments and counts, by the weights' names."""
    found = {name: value.clone() for name, value in made.model.state_dict().items()}
    names = {id(parameter): name for name, parameter in made.model.named_parameters()}
    for parameter, own in made.optimizer.optimizer.state.items():
        found.update({f"{names[id(parameter)]} {key}": torch.as_tensor(value).clone() for key, value in own.items()})
    return found


def changed(before, after):
    return {name.split()[0] for name, value in after.items() if not (name in before and before[name].equal(value))}


@pytest.mark.parametrize(
    "flags",
    [
        "",
        "--update-freq=2 --sentence-avg --share-all-embeddings --weight-decay=0.1",
        f"--rate-controller=pid {RATE} --bow-weight=1 --checkpoint-activations --dropout=0.1",
        f"{CONDITIONAL} --checkpoint-activations",
    ],
)
def test_inner_steps_train_the_encoder_side_and_outer_steps_the_rest(data, monkeypatch, flags):
    made, samples = built(data, f"{AGGRESSIVE} {flags}")
    seen, own = [], AggressiveInference.infer

    def infer(*args):
        before = state(made)
        count = own(*args)
        if count:
            seen.append((before, state(made), count))
        return count

    monkeypatch.setattr(AggressiveInference, "infer", infer)
    mine = {id(parameter) for parameter in encoder_side(made.model)}
    named = dict(made.model.named_parameters())
    ours = {name for name, parameter in named.items() if id(parameter) in mine}
    ours = {name for name in ours if "k_proj.bias" not in name}  # no gradient: softmax does not see it
    others = {name for name, parameter in named.items() if id(parameter) not in mine and "k_proj.bias" not in name}
    for update in range(3):
        lr = made.get_lr()
        made.train_step(samples)
        before, between, count = seen[-1]
        assert len(seen) == update + 1 == made.get_num_updates() and made.get_lr() == lr and 2 <= count <= 5
        assert ours <= changed(before, between) and not changed(before, between) & others
        outer = changed(between, state(made))
        assert not outer & ours and outer & others and {"encoder.memory.project.weight"} <= outer
    assert all(parameter.requires_grad for parameter in made.model.parameters())
    if "rate" in flags:
        controller = made.model.rate_controller
        made.model.set_num_updates(3)
        stock, _ = built(data, flags)
        assert controller.weight != stock.model.rate_controller.weight and controller.sums.eq(0).all()


def test_an_inner_step_is_one_of_the_optimizer_on_batches_and_draws_of_its_own(data):
    """Against plain autograd: two batches of the step's stream, clipped, with SGD."""
    flags = "--aggressive-inference --aggressive-max-steps=1 --update-freq=2 --optimizer=sgd --lr=0.5 --clip-norm=0.05"
    flags += " --dropout=0 --attention-dropout=0 --activation-dropout=0"
    made, samples = built(data, flags)
    twin, _ = built(data, flags)
    twin.model.load_state_dict(made.model.state_dict())
    made.train_step(samples)

    task, criterion = twin.task, twin.get_criterion()
    chosen = np.random.Generator(np.random.Philox(key=[1, Purpose.INNER], counter=[0, 0, 0, 0]))
    frozen = task.aggressive.batches.frozen_batches
    words, loss = 0, 0
    for number in chosen.integers(len(frozen), size=2):
        batch = task.dataset("train").collater([task.dataset("train")[i] for i in frozen[number]])
        target = batch["target"]
        eps = criterion.draws(batch, Purpose.TRAINING, APART, 4)
        output = twin.model.train()(**batch["net_input"], eps=eps, target=target)
        kl = torch.distributions.kl_divergence(
            torch.distributions.Normal(output.posterior.mu, (output.posterior.logvar / 2).exp()),
            torch.distributions.Normal(0.0, 1.0),
        )
        loss, words = loss + output.nll + kl.sum(), words + batch["ntokens"]
    parameters = encoder_side(twin.model)
    grads = torch.autograd.grad(loss / words, parameters)
    norm = torch.cat([grad.flatten() for grad in grads]).norm()
    assert norm > 0.05
    for parameter, grad in zip(parameters, grads):
        parameter.data -= 0.5 * grad * 0.05 / norm
    for mine, theirs in zip(encoder_side(made.model), parameters):
        torch.testing.assert_close(mine, theirs, atol=1e-6, rtol=1e-4)


def test_inner_steps_are_logged_and_draw_new_batches(data, monkeypatch):
    made, samples = built(data, AGGRESSIVE)
    drawn, own = [], AggressiveInference.draw

    def draw(*args):
        for one in own(*args):
            drawn.append((one["inner_step"], tuple(one["numbers"])))
            yield one

    monkeypatch.setattr(AggressiveInference, "draw", draw)
    counts = []
    for _ in range(2):
        with metrics.aggregate(new_root=True) as logged:
            made.train_step(samples)
        counts.append(logged.get_smoothed_values()["inner_steps"])
    made.task.aggressive.active = False
    with metrics.aggregate(new_root=True) as logged:
        made.train_step(samples)
    assert logged.get_smoothed_values()["inner_steps"] == 0
    assert [step for step, _ in drawn] == [i + 1 for count in counts for i in range(int(count))]
    assert len({numbers for _, numbers in drawn}) > 1


@pytest.mark.parametrize("workers, message", [(1, "out of memory"), (2, "a worker's memory ran out in an inner step")])
def test_a_worker_without_memory_skips_the_batch_only_if_no_other_waits_for_it(data, monkeypatch, workers, message):
    made, samples = built(data, AGGRESSIVE)

    def step(batch):
        raise RuntimeError("CUDA out of memory")

    monkeypatch.setattr("fairseq_vae.aggressive.place", lambda: (0, workers))
    with pytest.raises(RuntimeError, match=message):
        made.task.aggressive.infer(made.model, made.optimizer, 0, torch.device("cpu"), step)
    assert all(parameter.requires_grad for parameter in made.model.parameters())


def test_inference_ends_for_good_with_the_first_fall_and_says_so(caplog):
    caplog.set_level(logging.INFO)
    inference, found = AggressiveInference(Namespace()), []
    for mi in (1.0, 1.5, 1.5, 1.25, 2.0, 1.0):
        inference.validated(mi, 9.0)
        found.append(inference.active)
    assert found == [True] * 3 + [False] * 3
    [told] = [record.getMessage() for record in caplog.records if record.name == "fairseq_vae.aggressive"]
    assert "1.250" in told and "1.500" in told
    again = AggressiveInference(Namespace())
    again.load_state_dict(inference.state_dict())
    assert not again.active
    with pytest.raises(InputError, match="^--aggressive-inference ends when mi falls.* no mi: leave one of"):
        AggressiveInference(Namespace()).validated(None, 0.0)


@pytest.mark.parametrize(
    "given, cap, expected",
    [
        ([6.93, 6.931, 6.931, 6.931], 6.931, [True, True, False, False]),  # at log 1024
        ([6.2, 6.2, 6.3, 6.3], 6.931, [True, True, True, False]),  # saturated above log 512, 6.238
        ([1.0, 1.0, 1.0], 6.931, [True] * 3),  # it may rise yet
        ([0.0, 0.0, 0.0], 0.0, [True] * 3),  # a single sentence has no MI
        ([1.0, math.nan, 2.0], 6.931, [True, False, False]),
        ([math.nan, 2.0], 6.931, [False, False]),
    ],
)
def test_inference_ends_where_mi_cannot_rise_or_is_no_number(given, cap, expected, caplog):
    caplog.set_level(logging.INFO)
    inference, found = AggressiveInference(Namespace()), []
    for mi in given:
        inference.validated(mi, cap)
        found.append(inference.active)
    told = [record.getMessage() for record in caplog.records if record.name == "fairseq_vae.aggressive"]
    assert found == expected and len(told) == (not all(expected))


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Trainings in which MI falls at the third validation: whole; stopped and resumed; stock from the fall on."""
    patch, folder = pytest.MonkeyPatch(), tmp_path_factory.mktemp("runs")
    data, own, given = write_splits(folder / "data"), AggressiveInference.validated, []
    patch.setattr(AggressiveInference, "validated", lambda self, mi, cap: own(self, given.pop(0) if given else mi, cap))
    counts = {}

    def run(name, flags, epochs, said, save_dir=None):
        given[:], own_infer = said, AggressiveInference.infer

        def infer(*args):
            counts[name].append(own_infer(*args))
            return counts[name][-1]

        counts[name] = []
        with pytest.MonkeyPatch.context() as counted:
            counted.setattr(AggressiveInference, "infer", infer)
            return train(data, folder / (save_dir or name), f"--max-epoch={epochs} --dropout=0.1 {flags}")[0]

    states = {"whole": run("whole", AGGRESSIVE, 4, [1.0, 2.0, 1.5, 3.0])}
    run("half", AGGRESSIVE, 2, [1.0, 2.0])
    states["fallen"] = run("fallen", AGGRESSIVE, 3, [1.5], "half")
    states["resumed"] = run("resumed", "", 4, [], "half")
    states["never"] = run("never", AGGRESSIVE, 4, [1.0, 2.0, 2.5, 3.0])
    patch.undo()
    return states, counts


def same(mine, theirs):
    moments = zip(mine["optimizer"].values(), theirs["optimizer"].values())
    return all(value.equal(theirs["model"][name]) for name, value in mine["model"].items()) and all(
        torch.as_tensor(value).equal(torch.as_tensor(other[key]))
        for own, other in moments
        for key, value in own.items()
    )


@pytest.mark.slow
def test_a_resumed_training_is_one_that_was_not_stopped_and_after_the_end_it_is_stock(runs):
    """`resumed` goes on without the flag from where inference has ended; `fallen` had to know of the last MI."""
    states, counts = runs
    assert same(states["resumed"], states["whole"])
    assert [len(counts[name]) for name in ("whole", "half", "fallen", "resumed")] == [9, 6, 3, 0]
    assert counts["whole"] == counts["half"] + counts["fallen"] and min(counts["whole"]) >= 2
    assert len(counts["never"]) == 12 and not same(states["never"], states["whole"])


def test_a_new_training_from_a_checkpoint_is_aggressive_again(tmp_path):
    data = write_data(tmp_path, train=SENTENCES, valid=SENTENCES[:9])
    for flags, active in (({}, False), ({"reset_optimizer": True}, True), ({"reset_meters": True}, True)):
        task = build(data, aggressive_inference=True)
        task.aggressive.active = False
        kept = task.get_checkpoint_dict()["VAEDenoisingTask"]
        task = build(data, aggressive_inference=True, **flags)
        task.set_checkpoint_dict(kept)
        assert task.is_aggressive is active
    task.set_checkpoint_dict({key: value for key, value in kept.items() if key != "aggressive"})
    assert "aggressive" not in build(data).get_checkpoint_dict()["VAEDenoisingTask"]


@pytest.mark.parametrize(
    "task, model, message",
    [
        ({}, {"zero_latent": True}, "--aggressive-inference has no effect with --zero-latent: leave one of the two"),
        ({}, {"deterministic_latent": True}, "--aggressive-inference has no effect with --deterministic-latent: "),
        ({}, {"freeze_decoder": True}, "--aggressive-inference has no effect with --freeze-decoder: leave one of"),
        ({"aggressive_window": 0}, {}, "--aggressive-window 0: expected 1 or more"),
        ({"aggressive_max_steps": 0}, {}, "--aggressive-max-steps 0: expected 1 or more"),
        (
            {"aggressive_window": 50},
            {},
            "--aggressive-window 50 has no effect with --aggressive-max-steps 99, in which no two windows fit: ",
        ),
        ({"aggressive_max_steps": 1}, {}, ""),
        ({"aggressive_window": 2, "aggressive_max_steps": 4}, {}, ""),
        ({"update_freq": [2], "clip_norm": 1.0, "ddp_backend": "legacy_ddp"}, {}, ""),
        *(
            ({name: value}, {}, f"--aggressive-inference does not work with --{name.replace('_', '-')}{shown}: ")
            for name, value, shown in (
                ("fp16", True, ""),
                ("bf16", True, ""),
                ("amp", True, ""),
                ("tpu", True, ""),
                ("use_bmuf", True, ""),
                ("disable_validation", True, ""),
                ("ddp_backend", "fully_sharded", " fully_sharded"),
                ("ddp_backend", "slowmo", " slowmo"),
                ("zero_sharding", "os", " os"),
            )
        ),
    ],
)
def test_what_cannot_work_is_refused_in_one_line(task, model, message):
    told = refusal(task={"aggressive_inference": True, **task}, model=model)
    assert told.startswith(message) and bool(told) == bool(message) and "\n" not in told


@pytest.mark.parametrize("name", POSTERIORS)
def test_a_posterior_whose_mi_validation_does_not_have_is_refused_before_training(data, name):
    flags = arguments(_name="bart_vae_tiny", **POSTERIORS[name])
    found = model(**POSTERIORS[name]).encoder.infer(batch(SENTENCES[:2])["net_input"]["src_tokens"])
    task = build(data, aggressive_inference=True)
    if "_mi_kl" in latent_statistics([0, 1], found, torch.zeros(2, 1)):
        task.build_model(flags)
        return
    with pytest.raises(
        InputError,
        match=f"^--aggressive-inference ends when mi falls, of which validation has none with --latent-posterior {name}"
        ": give diagonal or full, or leave --aggressive-inference out$",
    ):
        task.build_model(flags)
    assert task.build_model(flags, from_checkpoint=True) and build(data).build_model(flags)


def test_a_model_without_a_latent_is_refused(data):
    with pytest.raises(InputError, match="^--aggressive-inference needs a model with a latent: --arch bart_vae or b"):
        build(data, aggressive_inference=True).build_model(Namespace(_name="bart_base", encoder_layers=1))
