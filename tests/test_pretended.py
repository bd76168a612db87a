"""The pretended device refuses what CUDA refuses, counts known numbers of waits, and has the CPU's numbers."""

import pytest
import torch
import torch.nn.functional as F
from pretended import Device, Mixed, Pretended, moved
from torch import nn

MATRIX = torch.arange(6.0).view(2, 3)


def upload(tensor):
    return tensor.pin_memory().to("cuda", non_blocking=True)


MIXED = {
    "sum": lambda x: x + MATRIX,
    "in place": lambda x: x.add_(MATRIX),
    "a CPU tensor written to": lambda x: torch.zeros(()).add_(x.sum()),
    "product": lambda x: x @ MATRIX.T,
    "cat": lambda x: torch.cat((x, MATRIX)),
    "stack of scalars": lambda x: torch.stack((x.sum(), torch.tensor(1.0))),
    "where": lambda x: torch.where(MATRIX > 1, x, x),
    "embedding": lambda x: F.embedding(torch.tensor([0]), x),
    "index_select": lambda x: x.index_select(0, torch.tensor([0])),
    "gather": lambda x: x.gather(1, torch.zeros(2, 1, dtype=torch.long)),
    "a CPU tensor by indices of the device": lambda x: MATRIX[x[0].long().clamp(max=1)],
    "values put": lambda x: x.index_put_((torch.tensor([0]),), MATRIX[:1]),
    "a generator": lambda x: torch.rand(2, device=x.device, generator=torch.Generator()),
    "a layer": lambda x: nn.Linear(3, 3)(x),
    "its input": lambda x: moved(nn.Linear(3, 3))(MATRIX),
}
ALLOWED = {
    "a scalar of the CPU": lambda x: x * torch.tensor(2.0) + 1,
    "where with one": lambda x: torch.where(x > 1, x, torch.tensor(0.0).to(x.dtype)),
    "indices of the CPU": lambda x: x[torch.tensor([1, 0])],
    "a list": lambda x: x[[1]],
    "a mask of the CPU": lambda x: x[MATRIX > 1],
    "a number put": lambda x: x.clone().index_put_((torch.tensor([0]),), torch.tensor(7.0)),
    "filled": lambda x: x.masked_fill(x > 1, torch.tensor(5.0)),
    "copied into": lambda x: x.clone().copy_(MATRIX + 1),
    "made beside": lambda x: x.new_zeros(2, 3) + torch.arange(3, device=x.device) + torch.ones(2, 3, device="cuda"),
    "made of data": lambda x: x + torch.tensor([1.0, 2.0, 3.0], device=x.device) + x.new_tensor([1.0]),
    "made like": lambda x: torch.zeros_like(x) + torch.full((), 3.0, device=x.device),
    "resized": lambda x: x.clone().resize_(1, 2),
    "written in part": lambda x: (x := x.clone(), x[0].mul_(2), x[:, 1].fill_(9), x.__setitem__([0], 4.0))[0],
    "another type": lambda x: x.to(torch.float64).type_as(x.int()),
}
WAITS = {
    "nothing": (lambda x: (x * 2 + 1).softmax(1).sum(), {}),
    "item": (lambda x: x.sum().item(), {"item": 1}),
    "float, int and bool": (lambda x: (float(x[0, 0]), int(x[0, 0]), bool(x[0, 0])), {"item": 3}),
    "if": (lambda x: 1 if (x > 0).any() else 2, {"item": 1}),
    "equal": (lambda x: x.equal(x), {"equal": 1}),
    "to the host": (lambda x: (x.cpu(), x.to("cpu"), x.tolist(), x.detach().cpu()), {"download": 4}),
    "copied to the host": (lambda x: torch.empty(2, 3).copy_(x), {"download": 1}),
    "nonzero": (lambda x: (x.nonzero(), (x > 1).nonzero(as_tuple=True)), {"size": 2}),
    "by a mask": (lambda x: (x[x > 1], x.masked_select(x > 1), x.unique()), {"size": 3}),
    "written by a mask": (lambda x: x.clone().__setitem__(x > 1, 0.0), {"size": 1}),
    "by indices": (lambda x: x[x[0].long().clamp(max=1)], {}),
    "from pageable memory": (lambda x: (MATRIX.to(x.device), MATRIX.to("cuda", non_blocking=True)), {"upload": 2}),
    "from pinned memory": (lambda x: (upload(MATRIX), MATRIX.pin_memory().to("cuda")), {"upload": 1}),
    "of data": (lambda x: (torch.tensor(1.0, device="cuda"), x.new_tensor(2.0)), {"upload": 2}),
    "no data": (lambda x: (x.new_full((), 2.0), torch.zeros(2, device="cuda"), x.new_zeros(3)), {}),
    "a size that is told": (
        lambda x: x.repeat_interleave(torch.tensor([1, 2]).to("cuda"), 0, output_size=3),
        {"upload": 1},
    ),
}


@pytest.mark.parametrize("operation", MIXED.values(), ids=MIXED)
def test_what_cuda_refuses_is_refused(operation):
    with Device(), pytest.raises(Mixed):
        operation(upload(MATRIX))


@pytest.mark.parametrize("operation", ALLOWED.values(), ids=ALLOWED)
def test_what_cuda_allows_has_the_cpus_numbers(operation, monkeypatch):
    with Device():
        found = operation(upload(MATRIX))
        assert isinstance(found, Pretended) and found.device == torch.device("cuda", 0) and found.is_cuda
        found = found.cpu()
    for name in ("tensor", "arange", "ones", "full"):  # the same on the CPU
        made = getattr(torch, name)
        monkeypatch.setattr(torch, name, lambda *a, made=made, **k: made(*a, **{**k, "device": None}))
    assert found.equal(operation(MATRIX.clone())) and type(found) is torch.Tensor


@pytest.mark.parametrize("operation, expected", WAITS.values(), ids=WAITS)
def test_waits_are_counted(operation, expected):
    with Device() as device:
        x = upload(MATRIX)
        device.reset()
        operation(x)
        assert device.waits == expected and sum(device.places.values()) == sum(expected.values())
        assert all(place.startswith("tests/test_pretended.py:") for place in device.places)


def test_operations_are_counted():
    with Device() as device:
        x = upload(MATRIX)
        assert device.operations == {"_to_copy": 1}
        device.reset()
        (x * 2 + x).sum()
        assert device.operations == {"mul": 1, "add": 1, "sum": 1}


def test_numbers_do_not_leave_by_the_back_door():
    with Device():
        x = upload(MATRIX)
        for leave in (lambda: x.numpy(), lambda: x.__array__(), lambda: torch.save(x, "/dev/null")):
            with pytest.raises((TypeError, RuntimeError)):
                leave()


@pytest.mark.parametrize("optimizer", [torch.optim.SGD, torch.optim.Adam])
def test_training_is_the_cpus(optimizer):
    def train(built, x, target):
        steps = optimizer(built.parameters(), lr=0.1)
        for _ in range(3):
            steps.zero_grad()
            F.cross_entropy(built(x), target).backward()
            steps.step()
        return [parameter.detach().cpu() for parameter in built.parameters()]

    def model():
        torch.manual_seed(1)
        return nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.GELU(), nn.Linear(4, 5))

    target = torch.tensor([1, 3])
    expected = train(model(), MATRIX, target)
    with Device():
        found = train(moved(model()), upload(MATRIX), upload(target))
    torch.testing.assert_close(found, expected)


def test_what_modules_share_stays_shared():
    first, second = nn.Linear(2, 2), nn.Linear(2, 2)
    second.weight = first.weight
    both = moved(nn.ModuleList([first, second]))
    assert both[0].weight is both[1].weight and isinstance(both[0].weight, nn.Parameter)
    assert isinstance(both[0].weight, Pretended) and len(list(both.parameters())) == 3
