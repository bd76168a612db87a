import pytest
import torch
from helpers import save_bart, save_vae

from fairseq_vae.base.errors import InputError
from fairseq_vae.checkpoints.load import load_model


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("vae")
    save_vae(folder)
    return folder


def test_a_model_is_loaded_with_its_time_in_evaluation_mode(folder, tmp_path):
    state = torch.load(folder / "checkpoint_best.pt")
    state["optimizer_history"][-1]["num_updates"] = 7
    torch.save(state, tmp_path / "model.pt")
    model, cfg, task = load_model(str(tmp_path / "model.pt"), str(folder), latent_mode="sample")
    assert model.num_updates == 7 and not model.training and model.checkpoint == f"checkpoint {tmp_path / 'model.pt'}"
    assert (cfg.task.data, cfg.task.latent_mode, task.cfg.latent_mode) == (str(folder), "sample", "sample")
    for name, parameter in model.named_parameters():
        assert parameter.cpu().equal(state["model"][name]), name


def test_what_is_missing_or_of_another_architecture_is_refused(folder, tmp_path):
    path = str(folder / "checkpoint_best.pt")
    with pytest.raises(InputError, match="data folder .*none does not exist: give the one that fairseq-preprocess"):
        load_model(path, str(tmp_path / "none"))
    with pytest.raises(InputError, match="none.pt does not exist"):
        load_model(str(tmp_path / "none.pt"), str(folder))
    save_bart(tmp_path)
    with pytest.raises(InputError, match="model.pt is of architecture bart_base, expected bart_vae"):
        load_model(str(tmp_path / "model.pt"), str(folder))


def test_words_in_other_places_than_those_of_the_training_are_refused(folder, tmp_path):
    """As a language model's of another dictionary of equal size, whose figures would be another language's."""
    lines = (folder / "dict.txt").read_text().splitlines(keepends=True)
    (tmp_path / "dict.txt").write_text("".join([lines[1], lines[0], *lines[2:]]))
    with pytest.raises(InputError, match=f"^{tmp_path}/dict.txt, line 1: 'barks' where the checkpoint's .*has 'a'"):
        load_model(str(folder / "checkpoint_best.pt"), str(tmp_path))
    (tmp_path / "dict.txt").write_text("".join(lines))
    load_model(str(folder / "checkpoint_best.pt"), str(tmp_path))
