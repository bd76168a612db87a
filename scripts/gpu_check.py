"""Check fairseq-vae on this machine's GPU: precisions, recipes, generation and evaluation, beside stock BART.

Without --bart and --data it takes random weights and synthetic text, and downloads nothing. It prints a table and
writes FOLDER/gpu_check.json, whose text can be pasted into an issue. A part that fails is named; the others go on.
"""

import argparse
import json
import math
import os
import platform
import shutil
import statistics
import sys
import time
import traceback
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="bash scripts/gpu_check.sh", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, default=ROOT / "gpu_check", help="folder for everything made")
    parser.add_argument("--device", choices=("cuda", "cpu"), help="default: the GPU, if torch sees one")
    parser.add_argument("--size", choices=("tiny", "small", "base", "large"), default="base", help="default: base")
    parser.add_argument("--updates", type=int, default=20, help="of each part (default: 20)")
    parser.add_argument("--max-tokens", type=int, default=4096, help="tokens in a batch (default: 4096)")
    parser.add_argument("--vocabulary", type=int, default=50000, help="synthetic words (default: 50000)")
    recipes = "default,park-lee-2021"
    parser.add_argument("--recipes", default=recipes, help=f"comma-separated (default: {recipes})")
    parser.add_argument("--sentences", type=int, default=1000, help="synthetic sentences (default: 1000)")
    parser.add_argument("--bart", help="checkpoint of a BART for the recipes, with --data (default: random weights)")
    parser.add_argument("--data", help="text or binarised folder for the recipes (default: synthetic)")
    return parser.parse_args()


def training(args, data, flags, task, bf16=False):
    """Some updates: words a second, peak memory, and the loss at the end."""
    from measure import SIZES, batches, finish, peak, size_flags, trainer

    peak(reset=True)
    built = trainer(data, *flags, *size_flags(*SIZES[args.size]), task=task, max_tokens=args.max_tokens, bf16=bf16)
    some, seconds, words = batches(built, args.updates), [], 0
    for number in range(args.updates):
        sample = some[number % len(some)]
        finish()
        start = time.perf_counter()
        log = built.train_step([sample])
        finish()
        seconds.append((time.perf_counter() - start) / sample["ntokens"])
        words += sample["ntokens"]
    if log is None or not math.isfinite(log["loss"]):
        raise FloatingPointError(f"the last loss is {log and log['loss']}")
    kept = seconds[len(seconds) // 4 :]  # without the first ones, which allocate
    return {"words/s": round(1 / statistics.median(kept)), "peak MiB": round(peak()), "loss": log["loss"]}


def recipe(args, data, name):
    """Both phases of a recipe by `fairseq-vae finetune`, its evaluation, and the hub interface on what it made."""
    from measure import SIZES, finish

    from fairseq_vae import BARTVAEModel
    from fairseq_vae.finetune.process import call

    out = args.output / f"recipe-{Path(name).name}"  # a name, or the folder of one's own, which is no output
    shutil.rmtree(out, ignore_errors=True)  # a run of before would be gone on with, and measured on another device
    command = ["fairseq-vae", "finetune", args.data or data, f"--output={out}", f"--recipe={name}"]
    command += [f"--phase1-updates={args.updates}", f"--phase2-updates={args.updates}"]
    layers, width, heads = SIZES[args.size]
    sizes = {"layers": layers, "embed_dim": width, "ffn_embed_dim": 4 * width, "attention_heads": heads}
    settings = [f"dataset.max_tokens={args.max_tokens}", "dataset.num_workers=0"]
    if args.bart:
        command += [f"--bart={args.bart}"]
    else:
        settings += [f"model.{side}_{key}={value}" for side in ("encoder", "decoder") for key, value in sizes.items()]
        settings += [f"model.max_{side}_positions=256" for side in ("source", "target")]
        settings += ["model.freeze_decoder=false", "model.freeze_embeddings=false"]  # random weights have to learn
    start = time.perf_counter()
    call([*command, *(f"--set={setting}" for setting in settings)])
    result = {"seconds": round(time.perf_counter() - start, 1)}
    numbers = json.loads((out / "evaluation.json").read_text(encoding="utf-8"))
    result.update({key: numbers[key] for key in ("neg_elbo", "rec", "kl", "mi", "au")})
    vae = BARTVAEModel.from_pretrained(str(out), "phase2/checkpoint_best.pt")
    for key, options in (("beam 5", {"beam": 5}), ("nucleus", {"sampling": True, "sampling_topp": 0.9})):
        start = time.perf_counter()
        texts = vae.sample(64, max_len=32, **options)
        finish()
        result[f"{key} words/s"] = round(sum(len(text.split()) for text in texts) / (time.perf_counter() - start))
    if not all(math.isfinite(value) for value in result.values()):
        raise FloatingPointError(f"{result}")
    return result


def main() -> None:
    args = arguments()
    if args.device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    sys.path.insert(0, str(ROOT / "benchmarks"))
    import fairseq
    import torch
    from measure import STOCK, VAE, processor, text

    import fairseq_vae

    gpu = torch.cuda.is_available()
    if args.device == "cuda" and not gpu:
        sys.exit("gpu_check: torch sees no GPU; --device cpu runs the parts that need none")
    args.output = args.output.resolve()
    args.output.mkdir(parents=True, exist_ok=True)
    data = text(args.output / "text", args.vocabulary, args.sentences)
    own = "vae_denoising"
    parts = {
        "stock bart": lambda: training(args, data, STOCK, "translation"),
        "float32": lambda: training(args, data, VAE, own),
        "autocast-bf16": lambda: training(args, data, (*VAE, "--autocast-bf16"), own),
        "stock bart, bf16": lambda: training(args, data, STOCK, "translation", bf16=True),
        "bf16": lambda: training(args, data, VAE, own, bf16=True),
        "stock bart, fp16": lambda: training(args, data, (*STOCK, "--fp16"), "translation"),
        "fp16": lambda: training(args, data, (*VAE, "--fp16"), own),
        "checkpoint-activations": lambda: training(args, data, (*VAE, "--checkpoint-activations"), own),
        **{f"recipe {name}": lambda name=name: recipe(args, data, name) for name in args.recipes.split(",")},
    }
    results = {}
    for name, part in parts.items():
        if name.endswith("fp16") and not gpu:
            results[name] = {"left out": "fairseq's --fp16 needs a GPU"}
        else:
            try:
                results[name] = part()
            except (Exception, SystemExit) as error:  # a part that fails is a result
                traceback.print_exc()
                results[name] = {"failed": " ".join(f"{type(error).__name__}: {error}".split())[:500]}
        print(f"{name:<24}" + "  ".join(f"{key} {value}" for key, value in results[name].items()), flush=True)
    report = {
        "device": processor(),
        "memory MiB": round(torch.cuda.get_device_properties(0).total_memory / 2**20) if gpu else None,
        "cuda": torch.version.cuda,
        "torch": torch.__version__,
        "fairseq": fairseq.__version__,
        "fairseq_vae": fairseq_vae.__version__,
        "python": platform.python_version(),
        "settings": {key: str(value) for key, value in vars(args).items() if key != "output"},
        "results": results,
    }
    (args.output / "gpu_check.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    failed = [name for name, result in results.items() if "failed" in result]
    left_out = [name for name, result in results.items() if "left out" in result]
    counted = f"{len(parts) - len(failed) - len(left_out)} of {len(parts)} parts work"
    note = f", {len(left_out)} left out" if left_out else ""
    print(f"{counted}{note}; paste {args.output / 'gpu_check.json'} into an issue")
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
