"""Values that the criterion's flags cannot have, and flags that contradict one another."""

from itertools import product

import pytest
from helpers import criterion

from fairseq_vae.base.errors import InputError

BOUNDED = ("free_bits", "kl_weight", "mmd_weight", "label_smoothing", "word_dropout")


@pytest.mark.parametrize(
    "flags, message",
    [
        ({"free_bits": -0.1}, "--free-bits -0.1"),
        ({"kl_weight": -1.0}, "--kl-weight -1.0"),
        *(
            ({name: float(value)}, f"--{name.replace('_', '-')} {value}")
            for name, value in product(BOUNDED, ("nan", "inf"))
        ),
        ({"label_smoothing": 1.0}, "--label-smoothing 1.0"),
        ({"kl_schedule": "linear"}, "--kl-warmup-updates 0"),
        ({"kl_schedule": "cyclical"}, "--kl-cycle-updates 0"),
        ({"kl_schedule": "cyclical", "kl_cycle_updates": 5, "kl_cycle_ratio": 1.5}, "--kl-cycle-ratio 1.5"),
        ({"free_bits_group": 0}, "--free-bits-group 0"),
        ({"word_dropout": 1.0}, "--word-dropout 1.0"),
        ({"mmd_weight": -1.0}, "--mmd-weight -1.0"),
        ({"kl_zero_updates": -1}, "--kl-zero-updates -1"),
        ({"kl_schedule": "cyclical", "kl_cycle_updates": 10, "kl_zero_updates": 6}, "longer than a cycle of 10"),
    ],
)
def test_bad_flags_are_refused_by_name(flags, message):
    with pytest.raises(InputError, match=message):
        criterion(**flags)
