"""The prior of docs/guides/prior.md, one file outside the package: its laws, and its way through the command lines."""

import inspect
import json
from pathlib import Path

import pytest
import test_prior
import torch
from helpers import SENTENCES, B, batch, criterion, model, plugged
from torch.distributions import Independent, Normal
from torch.distributions import Laplace as TorchLaplace

from fairseq_vae.base.errors import InputError
from fairseq_vae.latent.distributions import rate

ROOT = Path(__file__).parent.parent
USER_DIR = ROOT / "examples/own_prior/laplace_prior"


@pytest.fixture(scope="module")
def module():
    """The example, registered for these tests alone."""
    with plugged(USER_DIR) as module:
        yield module


LAWS = [law for name, law in vars(test_prior).items() if name.startswith("test_") and "standard" not in name]


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
def test_the_laws_of_priors_hold(module, law):
    later = [{"scale": 0.0}, {"scale": 0.3}] if "scale" in inspect.signature(law).parameters else [{}]
    for more in later:  # as it begins, and after some learning
        law("laplace", **more)


def test_the_density_is_torchs(module):
    mean, scale = torch.randn(3), torch.rand(3) + 0.1
    z = torch.randn(50, 3)
    expected = Independent(TorchLaplace(mean, scale), 1).log_prob(z)
    torch.testing.assert_close(module.Laplace(mean, scale).log_prob(z), expected)


def test_samples_have_the_quantiles_of_their_draws(module):
    eps = torch.linspace(-6, 6, 49)[:, None].double()
    z = module.Laplace(torch.tensor([0.5]).double(), torch.tensor([2.0]).double()).rsample(eps)
    torch.testing.assert_close(TorchLaplace(0.5, 2.0).cdf(z), Normal(0.0, 1.0).cdf(eps))


def test_the_objective_has_its_sampled_rate(module):
    built, sample = model(std=0.3, latent_prior="laplace", laplace_scale=0.5).train(), batch(SENTENCES)
    loss, _, log = criterion()(built, sample)
    eps = criterion().posterior_eps(built, sample)
    output = built(**sample["net_input"], eps=eps, target=sample["target"])
    kl = rate(output.posterior, output.prior, output.z)
    assert kl.shape == (B, 1) and isinstance(output.prior, module.Laplace)
    torch.testing.assert_close(loss, output.nll + kl.sum())
    loss.backward()
    assert built.encoder.prior.log_scale.grad.abs().min() > 0
    with pytest.raises(InputError, match="--free-bits-mode dimension: .* give --free-bits-mode batch-sentence"):
        criterion(free_bits=0.1)(built, sample)


def test_a_checkpoint_of_another_prior_starts_it(module):
    """Phase 2 may have a prior with weights after a phase 1 without."""
    plain, built = model(std=0.3), model(latent_prior="laplace", laplace_scale=0.5)
    built.load_state_dict(plain.state_dict())
    assert built.encoder.prior.log_scale.exp().eq(0.5).all()
    again = model(latent_prior="laplace")
    again.load_state_dict(built.state_dict())
    assert again.encoder.prior.log_scale.equal(built.encoder.prior.log_scale)
    with pytest.raises(InputError, match="unknown, e.g. encoder.prior.log_scale"):
        plain.load_state_dict(built.state_dict())


@pytest.mark.slow
def test_it_is_trained_resumed_evaluated_and_sampled_by_the_command_lines(tmp_path):
    from test_cli import OPTIMIZER, TINY, logged, run, sentences

    for seed, (split, count) in enumerate({"train": 61, "valid": 13, "test": 11}.items()):
        (tmp_path / f"{split}.txt").write_text("\n".join(sentences(count, seed)) + "\n")
    prefs = " ".join(f"--{split}pref {tmp_path}/{split}.txt" for split in ("train", "valid", "test"))
    run(f"fairseq-preprocess --only-source {prefs} --destdir {tmp_path}/bin --workers 1")
    flags = f"--user-dir {USER_DIR} --task vae_denoising {TINY} {OPTIMIZER} --latent-prior laplace --laplace-scale 0.5"
    flags += f" --free-bits 2 --free-bits-mode batch-sentence --mmd-weight 1 --save-dir {tmp_path}/save"
    for updates in (4, 6):
        output = run(f"fairseq-train {tmp_path}/bin {flags} --max-update {updates}")
    assert "Loaded checkpoint" in output and len(logged(output, "train_inner")) == 2
    checkpoint = tmp_path / "save/checkpoint_last.pt"
    state = torch.load(checkpoint)
    assert state["cfg"]["model"]["laplace_scale"] == 0.5
    assert state["model"]["encoder.prior.log_scale"].ne(torch.tensor(0.5).log()).all(), "it learns"
    generate = f"fairseq-generate {tmp_path}/bin --user-dir {USER_DIR} --task vae_denoising --path {checkpoint} --cpu"
    assert run(f"{generate} --latent-mode prior --num-samples 3 --max-len-b 9").count("\nH-") == 3
    command = f"fairseq-vae evaluate {checkpoint} {tmp_path}/bin --samples 2 --json {tmp_path}/numbers.json"
    run(f"{command} --user-dir {USER_DIR}")
    numbers = json.loads((tmp_path / "numbers.json").read_text())
    assert "|prior:Laplace|" in numbers["signature"] and len(numbers["kl_dims"]) == 1
    assert numbers["agg_gaussian_kl"] is None and numbers["self_bleu"] is not None
    refused = run(command, expect=1)
    assert "unknown laplace_scale" in refused and "give its --user-dir" in refused and "Traceback" not in refused
    missing = run(f"{command} --user-dir {tmp_path}/none", expect=1)
    assert f"--user-dir {tmp_path}/none: there is no such folder" in missing
