import pytest
import torch
from torch.distributions import Independent, Normal, kl_divergence

from fairseq_vae.latent.distributions import GaussianPosterior
from fairseq_vae.latent.injection import LatentMemory, MemoryLayout
from fairseq_vae.latent.pooling import POOLINGS, pool
from fairseq_vae.latent.posterior import LOGVAR_BOUND, PosteriorHead

B, T, C, Z = 4, 7, 8, 3


def posterior(dtype=torch.float64):
    return GaussianPosterior(torch.randn(B, Z, dtype=dtype), torch.randn(B, Z, dtype=dtype))


def as_normal(p):
    return Normal(p.mu, torch.exp(0.5 * p.logvar))


def test_kl_equals_torch_distributions():
    p = posterior()
    standard = Normal(torch.zeros_like(p.mu), torch.ones_like(p.mu))
    torch.testing.assert_close(p.kl(), kl_divergence(as_normal(p), standard))


def test_kl_of_the_prior_is_exactly_zero():
    assert GaussianPosterior(torch.zeros(B, Z), torch.zeros(B, Z)).kl().eq(0).all()


def test_kl_is_never_negative_near_the_prior():
    assert (GaussianPosterior(torch.zeros(100), torch.linspace(-1e-3, 1e-3, 100)).kl() >= 0).all()


def test_log_prob_equals_torch_distributions():
    p, z = posterior(), torch.randn(B, Z, dtype=torch.float64)
    torch.testing.assert_close(p.log_prob(z), Independent(as_normal(p), 1).log_prob(z))


def test_rsample_is_affine_in_the_noise_and_has_the_posteriors_moments():
    p = posterior()
    torch.testing.assert_close(p.rsample(torch.zeros(B, Z)), p.mu)
    torch.testing.assert_close(p.rsample(torch.ones(B, Z)) - p.mu, torch.exp(0.5 * p.logvar))
    many = GaussianPosterior(torch.full((100_000, 1), 2.0), torch.full((100_000, 1), -1.0)).rsample()
    assert many.mean().item() == pytest.approx(2.0, abs=0.01)
    assert many.var().item() == pytest.approx(torch.tensor(-1.0).exp().item(), rel=0.02)


@pytest.mark.parametrize("how", POOLINGS)
@pytest.mark.parametrize("left", [False, True])
def test_pooling_ignores_padding_and_neighbours(how, left):
    query = torch.randn(C)
    sentences = [torch.randn(length, C) for length in (7, 1, 4, 5)]
    hidden = torch.full((T, B, C), 1e4)
    mask = torch.ones(B, T, dtype=torch.bool)
    for row, sentence in enumerate(sentences):
        place = slice(T - len(sentence), T) if left else slice(0, len(sentence))
        hidden[place, row] = sentence
        mask[row, place] = False
    pooled = pool(hidden, mask, how, query)
    for row, sentence in enumerate(sentences):
        alone = {
            "mean": sentence.mean(0),
            "max": sentence.max(0).values,
            "first": sentence[0],
            "attention": (sentence @ query / C**0.5).softmax(0) @ sentence,
        }[how]
        torch.testing.assert_close(pooled[row], alone)


def test_unknown_pooling_is_refused():
    with pytest.raises(ValueError, match="unknown pooling 'sum'"):
        pool(torch.zeros(T, B, C), torch.zeros(B, T, dtype=torch.bool), "sum")


def test_log_variance_is_bounded_smoothly():
    head = PosteriorHead(C, Z, "mean").double()
    mask = torch.zeros(B, T, dtype=torch.bool)
    small = head(torch.randn(T, B, C) * 1e-3, mask).logvar
    torch.testing.assert_close(small, head.logvar.bias.float().expand(B, Z), atol=5e-3, rtol=1e-2)
    assert head(torch.randn(T, B, C) * 1e6, mask).logvar.abs().max() <= LOGVAR_BOUND


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_the_posterior_is_float32_in_half_precision(dtype):
    head = PosteriorHead(C, Z, "attention").to(dtype)
    hidden, mask = torch.randn(T, B, C).to(dtype), torch.zeros(B, T, dtype=torch.bool)
    with torch.autocast("cpu", torch.bfloat16):
        p = head(hidden, mask)
    assert p.mu.dtype == p.logvar.dtype == p.kl().dtype == torch.float32
    torch.testing.assert_close(p, head.float()(hidden.float(), mask), check_dtype=False)


def test_the_layout_shares_every_slot_out_exactly_once():
    layout = MemoryLayout(["embedding", "self-attention", "cross-attention"], layers=3, slots=2)
    parts = [layout.self_attention(i) for i in range(3)] + [layout.cross_attention, layout.embedding]
    slots = [slot for part in parts for slot in range(part.start, part.stop)]
    assert slots == list(range(layout.size)) and layout.size == 3 * 2 + 2 + 1
    alone = MemoryLayout(["cross-attention"], layers=3, slots=4)
    assert alone.size == 4 and alone.self_attention(0) is None and alone.embedding is None


@pytest.mark.parametrize("injection", [[""], [], ["memory"], ["embedding", "embedding"]])
def test_unknown_injections_are_refused(injection):
    with pytest.raises(ValueError, match="--latent-injection"):
        MemoryLayout(injection, layers=2, slots=1)
    with pytest.raises(ValueError, match="--latent-memory-slots 0"):
        MemoryLayout(["embedding"], layers=2, slots=0)


def test_memory_is_each_rows_own_affine_map():
    memory = LatentMemory(Z, 5, C)
    z = torch.randn(B, Z)
    out = memory(z)
    assert out.shape == (5, B, C)
    for row in range(B):
        for slot in range(5):
            rows = slice(slot * C, (slot + 1) * C)
            expected = memory.project.weight[rows] @ z[row] + memory.project.bias[rows]
            torch.testing.assert_close(out[slot, row], expected)
