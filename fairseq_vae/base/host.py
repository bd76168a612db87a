"""The host, fairseq: its presence, its age, the moment it loads, and the one repair that a current torch needs."""

import argparse
import dataclasses
import importlib.abc
import importlib.util
import logging
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, Callable, Iterable, List, Optional, Tuple

from .errors import InputError

__all__ = ["MINIMUM", "REMEDY", "allow_checkpoint_classes", "hush", "require_fairseq", "when_fairseq_loads"]

MINIMUM = "0.12.2"
REMEDY = (
    "install one into this environment: on Python 3.11 or 3.12 `pip install torch==2.13.0 ve-fairseq==0.12.3`, "
    "on 3.8 `pip install torch==1.12.1 torchaudio==0.12.1 fairseq==0.12.2`"
)


def require_fairseq() -> None:
    """Import fairseq, or say in one line why it cannot be used and which one to install.

    The distributions number their versions differently, so an old one is told by the classes that it lacks.

    Raises:
        ImportError: there is no fairseq, it does not import here (official 0.12.2 on Python >= 3.11), or it is older
            than MINIMUM
    """
    try:
        import fairseq.checkpoint_utils  # noqa: F401
    except ModuleNotFoundError as error:
        if error.name != "fairseq":
            raise
        raise ImportError(f"fairseq_vae needs fairseq, which is not installed; {REMEDY}") from error
    except (ImportError, ValueError, TypeError, AttributeError) as error:
        raise ImportError(f"the installed fairseq does not import here ({error}); {REMEDY}") from error
    try:
        from fairseq.dataclass import FairseqDataclass  # noqa: F401
        from fairseq.models.transformer import TransformerDecoderBase  # noqa: F401
    except ImportError as error:
        raise ImportError(f"the installed fairseq is older than {MINIMUM} ({error}); {REMEDY}") from error


def allow_checkpoint_classes() -> None:
    """Let torch's safe loader (the default from torch 2.6) read the classes that fairseq itself saves.

    Checkpoints of stock models hold an argparse.Namespace, old ones also meters, and workers that resume send one
    another a configuration. Only these classes are allowed, and the safe loader stays on.
    """
    import collections
    import typing

    import omegaconf
    import torch
    from fairseq.distributed.utils import _TensorPlaceholder
    from fairseq.logging import meters
    from omegaconf.base import ContainerMetadata, Metadata

    if not hasattr(torch.serialization, "add_safe_globals"):
        return
    checkpoint = [argparse.Namespace, meters.AverageMeter, meters.TimeMeter, meters.StopwatchMeter, meters.SumMeter]
    configuration = [omegaconf.DictConfig, omegaconf.ListConfig, omegaconf.AnyNode, ContainerMetadata, Metadata]
    inside = [typing.Any, collections.defaultdict, dict, list, int, _TensorPlaceholder]
    torch.serialization.add_safe_globals(checkpoint + configuration + inside)


def declare(group: str, name: str, cls: type, dataclass: type) -> None:
    """Tell fairseq and hydra the flags of something that is registered already, after they have changed.

    Args:
        group: "model", "task" or "criterion"
        name: the registered name
        cls: the registered class
        dataclass: its new configuration
    """
    from fairseq.models import MODEL_DATACLASS_REGISTRY
    from fairseq.registry import REGISTRIES
    from fairseq.tasks import TASK_DATACLASS_REGISTRY
    from hydra.core.config_store import ConfigStore

    own = {"model": MODEL_DATACLASS_REGISTRY, "task": TASK_DATACLASS_REGISTRY}
    registry = own[group] if group in own else REGISTRIES[group]["dataclass_registry"]
    registry[name] = dataclass
    setattr(cls, "__dataclass", dataclass)
    node = dataclass()
    node._name = name
    ConfigStore.instance().store(name=name, group=group, node=node, provider="fairseq")


def declared(group: str, name: Optional[str]) -> Optional[type]:
    """The flags that fairseq knows of something registered: its dataclass, or None if it has none.

    Args:
        group: "model", "task" or "criterion"
        name: the registered name; of a model also that of an architecture
    """
    from fairseq.models import ARCH_MODEL_REGISTRY, MODEL_REGISTRY
    from fairseq.registry import REGISTRIES
    from fairseq.tasks import TASK_REGISTRY

    own = {"model": {**MODEL_REGISTRY, **ARCH_MODEL_REGISTRY}, "task": TASK_REGISTRY}
    registry = own[group] if group in own else REGISTRIES[group]["registry"]
    return getattr(registry.get(name), "__dataclass", None)


def fairseq_fields(fields: Iterable[dataclasses.Field], own: Iterable[str] = ()) -> List[Tuple[str, Any, Any]]:
    """The flags of registered parts as fields for dataclasses.make_dataclass.

    A field's `choices` in its metadata become fairseq's ChoiceEnum, which the registries do without.

    Args:
        fields: of the parts' configurations
        own: names of flags that the parts may not take

    Raises:
        InputError: a part has a flag of those names
    """
    from fairseq.dataclass import ChoiceEnum

    result, taken = [], set(own)
    for field in fields:
        if field.name in taken:
            raise InputError(f"--{field.name.replace('_', '-')} is a flag already; choose another name for the field")
        choices = field.metadata.get("choices")
        kind = ChoiceEnum(choices) if choices else field.type
        metadata = {"help": field.metadata["help"], "needs": field.metadata.get("needs", {})}
        result.append((field.name, kind, dataclasses.field(default=field.default, metadata=metadata)))
    return result


def load_user_dir(path: Optional[str]) -> None:
    """Import a user's own plug-in, whose parts join the registries, as fairseq does with `--user-dir`.

    Args:
        path: its folder; None: none

    Raises:
        InputError: there is no such folder, or it cannot be imported
    """
    if path is None:
        return
    from fairseq.utils import import_user_module

    try:
        import_user_module(argparse.Namespace(user_dir=path))
    except InputError:
        raise
    except FileNotFoundError as error:
        raise InputError(f"--user-dir {path}: there is no such folder") from error
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"--user-dir {path} cannot be imported ({reason})") from error


def hush() -> None:
    """Leave out the line that fairseq logs at every import about a package of its speech tasks, and no other line.

    fairseq's own commands import fairseq first, so there the line is out before any plug-in is loaded.
    """
    about = "tensorboardX"
    logging.getLogger("fairseq.tasks.text_to_speech").addFilter(lambda record: about not in record.getMessage())


def when_fairseq_loads(action: Callable[[], None]) -> None:
    """Call `action` as soon as fairseq is loaded: now, or at the end of its first import.

    Args:
        action: without arguments; called once
    """
    if "fairseq" in sys.modules:
        action()
    else:
        sys.meta_path.insert(0, _Waiting(action))


class _Waiting(importlib.abc.MetaPathFinder):
    """A finder for one import: it finds fairseq as the others do, and an action follows when fairseq's code has run."""

    def __init__(self, action: Callable[[], None]):
        self.action = action

    def find_spec(self, fullname: str, path: Any = None, target: Optional[ModuleType] = None) -> Optional[ModuleSpec]:
        """The other finders' specification of fairseq, with the action behind its execution; None for other modules."""
        if fullname != "fairseq":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(fullname)
        if spec is not None and spec.loader is not None:
            run = spec.loader.exec_module

            def run_and_act(module: ModuleType) -> None:
                run(module)
                self.action()

            spec.loader.exec_module = run_and_act  # type: ignore[method-assign]
        return spec
