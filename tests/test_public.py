"""The public names that scripts, checkpoints and papers' tables rely on: a change here is a change for users."""

import dataclasses
import logging

import pytest
from fairseq.criterions import CRITERION_REGISTRY
from fairseq.models import ARCH_MODEL_NAME_REGISTRY
from fairseq.tasks import TASK_REGISTRY
from fairseq.tasks.translation import TranslationConfig
from helpers import model

import fairseq_vae
from fairseq_vae.base import errors
from fairseq_vae.flags.criterion import criterion_config
from fairseq_vae.flags.model import latent_config
from fairseq_vae.flags.task import VAETranslationFlags, task_config
from fairseq_vae.measure.definitions import EVALUATED, LOGGED, names

MODEL = """align_latent align_weight autocast_bf16 bn_mu bow_weight deterministic_latent freeze_decoder
freeze_embeddings latent_dim latent_injection latent_memory_slots latent_pooling latent_posterior latent_prior
latent_slot_scale latent_vectors mirror_slots mixture_components posterior_flow_hidden posterior_flow_passes
posterior_flow_transforms posterior_max_variance prior_flow_hidden prior_flow_transforms rate_controller rate_gain
rate_max_weight rate_start rate_target vamp_components vamp_length zero_latent"""
OF_PAIRS = """target_encoder target_encoder_layers"""  # of a model, beside those
TASK = """aggressive_inference aggressive_max_steps aggressive_window data latent_mode latent_samples noise
noise_ratio noise_splits num_samples print_z prior reuse_dataloader"""
PAIRS = """aggressive_inference aggressive_max_steps aggressive_window latent_mode latent_samples print_z
truncate_source_left"""  # beside those of fairseq's translation
CRITERION = """free_bits free_bits_group free_bits_mode kl_cycle_ratio kl_cycle_updates kl_ramp kl_schedule kl_start
kl_warmup_updates kl_weight kl_zero_updates label_smoothing mmd_kernel mmd_weight word_dropout"""
METRICS = """align au bow diagnosis inner_steps kl kl_dim_max kl_dim_median kl_dim_min kl_dims kl_weight loss
marginal_kl mi mi_cap mmd neg_elbo nll_gap nll_loss ppl rec rec_ppl"""
JSON = """agg_cov_distance agg_gaussian_kl agg_mean_norm au au_curve aubleu aubleu_own bits_per_byte bits_per_byte_iw
bleu bleu_greedy bleu_signature bytes bytes_of checkpoint chrf chrf_greedy chrf_signature data_length diagnosis
diagnosis_message distinct_1 distinct_1_data distinct_1_fitted distinct_2 distinct_2_data distinct_2_fitted distinct_3
distinct_3_data distinct_3_fitted empty_share empty_share_fitted exact_match exact_match_greedy fitted_prior intervals
iw_effective kl kl_dims kl_sampled largest_step_lerp largest_step_slerp largest_step_typical latent_dim
length_distance length_distance_fitted lm_gap lm_nll marginal_kl max_len mi mi_batch mi_batch_size mi_cap mi_saturated
mi_source mi_stderr mu_variance_dims neg_elbo nll_gap_prior nll_gap_shuffled nll_gap_zero nll_iw nll_iw_fitted
noise_bleu noise_bleu_own noise_scales ppl_token ppl_token_iw ppl_word ppl_word_iw prior_length prior_length_fitted
prior_samples probe probe_bag_of_words probe_classes probe_folds probe_interval probe_majority probe_signature rec
responses samples samples_nll samples_nll_data samples_nll_fitted schema seed self_bleu self_bleu_data
self_bleu_fitted self_bleu_signature sentences signature smoothness_lerp smoothness_pairs smoothness_same_ends
smoothness_sentences smoothness_slerp smoothness_slerp_gain smoothness_typical split text_sentences tokens
training_copies variance_dims words"""
WEIGHTS = """encoder.memory.project.bias encoder.memory.project.weight encoder.plugin_version
encoder.posterior.logvar.bias encoder.posterior.logvar.weight encoder.posterior.mu.bias encoder.posterior.mu.weight"""
BOTH = ("weight", "bias")
PRIOR_WEIGHTS = {
    "standard": "",
    "mixture": "encoder.prior.logits encoder.prior.mu encoder.prior.raw",
    "flow": " ".join(
        f"encoder.prior.flow.transform.transforms.{number}.hyper.{layer}.{name}"
        for number in (0, 1)
        for layer in (0, 2, 4)
        for name in ("weight", "bias")
    ),
    "vamp": "encoder.prior.offsets encoder.prior.digits",
    "conditional": " ".join(f"encoder.prior.{layer}.{name}" for layer in ("hidden", "mu", "logvar") for name in BOTH),
}
OPTIONAL_WEIGHTS = """align.centre align.head.bias align.head.weight align.measured align.white bow.0.bias
bow.0.weight bow.2.bias bow.2.weight encoder.posterior.bn_mu.mean encoder.posterior.bn_mu.shift
encoder.posterior.bn_mu.var encoder.posterior.query rate_controller.memory rate_controller.sums rate_controller.update
rate_controller.weight"""


@pytest.mark.parametrize(
    "config, expected",
    [
        (latent_config(), MODEL),
        (latent_config(conditional=True), f"{MODEL} {OF_PAIRS}"),
        (task_config(), TASK),
        (criterion_config(), CRITERION),
    ],
    ids=["model", "model of pairs", "task", "criterion"],
)
def test_flags(config, expected):
    found = [field.name for field in dataclasses.fields(config) if field.metadata.get("help")]
    assert sorted(found) == sorted(expected.split())


def test_flags_of_pairs():
    stock = {field.name for field in dataclasses.fields(TranslationConfig)}
    found = {field.name for field in dataclasses.fields(VAETranslationFlags) if field.metadata.get("help")}
    assert sorted(found - stock) == PAIRS.split()


def test_registry_names():
    for first in ("bart_vae", "bart_cvae"):
        architectures = [arch for arch, name in ARCH_MODEL_NAME_REGISTRY.items() if name == first]
        assert sorted(architectures) == sorted([first, *(f"{first}_{s}" for s in ("base", "large", "small", "tiny"))])
    assert {"vae_denoising", "vae_translation"} <= set(TASK_REGISTRY) and "vae_cross_entropy" in CRITERION_REGISTRY


def test_logged_metrics_and_json_keys():
    assert sorted(names(LOGGED)) == METRICS.split()
    assert sorted(names(EVALUATED)) == JSON.split()


def own(**flags):
    prefixes = ("align.", "encoder.p", "encoder.m", "bow", "rate")
    found = {key for key in model(**flags).state_dict() if key.startswith(prefixes)}
    return {key for key in found if not key.startswith("align.pretrained.")}  # named as the encoder's


def test_names_of_weights():
    assert own() == set(WEIGHTS.split())
    everything = dict(latent_pooling="attention", bn_mu=0.5, bow_weight=1.0, align_weight=1.0)
    everything.update(rate_controller="pid", rate_target=1.0)
    assert own(**everything) == {*WEIGHTS.split(), *OPTIONAL_WEIGHTS.split()}


@pytest.mark.parametrize("name", PRIOR_WEIGHTS)
def test_names_of_a_priors_weights(name):
    arch = "bart_cvae" if name == "conditional" else "bart_vae"
    assert own(latent_prior=name, arch=arch) == {*WEIGHTS.split(), *PRIOR_WEIGHTS[name].split()}


def test_names_in_python_and_in_logs():
    assert set(fairseq_vae.__all__) >= {"BARTVAEModel", "GaussianPosterior", "__version__"}
    assert fairseq_vae.model.BARTVAEModel is fairseq_vae.BARTVAEModel
    assert fairseq_vae.GaussianPosterior._fields == ("mu", "logvar")
    assert errors.logger is logging.getLogger("fairseq_vae.errors")
    assert fairseq_vae.validation.logger is logging.getLogger("fairseq_vae.validation")
