"""Studies of `fairseq-vae curve`: arms, their points from the highest rate down, and the flags of each training."""

import contextlib
import dataclasses
import math
import os
import re
from types import MappingProxyType
from typing import Any, Dict, Iterable, Iterator, List, Mapping, NamedTuple, Optional, Sequence, Set, Tuple, Union

from ..base.errors import InputError
from ..base.inert import check_inert
from ..flags.criterion import criterion_config
from ..flags.model import latent_config
from ..flags.task import task_config
from ..measure.seeds import Versus, bases
from .plan import PAIRS, for_pairs
from .recipe import LATER, flags, read, read_recipe
from .run import flags_of

__all__ = ["ORDER", "PHASE1", "Point", "Study", "as_flags", "changed", "defaults", "read_study", "swept"]

ORDER = {"kl-weight": False, "rate-target": True}  # flags whose values are sorted from the highest rate down: reversed?
KEYS = (
    *("bart", "data", "split", "flags", "arms", "points", "updates", "warm", "warm_updates", "seeds", "evaluate"),
    "versus",
)
OWN = ("points", "updates", "warm_updates")  # what an arm may have beside flags of fairseq-train, and PHASE1
SET = ("data", "user-dir", "save-dir", "restore-file", "finetune-from-model", "seed", "max-update")  # of every training
EVALUATE = (  # flags of fairseq-vae evaluate
    *("samples", "generate", "responses", "smoothness", "mi-batch", "words", "max-tokens", "seed"),
)
NAME = re.compile(r"(?!data-bin)\w[\w.,+ -]*")  # of a folder beside data-bin
ONLY = "only"  # the point of an arm that sweeps no flag
PHASE1 = "phase1"  # of an arm: a training before its first point, and that training's setting


class Point(NamedTuple):
    """A training and its evaluation; a PHASE1 is not evaluated.

    Attributes:
        arm: its name
        seed: of its chain; that of its own training is in its flags
        setting: the swept flag and its value, "kl-weight=0.1"; ONLY where an arm sweeps none; or PHASE1
        flags: of fairseq-train, without dashes: their values, "" for a switch
        updates: of this training
        before: the setting of the point whose model it starts from; empty: the study's own start
    """

    arm: str
    seed: int
    setting: str
    flags: Dict[str, str]
    updates: int
    before: str = ""

    @property
    def zero_latent(self) -> bool:
        """Whether it is a language model, without z."""
        return "zero-latent" in self.flags

    @property
    def evaluated(self) -> bool:
        """Whether it is a point of the curve, not a training before one."""
        return self.setting != PHASE1

    @property
    def place(self) -> str:
        """Its folder within the study's."""
        return os.path.join(self.arm, f"seed-{self.seed}", self.setting.replace("=", "-"))

    def __str__(self) -> str:
        return f"{self.arm}, seed {self.seed}, {self.setting}"


class Study(NamedTuple):
    """What a study's file says, and the points that follow from it.

    Attributes:
        path: of the file
        data: folder of fairseq-preprocess, or of plain text; None: not given
        pairs: whether it holds pairs of a source and a target
        bart: checkpoint that first points start from; None: random weights
        split: the split of the figures
        warm: whether later points of an arm start from the one before
        evaluate: flags of `fairseq-vae evaluate`
        points: of all arms and seeds, each chain from the highest rate down
        versus: arms to those that they are held to, seed by seed; one or a list
    """

    path: str
    data: Optional[str]
    pairs: bool
    bart: Optional[str]
    split: str
    warm: bool
    evaluate: Dict[str, str]
    points: List[Point]
    versus: Versus = MappingProxyType({})

    @property
    def arms(self) -> List[str]:
        """Names, in the file's order."""
        return list(dict.fromkeys(point.arm for point in self.points))


def read_study(path: str, data: Optional[str] = None, bart: Optional[str] = None, pairs: bool = False) -> Study:
    """Read a study and work out its points. Paths in it start from its own folder.

    Args:
        path: of the YAML file
        data: in place of the study's
        bart: in place of the study's
        pairs: whether it is one of pairs where no data folder tells

    Raises:
        InputError: a key is unknown or missing, or a value of another kind; the message names it
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    found: Dict[str, Any]
    try:
        found = OmegaConf.to_container(read(path), resolve=True)  # type: ignore[assignment]
    except OmegaConfBaseException as error:
        raise InputError(f"{path}: {' '.join(str(error).split())}") from error
    for key in found:
        if key not in KEYS:
            raise InputError(f"{path}: {key}: expected keys among {', '.join(KEYS)}")
    folder = os.path.dirname(os.path.abspath(path))
    given = {"data": data, "bart": bart}
    for key in given:
        if not given[key] and found.get(key):
            given[key] = os.path.join(folder, str(found[key]))
    places = {key: os.path.abspath(value) if value else None for key, value in given.items()}
    if os.path.isdir(places["data"] or ""):
        pairs = any(os.path.isfile(f"{places['data']}/train{ending}") for ending in PAIRS)
    with naming(path):
        seeds = check_list("seeds", found.get("seeds", [1]), int)
        warm = found.get("warm", True)
        if not isinstance(warm, bool):
            raise InputError(f"warm: {warm}: expected true or false")
        common, arms = changed(defaults(pairs), "flags", found.get("flags") or {}), found.get("arms")
        if not isinstance(arms, dict) or not arms:
            raise InputError("arms: expected a flag of fairseq-train to its value for each arm's name")
        points: List[Point] = []
        for name, own in arms.items():
            if not NAME.fullmatch(str(name)):
                raise InputError(f"arms: {name}: expected a name of letters, digits, spaces and . , + -")
            points += arm_points(str(name), own or {}, found, common, warm, seeds)
        evaluate = as_flags("evaluate", found.get("evaluate") or {}, own=())
        for flag, value in evaluate.items():
            if flag not in EVALUATE or not value.isdigit():
                raise InputError(f"evaluate: {flag}: {value}: expected whole numbers for {', '.join(EVALUATE)}")
        versus = held_to(found.get("versus"), [str(name) for name in arms])
    split = str(found.get("split", "valid"))
    warm = any(point.before not in ("", PHASE1) for point in points)
    return Study(path, places["data"], pairs, places["bart"], split, warm, evaluate, points, versus)


def held_to(versus: Any, arms: Sequence[str]) -> Dict[str, Union[str, List[str]]]:
    """Arms to those that they are held to: all to one, or each to one or several as a mapping says.

    >>> held_to("a", ["a", "b", "c"]), held_to({"c": ["a", "b"]}, ["a", "b", "c"]), held_to(None, ["a"])
    ({'b': 'a', 'c': 'a'}, {'c': ['a', 'b']}, {})

    Args:
        versus: an arm, or arms to others
        arms: all names

    Raises:
        InputError: one is no arm, or stands there twice, or is held to itself
    """
    if versus is None:
        return {}
    given = versus if isinstance(versus, dict) else {name: versus for name in arms if name != str(versus)}
    found: Dict[str, Union[str, List[str]]] = {
        str(name): [*map(str, base)] if isinstance(base, list) else str(base) for name, base in given.items()
    }
    unknown = [each for name in found for each in (name, *bases(found, name)) if each not in arms]
    if unknown or not isinstance(versus, dict) and str(versus) not in arms:
        raise InputError(f"versus: {unknown[0] if unknown else versus}: expected an arm, {', '.join(arms)}")
    for name in found:
        each = bases(found, name)
        if not each or name in each or len(set(each)) < len(each):
            raise InputError(f"versus: {name}: [{', '.join(each)}]: expected other arms, each once")
    return found


@contextlib.contextmanager
def naming(path: str) -> Iterator[None]:
    """Put a file's name before the message of an InputError."""
    try:
        yield
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def arm_points(
    name: str, own: Dict[str, Any], study: Mapping[str, Any], common: Dict[str, str], warm: bool, seeds: Sequence[int]
) -> List[Point]:
    """The points of an arm, seed by seed, each seed's from the highest rate down, behind its PHASE1 if it has one.

    A language model has one, of as many updates as the last point of the study's chain has seen. A PHASE1 has the arm's
    flags, changed by its own. Each training of a chain draws an order of the data of its own.

    Args:
        name: the arm's
        own: flags, and perhaps points and updates of its own
        study: what all arms share
        common: flags of all arms
        warm: whether later points start from the one before
        seeds: of the trainings

    Raises:
        InputError: a value is missing or of another kind
    """
    if not isinstance(own, dict):
        raise InputError(f"arms: {name}: expected flags of fairseq-train to their values")
    where = f"arms: {name}"
    sweep, first, later = (own.get(key, study.get(key)) for key in OWN)
    places = {key: f"{where}: {key}" if key in own else key for key in OWN}
    flags = changed(common, where, {key: value for key, value in own.items() if key not in (*OWN, PHASE1)})
    if not warm and later is not None:
        raise InputError("warm_updates has no effect with warm: false: leave it out")
    first = check_updates(places["updates"], first)
    later = first if later is None else check_updates(places["warm_updates"], later)
    flag, values = swept(places["points"], sweep)
    if flag in flags:
        raise InputError(f"{where}: {flag}={flags[flag]} is a flag, and points sweep it: leave one out")
    if "zero-latent" in flags:
        seen = first if "updates" in own or not warm else first + later * (len(values) - 1)
        settings = [(ONLY, flags, seen)]
    else:
        settings = [(f"{flag}={v}", {**flags, flag: v}, later if warm and v != values[0] else first) for v in values]
    start: List[Tuple[str, Dict[str, str], int]] = []
    if PHASE1 in own:
        if not warm and len(settings) > 1:
            raise InputError(f"{where}: {PHASE1} before {len(settings)} points: leave warm: false out, or give one")
        start.append(phase1(f"{where}: {PHASE1}", own[PHASE1], flags))
    points: List[Point] = []
    for seed in seeds:
        before = ""
        for number, (setting, chosen, updates) in enumerate((*start, *settings)):
            own_seed = seed + LATER * number if before else seed
            points.append(Point(name, seed, setting, {**chosen, **trained(own_seed, updates)}, updates, before))
            before = setting if warm or setting == PHASE1 else ""
    return points


def phase1(where: str, own: Any, flags: Mapping[str, str]) -> Tuple[str, Dict[str, str], int]:
    """The training before an arm's first point: its setting, flags and updates.

    Args:
        where: it stands, for messages
        own: its flags and updates
        flags: of the arm

    Raises:
        InputError: a value is missing or of another kind
    """
    if not isinstance(own, dict):
        raise InputError(f"{where}: {own}: expected updates, and flags of fairseq-train to their values")
    updates = check_updates(f"{where}: updates", own.get("updates"))
    return PHASE1, changed(flags, where, {key: value for key, value in own.items() if key != "updates"}), updates


def trained(seed: int, updates: int) -> Dict[str, str]:
    """The flags of a training that a study sets itself."""
    return {"seed": str(seed), "max-update": str(updates)}


def swept(where: str, points: Any) -> Tuple[str, List[str]]:
    """The flag that an arm's points sweep, and its values from the highest rate down.

    beta is sorted upwards and the target rate downwards; another flag's values stay in their order.

    >>> swept("points", {"kl-weight": [1, 0.01, 0.1]})
    ('kl-weight', ['0.01', '0.1', '1'])

    Args:
        where: it stands, for messages
        points: the flag to its values

    Raises:
        InputError: not one flag with values, each once
    """
    if not isinstance(points, dict) or len(points) != 1:
        raise InputError(f"{where}: {points}: expected one flag to its values, e.g. kl-weight: [0.01, 0.1, 1]")
    flag, values = next(iter(points.items()))
    as_flags(where, {flag: ""})
    values = check_list(f"{where}: {flag}", values, (int, float))
    if flag in ORDER:
        values = sorted(values, reverse=ORDER[flag])
    return str(flag), [f"{value:g}" for value in values]


def check_list(where: str, values: Any, kind: Any) -> List[Any]:
    """Refuse what is not a list of different finite numbers.

    Args:
        where: it stands, for the message
        values: the list
        kind: of its elements, int or both kinds of number

    Raises:
        InputError: it is something else
    """
    good = isinstance(values, list) and values and all(isinstance(v, kind) and not isinstance(v, bool) for v in values)
    if not good or not all(map(math.isfinite, values)) or len({f"{v:g}" for v in values}) < len(values):
        what = "whole numbers" if kind is int else "numbers"
        raise InputError(f"{where}: {values}: expected a list of {what}, each once")
    return list(values)


def check_updates(where: str, value: Any) -> int:
    """Refuse a length that is no number of updates.

    Raises:
        InputError: it is missing, no whole number, or less than 1
    """
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise InputError(f"{where}: {value}: expected a number of updates, 1 or more")
    return value


def as_flags(where: str, values: Any, own: Sequence[str] = SET) -> Dict[str, str]:
    """Flags and their values as text, "" for a switch that is on; those that are off are left out.

    >>> as_flags("flags", {"lr": 0.001, "zero-latent": True, "sentence-avg": False, "adam-betas": "(0.9,0.98)"})
    {'lr': '0.001', 'zero-latent': '', 'adam-betas': '(0.9,0.98)'}

    Args:
        where: they stand, for messages
        values: of each flag, by its name without dashes before it
        own: flags that the study sets itself

    Raises:
        InputError: a name is none of a flag, a flag is one of `own`, or a value is code or of several parts
    """
    if not isinstance(values, dict):
        raise InputError(f"{where}: {values}: expected flags to their values")
    found = {}
    for flag, value in values.items():
        if not re.fullmatch(r"[a-z][a-z0-9-]*", str(flag)):
            raise InputError(f"{where}: {flag}: expected a flag without the dashes before it, e.g. latent-dim")
        if flag in own:
            raise InputError(f"{where}: {flag}: the study sets it for each training: leave it out")
        if isinstance(value, dict):
            raise InputError(f"{where}: {flag}: {value}: expected one value")
        if value is not None and value is not False:
            text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
            found[flag] = "" if value is True else text
    check_inert(list(found.values()), where)
    return found


def changed(flags: Mapping[str, str], where: str, values: Any) -> Dict[str, str]:
    """Flags with others added or in their place; a value of false or null takes a flag out, and zero-latent all those
    that are refused beside it.

    >>> changed({"lr": "0.1", "sentence-avg": ""}, "flags", {"lr": 0.2, "sentence-avg": False})
    {'lr': '0.2'}
    >>> changed({"lr": "0.1", "free-bits": "4"}, "arms: no z", {"zero-latent": True})
    {'lr': '0.1', 'zero-latent': ''}

    Args:
        flags: as as_flags has them
        where: the others stand, for messages
        values: the others

    Raises:
        InputError: as of as_flags
    """
    added = as_flags(where, values)
    idle = of_z(flags) if "zero-latent" in added else set()
    return {key: value for key, value in {**flags, **added}.items() if key in added or key not in {*values, *idle}}


def of_z(flags: Iterable[str]) -> Set[str]:
    """Those flags that are refused with --zero-latent: by what they need, or by what those need that they need.

    >>> sorted(of_z(["lr", "free-bits", "free-bits-mode", "target-encoder", "rate-controller", "rate-gain", "noise"]))
    ['free-bits', 'free-bits-mode', 'noise', 'rate-controller', 'rate-gain', 'target-encoder']
    """
    configs = (latent_config(conditional=True), criterion_config(), task_config())
    needs = {
        field.name: field.metadata.get("needs") or {} for config in configs for field in dataclasses.fields(config)
    }
    found = {name for name, needed in needs.items() if needed.get("zero_latent") == (False,)}
    found |= {"rate_controller", "noise"}  # the model and the task see to these themselves
    given = {flag.replace("-", "_") for flag in flags}
    more = {name for name in given if found & given & set(needs.get(name, ()))}
    while not more <= found:
        found |= more
        more = {name for name in given if found & given & set(needs.get(name, ()))}
    return {flag for flag in flags if flag.replace("-", "_") in found}


def defaults(pairs: bool = False) -> Dict[str, str]:
    """The flags of every training that a study leaves open: those of `finetune`, without validation.

    A point is the model after its last update. To take the one of the best validation -ELBO would move points along the
    curve, whose objective is -ELBO at beta = 1 alone.

    >>> defaults()["criterion"], defaults()["disable-validation"], defaults(pairs=True)["arch"]
    ('vae_cross_entropy', '', 'bart_cvae')

    Args:
        pairs: whether they are of a conditional model, of pairs
    """
    phases = read_recipe("naive")
    if pairs:
        for_pairs(phases)
    given = flags_of(flags(phases["phase2"], task={"data": ""}, common={"user_dir": None}))
    kept = {flag: value for flag, value in given.items() if flag not in (*SET, *ORDER)}
    return {**kept, "disable-validation": ""}
