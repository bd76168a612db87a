"""Studies of `fairseq-vae curve`: what a file says, and the points that follow from it."""

import functools
import math
from pathlib import Path

import pytest
from helpers import configuration, rates

from fairseq_vae.base.errors import InputError
from fairseq_vae.finetune.study import PHASE1, as_flags, changed, defaults, read_study, swept

EXAMPLES = Path(__file__).parent.parent / "examples"
EXAMPLE = EXAMPLES / "latents/study.yaml"


@functools.lru_cache(maxsize=None)
def example(name, data="text"):
    return read_study(str(EXAMPLES / name / "study.yaml"), data=data)


STUDY = """
data: text
bart: bart/model.pt
flags: {latent-dim: 8, sentence-avg: true}
arms:
  language-model: {zero-latent: true}
  plain: {}
  wide: {latent-dim: 16, sentence-avg: false, points: {rate-target: [2, 30, 8]}, updates: 7, rate-controller: pid}
points: {kl-weight: [1, 0.01, 0.1]}
updates: 20
warm_updates: 5
seeds: [1, 2]
"""


@pytest.fixture
def study(tmp_path):
    """Reads STUDY, or what replaces a part of it."""

    def read(old="", new="", **options):
        (tmp_path / "study.yaml").write_text(STUDY.replace(old, new, 1) if old else STUDY)
        return read_study(str(tmp_path / "study.yaml"), **options)

    return read


def test_points_go_from_the_highest_rate_down_each_from_the_one_before(study, tmp_path):
    found = study()
    assert found.arms == ["language-model", "plain", "wide"] and len(found.points) == 2 * (1 + 3 + 3)
    plain = [point for point in found.points if point.arm == "plain"]
    assert [(p.seed, p.setting, p.before, p.updates) for p in plain[:4]] == [
        (1, "kl-weight=0.01", "", 20),
        (1, "kl-weight=0.1", "kl-weight=0.01", 5),
        (1, "kl-weight=1", "kl-weight=0.1", 5),
        (2, "kl-weight=0.01", "", 20),
    ]
    assert plain[1].place == "plain/seed-1/kl-weight-0.1" and str(plain[1]) == "plain, seed 1, kl-weight=0.1"
    assert plain[1].flags == {
        **{**defaults(), "latent-dim": "8", "sentence-avg": ""},
        **{"kl-weight": "0.1", "seed": "1001", "max-update": "5"},
    }
    assert (found.data, found.bart) == (str(tmp_path / "text"), str(tmp_path / "bart/model.pt"))
    assert (found.split, found.warm, found.evaluate) == ("valid", True, {})


def test_each_training_of_a_chain_draws_its_own_order_of_the_data(study):
    """Else a later one would see the first's batches again, and fewer different ones than an arm of one training."""
    found = study("arms:", "arms:\n  phases: {phase1: {updates: 4}}").points
    for arm in "phases", "plain":
        seeds = [point.flags["seed"] for point in found if point.arm == arm and point.seed == 1]
        assert seeds[0] == "1" and len(set(seeds)) == len(seeds) > 2
    assert all(point.flags["seed"] == str(point.seed) for point in found if not point.before), "all arms begin alike"


def test_an_arm_has_flags_points_and_updates_of_its_own(study):
    wide = [point for point in study().points if point.arm == "wide" and point.seed == 1]
    assert [(p.setting, p.updates) for p in wide] == [("rate-target=30", 7), ("rate-target=8", 5), ("rate-target=2", 5)]
    assert wide[0].flags["latent-dim"] == "16" and not {"sentence-avg", "kl-weight"} & set(wide[0].flags)


@pytest.mark.parametrize(
    "versus, message",
    [
        *(("none", "versus: none: expected an arm, "), ("{plain: 8}", "versus: 8: ")),
        ("{plain: [wide, nobody]}", "versus: nobody: expected an arm"),
        *(
            (f"{{plain: {each}}}", "versus: plain: .*: expected other arms, each once")
            for each in ("[wide, wide]", "[]")
        ),
        ("{plain: plain}", "versus: plain: .plain.: expected other arms"),
    ],
)
def test_differences_are_from_arms_of_the_study(study, versus, message):
    assert study("arms:", "versus: plain\narms:").versus == {"language-model": "plain", "wide": "plain"}
    assert study("arms:", "versus: {wide: plain}\narms:").versus == {"wide": "plain"} and study().versus == {}
    both = {"wide": ["plain", "language-model"]}
    assert study("arms:", "versus: {wide: [plain, language-model]}\narms:").versus == both
    with pytest.raises(InputError, match=message):
        study("arms:", f"versus: {versus}\narms:")


@pytest.mark.parametrize("warm, updates", [(True, 20 + 2 * 5), (False, 20)])
def test_a_language_model_is_one_point_of_as_many_updates_as_the_last_of_a_chain(study, warm, updates):
    found = study() if warm else study("warm_updates: 5", "warm: false")
    models = [point for point in found.points if point.zero_latent]
    assert [(p.arm, p.seed, p.setting, p.updates) for p in models] == [
        ("language-model", seed, "only", updates) for seed in (1, 2)
    ]
    assert warm or not any(point.before for point in found.points)


def test_data_and_bart_of_the_command_come_first(study):
    found = study("bart: bart/model.pt\n", "", data="other")
    assert found.data == str(Path.cwd() / "other") and found.bart is None
    assert study(bart="/else/model.pt").bart == "/else/model.pt"


@pytest.mark.parametrize(
    "old, new, message",
    [
        ("data: text", "date: text", "date: expected keys among bart, data,"),
        ("latent-dim: 8", "latent_dim: 8", "flags: latent_dim: expected a flag without the dashes before it"),
        ("latent-dim: 8", "--latent-dim: 8", "flags: --latent-dim: expected a flag"),
        ("latent-dim: 8", "max-update: 8", "flags: max-update: the study sets it for each training"),
        ("latent-dim: 8", "lr: 'print(1)'", "flags holds 'print.1.', which to read could run any code"),
        ("plain: {}", "plain: {seed: 3}", "arms: plain: seed: the study sets it"),
        ("plain: {}", "plain: [1]", "arms: plain: expected flags"),
        ("plain: {}", "../plain: {}", "arms: ../plain: expected a name"),
        ("plain: {}", "data-bin: {}", "arms: data-bin: expected a name"),
        ("plain: {}", "plain: {kl-weight: 1}", "arms: plain: kl-weight=1 is a flag, and points sweep it"),
        ("points: {kl-weight: [1, 0.01, 0.1]}", "points: [1]", "points: .1.: expected one flag to its values"),
        ("points: {kl-weight:", "points: {../../kl-weight:", "points: ../../kl-weight: expected a flag"),
        ("points: {kl-weight:", "points: {seed:", "points: seed: the study sets it for each training"),
        ("seeds: [1, 2]", "split: ${none}", "Interpolation key 'none' not found"),
        ("[1, 0.01, 0.1]", "[1, 1.0]", "points: kl-weight: .1, 1.0.: expected a list of numbers, each once"),
        ("[1, 0.01, 0.1]", "[1, x]", "points: kl-weight: .1, 'x'.: expected a list of numbers"),
        ("[1, 0.01, 0.1]", "[.nan]", "points: kl-weight: .nan.: expected a list of numbers"),
        ("updates: 20", "updates: 0", "updates: 0: expected a number of updates, 1 or more"),
        ("updates: 20", "", "updates: None: expected a number of updates"),
        ("warm_updates: 5", "warm_updates: 5\nwarm: false", "warm_updates has no effect with warm: false"),
        ("seeds: [1, 2]", "seeds: 3", "seeds: 3: expected a list of whole numbers, each once"),
        ("seeds: [1, 2]", "warm: sometimes", "warm: sometimes: expected true or false"),
        ("plain: {}", "plain: {phase1: {lr: 1}}", "arms: plain: phase1: updates: None: expected a number of updates"),
        ("plain: {}", "plain: {phase1: 3}", "arms: plain: phase1: 3: expected updates, and flags"),
        ("seeds: [1, 2]", "evaluate: {json: x}", "evaluate: json: x: expected whole numbers for samples,"),
        ("seeds: [1, 2]", "evaluate: {samples: many}", "evaluate: samples: many: expected whole numbers"),
    ],
)
def test_what_cannot_work_is_said_in_one_line_with_the_files_name(study, tmp_path, old, new, message):
    assert old in STUDY
    with pytest.raises(InputError, match=f"^{tmp_path}/study.yaml: {message}") as error:
        study(old, new)
    assert "\n" not in str(error.value)


def test_values_become_flags():
    assert as_flags("flags", {"lr": [0.1], "a-b": None, "c": False, "d": True}) == {"lr": "0.1", "d": ""}
    assert changed({"a": "1", "b": "2"}, "flags", {"a": None, "c": 3}) == {"b": "2", "c": "3"}
    assert swept("points", {"free-bits": [4, 8, 2]}) == ("free-bits", ["4", "8", "2"]), "of no known order: as given"
    with pytest.raises(InputError):
        swept("points", {"kl-weight": [math.inf]})


def test_what_a_study_leaves_open_is_as_in_finetune():
    found = defaults()
    assert found["task"] == "vae_denoising" and found["lr"] == "0.0001" and "disable-validation" in found
    assert not {"kl-weight", "save-dir", "data", "seed", "max-update"} & set(found)


def test_pairs_make_it_a_study_of_conditional_models(study, tmp_path):
    assert not study().pairs
    (tmp_path / "text").mkdir()
    (tmp_path / "text/train.target").touch()
    found = study()
    flags = [point.flags for point in found.points]
    assert found.pairs and {(own["arch"], own["task"]) for own in flags} == {("bart_cvae", "vae_translation")}
    assert all((own["source-lang"], own["target-lang"]) == ("source", "target") for own in flags)
    assert study("{latent-dim: 8,", "{arch: bart_cvae_tiny,").points[0].flags["arch"] == "bart_cvae_tiny"


PHASE = "plain: {lr: 0.1, free-bits: 2, phase1: {updates: 3, deterministic-latent: true, free-bits: false}}"


def test_a_phase1_is_trained_before_the_first_point_with_flags_of_its_own(study):
    points = [point for point in study("plain: {}", PHASE).points if point.arm == "plain" and point.seed == 2]
    assert [(p.setting, p.before, p.updates, p.evaluated) for p in points[:3]] == [
        ("phase1", "", 3, False),
        ("kl-weight=0.01", "phase1", 20, True),
        ("kl-weight=0.1", "kl-weight=0.01", 5, True),
    ]
    first, second = points[0].flags, points[1].flags
    assert {first["lr"], second["lr"]} == {"0.1"} and first["max-update"] == "3"
    assert "deterministic-latent" in first and not {"deterministic-latent", "phase1"} & set(second)
    assert "free-bits" not in first and second["free-bits"] == "2" and "kl-weight" not in first
    assert points[0].place == "plain/seed-2/phase1"


def test_a_phase1_is_no_warm_start_and_stands_before_one_point_without_them(study, tmp_path):
    assert study().warm and not example("dialog").warm
    (tmp_path / "study.yaml").write_text(STUDY.replace("plain: {}", PHASE).replace("warm_updates: 5", "warm: false"))
    with pytest.raises(InputError, match="arms: plain: phase1 before 3 points: leave warm: false out, or give one"):
        read_study(str(tmp_path / "study.yaml"))


STUDIES = sorted(path for path in EXAMPLES.glob("*/*.yaml") if path.name != "defects.yaml")  # which needs its plug-in
PAIRS = ("dialog", "stories")


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_flags_of_the_examples_go_together(path, tmp_path):
    from fairseq_vae.flags.effects import check_effects

    if path.parent.name in PAIRS:
        (tmp_path / "train.source").touch()
    found = read_study(str(path), data=str(tmp_path))
    for point in {(p.arm, p.setting): p for p in found.points if p.before in ("", PHASE1)}.values():
        arguments = ["text", *(f"--{flag}={value}" if value else f"--{flag}" for flag, value in point.flags.items())]
        cfg = configuration("training", arguments)
        check_effects(cfg.model, cfg.criterion, cfg.task)


@pytest.mark.parametrize(
    "name, updates, tokens",
    [("annealing", 800, 2048), ("cycles", 800, 2048), ("scratch", 1000, 8192)],
)
def test_all_arms_of_a_reproduction_have_as_many_updates_and_one_learning_rate(name, updates, tokens):
    points = [p for p in read_study(str(EXAMPLES / f"reproduce/{name}.yaml"), data="text").points if p.seed == 1]
    assert {sum(p.updates for p in points if p.arm == arm) for arm in {p.arm for p in points}} == {updates}
    assert len({p.flags["seed"] for p in points if not p.before}) == 1, "they begin with the same batches"
    assert {p.flags["lr"] for p in points} == {"0.0005"} and {p.flags["max-tokens"] for p in points} == {str(tokens)}
    restarted = {p.arm for p in points if p.flags["lr-scheduler"] != "fixed"}
    assert restarted == {p.arm for p in points if p.arm.endswith("restarts")}


@pytest.mark.parametrize(
    "folder, name",
    [
        ("reproduce", "convergence"),
        ("reproduce", "remedies"),
        ("reproduce", "phases"),
        ("reproduce", "small-updates"),
        ("dialog", "longer"),
        ("pretrain_small_bart", "gain"),
    ],
)
def test_a_longer_training_of_two_phases_has_the_learning_rate_of_the_one_without_z(folder, name):
    points = read_study(str(EXAMPLES / f"{folder}/{name}.yaml"), data="text", pairs=folder == "dialog").points
    alone = points[0]
    assert alone.zero_latent
    seed = [point for point in points if point.seed == alone.seed and not point.zero_latent]
    arms = {arm: [point for point in seed if point.arm == arm] for arm in {point.arm for point in seed}}
    assert any(len(parts) == 2 for parts in arms.values())
    assert len({parts[0].flags["seed"] for parts in arms.values()} | {alone.flags["seed"]}) == 1, "of the first batches"
    for parts in arms.values():
        assert alone.updates == sum(point.updates for point in parts)
        found = [rate for point in parts for rate in rates(point.flags, point.updates)]
        assert found[1:] == pytest.approx(rates(alone.flags, alone.updates)[1:], rel=1e-5)
        assert {point.flags["max-tokens"] for point in parts} == {alone.flags["max-tokens"]}


def test_all_arms_about_slots_have_one_schedule_and_the_same_batches():
    points = [p for p in read_study(str(EXAMPLES / "reproduce/slots.yaml"), data="text").points if p.seed == 1]
    assert points[0].zero_latent and len({point.arm for point in points}) == len(points) > 1
    same = {(p.updates, p.flags["seed"], p.flags["max-tokens"], p.flags["dropout"]) for p in points}
    assert len(same) == 1 and len({tuple(rates(p.flags, p.updates)) for p in points}) == 1


def test_each_shorter_language_model_has_the_same_schedule_of_its_own_length():
    points = [p for p in read_study(str(EXAMPLES / "reproduce/convergence.yaml"), data="text").points if p.zero_latent]
    assert sorted(point.updates for point in points) == [300, 600, 1200]
    for point in points:
        found = rates(point.flags, point.updates + 1)
        assert (max(found[1:]), found.index(max(found[1:]), 1)) == (pytest.approx(1e-3), point.updates // 12)
        assert found[-1] == 0


@pytest.mark.parametrize("name, period", [("annealing", 200), ("scratch", 250)])
def test_restarts_come_back_to_the_whole_learning_rate_where_a_cycle_of_beta_begins(name, period):
    found = read_study(str(EXAMPLES / f"reproduce/{name}.yaml"), data="text")
    for arm in ("constant, restarts", "monotonic, restarts", "cyclical, restarts"):
        flags = next(point.flags for point in found.points if point.arm == arm)
        found_rates = rates(flags, 4 * period)
        peaks = [update for update, rate in enumerate(found_rates) if rate == pytest.approx(5e-4, rel=1e-9)]
        assert peaks == [period * number for number in range(4)]
        assert found_rates[period - 1] < 1e-7
    assert (flags["kl-schedule"], flags["kl-cycle-updates"]) == ("cyclical", f"{period}")


def test_the_arms_of_dialogs_have_as_many_updates_and_one_learning_rate():
    points = [point for point in example("dialog").points if point.seed == 1]
    totals = {arm: sum(p.updates for p in points if p.arm == arm) for arm in example("dialog").arms}
    assert set(totals.values()) == {600}
    three = "two phases, 3 nats"
    assert set(totals) == {
        *("no z", "naive", "monotonic", "cyclical", "two phases", three, f"{three}, y by 1 layer", "z added")
    }
    assert len({(p.flags["lr"], p.flags["lr-scheduler"]) for p in points}) == 1 and points[0].flags["lr"] == "0.0005"
    assert all(p.flags["warmup-updates"] == ("0" if p.before else "50") for p in points)


def test_the_example_spans_two_orders_of_magnitude_beside_a_language_model():
    found = read_study(str(EXAMPLE), data="text")
    values = sorted({float(point.flags["kl-weight"]) for point in found.points if not point.zero_latent})
    assert values[-1] / values[0] >= 100 and len(found.arms) >= 8
    assert sum(point.zero_latent for point in found.points) == 1
