"""Registries: parts that a flag chooses by name, each with the flags that belong to it.

A part joins its registry by a decorator and brings its flags as the fields of a dataclass. Flags, help, hydra, the
documentation and the laws in tests/ read the registries, so a new part takes one file and one line.
"""

import dataclasses
from typing import Any, Callable, ClassVar, Dict, Generic, List, Optional, Sequence, Type, TypeVar

from .errors import InputError
from .needs import Needs

__all__ = ["NoFlags", "Registry"]

Part = TypeVar("Part", bound=Callable[..., Any])


@dataclasses.dataclass
class NoFlags:
    """The configuration of a part without flags of its own.

    >>> NoFlags()
    NoFlags()
    """


class Registry(Generic[Part]):
    """Parts of one kind by name, in the order of their registration.

    Args:
        kind: one word for a part, used in messages
        needs: names that every part must define
        counts: from a part's name to what gives its flags an effect, e.g. the flag that chooses the part (see
            base.needs); None: they always have one

    Attributes:
        every: all registries, of every kind
        parts: by name, in the order of their registration
        configs: the dataclass of each part's flags, by the part's name
        helps: a few words on each part, by the part's name
        listeners: functions to call after each registration

    >>> shapes = Registry("shape", needs=["area"])
    >>> @shapes.register("square", help="as wide as high")
    ... class Square:
    ...     def area(self): ...
    >>> shapes.names(), shapes["square"] is Square, shapes.help()
    (['square'], True, 'square (as wide as high)')
    >>> shapes.register("circle")(object)
    Traceback (most recent call last):
    fairseq_vae.base.errors.InputError: shape 'circle' (builtins.object) lacks area
    """

    every: ClassVar[List["Registry"]] = []

    def __init__(self, kind: str, needs: Sequence[str] = (), counts: Optional[Callable[[str], Needs]] = None):
        self.kind, self.needs, self.counts = kind, needs, counts
        self.parts: Dict[str, Part] = {}
        self.configs: Dict[str, Type[Any]] = {}
        self.helps: Dict[str, str] = {}
        self.listeners: List[Callable[[], None]] = []
        self.every.append(self)

    def register(self, name: str, config: Type[Any] = NoFlags, help: str = "") -> Callable[[Part], Part]:
        """Decorator that adds a part.

        Args:
            name: the value of the flag that chooses the part
            config: dataclass of the part's own flags, each with a default and `metadata={"help": ...}`; a field
                `some_name` is the flag `--some-name`; what gives it an effect beside the choice of the part may stand
                in the metadata under `needs` (see base.needs). Parts of a registry share a flag that their dataclasses
                inherit from the same one
            help: a few words for the help of the flag that chooses the part

        Returns:
            a function that adds its argument and returns it

        Raises:
            InputError: the name or one of the flags is taken, a flag lacks its default or help, or the part lacks
                something that its kind needs
        """

        def add(part: Part) -> Part:
            where = f"{part.__module__}.{part.__qualname__}"
            if name in self.parts:
                taken = self.parts[name]
                if f"{taken.__module__}.{taken.__qualname__}" != where:
                    raise InputError(
                        f"{self.kind} {name!r} ({where}): that name belongs to "
                        f"{taken.__module__}.{taken.__qualname__}; choose another one"
                    )
            lacking = [need for need in self.needs if getattr(part, need, None) is None]
            if lacking:
                raise InputError(f"{self.kind} {name!r} ({where}) lacks {', '.join(lacking)}")
            if not dataclasses.is_dataclass(config):
                raise InputError(f"{self.kind} {name!r} ({where}): config is {config!r}, expected a dataclass")
            for field in dataclasses.fields(config):
                if field.default is dataclasses.MISSING or not field.metadata.get("help"):
                    raise InputError(
                        f"{self.kind} {name!r} ({where}): field {field.name} of {config.__name__} lacks "
                        f"{'a default' if field.default is dataclasses.MISSING else 'help in its metadata'}"
                    )
                for registry in self.every:
                    for owner, other in registry.configs.items():
                        mine = registry is self and (owner == name or shares(other, field))
                        if not mine and field.name in {f.name for f in dataclasses.fields(other)}:
                            raise InputError(
                                f"{self.kind} {name!r} ({where}): {registry.kind} {owner!r} has a flag "
                                f"--{field.name.replace('_', '-')}; choose another name for it"
                            )
            self.parts[name], self.configs[name], self.helps[name] = part, config, help
            try:
                self.tell()
            except InputError:
                del self.parts[name], self.configs[name], self.helps[name]
                self.tell()
                raise
            return part

        return add

    def tell(self) -> None:
        """Call the listeners."""
        for listener in self.listeners:
            listener()

    def names(self) -> List[str]:
        """The parts' names, in the order of their registration."""
        return list(self.parts)

    def __getitem__(self, name: str) -> Part:
        """The part of a name.

        Raises:
            InputError: no part has the name
        """
        if name not in self.parts:
            raise InputError(f"unknown {self.kind} {name!r}: choose one of {', '.join(self.parts)}")
        return self.parts[name]

    def config(self, name: str, values: Any) -> Any:
        """The configuration of a part.

        Args:
            name: of the part
            values: an object with flags as attributes; a flag that it lacks has its default

        Returns:
            an instance of the dataclass with which the part was registered
        """
        config = self.configs[name]
        fields = {f.name: getattr(values, f.name) for f in dataclasses.fields(config) if hasattr(values, f.name)}
        return config(**fields)

    def fields(self, only: Optional[Callable[[Part], bool]] = None) -> List[dataclasses.Field]:
        """The flags of the parts, each with what gives it an effect under `needs` in its metadata.

        Args:
            only: whether a part's flags are wanted; None: those of all parts
        """
        chosen = [name for name, part in self.parts.items() if only is None or only(part)]
        own = {field.name: field for name in chosen for field in dataclasses.fields(self.configs[name])}
        return [self.counting(field) for field in own.values()]

    def counting(self, field: dataclasses.Field) -> dataclasses.Field:
        """A copy of a flag that needs the choice of a part that has it, but not itself, beside its own needs."""
        needs: Needs = {}
        for name in self.names():
            if self.counts and shares(self.configs[name], field):
                for other, values in self.counts(name).items():
                    needs[other] = tuple(dict.fromkeys(needs.get(other, ()) + values))
        needs.update(field.metadata.get("needs", {}))
        needs.pop(field.name, None)
        copy: Any = dataclasses.field(default=field.default, metadata={**field.metadata, "needs": needs})
        copy.name, copy.type = field.name, field.type
        return copy

    def help(self) -> str:
        """The parts' names, comma-separated, each with its few words in parentheses."""
        return ", ".join(f"{name} ({words})" if words else name for name, words in self.helps.items())

    def on_change(self, listener: Callable[[], None]) -> None:
        """Call a function after each later registration.

        Args:
            listener: without arguments; an InputError that it raises undoes the registration
        """
        self.listeners.append(listener)


def shares(config: Type[Any], field: dataclasses.Field) -> bool:
    """Whether a dataclass has this very field, its own or an inherited one."""
    return any(other is field for other in dataclasses.fields(config))
