"""A run's folder, read back whole and stopped anywhere."""

import shutil

import pytest
import runs

from fairseq_vae.base.errors import InputError
from fairseq_vae.finetune.run import read_log, read_run


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return runs.make(tmp_path_factory.mktemp("run"))


@pytest.fixture
def run(made, tmp_path):
    return shutil.copytree(made, tmp_path / "run")


def test_a_whole_run_lacks_nothing(run):
    found = read_run(str(run))
    assert found.lacks == [] and found.checkpoint == str(run / "phase2/checkpoint_best.pt")
    assert [(phase.name, phase.log.updates, phase.done) for phase in found.phases] == [
        ("phase1", 60, True),
        ("phase2", 100, True),
    ]
    assert "deterministic-latent" in found.phases[0].flags and found.phases[1].flags["kl-schedule"] == "cyclical"
    assert found.evaluation["latent_dim"] == runs.DIMENSIONS


def test_values_of_a_log(tmp_path):
    path = tmp_path / "log"
    first = runs.log(40, lambda update: 0.5)
    again = runs.line("train_inner", rec="7.5", kl="inf", num_updates=30)  # a resumed run repeats updates
    cut = runs.line("train_inner", rec=1, num_updates=50)[:-9] + "\n"  # and a kill cuts a line off
    path.write_bytes((first + again + cut + "| train_inner | {}\n").encode() + b"\xff\xfe\n")
    log = read_log(path)
    assert sorted(log.train) == [10, 20, 30, 40] and sorted(log.valid) == [20, 40] and log.updates == 40
    assert log.train[30] == {"rec": 7.5, "kl": float("inf"), "num_updates": 30.0}
    assert log.train[20]["kl_weight"] == 0.5 and log.valid[40]["rec"] == 70.0 and "epoch" not in log.valid[40]
    assert log.kl_dims == [(d + 1) / 10 for d in range(runs.DIMENSIONS)]


@pytest.mark.parametrize("damaged", ['{"num_updates": Infinity}', '{"num_updates": "10", "valid_kl_dims": 3}'])
def test_a_value_that_cannot_be_does_not_end_the_reading(tmp_path, damaged):
    path = tmp_path / "log"
    path.write_text(f"| valid | {damaged}\n" + runs.log(20, lambda update: 0.5))
    log = read_log(path)
    assert log.updates == 20 and log.valid[20]["rec"] == 75.0 and len(log.kl_dims) == runs.DIMENSIONS


@pytest.mark.parametrize(
    "removed, said",
    [
        (["evaluation.json"], "no evaluation.json"),
        (["phase2.done"], "phase2 has not ended: its curves stop at update 100 of 100"),
        (["phase2.log", "phase2.done"], "phase2 has logged nothing yet"),
        (["phase2/checkpoint_best.pt"], "are of phase1: phase2 has no checkpoint"),
        (["phase1/checkpoint_best.pt", "phase2/checkpoint_best.pt"], "No phase has a checkpoint"),
    ],
)
def test_what_is_missing_is_named(run, removed, said):
    for name in removed:
        (run / name).unlink()
    lacks = read_run(str(run)).lacks
    assert len(lacks) == 1 and said in lacks[0]


@pytest.mark.parametrize("content", ["{", "[1]", '{"a": ', b"\xff"])
def test_a_damaged_evaluation_is_named(run, content):
    (run / "evaluation.json").write_bytes(content if isinstance(content, bytes) else content.encode())
    found = read_run(str(run))
    assert found.evaluation is None and len(found.lacks) == 1 and "evaluation.json" in found.lacks[0]


@pytest.mark.parametrize("content", [None, "{", "[]", '{"size": "full"}', '{"recipe": {"phase1": 3}}', '{"recipe": 1}'])
def test_a_folder_that_is_no_run_is_one_line(tmp_path, content):
    if content is not None:
        (tmp_path / "settings.json").write_text(content)
    with pytest.raises(InputError, match="expected the folder that `fairseq-vae finetune --output` made") as error:
        read_run(str(tmp_path))
    assert "\n" not in str(error.value)
