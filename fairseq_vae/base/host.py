"""The host, fairseq: its presence, its age, the moment it loads, and the one repair that a current torch needs."""

import argparse
import importlib.abc
import importlib.util
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, Callable, Optional

MINIMUM = "0.12.2"
REMEDY = (
    "install one into this environment: on Python 3.11 or 3.12 `pip install torch==2.13.0 ve-fairseq==0.12.3`, "
    "on 3.8 `pip install torch==1.12.1 torchaudio==0.12.1 fairseq==0.12.2`"
)


def require_fairseq() -> None:
    """Import fairseq, or say in one line what is wrong and what to install.

    Raises:
        ImportError: no fairseq, one that does not import here (official 0.12.2 on Python >= 3.11), or one older than
            MINIMUM; told by what it has, since the distributions number their versions differently
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
    """Let torch's safe loader (the default from torch 2.6) read what fairseq itself saves.

    Checkpoints hold an argparse.Namespace (stock models) and, old ones, meters; workers that resume send one another a
    configuration. Only these classes are allowed, and the safe loader stays on.
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


def when_fairseq_loads(action: Callable[[], None]) -> None:
    """Call `action` as soon as fairseq is loaded: now, or at the end of its first import."""
    if "fairseq" in sys.modules:
        action()
    else:
        sys.meta_path.insert(0, _Waiting(action))


class _Waiting(importlib.abc.MetaPathFinder):
    """Finds fairseq as the other finders do, once, and calls an action after its code has run."""

    def __init__(self, action: Callable[[], None]):
        self.action = action

    def find_spec(self, fullname: str, path: Any = None, target: Optional[ModuleType] = None) -> Optional[ModuleSpec]:
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
