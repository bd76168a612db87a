import logging

import pytest
import torch

from fairseq_vae.base import errors


@pytest.fixture(autouse=True)
def fresh():
    errors.name_memory_flags.cache_clear()
    yield
    errors.name_memory_flags.cache_clear()


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("CUDA out of memory. Tried to allocate 2 GiB"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
        MemoryError(),
    ],
)
def test_out_of_memory_names_the_flags_once(error, caplog):
    for _ in range(2):
        with pytest.raises(type(error)), caplog.at_level(logging.ERROR), errors.memory_remedy():
            raise error
    [line] = [record.getMessage() for record in caplog.records]
    assert "--max-tokens" in line and "--update-freq" in line and "--checkpoint-activations" in line


def test_torchs_own_cpu_allocator_is_recognised(caplog):
    with pytest.raises(RuntimeError), errors.memory_remedy():
        torch.empty(1 << 60, dtype=torch.uint8)
    assert "--max-tokens" in caplog.text


def test_other_errors_pass_without_a_word(caplog):
    with pytest.raises(RuntimeError, match="shape"), errors.memory_remedy():
        raise RuntimeError("shape mismatch")
    assert not caplog.records
