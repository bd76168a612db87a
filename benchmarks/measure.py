"""What the benchmarks share: synthetic text, trainers as fairseq builds them, and measurements side by side.

Nothing here is asserted: ratios are taken within one process and in turn (A B A B ...), so that they hold on a machine
whose speed drifts.
"""

import argparse
import datetime
import gc
import json
import logging
import os
import platform
import statistics
import time
import warnings
from pathlib import Path
from typing import Any, Callable, Dict, List, Sequence

import fairseq
import numpy as np
import torch
from fairseq import options, tasks
from fairseq.data import Dictionary, indexed_dataset
from fairseq.dataclass.utils import convert_namespace_to_omegaconf
from fairseq.trainer import Trainer
from tqdm import tqdm

import fairseq_vae

SIZES = {  # layers of encoder and decoder each, width, heads; the feed-forward width is 4 times the width
    "tiny": (2, 64, 2),
    "small": (4, 256, 4),
    "base": (6, 768, 12),
    "large": (12, 1024, 16),
}
STOCK = ("--arch=bart_base", "--criterion=cross_entropy", "--share-all-embeddings")
VAE = ("--arch=bart_vae", "--criterion=vae_cross_entropy", "--share-all-embeddings")
INJECTIONS = ("self-attention,embedding", "self-attention", "embedding", "cross-attention")


def parser(doc: str, rounds: int = 7) -> argparse.ArgumentParser:
    """Flags that every benchmark has."""
    result = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    result.add_argument("--folder", type=Path, required=True, help="for synthetic text; made if missing")
    result.add_argument("--size", choices=SIZES, default="small", help="of the model (default: small)")
    result.add_argument("--vocabulary", type=int, default=8000, help="words (default: 8000)")
    result.add_argument("--max-tokens", type=int, default=4096, help="tokens in a batch (default: 4096)")
    result.add_argument("--rounds", type=int, default=rounds, help=f"counted rounds (default: {rounds})")
    return result


def quiet() -> None:
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)


def text(folder: Path, vocabulary: int, sentences: int = 2000, length: int = 0) -> str:
    """Synthetic sentences as fairseq-preprocess writes them, for the tasks translation (source = target) and
    vae_denoising: lengths log-normal with mean 25 as in PTB's pieces, or all `length`; words by Zipf's law."""
    name = folder / f"{vocabulary}-{sentences}-{length}"
    if (name / "done").exists():
        return str(name)
    name.mkdir(parents=True, exist_ok=True)
    words = Dictionary()
    for i in range(vocabulary - words.nspecial):
        words.add_symbol(f"w{i}")
    for file in ("dict.txt", "dict.src.txt", "dict.tgt.txt"):
        words.save(str(name / file))
    random = np.random.default_rng(1)
    lengths = np.clip(random.lognormal(3.1, 0.5, sentences), 3, 100).astype(int)
    rows = [
        np.append(words.nspecial + np.minimum(random.zipf(1.2, length or n) - 1, vocabulary - words.nspecial - 1), 2)
        for n in lengths
    ]
    for split in ("train", "valid", "train.src-tgt.src", "train.src-tgt.tgt", "valid.src-tgt.src", "valid.src-tgt.tgt"):
        builder = indexed_dataset.make_builder(str(name / f"{split}.bin"), "mmap", vocab_size=vocabulary)
        for row in rows:
            builder.add_item(torch.from_numpy(row))
        builder.finalize(str(name / f"{split}.idx"))
    (name / "done").touch()
    return str(name)


def size_flags(layers: int, width: int, heads: int) -> List[str]:
    flags = {"layers": layers, "embed-dim": width, "ffn-embed-dim": 4 * width, "attention-heads": heads}
    return [f"--{side}-{key}={value}" for side in ("encoder", "decoder") for key, value in flags.items()]


def trainer(data: str, *flags: str, task: str = "translation", max_tokens: int = 4096, bf16: bool = False) -> Trainer:
    """fairseq's trainer of these flags of fairseq-train, its training split loaded; its --bf16 would ask for a TPU."""
    quiet()
    languages = ("--source-lang=src", "--target-lang=tgt") if task == "translation" else ()
    common = ("--optimizer=adam", "--lr=0.0001", "--clip-norm=1", "--required-batch-size-multiple=1", "--num-workers=0")
    lengths = ("--max-source-positions=512", "--max-target-positions=512", f"--max-tokens={max_tokens}")
    device = () if torch.cuda.is_available() else ("--cpu",)
    given = [data, f"--task={task}", *languages, *common, *lengths, *device, *flags]
    cfg = convert_namespace_to_omegaconf(options.parse_args_and_arch(options.get_training_parser(), input_args=given))
    cfg.common.bf16 = bf16
    torch.manual_seed(1)
    built = tasks.setup_task(cfg.task)
    for split in ("train", "valid"):
        built.load_dataset(split)
    return Trainer(cfg, built, built.build_model(cfg.model), built.build_criterion(cfg.criterion))


def batches(trained: Trainer, count: int) -> List[Any]:
    """The first batches of an epoch; the same ones for every trainer of the same task and data."""
    iterator = trained.get_train_iterator(1, load_dataset=False).next_epoch_itr(shuffle=True)
    found = [batch for _, batch in zip(range(count), iterator)]
    trained.begin_epoch(1)
    return found


def finish() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def alternate(arms: Dict[str, Callable[[int], Any]], rounds: int, warmup: int = 2) -> Dict[str, List[float]]:
    """Seconds of each arm in each counted round; arms take turns, and get the round's number."""
    times: Dict[str, List[float]] = {name: [] for name in arms}
    for index in tqdm(range(warmup + rounds), desc="rounds", leave=False):
        for name, arm in arms.items():
            gc.collect()
            finish()
            start = time.perf_counter()
            arm(index)
            finish()
            if index >= warmup:
                times[name].append(time.perf_counter() - start)
    return times


def ratios(times: Dict[str, List[float]], baseline: str) -> Dict[str, Dict[str, float]]:
    """Each arm's median seconds, and how many times as fast as the baseline it is: median, lowest and highest over
    rounds."""
    result = {}
    for name, values in times.items():
        pairs = [base / value for base, value in zip(times[baseline], values)]
        result[name] = {
            "seconds": round(statistics.median(values), 5),
            "ratio": round(statistics.median(pairs), 3),
            "low": round(min(pairs), 3),
            "high": round(max(pairs), 3),
        }
    return result


def show(rows: Dict[str, Dict[str, Any]]) -> None:
    """A table of rows with the same columns."""
    columns = list(next(iter(rows.values())))
    width = max(len(name) for name in rows) + 2
    widths = [max(12, len(column) + 2) for column in columns]
    print(" " * width + "".join(f"{column:>{wide}}" for column, wide in zip(columns, widths)))
    for name, row in rows.items():
        cells = (f"{row[c]:,.3f}" if isinstance(row[c], float) else f"{row[c]:,}" for c in columns)
        print(f"{name:<{width}}" + "".join(f"{cell:>{wide}}" for cell, wide in zip(cells, widths)))


def processor() -> str:
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(": ")[1] for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def emit(question: str, settings: Dict[str, Any], results: Dict[str, Any]) -> None:
    """The JSON line: question, settings, results and what they were measured on."""
    signature = {
        "date": datetime.date.today().isoformat(),
        "machine": processor(),
        "threads": torch.get_num_threads(),
        "buffers": "kept" if os.environ.get("MALLOC_MMAP_MAX_") == "0" else "returned",
        "torch": torch.__version__,
        "fairseq": fairseq.__version__,
        "fairseq_vae": fairseq_vae.__version__,
    }
    print(json.dumps({"question": question, **settings, "results": results, **signature}))


def peak(reset: bool = False) -> float:
    """The process's highest memory since the last reset, MiB: the GPU's where there is one, else resident memory."""
    if torch.cuda.is_available():
        if reset:
            torch.cuda.reset_peak_memory_stats()
        return torch.cuda.max_memory_allocated() / 2**20
    if reset:
        Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")
    status = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) / 1024


def apart(function: Callable, *arguments: Any) -> Any:
    """A function's result, from a process of its own: memory that others left behind does not count."""
    import multiprocessing

    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(function, arguments)


def named(settings: argparse.Namespace, keys: Sequence[str]) -> Dict[str, Any]:
    return {key: getattr(settings, key) for key in keys}
