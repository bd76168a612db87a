"""A GPU that is not at hand: tensors that say they are on `cuda:0`, keep CUDA's rules, and hold numbers on the CPU.

Under `Device()` whatever names the device cuda makes pretended tensors. An operation that CUDA would refuse, since its
tensors are on different devices, raises `Mixed`. Operations are counted, and so are waits: whatever makes the host wait
until the device has done all that was asked of it before.

CUDA's rules, as torch has them: an elementwise operation takes CPU tensors without dimensions beside those on the
device, and no others; indices of x[...] may be on the CPU, but those on the device do not index a CPU tensor; copies go
both ways; everything else has all of its tensors, and a generator of random numbers, in one place.

What is pretended is the place alone. Kernels are the CPU's, and so are the numbers; autocast for cuda does nothing.
torch's C++ takes the tensors for ones of its device meta, which has autograd and needs no driver.
"""

import functools
from collections import Counter
from contextlib import ExitStack
from unittest import mock

import numpy as np
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

__all__ = ["Device", "Mixed", "Pretended", "moved", "moved_trainer", "pinned"]

CUDA, META, CPU = torch.device("cuda", 0), torch.device("meta"), torch.device("cpu")
# the size of their result is in the data, so the host asks the device for it
SIZED = ("nonzero masked_select _unique _unique2 unique_dim unique_consecutive bincount repeat_interleave").split()
READ = {"_local_scalar_dense": "item", "equal": "equal"}
INDEXED = "index index_put index_put_ _index_put_impl_ _unsafe_index _unsafe_index_put".split()
SCALAR = (
    "masked_fill masked_fill_ fill fill_"
).split()  # beside elementwise ones, they take a CPU tensor of no dimension
NOTHING_TO_DO = (
    "empty_cache synchronize manual_seed manual_seed_all get_rng_state set_rng_state reset_peak_memory_stats"
)
MADE_OF_DATA = (torch.tensor, torch.as_tensor, torch.asarray, torch.Tensor.new_tensor)


class Mixed(RuntimeError):
    """An operation on tensors of different devices, which CUDA refuses."""


class Pretended(torch.Tensor):
    """A tensor that says it is on cuda:0.

    Attributes:
        held: its numbers, on the CPU
    """

    held: torch.Tensor
    device = property(lambda self: CUDA)  # type: ignore[assignment]
    is_cuda = property(lambda self: True)
    is_cpu = is_meta = property(lambda self: False)
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, real):
        place = {"strides": real.stride(), "storage_offset": real.storage_offset(), "dtype": real.dtype}
        made = torch.Tensor._make_wrapper_subclass(cls, real.size(), device=META, **place)
        made.held = real
        return made

    def as_subclass(self, kind):
        return pretended(kind)(self.held)

    def __deepcopy__(self, memo):
        copy = type(self)(self.held.clone())
        copy = torch.nn.Parameter(copy, self.requires_grad) if isinstance(self, torch.nn.Parameter) else copy
        return memo.setdefault(id(self), copy)

    def __repr__(self, **_):
        return f"Pretended({self.held!r})"

    def __reduce_ex__(self, protocol):
        raise RuntimeError("a pretended tensor is not to be saved: move it to the CPU first")

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        if func is torch.ops.aten._has_compatible_shallow_copy_type.default:
            return True
        raise AssertionError(f"{func} outside Device()")


class Device:
    """A context in which the device cuda is pretended.

    Attributes:
        operations: number of the device's operations by name; views and copies count
        waits: number of waits by kind: "item", "size" (a result's size is in its data), "download", "upload" (a copy
            to the device that is blocking, or not of pinned memory)
        places: number of waits by the line of code that causes them
    """

    def __init__(self):
        self.reset()

    def reset(self):
        """Count from zero."""
        self.operations, self.waits, self.places = Counter(), Counter(), Counter()

    def __enter__(self):
        self.stack = ExitStack()
        for name, value in (
            ("is_available", lambda: True),
            ("current_device", lambda: 0),
            ("device_count", lambda: 1),
            ("get_device_capability", lambda *_: (8, 0)),
            *((name, lambda *_, **__: None) for name in NOTHING_TO_DO.split()),
        ):
            self.stack.enter_context(mock.patch.object(torch.cuda, name, value))
        run = torch.autograd._engine_run_backward

        def run_backward(*args, **kwargs):  # which runs functions of Python as well, without the names
            with Names(self):
                return run(*args, **kwargs)

        self.stack.enter_context(mock.patch.object(torch.autograd, "_engine_run_backward", run_backward))
        self.stack.enter_context(mock.patch.object(torch.Tensor, "pin_memory", pin))
        self.stack.enter_context(Operations(self))
        self.stack.enter_context(Names(self))
        return self

    def __exit__(self, *error):
        self.stack.close()

    def wait(self, kind):
        self.waits[kind] += 1
        self.places[where()] += 1


def where():
    """The innermost line outside torch and this file, as FILE:LINE."""
    import sys

    frame = sys._getframe(2)
    while frame is not None:
        name = frame.f_code.co_filename
        if "/torch/" not in name and name != __file__:
            return f"{'/'.join(name.split('/')[-2:])}:{frame.f_lineno}"
        frame = frame.f_back
    return "?"


class Names(TorchFunctionMode):
    """Read `cuda` as the pretended device in every call of torch's from Python."""

    def __init__(self, device):
        self.device = device

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        if func is torch.Tensor.tolist and isinstance(args[0], Pretended):
            self.device.wait("download")
            return args[0].held.tolist()
        if func in (torch.Tensor.numpy, torch.Tensor.__array__) and isinstance(args[0], Pretended):
            raise TypeError("can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() first")
        if func in (torch.Tensor.__getitem__, torch.Tensor.__setitem__) and isinstance(args[0], Pretended):
            index = args[1] if isinstance(args[1], tuple) else (args[1],)
            index = tuple(torch.tensor(part) if isinstance(part, (list, np.ndarray)) else part for part in index)
            args = (args[0], index if isinstance(args[1], tuple) else index[0], *args[2:])
        if func is torch.Tensor.cuda:
            func, kwargs = torch.Tensor.to, {**kwargs, "device": META}
        elif func is torch.Tensor.to:
            args = [args[0], *(META if names_cuda(arg) and not isinstance(arg, bool) else arg for arg in args[1:])]
        if "device" in kwargs and names_cuda(kwargs["device"]):
            kwargs["device"] = META
        args, kwargs = within(there, (list(args), kwargs))
        if func in MADE_OF_DATA:
            return self.made_of_data(func, args, kwargs)
        return func(*args, **kwargs)

    def made_of_data(self, func, args, kwargs):
        """torch makes the tensor on the CPU and copies it, and the host waits."""
        device = kwargs.pop("device", None)
        device = torch.device(device) if isinstance(device, str) else device
        if func is torch.Tensor.new_tensor:
            device = device or (META if isinstance(args[0], Pretended) else CPU)
            func, kwargs = torch.tensor, {"dtype": args[0].dtype, **kwargs}
            args = args[1:]
        if torch.is_tensor(args[0]) and func is not torch.tensor:
            return args[0].to(device or args[0].device, kwargs.get("dtype") or args[0].dtype)
        made = func(*args, **kwargs)
        return made.to(META) if device is not None and device.type == "meta" else made


@functools.lru_cache(maxsize=None)
def pretended(kind):
    """The class of pretended tensors that are also of another class of tensors."""
    return Pretended if kind is torch.Tensor else type(f"Pretended{kind.__name__}", (kind, Pretended), {})


def pin(tensor, *_):
    """A copy in memory from which the device takes it without the host."""
    copy = tensor.clone()
    copy.pinned = True
    return copy


def names_cuda(value):
    return (
        (isinstance(value, str) and value.startswith("cuda"))
        or type(value) is int
        or (isinstance(value, torch.device) and value.type == "cuda")
    )


class Operations(TorchDispatchMode):
    """Run each operation on the CPU, after the devices of its tensors are checked."""

    def __init__(self, device):
        super().__init__()
        self.device = device

    @classmethod
    def _should_skip_dynamo(cls):
        return False  # nothing is compiled, and asking at each operation takes time

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        name = func.overloadpacket.__name__
        tensors = []
        within(lambda value: tensors.append(value) if isinstance(value, torch.Tensor) else None, (args, kwargs))
        ours = [tensor for tensor in tensors if isinstance(tensor, Pretended)]
        asked = kwargs.get("device")
        if not ours and (asked is None or asked.type != "meta"):
            return func(*args, **kwargs)
        self.device.operations[name] += 1
        self.check(func, name, args, kwargs, tensors, ours)
        self.count(name, args, kwargs, ours)
        if asked is not None:
            kwargs["device"] = CPU
        kwargs.pop("pin_memory", None)
        result = func(*within(held, args), **within(held, kwargs))
        if name in READ or (asked is not None and asked.type == "cpu"):
            return result
        return self.wrapped(func, args, kwargs, result)

    def check(self, func, name, args, kwargs, tensors, ours):
        """CUDA's rules."""
        generator = kwargs.get("generator")
        if generator is not None and generator.device.type == "cpu":
            raise Mixed(f"{name}: the generator is on the CPU")
        others = [tensor for tensor in tensors if not isinstance(tensor, Pretended)]
        if not others or name in ("_to_copy", "copy_", "set_"):
            return
        if name in INDEXED:
            others = [
                args[0],
                *(args[2:3] if name.startswith(("index_put", "_index_put", "_unsafe_index_put")) else ()),
            ]
            others = [t for t in others if not isinstance(t, Pretended) and (t is args[0] or t.dim())]
        elif torch.Tag.pointwise in func.tags or name in SCALAR:
            written = [args[i] for i, a in enumerate(func._schema.arguments) if i < len(args) and writes(a)]
            others = [t for t in others if t.dim() or any(t is one for one in written)]
        if others:
            shapes = [f"{'cuda' if isinstance(t, Pretended) else 'cpu'}{list(t.shape)}" for t in tensors]
            raise Mixed(f"{name}: tensors are on different devices, {', '.join(shapes)} (at {where()})")

    def count(self, name, args, kwargs, ours):
        """Waits of the host."""
        device = self.device
        if name in READ:
            device.wait(READ[name])
        elif name in SIZED and kwargs.get("output_size") is None:
            device.wait("size")
        elif name in ("_to_copy", "copy_"):
            target = args[0] if name == "copy_" else None
            source = args[1] if name == "copy_" else args[0]
            up = isinstance(target, Pretended) if name == "copy_" else (kwargs.get("device") or CPU).type == "meta"
            down = not up if name == "copy_" else kwargs.get("device") is not None and not up
            apart = bool(kwargs.get("non_blocking") or (name == "copy_" and len(args) > 2 and args[2]))
            if isinstance(source, Pretended) and down and not apart:
                device.wait("download")
            if not isinstance(source, Pretended) and up and not (apart and getattr(source, "pinned", False)):
                device.wait("upload")
        elif name in INDEXED:
            for index in args[1]:
                if index is None:
                    continue
                if isinstance(index, Pretended):
                    if index.dtype in (torch.bool, torch.uint8):
                        device.wait("size")
                else:
                    device.wait("upload")
        elif name in ("masked_fill", "masked_fill_") and len(args) > 2 and isinstance(args[2], Pretended):
            device.wait("item")

    def wrapped(self, func, args, kwargs, result):
        """The results on the device; what was changed in place is itself."""
        results = list(result) if isinstance(result, (tuple, list)) else [result]
        arguments = func._schema.arguments
        given = {a.name: args[i] for i, a in enumerate(arguments) if i < len(args)}
        given.update(kwargs)
        found = []
        for value, declared in zip(results, func._schema.returns):
            if declared.alias_info is not None and declared.alias_info.is_write:
                [owner] = [
                    given[a.name]
                    for a in arguments
                    if writes(a) and a.alias_info.before_set & declared.alias_info.before_set
                ]
                if isinstance(owner, Pretended) and owner.shape != owner.held.shape:
                    owner.data = Pretended(owner.held)
                found.append(owner)
            else:
                found.append(within(wrap, value))
        if isinstance(result, (tuple, list)) and len(func._schema.returns) == len(results):
            return type(result)(found) if isinstance(result, list) else tuple(found)
        return tree_map(wrap, result) if isinstance(result, (tuple, list)) else found[0] if found else result


def within(function, value):
    """A value with a function of each part that is no list, tuple or dictionary; torch's tree_map takes five times as
    long."""
    kind = type(value)
    if kind is tuple or kind is list:
        return kind([within(function, part) for part in value])
    return {key: within(function, part) for key, part in value.items()} if kind is dict else function(value)


def there(value):
    return META if isinstance(value, torch.device) and value.type == "cuda" else value


def writes(argument):
    return argument.alias_info is not None and argument.alias_info.is_write


def held(value):
    return value.held if isinstance(value, Pretended) else value


def wrap(value):
    return Pretended(value) if isinstance(value, torch.Tensor) and not isinstance(value, Pretended) else value


def moved(module):
    """Move a module to the pretended device, in place; what modules share stays shared."""
    memo = {}

    def once(tensor, make):
        if tensor is None or isinstance(tensor, Pretended):
            return tensor
        if id(tensor) not in memo:
            memo[id(tensor)] = make(tensor)
        return memo[id(tensor)]

    def parameter(value):
        return torch.nn.Parameter(Pretended(value.detach()), value.requires_grad)

    keep = []
    with Device():
        for part in module.modules():
            for name, value in list(part._parameters.items()):
                keep.append(value)
                part._parameters[name] = once(value, parameter)
            for name, value in list(part._buffers.items()):
                keep.append(value)
                part._buffers[name] = once(value, Pretended)
    return module


def moved_trainer(trainer):
    """Move a trainer of fairseq's, made on the CPU, to the pretended device, in place; its optimizer is made anew."""
    moved(trainer._model)
    moved(trainer._criterion)
    trainer.reinitialize()
    trainer.cuda, trainer.device = True, CUDA
    return trainer


def pinned(sample):
    """A batch in pinned memory, as fairseq's iterators give it where there is a GPU."""
    return tree_map(lambda value: value.pin_memory() if torch.is_tensor(value) else value, sample)
