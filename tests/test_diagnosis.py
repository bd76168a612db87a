"""Rules of thumb on the use of z, and warnings of what lasts."""

import math

from fairseq_vae.latent.posterior import committed_rate
from fairseq_vae.measure.diagnosis import Watch, diagnose


def test_what_is_wrong_has_a_name_and_a_remedy():
    assert diagnose(11.7, 24.3, 32) is None
    assert diagnose(900.0, 60.0, 32, beta=0.0) is None, "an autoencoder"
    for arguments, name, flag in [
        ((0.01, 0.002, 32), "collapsed", "--free-bits"),
        ((0.01, None, 32), "collapsed", "--rate-controller"),
        ((8.0, 0.05, 32), "unused", "--word-dropout"),
        ((8.0, 0.3, 32), "unused", "--bow-weight"),
        ((32 * committed_rate(0.2), 0.1, 32), "unused", "a bounded variance"),
        ((900.0, 60.0, 32, 0.1), "exploding", "--clip-norm"),
        ((math.nan, math.nan, 32), "exploding", "--lr"),
        ((0.4, 0.6, 32, 0.5, (3.0, 0.2)), "outrun", "--kl-warmup-updates"),
        ((0.4, 0.6, 32, 0.5, (3.0, 0.5)), "weak", "--free-bits"),  # beta did not grow
        ((0.11, 0.23, 32), "weak", "--rate-controller"),
        ((0.99, None, 32), "weak", "--deterministic-latent"),
    ]:
        found = diagnose(*arguments)
        assert found.name == name and flag in found.message and "\n" not in found.message
    assert diagnose(700.0, 60.0, 32, 0.1, (900.0, 0.05)) is None, "after an autoencoder, on its way down"
    assert diagnose(1.01, 0.9, 32) is None


def test_a_warning_comes_once_for_what_lasts():
    watch = Watch()
    assert watch.see(0.02, 0.01, 8, 1.0) == ("collapsed", None)
    assert watch.see(0.02, 0.01, 8, 1.0) == ("collapsed", None), "the same evaluation asked for twice"
    name, warning = watch.see(0.01, 0.01, 8, 1.0)
    assert name == "collapsed" and warning.startswith("posterior collapse")
    assert watch.see(0.03, 0.01, 8, 1.0) == ("collapsed", None)
    watch = Watch()
    for kl in (0.05, 3.0, 0.04, 4.0):
        assert watch.see(kl, kl, 8, 1.0)[1] is None, "it does not last"
    assert watch.see(0.0, 0.0, 8, 1.0) == ("no z", None)
