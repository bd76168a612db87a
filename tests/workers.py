"""fairseq's own training loop, in one process and in the processes of a gloo group on this machine."""

import importlib
import logging
import socket
import subprocess
import sys
from pathlib import Path

import commands
import torch
from helpers import configuration as converted
from helpers import write_data

ROOT = Path(__file__).parent.parent
SIZES = (
    "--arch=bart_vae_tiny --latent-dim=4 --encoder-layers=1 --decoder-layers=1 --encoder-embed-dim=8 "
    "--decoder-embed-dim=8 --encoder-ffn-embed-dim=8 --decoder-ffn-embed-dim=8 --max-source-positions=32 "
    "--max-target-positions=16 --dropout=0 --attention-dropout=0 --activation-dropout=0 --task=vae_denoising "
    "--criterion=vae_cross_entropy --optimizer=adam --lr=0.01 --clip-norm=1 --cpu --num-workers=0 --batch-size=3 "
    "--no-epoch-checkpoints --best-checkpoint-metric=neg_elbo --log-format=none"
)
SENTENCES = [[3, 1, 4], [9, 2], [6, 5, 3, 5, 8], [2, 3, 8], [4, 6, 2, 6], [1, 1], [7, 5, 2], [8, 0, 4, 1]]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def write_splits(folder, train=SENTENCES, valid=SENTENCES[:7]):
    """In batches of 3 nothing comes out even between two workers: 3 batches, the last of 2 sentences or of 1."""
    folder.mkdir(parents=True, exist_ok=True)
    return write_data(folder, train=train, valid=valid)


def configuration(data, save_dir, flags, rank=None, world=2):
    """fairseq's configuration of a training; of one of the workers that share it, where a rank is given."""
    shared = [] if rank is None else [f"--distributed-world-size={world}", "--distributed-no-spawn"]
    given = [str(data), f"--save-dir={save_dir}", *SIZES.split(), "--ddp-backend=legacy_ddp", *shared, *flags.split()]
    return converted("training", [*given, f"--distributed-rank={rank or 0}"])


def train(data, save_dir, flags, rank=None, world=2):
    """Train with fairseq-train's own loop.

    Returns:
        the state that is saved at the end, and what the last validation said, by name
    """
    from fairseq.checkpoint_utils import save_checkpoint
    from fairseq_cli import train as fairseq_train

    from fairseq_vae.task.sentences import SentenceTask

    said = {}

    def post_validate(task, model, stats, agg):
        own(task, model, stats, agg)
        said.update({key: value for key, value in stats.items() if isinstance(value, (int, float))})

    vars(save_checkpoint).pop("best", None)  # of this process's last training
    own, SentenceTask.post_validate = SentenceTask.post_validate, post_validate
    try:
        fairseq_train.main(configuration(data, save_dir, flags, rank, world))
    finally:
        SentenceTask.post_validate = own
    if rank is not None:
        torch.distributed.barrier()
    state = torch.load(Path(save_dir) / "checkpoint_last.pt")
    return {"model": state["model"], "optimizer": state["last_optimizer_state"]["state"]}, said


def start(module, function, folder, *numbers):
    """One process: the workers are ranks below `world`, and the process of that rank is alone."""
    rank, world, port = map(int, numbers)
    torch.set_num_threads(1)
    logging.disable(logging.WARNING)
    sys.path.insert(0, str(ROOT / "examples/own_prior"))
    import laplace_prior  # noqa: F401  a part from outside the package beside the package's own

    run = getattr(importlib.import_module(module), function)
    if rank < world:
        torch.distributed.init_process_group("gloo", f"tcp://127.0.0.1:{port}", rank=rank, world_size=world)
        run(rank, Path(folder))
        torch.distributed.destroy_process_group()
    else:
        run(None, Path(folder))


def together(run, folder, world=2, alone=True):
    """Call run(rank, folder) in each worker; and, if alone, run(None, folder) in a process of its own beside them."""
    command = [*commands.forked(__file__), run.__module__, run.__name__, str(folder)]
    port, options = free_port(), {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    workers = [
        subprocess.Popen([*command, *map(str, (rank, world, port))], **options) for rank in range(world + bool(alone))
    ]
    errors = [worker.communicate()[1] for worker in workers]
    assert not any(worker.returncode for worker in workers), "\n".join(error[-3000:] for error in errors)


if __name__ == "__main__":
    start(*sys.argv[1:])
