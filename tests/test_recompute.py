"""--checkpoint-activations changes memory alone: no loss, no gradient, no word."""

import copy

import pytest
import torch
from helpers import EVERY_INJECTION, EVERY_LATENT, SENTENCES, abreast, batch, choosing, criterion, hypotheses, model
from torch.utils import checkpoint

from fairseq_vae.latent.posterior import posteriors

OFFLOAD = {"checkpoint_activations": True, "offload_activations": True}
FROZEN = {"trained": {}, "frozen": {"freeze_decoder": True, "freeze_embeddings": True}}
WAYS = [
    (injection, trained, bf16) for injection in EVERY_INJECTION[-1:] for trained in FROZEN for bf16 in (False, True)
]
WAYS += [row for row in abreast(EVERY_LATENT, ("trained", "frozen"), (False, False, True, True)) if row not in WAYS]


@pytest.fixture
def bfloat16(monkeypatch):
    monkeypatch.setattr("fairseq_vae.model.bfloat16_works", lambda device: True)


def loss_and_gradients(injection, autocast, **flags):
    built = model(injection, std=0.3, dropout=0.2, activation_dropout=0.1, autocast_bf16=autocast, **flags).train()
    torch.manual_seed(7)
    loss, _, _ = criterion()(built, batch(SENTENCES))
    loss.backward()
    return loss, {name: p.grad for name, p in built.named_parameters() if p.grad is not None}, torch.get_rng_state()


@pytest.mark.parametrize("injection, trained, autocast", WAYS)
def test_loss_gradients_and_random_state_are_those_without_it(injection, trained, autocast, bfloat16):
    flags = FROZEN[trained]
    loss, right, state = loss_and_gradients(injection, autocast, **flags)
    assert any(gradient.any() for gradient in right.values())
    for offload in (False, True):
        again, found, state_after = loss_and_gradients(
            injection, autocast, checkpoint_activations=True, offload_activations=offload, **flags
        )
        assert again.equal(loss) and state_after.equal(state) and list(found) == list(right)
        for name, gradient in right.items():
            assert found[name].equal(gradient), name


@pytest.mark.parametrize("posterior", [name for name in posteriors.names() if name != "diagonal"])
def test_it_changes_nothing_under_other_posteriors(posterior, bfloat16):
    plain, again = (
        loss_and_gradients("embedding", True, **choosing(posteriors, posterior), checkpoint_activations=on)
        for on in (False, True)
    )
    assert again[0].equal(plain[0]) and all(again[1][name].equal(gradient) for name, gradient in plain[1].items())


def kept(built, monkeypatch):
    """Numbers that a training step holds for its backward pass, on the device and on the host."""
    held = {"device": 0, "host": 0}

    def hooks(place):
        def pack(tensor):
            held[place] += tensor.numel()
            return tensor

        return torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor)

    monkeypatch.setattr(torch.autograd.graph, "save_on_cpu", lambda: hooks("host"))
    with hooks("device"):
        criterion()(built, batch(SENTENCES))
    return held


def test_it_holds_the_layers_inputs_alone_and_on_the_host_if_asked(monkeypatch):
    plain, fewer, offloaded = (
        kept(model(**flags).train(), monkeypatch) for flags in ({}, {"checkpoint_activations": True}, OFFLOAD)
    )
    assert plain["host"] == fewer["host"] == 0
    if hasattr(checkpoint, "set_checkpoint_early_stop"):  # before torch 2.1 inputs are held elsewhere
        assert fewer["device"] < plain["device"] / 2
        assert 0 < offloaded["host"] == fewer["device"] - offloaded["device"]


def calls(built):
    """A list that gets a layer's number whenever it runs."""
    found = []
    for number, layer in enumerate([*built.encoder.layers, *built.decoder.layers]):
        layer.fc1.register_forward_pre_hook(lambda module, inputs, number=number: found.append(number))
    return found


def test_each_layer_runs_twice_in_training_and_once_without_gradients():
    built = model(checkpoint_activations=True).train()
    found = calls(built)
    criterion()(built, batch(SENTENCES))[0].backward()
    assert sorted(found) == [0, 0, 1, 1, 2, 2, 3, 3]
    found.clear()
    with torch.no_grad():
        built.eval()(**batch(SENTENCES)["net_input"])
    assert found == [0, 1, 2, 3]


@pytest.mark.parametrize("injection", EVERY_LATENT)
def test_names_of_weights_and_generated_text_stay(injection):
    plain, wrapped = model(injection, std=0.4), model(injection, std=0.4, **OFFLOAD)
    assert list(plain.state_dict()) == list(wrapped.state_dict())
    assert hypotheses(wrapped, batch(SENTENCES)) == hypotheses(plain, batch(SENTENCES))
    step = batch(SENTENCES)["net_input"]
    cached = [  # with gradients: a second run would read the first one's keys
        built.decoder(step["prev_output_tokens"][:, :1], built.encoder(step["src_tokens"]), incremental_state={})[0]
        for built in (plain, wrapped)
    ]
    assert cached[0].equal(cached[1]) and cached[1].sum().backward() is None


def test_a_copy_recomputes_its_own_layers():
    built = model(checkpoint_activations=True).train()
    copied = copy.deepcopy(built)
    with torch.no_grad():
        for parameter in copied.parameters():
            parameter.mul_(0.5)
    found, other = calls(copied), calls(built)
    criterion()(copied, batch(SENTENCES))[0].backward()
    assert len(found) == 8 and not other and all(p.grad is None for p in built.parameters())


def test_an_old_torch_says_that_inputs_stay_on_the_device(monkeypatch, caplog):
    monkeypatch.delattr(checkpoint, "set_checkpoint_early_stop", raising=False)
    model(checkpoint_activations=True)
    assert not caplog.records
    model(**OFFLOAD)
    assert "--offload-activations has no effect with torch" in caplog.text
