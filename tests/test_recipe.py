"""Recipes: complete, the same through both of fairseq's command lines, and overridable."""

import pytest
from fairseq.dataclass.initialize import hydra_init
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from fairseq_vae.base.errors import InputError
from fairseq_vae.finetune.configuration import configuration
from fairseq_vae.finetune.recipe import CONFIG, flags, names, read_recipe

PAPERS = ("park-lee-2021", "cyclical-2019", "optimus-2020", "li-2019-free-bits")
EVERY_PHASE = [(name, phase) for name in names() for phase in read_recipe(name)]


def test_every_recipe_that_is_promised_is_there():
    assert {"default", "reconstruct", "naive", "language-model", *PAPERS} == set(names())


@pytest.mark.parametrize("name, phase", EVERY_PHASE)
def test_a_phase_means_the_same_as_flags_and_as_hydra_configuration(name, phase):
    settings = read_recipe(name)[phase]
    settings.common.user_dir = None
    cfg = configuration(flags(settings, task={"data": "somewhere"}), phase)
    settings.task.data = "somewhere"
    for group, values in OmegaConf.to_container(settings).items():
        found = OmegaConf.to_container(cfg[group], enum_to_str=True)
        for key, value in values.items():
            if (group, key) != ("model", "_name"):  # an architecture's name stands elsewhere
                assert found[key] == value, f"{group}.{key}"


def test_hydra_composes_the_same_phase():
    """What `fairseq-hydra-train --config-dir … recipe=NAME/PHASE` gets, with fairseq's own schema."""
    hydra_init("finetune")
    with initialize_config_dir(CONFIG):
        for name, phase in EVERY_PHASE:
            composed = OmegaConf.to_container(
                compose("finetune", overrides=[f"recipe={name}/{phase}", "common.user_dir=x", "task.data=y"])
            )
            settings = OmegaConf.to_container(read_recipe(name, ["common.user_dir=x", "task.data=y"])[phase])
            for group, values in settings.items():
                found = {key: composed[group].get(key) for key in values}
                assert found == values, f"{name}/{phase}: {group}"


def test_phases_are_what_the_papers_say():
    park = read_recipe("park-lee-2021")
    assert park["phase1"].model.freeze_decoder and park["phase1"].criterion.kl_weight == 0
    assert not park["phase2"].model.get("freeze_decoder")
    assert park["phase2"].model.latent_injection == "self-attention" and park["phase2"].criterion.free_bits == 0.5
    fu = read_recipe("cyclical-2019")
    assert list(fu) == ["phase2"]
    assert fu["phase2"].optimization.max_update / fu["phase2"].criterion.kl_cycle_updates == 4
    optimus = read_recipe("optimus-2020")
    first, second = (optimus[phase].optimization.max_update for phase in optimus)
    assert first == second == 2 * optimus["phase2"].criterion.kl_warmup_updates
    li = read_recipe("li-2019-free-bits")
    assert li["phase2"].criterion.free_bits * li["phase2"].model.latent_dim == 8


def test_both_phases_of_reconstruct_are_of_one_model():
    first, second = read_recipe("reconstruct").values()
    assert all(first.model.pop(name) for name in ("deterministic_latent", "mirror_slots")), "its weights go on"
    assert first.model == second.model
    assert (first.model.latent_vectors, first.criterion.kl_weight, second.criterion.kl_weight) == (8, 0, 0.1)


def test_lengths_follow_the_updates_and_overrides_win():
    plain = read_recipe("default")
    half = plain["phase2"].optimization.max_update // 2
    phases = read_recipe("default", ["phase2.lr_scheduler.warmup_updates=7", "model.latent_dim=8"], {"phase2": half})
    assert phases["phase2"].optimization.max_update == half
    assert phases["phase2"].criterion.kl_warmup_updates == plain["phase2"].criterion.kl_warmup_updates // 2
    assert phases["phase2"].lr_scheduler.warmup_updates == 7
    assert phases["phase1"].lr_scheduler.warmup_updates == plain["phase1"].lr_scheduler.warmup_updates
    assert [phases[phase].model.latent_dim for phase in phases] == [8, 8]
    assert phases["phase1"].optimization.max_update == plain["phase1"].optimization.max_update


def test_lengths_are_rounded_once_from_their_exact_proportion(tmp_path):
    """45 x 7 / 10 is 31.5, and rounds to the even 32; 0.7 as a float is a little less."""
    (tmp_path / "phase2.yaml").write_text("optimization: {max_update: 10}\ncriterion: {kl_warmup_updates: 45}")
    assert read_recipe(str(tmp_path), updates={"phase2": 7})["phase2"].criterion.kl_warmup_updates == 32
    for updates in range(997, 1003):  # of four cycles, however long
        cycle = read_recipe("cyclical-2019", updates={"phase2": updates})["phase2"].criterion.kl_cycle_updates
        assert 4 * cycle >= updates > 4 * (cycle - 1), "no update lies in a fifth"


def test_a_folder_of_ones_own_is_a_recipe(tmp_path):
    (tmp_path / "phase2.yaml").write_text("criterion: {free_bits: 0.3}")
    phases = read_recipe(str(tmp_path))
    assert list(phases) == ["phase2"] and phases["phase2"].criterion.free_bits == 0.3
    assert phases["phase2"].task._name == "vae_denoising"


def test_a_file_that_is_no_yaml_is_named(tmp_path):
    (tmp_path / "phase2.yaml").write_text("criterion: [")
    with pytest.raises(InputError, match="phase2.yaml: while parsing"):
        read_recipe(str(tmp_path))


@pytest.mark.parametrize(
    "arguments, message",
    [
        (("other",), "--recipe other: expected one of cyclical-2019, default,"),
        (("default", ["latent_dim=8"]), "--set latent_dim=8: expected GROUP.KEY=VALUE"),
        (("default", ["model.latent_dim"]), "--set model.latent_dim: expected"),
        (("default", ["models.latent_dim=8"]), "--set models.latent_dim=8: expected"),
        (("naive", ["phase1.model.latent_dim=8"]), "--set phase1.model.latent_dim=8: expected"),
        (("naive", ["optimization.lr=[0.001"]), "--set optimization.lr=.*is no YAML"),
        (("naive", [], {"phase1": 5}), "--phase1-updates 5: recipe naive has no phase1"),
        (("default", [], {"phase1": 0}), "--phase1-updates 0: expected 1 or more"),
    ],
)
def test_bad_recipes_are_named(arguments, message):
    with pytest.raises(InputError, match=message):
        read_recipe(*arguments)


@pytest.mark.parametrize("group, name", [("task", "max_source_positions"), ("task", "max_target_positions")])
def test_a_setting_that_would_have_no_effect_in_its_group_is_refused(group, name):
    settings = read_recipe("naive", [f"{group}.{name}=16"])["phase2"]
    with pytest.raises(InputError, match=f"the recipe or --set has {group}.{name}: expected model.{name}"):
        flags(settings, task={"data": "data-bin"}, common={"user_dir": None})


def test_a_file_of_something_else_is_named(tmp_path):
    (tmp_path / "phase2.yaml").write_text("- criterion")
    with pytest.raises(InputError, match="phase2.yaml: expected groups of settings, found a list"):
        read_recipe(str(tmp_path))


@pytest.mark.parametrize(
    "override, message",
    [
        ("model.latent_dims=8", "unrecognized arguments: --latent-dims=8"),
        ("criterion.free_bits=much", "--free-bits: invalid float value: 'much'"),
        ("criterion.kl_schedule=linaer", "--kl-schedule: invalid choice: 'linaer'"),
    ],
)
def test_values_that_fairseq_refuses_are_said_in_one_line(override, message):
    settings = read_recipe("default", [override])["phase2"]
    settings.common.user_dir = None
    with pytest.raises(InputError, match=f"phase2 of the recipe: .*{message}"):
        configuration(flags(settings, task={"data": "x"}), "phase2 of the recipe")
