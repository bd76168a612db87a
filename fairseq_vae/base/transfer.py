"""Copies between the host and a device, in as few waits as they take. No fairseq.

A host that waits for its device leaves the device idle afterwards: nothing is queued. So what the host needs to know of
a batch stays on the host, and copies are few or wait for nothing.
"""

from typing import Any, Dict, List, Tuple

import torch
from torch import Tensor

__all__ = ["on_device", "on_host"]


def on_device(tensor: Tensor, device: torch.device) -> Tensor:
    """A tensor of the host's on a device; the host does not wait.

    Args:
        tensor: on the CPU
        device: where to; the CPU returns the tensor itself

    Returns:
        the same numbers there

    >>> tensor = torch.ones(2)
    >>> on_device(tensor, torch.device("cpu")) is tensor
    True
    """
    if device.type == "cuda":
        tensor = tensor.pin_memory()  # CUDA copies from pinned memory alone while the host goes on
    return tensor.to(device, non_blocking=True)


def on_host(values: Dict[str, Any]) -> Dict[str, Any]:
    """Values with their tensors on the CPU: scalars come in one copy for each precision, other tensors in one each.

    Args:
        values: by name; what is no tensor, or is there already, stays as it is

    Returns:
        the same names and numbers

    >>> on_host({"loss": torch.tensor(2.5), "tokens": 7})
    {'loss': tensor(2.5000), 'tokens': 7}
    """
    result = dict(values)
    scalars: Dict[Tuple[torch.device, torch.dtype], List[str]] = {}
    for name, value in values.items():
        if not torch.is_tensor(value) or value.device.type == "cpu":
            continue
        if value.dim():
            result[name] = value.cpu()
        else:
            scalars.setdefault((value.device, value.dtype), []).append(name)
    for names in scalars.values():
        result.update(zip(names, torch.stack([values[name] for name in names]).cpu().unbind()))
    return result
