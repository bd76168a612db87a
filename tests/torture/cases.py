"""Command lines to torture, on fixtures so small that a run takes seconds, and what a run's results are."""

import hashlib
import random
import sys
from pathlib import Path
from typing import Callable, Dict, List, NamedTuple

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "tests"))

import finetuning  # noqa: E402
import torch  # noqa: E402
from helpers import V, save_vae, write_data  # noqa: E402

BIN = Path(sys.executable).parent


class Case(NamedTuple):
    make: Callable[[Path], object]  # writes the input into an empty folder
    command: Callable[[Path, Path], List[object]]  # of input and output folder
    forks: bool = False  # whether all of it is one process, so that it may run in a fork


def fairseq_vae(*arguments: object) -> List[object]:
    return [BIN / "fairseq-vae", *arguments]


def finetune(given: Path, out: Path) -> List[object]:
    command = fairseq_vae("finetune", given / "text", "--bart", given / "bart/model.pt", "--output", out)
    lengths = ["--phase1-updates=4", "--phase2-updates=5", "--set=checkpoint.save_interval_updates=2"]
    return [*command, *lengths, "--set=dataset.max_tokens=64", "--set=dataset.num_workers=1"]


def vae(folder: Path) -> None:
    """A tiny VAE and some sentences, in words that are numbers."""
    save_vae(folder / "vae", "--latent-dim=8", words=[f"w{i}" for i in range(V - 5)], std=0.15)
    numbers = random.Random(1)
    rows = [[numbers.randrange(V - 5) for _ in range(2 + i % 9)] for i in range(24)]
    write_data(folder, test=rows, train=rows[:12])


def evaluate(given: Path, out: Path) -> List[object]:
    out.mkdir(exist_ok=True)
    command = fairseq_vae("evaluate", given / "vae/checkpoint_best.pt", given, "--samples=5", "--generate=12")
    return [*command, f"--keep={out / 'kept'}", f"--json={out / 'numbers.json'}", f"--markdown={out / 'table.md'}"]


def hugging_face(folder: Path) -> None:
    from huggingface import hugging_face as write

    write(folder / "hf")


def gpt2_bart(folder: Path) -> None:
    from huggingface import hugging_face as write

    from fairseq_vae.checkpoints.hf_read import from_hf

    write(folder / "hf")
    from_hf(str(folder / "hf"), str(folder / "model.pt"))


def text(folder: Path) -> None:
    numbers = random.Random(1)
    lines = (" ".join(f"word{numbers.randrange(900)}" for _ in range(12)) for _ in range(50_000))
    (folder / "own.txt").write_text("".join(f"{line} .\n" for line in lines))


CASES: Dict[str, Case] = {
    "prepare": Case(text, lambda given, out: [
        sys.executable, ROOT / "scripts/prepare_data.py", "--data", given / "own.txt", "--output", out / "text",
    ]),
    "convert --from-hf": Case(hugging_face, lambda given, out: fairseq_vae(
        "convert", "--from-hf", given / "hf", "--to", out / "model.pt"
    ), forks=True),
    "convert --to-hf": Case(gpt2_bart, lambda given, out: fairseq_vae(
        "convert", "--from", given / "model.pt", "--to-hf", out / "hf"
    ), forks=True),
    "evaluate --keep": Case(vae, evaluate, forks=True),
    "finetune": Case(finetuning.make, finetune),
    "quickstart --smoke": Case(lambda given: None, lambda given, out: [
        sys.executable, ROOT / "scripts/quickstart.py", "--smoke", "--output", out,
    ]),
}  # fmt: skip


def results(folder: Path) -> Dict[str, str]:
    """What stands for each file of a run's output: of a checkpoint weights, optimizer and update; of others all bytes.

    Logs and the curves drawn of them tell of the interruption, so only their names count.
    """
    found = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_dir():
            found[name] = "folder"
        elif path.suffix in (".log", ".png"):
            found[name] = "there"
        elif path.suffix == ".pt":
            found[name] = checkpoint(path)
        else:
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def checkpoint(path: Path) -> str:
    digest = hashlib.sha256()

    def add(value: object) -> None:
        if torch.is_tensor(value):
            digest.update(value.cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
        elif isinstance(value, dict):
            for key in value:
                digest.update(str(key).encode())
                add(value[key])
        elif isinstance(value, (list, tuple)):
            for item in value:
                add(item)
        else:
            digest.update(repr(value).encode())

    try:
        state = torch.load(path, map_location="cpu")
    except Exception as error:  # half of a file: another one than the uninterrupted run's
        return repr(error)
    for key in ("model", "last_optimizer_state", "task_state", "criterion", "args"):
        add(state.get(key))
    add(
        state["optimizer_history"][-1]["num_updates"]
    )  # fairseq notes every start: those before are of the interruption
    add(state["extra_state"].get("train_iterator"))
    add([state["extra_state"].get(key) for key in ("val_loss", "best")])
    return digest.hexdigest()
