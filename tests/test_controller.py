"""Rate controllers on a toy posterior whose rate is a known function of beta."""

import math

import pytest
import torch
from helpers import SENTENCES, batch, criterion, model

from fairseq_vae.base.errors import InputError
from fairseq_vae.objective.controller import STEPS, RateController, initial

every_controller = pytest.mark.parametrize("controller", STEPS)


def rate(beta):
    """Of the linear model x = z w + N(0, 1): 16 dimensions with KL log(1 + w^2 / beta) / 2, as in beta-VAE PCA."""
    return 8 * torch.log1p(1 / (beta + 1e-6))


def settle(built, updates, first=0, sentences=5):
    """Train the toy for some updates; what beta was at each."""
    betas = []
    for update in range(first, first + updates):
        built.set_num_updates(update)
        for part in (1, sentences - 1):  # two micro-batches, whose mean is the rate
            built.set_num_updates(update)
            kl = rate(built.weight) * sentences / 2
            built.observe(torch.stack((kl, torch.tensor(float(part), dtype=torch.float64))), update)
        betas.append(built.weight.item())
    return betas


def pure(controller, updates, *settings):
    """The toy by the pure step alone; what beta was at each update."""
    state, betas = initial(controller, settings[-1]), []
    for _ in range(updates):
        betas.append(state.weight.item())
        state = STEPS[controller](state, rate(state.weight), *settings)
    return betas


@every_controller
def test_the_module_is_its_pure_step(controller):
    betas = settle(RateController(controller, 3.0, 0.05, 10.0), 200)
    assert betas == pytest.approx(pure(controller, 200, 3.0, 0.05, 10.0), rel=1e-9)


@every_controller
@pytest.mark.parametrize("target", [3.0, 8.0])
def test_the_rate_settles_at_its_target(controller, target):
    betas = pure(controller, 6000, target, 0.05, 10.0)
    for beta in betas[-500:]:
        assert rate(torch.tensor(beta)).item() == pytest.approx(target, rel=0.02)
    assert 0 <= min(betas) and max(betas) <= 10


@every_controller
def test_a_bound_of_1_makes_the_target_a_minimum(controller):
    betas = pure(controller, 6000, 3.0, 0.02, 1.0)  # beta = 1 has rate 5.5
    assert betas[-1] == 1.0 and max(betas) == 1.0
    held = pure(controller, 6000, 8.0, 0.02, 1.0)
    assert rate(torch.tensor(held[-1])).item() == pytest.approx(8.0, rel=0.02)


@every_controller
def test_after_long_at_its_bound_it_comes_back_soon(controller):
    step, state = STEPS[controller], initial(controller, 1.0)
    for _ in range(5000):
        state = step(state, torch.tensor(500.0, dtype=torch.float64), 8.0, 0.01, 1.0)
    assert state.weight == 1.0
    for _ in range(300):
        state = step(state, torch.tensor(1.0, dtype=torch.float64), 8.0, 0.01, 1.0)
    assert state.weight < 0.9


@every_controller
def test_a_resumed_run_is_an_uninterrupted_one_bit_for_bit(controller):
    straight = settle(RateController(controller, 5.0, 0.01, 2.0), 60)
    first = RateController(controller, 5.0, 0.01, 2.0)
    betas = settle(first, 25)
    second = RateController(controller, 5.0, 0.01, 2.0)
    second.set_num_updates(25)  # fairseq says the number, then loads
    second.load_state_dict(first.state_dict())
    assert betas + settle(second, 35, first=25) == straight


@every_controller
def test_it_begins_where_it_is_told_to_and_from_there_the_rate_falls_less_far(controller):
    """From beta = 0.02, of a training before, towards a rate that a larger beta has."""
    built = RateController(controller, 8.0, 0.05, 10.0, 0.02)
    betas = settle(built, 3000)
    assert betas[0] == pytest.approx(0.02) and rate(torch.tensor(betas[-1])).item() == pytest.approx(8.0, rel=0.02)
    assert max(betas) < 1 <= max(pure("lagrangian", 3000, 8.0, 0.05, 10.0))
    built.set_num_updates(0)
    assert built.weight == pytest.approx(0.02), "a new training from its checkpoint"
    assert initial(controller, 0.5, 0.7).weight == 0.5


@every_controller
def test_one_step_an_update_on_the_mean_of_all_its_sentences(controller):
    built = RateController(controller, 4.0, 0.01, 2.0)
    start = initial(controller, 2.0)
    for sums in ([10.0, 2.0], [2.0, 1.0], [float("nan"), 1.0]):
        built.set_num_updates(7)
        built.observe(torch.tensor(sums), 7)
        assert built.weight == start.weight
    for _ in range(3):
        built.set_num_updates(8)
        expected = STEPS[controller](start, torch.tensor(4.0, dtype=torch.float64), 4.0, 0.01, 2.0)
        assert (built.weight, built.memory) == expected


def test_a_training_that_starts_from_a_checkpoint_starts_its_controller_afresh():
    built = RateController("lagrangian", 5.0, 0.01, 2.0)
    settle(built, 50)
    assert built.weight != 1
    built.set_num_updates(0)
    assert built.weight == 1 and built.memory == 0 and built.sums.tolist() == [0, 0]


def test_half_precision_is_for_weights_alone():
    built = model(rate_controller="lagrangian", rate_target=5.0)
    built.rate_controller.weight.fill_(0.1234567890123)
    built = built.half().float().half()
    assert built.rate_controller.weight.item() == 0.1234567890123
    assert built.rate_controller.update.dtype == torch.float64 and built.encoder.posterior.mu.weight.dtype == torch.half


def flags(**others):
    return {"rate_controller": "lagrangian", "rate_target": 2.0, "rate_gain": 0.5, **others}


def test_the_criterion_shows_a_batch_once_its_gradient_comes():
    built, sample, objective = model(std=0.3, **flags(rate_max_weight=10.0)).train(), batch(SENTENCES), criterion()
    built.set_num_updates(3)
    loss, _, log = objective(built, sample)
    assert log["kl_weight"] == len(SENTENCES)
    assert built.rate_controller.sums.tolist() == [0, 0]
    loss.backward()
    assert built.rate_controller.sums.tolist() == [pytest.approx(log["kl"].item()), len(SENTENCES)]
    ignored, _, _ = objective(built, sample)
    ignored *= 0  # as fairseq does with a worker's stand-in for data that it does not have
    ignored.backward()
    assert built.rate_controller.sums[1] == len(SENTENCES)
    built.set_num_updates(4)
    _, _, log = objective(built, sample)
    expected = STEPS["lagrangian"](initial("lagrangian", 10.0), log["kl"].double() / 5, 2.0, 0.5, 10.0).weight
    assert built.rate_controller.weight == pytest.approx(expected.item(), abs=0.01) and expected > 1.05


def test_the_loss_has_the_controllers_beta():
    built, sample = model(std=0.3, **flags()).train(), batch(SENTENCES)
    with torch.no_grad():
        losses = []
        for beta in (0.0, 0.25, 1.0):
            built.rate_controller.weight.fill_(beta)
            loss, _, log = criterion()(built, sample)
            losses.append((loss, log))
    for (loss, log), beta in zip(losses, (0.0, 0.25, 1.0)):
        torch.testing.assert_close(loss, log["rec"] + beta * log["kl"])
        assert log["kl_weight"] == beta * len(SENTENCES)
    plain, _, _ = criterion()(model(std=0.3).train(), sample)
    assert losses[-1][0].equal(plain)


@pytest.mark.parametrize(
    "given, message",
    [
        (dict(rate_controller="pid"), "--rate-target 0.0: --rate-controller pid expects more than 0"),
        (flags(rate_gain=-1.0), "--rate-gain -1.0"),
        (flags(rate_max_weight=0.0), "--rate-max-weight 0.0"),
        (flags(rate_start=0.0), "--rate-start 0.0: expected more than 0"),
        (flags(rate_start=1.5), "--rate-start 1.5: expected at most --rate-max-weight 1.0"),
        (flags(rate_start=-2.0, rate_controller="pid"), "--rate-start -2.0: expected 0 or more"),
        (flags(rate_start=math.nan), "--rate-start nan"),
        (flags(deterministic_latent=True), "no rate"),
        (dict(bn_mu=-1.0), "--bn-mu -1.0"),
        (dict(bow_weight=-1.0), "--bow-weight -1.0"),
    ],
)
def test_bad_flags_are_refused_by_name(given, message):
    with pytest.raises(InputError, match=message):
        model(**given)


def test_a_controller_and_a_schedule_are_one_too_many():
    built = model(**flags())
    for given in (dict(kl_weight=0.5), dict(kl_schedule="linear", kl_warmup_updates=3), dict(kl_zero_updates=3)):
        with pytest.raises(InputError, match="--rate-controller lagrangian sets beta: leave out"):
            criterion(**given)(built, batch(SENTENCES))


def test_states_of_the_first_version_load_and_the_first_version_loads_these():
    """Its number of the update was an integer."""
    built = RateController("lagrangian", 5.0, 0.01, 2.0)
    settle(built, 30)
    state = {key: value.clone() for key, value in built.state_dict().items()}
    again = RateController("lagrangian", 5.0, 0.01, 2.0)
    again.load_state_dict({**state, "update": state["update"].long()})
    assert again.update == state["update"] == 29 and settle(again, 5, first=30) == settle(built, 5, first=30)
    first = torch.zeros((), dtype=torch.long)
    assert first.copy_(state["update"]) == 29


@pytest.mark.parametrize("name", ["weight", "memory", "sums", "update"])
@pytest.mark.parametrize("value", [math.inf, math.nan])
def test_a_state_that_is_not_finite_begins_anew_and_says_so(name, value, caplog):
    """As in a checkpoint that was cast to float16, whose largest number is 65,504."""
    controller, broken = (RateController("pid", target=8.0, gain=0.01, max_weight=1.0) for _ in range(2))
    broken.observe(torch.tensor([160.0, 10.0]), update=3)
    getattr(broken, name).fill_(value)
    controller.load_state_dict(broken.state_dict())
    controller.set_num_updates(4)
    assert controller.weight == controller.memory == 0 and controller.update == 4 and not controller.sums.any()
    assert [record.getMessage() for record in caplog.records] == [
        "--rate-controller pid: its state is not finite; it begins anew"
    ]
