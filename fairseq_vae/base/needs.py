"""Flags that count: a flag's field states in its metadata, under `needs`, which other flags give it an effect.

`needs` maps the name of another flag to the values that it must have: a tuple of them, or GIVEN for any value but its
default. Of a flag that holds several values, comma-separated, one must be among them. A flag counts as given where its
value differs from its default.
"""

import dataclasses
from enum import Enum
from typing import Any, Dict, Iterable, Mapping, Tuple

from .errors import InputError

__all__ = ["GIVEN", "Needs", "check_needs", "check_sizes", "is_given", "plain", "shown"]

Needs = Dict[str, Tuple[Any, ...]]
GIVEN: Tuple[Any, ...] = ()


def plain(value: Any) -> Any:
    """A flag's value as it is written: of a choice its word; None for what only fairseq's configuration resolves.

    >>> plain("${common.seed}"), plain(0.5)
    (None, 0.5)
    """
    if isinstance(value, Enum):
        return value.value
    return None if isinstance(value, str) and value.startswith("${") else value


def shown(name: str, value: Any = True) -> str:
    """A flag as the command line has it.

    >>> shown("free_bits", 0.25), shown("zero_latent")
    ('--free-bits 0.25', '--zero-latent')
    """
    flag = f"--{name.replace('_', '-')}"
    return flag if value is True else f"{flag} {plain(value)}"


def is_given(field: dataclasses.Field, value: Any) -> bool:
    """Whether a flag's value differs from its default.

    Args:
        field: the flag
        value: of the flag; None: there is none
    """
    return plain(value) is not None and plain(value) != plain(field.default)


def check_needs(fields: Iterable[dataclasses.Field], values: Mapping[str, Any]) -> None:
    """Refuse a flag that has no effect beside the others.

    Args:
        fields: the flags of all that runs together; a need of a flag that is in neither fields nor values is met
        values: by the flags' names; a flag that is missing has its default

    Raises:
        InputError: the message names the flag, its value, and what would make it count

    >>> @dataclasses.dataclass
    ... class Flags:
    ...     ramp: str = "none"
    ...     length: int = dataclasses.field(default=0, metadata={"needs": {"ramp": ("linear", "cosine")}})
    >>> check_needs(dataclasses.fields(Flags), {"length": 5, "ramp": "cosine"})
    >>> check_needs(dataclasses.fields(Flags), {"length": 5})
    Traceback (most recent call last):
    fairseq_vae.base.errors.InputError: --length 5 has no effect without --ramp linear or cosine: give that too, or \
leave --length out
    """
    known = {field.name: field for field in fields}
    found = {name: plain(values.get(name, field.default)) for name, field in known.items()}
    found.update({name: plain(value) for name, value in values.items() if name not in known})
    for name, field in known.items():
        if not is_given(field, found[name]):
            continue
        for other, wanted in field.metadata.get("needs", {}).items():
            value = found.get(other)
            default = plain(known[other].default) if other in known else None
            if value is None or (value != default if wanted == GIVEN else set(parts(value)) & set(wanted)):
                continue
            if wanted in ((default,), (False,)):
                raise InputError(
                    f"{shown(name, found[name])} has no effect with {shown(other, value)}: leave one of the two out"
                )
            needed = f"{shown(other)} {' or '.join(map(str, wanted))}".strip()
            raise InputError(
                f"{shown(name, found[name])} has no effect without {needed}: give that too, or leave {shown(name)} out"
            )


def check_sizes(values: Any, **least: int) -> None:
    """Refuse a number that is too small.

    Args:
        values: an object with flags as attributes
        least: by the flags' names

    Raises:
        InputError: the message names the flag, its value and the least one

    >>> from types import SimpleNamespace
    >>> check_sizes(SimpleNamespace(latent_dim=0), latent_dim=1)
    Traceback (most recent call last):
    fairseq_vae.base.errors.InputError: --latent-dim 0: expected 1 or more
    """
    for name, bound in least.items():
        value = getattr(values, name)
        if value < bound:
            raise InputError(f"{shown(name, value)}: expected {bound} or more")


def parts(value: Any) -> Iterable[Any]:
    """The values that a flag holds: those between its commas, or the only one."""
    return value.split(",") if isinstance(value, str) else [value]
