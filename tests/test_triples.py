"""Under one injection and under all, every pair of the options that change what the model computes, holds or saves."""

import pytest
from allpairspy import AllPairs
from helpers import EVERY_INJECTION
from test_pairs import (
    OPTIONS,
    bfloat16,
    data,
    test_a_row_of_options_trains_saves_resumes_validates_and_generates,
    works,
)

__all__ = ["bfloat16", "data"]  # fixtures

run = test_a_row_of_options_trains_saves_resumes_validates_and_generates
del test_a_row_of_options_trains_saves_resumes_validates_and_generates
VARIED = "latent frozen bn-mu bow controller autocast activations average".split()
FIRST = {name: values[0] for name, values in OPTIONS.items()}
ROWS = [
    {**FIRST, "injection": f"--latent-injection={injection}", **dict(zip(VARIED, row))}
    for injection in (EVERY_INJECTION[0], EVERY_INJECTION[-1])
    for row in AllPairs([OPTIONS[name] for name in VARIED], filter_func=works)
]


@pytest.mark.slow
@pytest.mark.parametrize("row", ROWS, ids=lambda row: " ".join(value for value in row.values() if value))
def test_a_row_of_model_options_works(data, tmp_path, row):
    run(data, tmp_path, row)
