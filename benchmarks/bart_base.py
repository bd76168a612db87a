"""Memory of finetuning at bart.base's size, from random weights in the published layout.

    python benchmarks/bart_base.py --gpt2 FOLDER --text FOLDER --output FOLDER

Five updates of each phase, validation, generation and evaluation through `fairseq-vae finetune`; prints the seconds and
the peak memory of the largest process. --gpt2: encoder.json, vocab.bpe and dict.bart.base.txt (51,196 lines); --text:
train.txt, valid.txt and test.txt, some hundred lines.
"""

import argparse
import json
import platform
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path

import torch
from fairseq import options, tasks
from fairseq.dataclass.utils import convert_namespace_to_omegaconf

import fairseq_vae


def archive(gpt2: Path, folder: Path) -> Path:
    """An archive as bart.base is published: in the file format of torch before 1.6, with a Namespace of settings."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(gpt2 / "dict.bart.base.txt", folder / "dict.txt")
    for name in ("encoder.json", "vocab.bpe"):
        shutil.copyfile(gpt2 / name, folder / name)
    flags = ["--task=denoising", "--arch=bart_base", "--criterion=cross_entropy"]
    args = options.parse_args_and_arch(options.get_training_parser(), input_args=[str(folder), *flags])
    cfg = convert_namespace_to_omegaconf(args)
    model = tasks.setup_task(cfg.task).build_model(cfg.model)
    history = [{"criterion_name": "", "optimizer_name": "", "lr_scheduler_state": {}, "num_updates": 0}]
    state = {"args": args, "model": model.state_dict(), "optimizer_history": history, "extra_state": {}}
    torch.save(state, folder / "model.pt", _use_new_zipfile_serialization=False)
    return folder / "model.pt"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("gpt2", "text", "output"):
        parser.add_argument(f"--{name}", type=Path, required=True, metavar="FOLDER")
    args = parser.parse_args()
    model = archive(args.gpt2, args.output / "bart.base")
    settings = ["dataset.max_tokens=1024", "dataset.num_workers=0", "checkpoint.save_interval_updates=5"]
    command = [str(Path(sys.executable).with_name("fairseq-vae")), "finetune", str(args.text), f"--bart={model}"]
    command += [f"--output={args.output / 'vae'}", "--phase1-updates=5", "--phase2-updates=5"]
    command += [f"--set={setting}" for setting in (*settings, "phase1.model.freeze_decoder=true")]
    started = time.time()
    subprocess.run(command, check=True)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20  # GiB: Linux counts in KiB
    signature = {
        "machine": platform.processor() or platform.machine(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "fairseq_vae": fairseq_vae.__version__,
    }
    print(json.dumps({"peak_gib": round(peak, 2), "seconds": round(time.time() - started), **signature}))


if __name__ == "__main__":
    main()
