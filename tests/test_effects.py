"""A flag without an effect is refused by its name in one line, which says what would make it count; see test_walk."""

import dataclasses
from argparse import Namespace
from itertools import product

import helpers
import pytest
from helpers import SENTENCES, batch, save_vae

from fairseq_vae.base.corruption import corruptions
from fairseq_vae.base.errors import InputError
from fairseq_vae.base.needs import check_needs, is_given
from fairseq_vae.checkpoints.load import load_model
from fairseq_vae.criterion import VAECrossEntropyCriterion
from fairseq_vae.flags.criterion import check_beta, check_criterion, criterion_config
from fairseq_vae.flags.effects import check_effects
from fairseq_vae.flags.model import REGISTRIES
from fairseq_vae.flags.task import task_config
from fairseq_vae.model import BARTVAEModel
from fairseq_vae.objective.schedule import kl_weight


def refusal(model=None, criterion=None, task=None):
    """The message of check_effects, or ""."""
    cfg = criterion_config()(**{"sentence_avg": False, "max_update": 100, **(criterion or {})})
    cfg._name = "vae_cross_entropy"
    own = task_config()(**{"train_subset": "train", "valid_subset": "valid", **(task or {})})
    own._name = "vae_denoising"
    try:
        check_effects(Namespace(**{"_name": "bart_vae", **(model or {})}), cfg, own)
    except InputError as error:
        return str(error)
    return ""


PID = {"rate_controller": "pid", "rate_target": 2.0}
LINEAR = {"kl_schedule": "linear", "kl_warmup_updates": 50}


@pytest.mark.parametrize(
    "groups, message",
    [
        (
            {"criterion": {"kl_warmup_updates": 2000, "kl_start": 0.1}},
            "--kl-start 0.1 has no effect without --kl-schedule linear or cyclical: give that too, or leave --kl-start",
        ),
        ({"criterion": {"kl_cycle_updates": 5}}, "--kl-cycle-updates 5 has no effect without --kl-schedule cyclical: "),
        (
            {"criterion": {**LINEAR, "kl_cycle_ratio": 0.2}},
            "--kl-cycle-ratio 0.2 has no effect without --kl-schedule cyclical",
        ),
        (
            {"criterion": {"kl_schedule": "cyclical", "kl_cycle_updates": 9, "kl_warmup_updates": 5}},
            "--kl-warmup-updates 5 has no effect without --kl-schedule linear",
        ),
        ({"criterion": {"kl_ramp": "cosine"}}, "--kl-ramp cosine has no effect without --kl-schedule linear or cyc"),
        (
            {"model": PID, "criterion": LINEAR},
            "--kl-schedule linear has no effect with --rate-controller pid: leave one of the two out",
        ),
        ({"model": PID, "criterion": {"kl_zero_updates": 3}}, "--kl-zero-updates 3 has no effect with --rate-contr"),
        ({"criterion": {"kl_zero_updates": 100}}, "--kl-zero-updates 100 is no shorter than training (--max-update 1"),
        ({"criterion": {**LINEAR, "kl_warmup_updates": 101}}, "--kl-warmup-updates 101 is longer than training (--max"),
        ({"criterion": {**LINEAR, "kl_zero_updates": 51}}, "--kl-warmup-updates 50 after --kl-zero-updates 51 is long"),
        (
            {"criterion": {"kl_schedule": "cyclical", "kl_cycle_updates": 101}},
            "--kl-cycle-updates 101 is longer than training",
        ),
        (
            {"criterion": {**LINEAR, "kl_start": 1.0}},
            "--kl-schedule linear has no effect: its ramp, from --kl-start 1.",
        ),
        (
            {"criterion": {"free_bits_mode": "sentence"}},
            "--free-bits-mode sentence has no effect without --free-bits: ",
        ),
        ({"criterion": {"free_bits_group": 2}}, "--free-bits-group 2 has no effect without --free-bits: give that"),
        (
            {"criterion": {"free_bits": 1.0, "free_bits_group": 2, "free_bits_mode": "sentence"}},
            "--free-bits-group 2 has no effect without --free-bits-mode dimension or batch-dimension",
        ),
        (
            {"criterion": {"free_bits": 0.2, "kl_weight": 0.0}},
            "--free-bits 0.2 has no effect with --kl-weight 0: leave",
        ),
        ({"criterion": {"mmd_kernel": "imq"}}, "--mmd-kernel imq has no effect without --mmd-weight: give that too"),
        (
            {"model": {"rate_target": 3.0}},
            "--rate-target 3.0 has no effect without --rate-controller lagrangian or pid",
        ),
        ({"model": {"rate_gain": 0.5}}, "--rate-gain 0.5 has no effect without --rate-controller lagrangian or pid"),
        ({"task": {"noise_ratio": 0.3}}, "--noise-ratio 0.3 has no effect without --noise: give that too, or leave"),
        ({"task": {"noise_splits": "valid"}}, "--noise-splits valid has no effect without --noise"),
        ({"task": {"noise": "deletion", "noise_ratio": 0}}, "--noise deletion has no effect with --noise-ratio 0"),
        (
            {"task": {"noise": "deletion", "noise_splits": "train,vaild"}},
            "--noise-splits train,vaild: training reads train, valid, and not vaild",
        ),
        ({"task": {"latent_mode": "sample"}}, "--latent-mode sample has no effect in training: give it to fairseq-gen"),
        (
            {"task": {"fp16": True}, "model": {"autocast_bf16": True}},
            "--autocast-bf16 has no effect with --fp16: leave",
        ),
        ({"model": {"zero_latent": True, "bn_mu": 0.6}}, "--bn-mu 0.6 has no effect with --zero-latent: leave one of"),
        (
            {"model": {"latent_posterior": "full", "bn_mu": 0.6}},
            "--bn-mu 0.6 has no effect with --latent-posterior full: leave one of",
        ),
        (
            {"model": {"latent_posterior": "flow", "posterior_max_variance": 0.5}},
            "--posterior-max-variance 0.5 has no effect without --latent-posterior diagonal or full: give that too",
        ),
        (
            {"model": {"latent_prior": "mixture", "posterior_max_variance": 0.5}},
            "--posterior-max-variance 0.5 commits to a rate under N(0, I) alone, not under --latent-prior mixture: lea",
        ),
        (
            {"model": {"zero_latent": True, "posterior_max_variance": 0.5, "latent_prior": "mixture"}},
            "--posterior-max-variance 0.5 has no effect with --zero-latent: leave one of the two out",
        ),
        (
            {"model": {"zero_latent": True, "latent_posterior": "flow", "posterior_flow_passes": 0}},
            "--posterior-flow-passes 0 has no effect with --zero-latent: leave one of the two out",
        ),
        (
            {"model": {"latent_injection": "cross-attention", "mirror_slots": True, "bn_mu": 0.6}},
            "--mirror-slots starts slots as the pooled states, which --bn-mu 0.6 rescales: leave one of the two out",
        ),
        (
            {"model": {"posterior_flow_passes": 0}},
            "--posterior-flow-passes 0 has no effect without --latent-posterior flow: give that too",
        ),
        ({"model": {"zero_latent": True, "bow_weight": 1.0}}, "--bow-weight 1.0 has no effect with --zero-latent"),
        (
            {"model": {"zero_latent": True}, "criterion": {"mmd_weight": 1.0}},
            "--mmd-weight 1.0 has no effect with --ze",
        ),
        ({"model": {"zero_latent": True}, "criterion": LINEAR}, "--kl-schedule linear has no effect with --zero-lat"),
        (
            {"model": {"zero_latent": True, "deterministic_latent": True}},
            "--deterministic-latent has no effect with --zero-latent",
        ),
        (
            {"model": {"latent_memory_slots": 4, "latent_injection": "embedding"}},
            "--latent-memory-slots 4 has no effect with --latent-injection embedding: only self-attention or layer or ",
        ),
        (
            {"model": {"bn_mu": 0.6, "_name": "bart_cvae"}},
            "--bn-mu 0.6 promises a least KL from N(0, I), and --latent-prior conditional may follow mu",
        ),
    ],
)
def test_a_flag_without_an_effect_is_refused_by_its_name_and_its_remedy(groups, message):
    assert refusal(**groups).startswith(message)


@pytest.mark.parametrize(
    "groups",
    [
        {},
        {"criterion": {**LINEAR, "kl_warmup_updates": 100}},
        {"criterion": {**LINEAR, "kl_start": 1.0, "kl_weight": 0.0, "free_bits": 0.2}},
        {"criterion": {"kl_schedule": "cyclical", "kl_cycle_updates": 9, "kl_cycle_ratio": 0.0, "kl_zero_updates": 3}},
        {"criterion": {**LINEAR, "kl_warmup_updates": 5000, "max_update": 0}},
        {"model": PID, "criterion": {"free_bits": 0.2, "free_bits_mode": "sentence"}},
        {"model": {"zero_latent": True, "latent_pooling": "max", "latent_memory_slots": 3}},
        {"model": {"latent_memory_slots": 4, "latent_injection": "embedding,cross-attention"}},
        {"task": {"noise": "masking", "noise_splits": "train,valid"}},
    ],
)
def test_flags_that_count_together_are_not_refused(groups):
    assert refusal(**groups) == ""


def test_whatever_of_a_schedule_is_accepted_moves_beta():
    """Over a grid of all flags of beta: each that is given changes beta somewhere in training."""
    grid = {
        "kl_weight": (1.0, 0.0),
        "kl_schedule": ("constant", "linear", "cyclical"),
        "kl_start": (0.0, 1.0),
        "kl_ramp": ("linear", "cosine"),
        "kl_zero_updates": (0, 4, 40),
        "kl_warmup_updates": (0, 6, 40),
        "kl_cycle_updates": (0, 12, 40),
        "kl_cycle_ratio": (0.5, 0.0, 1.0),
        "max_update": (24, 0),
    }
    fields = {field.name: field for field in dataclasses.fields(criterion_config())}
    defaults = {name: field.default for name, field in fields.items() if name not in grid}
    accepted = set()

    def betas(flags):
        names = {
            f"kl_{key}": key for key in ("start", "warmup_updates", "cycle_updates", "cycle_ratio", "zero_updates")
        }
        own = {key: flags[name] for name, key in names.items()}
        own.update(schedule=flags["kl_schedule"], final=flags["kl_weight"], shape=flags["kl_ramp"])
        try:
            return [kl_weight(update, **own) for update in range(flags["max_update"] or 100)]
        except ZeroDivisionError:  # a cycle of no length, which is refused
            return None

    for chosen in product(*grid.values()):
        flags = dict(zip(grid, chosen))
        try:
            check_needs(fields.values(), flags)
            check_criterion(Namespace(**defaults, **flags))
            check_beta(Namespace(**defaults, **flags))
        except InputError:
            continue
        for name, value in flags.items():
            if name != "max_update" and is_given(fields[name], value):
                assert betas({**flags, name: fields[name].default}) != betas(flags), (name, flags)
                accepted.add((name, value))
    assert {name for name, _ in accepted} == set(grid) - {"max_update"}


@dataclasses.dataclass
class Toy:
    toy_size: int = dataclasses.field(default=3, metadata={"help": "of a toy (default: 3)"})
    toy_weight: float = dataclasses.field(default=0.0, metadata={"help": "of a toy (default: 0)"})
    toy_more: int = dataclasses.field(
        default=0, metadata={"help": "of a toy (default: 0)", "needs": {"toy_size": (5,)}}
    )


@pytest.mark.parametrize("registry", [*REGISTRIES, corruptions], ids=lambda registry: registry.kind)
def test_the_flags_of_a_part_that_is_registered_later_count_with_the_part_alone(registry):
    everything = (registry.parts, registry.configs, registry.helps)
    kept, part = [dict(of) for of in everything], next(iter(registry.parts.values()))
    registry.register("toy", Toy)(type("Toy", (part,), {}) if isinstance(part, type) else lambda *_: None)
    group = {"term": "model", "noise": "task"}.get(registry.kind, "model")
    chosen = {"term": {"toy_weight": 0.5}, "noise": {"noise": "toy"}}.get(registry.kind)
    chosen = chosen or {f"latent_{registry.kind}": "embedding,toy" if registry.kind == "injection" else "toy"}
    asked = {"term": "--toy-weight", "noise": "--noise toy"}.get(registry.kind, f"--latent-{registry.kind} toy")
    try:
        assert refusal(**{group: {"toy_size": 5}}).startswith(f"--toy-size 5 has no effect without {asked}: give that")
        assert refusal(**{group: {"toy_size": 5, "toy_more": 2, **chosen}}) == ""
        assert refusal(**{group: {"toy_more": 2, **chosen}}).startswith(
            "--toy-more 2 has no effect without --toy-size 5"
        )
    finally:
        for of, before in zip(everything, kept):
            of.clear()
            of.update(before)
        for listener in registry.listeners:
            listener()


def test_an_old_checkpoint_with_flags_without_effect_still_loads_and_is_refused_in_training_alone(tmp_path, caplog):
    """Its settings are those of a training that the rule would refuse."""
    flags = (
        "--kl-warmup-updates=2000",
        "--kl-start=0.1",
        "--noise-ratio=0.3",
        "--rate-gain=0.5",
        "--free-bits-group=2",
    )
    sizes = ("--max-source-positions=16", "--max-target-positions=16", "--latent-dim=4")
    save_vae(tmp_path, *flags, *sizes)
    model, cfg, task = load_model(str(tmp_path / "checkpoint_best.pt"), str(tmp_path))
    assert cfg.criterion.kl_warmup_updates == 2000 and cfg.task.noise_ratio == 0.3
    task.build_criterion(cfg.criterion)  # as fairseq-validate does
    vae = BARTVAEModel.from_pretrained(str(tmp_path), "checkpoint_best.pt", bpe=None)
    assert len(vae.sample(2, max_len=5)) == 2
    assert not [record for record in caplog.records if record.levelname == "ERROR"]
    task.build_model(cfg.model)
    with pytest.raises(InputError, match="--rate-gain 0.5 has no effect without"):
        task.build_criterion(cfg.criterion)


def test_a_stock_task_checks_them_at_the_first_batch_of_training():
    cfg = criterion_config()(sentence_avg=False, max_update=0, seed=1, kl_start=0.1)
    task = Namespace(**vars(helpers.task()))
    objective, built, sample = VAECrossEntropyCriterion.build_criterion(cfg, task), helpers.model(), batch(SENTENCES)
    objective(built, sample)  # validation, as fairseq-validate has it with an old checkpoint
    with pytest.raises(InputError, match="--kl-start 0.1 has no effect without --kl-schedule linear or cyclical"):
        objective(built.train(), sample)


def test_the_models_flags_of_the_objective_need_this_criterion():
    for name, value in (("bow_weight", 1.0), ("rate_controller", "pid")):
        model = Namespace(_name="bart_vae", **{"rate_target": 2.0, name: value} if name[0] == "r" else {name: value})
        with pytest.raises(
            InputError, match=f"--{name.replace('_', '-')} {value} has no effect without --criterion vae_cross_entropy"
        ):
            check_effects(model, Namespace(criterion="cross_entropy"), Namespace())


def test_a_task_without_a_configuration_has_no_flags_to_check():
    """As fairseq's legacy tasks are."""
    cfg = criterion_config()(sentence_avg=False, max_update=100)
    check_effects(Namespace(), cfg, None)
    with pytest.raises(InputError, match="--kl-cycle-updates 9 has no effect without --kl-schedule cyclical"):
        check_effects(Namespace(), criterion_config()(sentence_avg=False, max_update=100, kl_cycle_updates=9), None)
