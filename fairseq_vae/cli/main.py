"""The console command fairseq-vae."""

import argparse
import logging
import os
import signal
import sys
from typing import List, Optional

from ..base.files import write
from ..base.version import __version__
from ..finetune import recipe
from ..measure.papers import PAPERS


def parser() -> argparse.ArgumentParser:
    main = argparse.ArgumentParser(prog="fairseq-vae", description="BART text VAEs: beside fairseq's own commands.")
    main.add_argument("--version", action="version", version=__version__)
    commands = main.add_subparsers(dest="command", required=True)

    commands.add_parser("path", help="print the folder to give to fairseq as --user-dir")

    tune = commands.add_parser(
        "finetune",
        help="a BART and text to a trained, measured and sampled VAE",
        description="Finetune a BART into a VAE by a recipe, in one or two phases, then evaluate and sample it. Every "
        "fairseq command is printed and can be run by hand. Interrupted or run again, it goes on where it stopped.",
    )
    tune.add_argument(
        "data",
        metavar="DATA",
        help="folder of fairseq-preprocess, made with the BART's dict.txt; or of plain text, one sentence a line, in "
        "train.txt, valid.txt and perhaps test.txt, to encode with dict.txt and BPE beside the BART",
    )
    tune.add_argument("--bart", metavar="CHECKPOINT", help="fairseq checkpoint of a BART (default: random weights)")
    tune.add_argument("--output", metavar="DIR", required=True, help="folder for everything made")
    tune.add_argument(
        "--recipe",
        default="default",
        help=f"one of {', '.join(recipe.names())}, or a folder with phase1.yaml and phase2.yaml (default: default)",
    )
    for phase in recipe.PHASES:
        tune.add_argument(
            f"--{phase}-updates",
            type=int,
            metavar="N",
            help=f"length of {phase} in updates, with which its ramps and save intervals shrink or grow (default: the "
            "recipe's)",
        )
    tune.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="GROUP.KEY=VALUE",
        help="another setting of fairseq's configuration than the recipe's, e.g. dataset.max_tokens=2048; "
        "phase1.GROUP.KEY=VALUE for one phase; may be repeated",
    )

    change = commands.add_parser(
        "convert",
        help="BART checkpoints between Hugging Face's format and fairseq's",
        description="Convert a folder of Hugging Face's BART to a stock fairseq checkpoint, with dict.txt, "
        "encoder.json and vocab.bpe beside it: --from-hf DIR --to FILE. Or back, from a checkpoint of BART or of a VAE "
        "with cross-attention injection: --from FILE --to-hf DIR. Existing files are not overwritten.",
    )
    start = change.add_mutually_exclusive_group(required=True)
    start.add_argument(
        "--from-hf",
        metavar="DIR",
        help="folder with config.json, model.safetensors (or pytorch_model.bin), vocab.json and merges.txt",
    )
    start.add_argument("--from", dest="from_fairseq", metavar="FILE", help="a fairseq checkpoint")
    end = change.add_mutually_exclusive_group(required=True)
    end.add_argument("--to", metavar="FILE", help="fairseq checkpoint to write, e.g. DIR/model.pt")
    end.add_argument("--to-hf", metavar="DIR", help="folder to write")

    add_evaluate(commands)

    line = commands.add_parser(
        "interpolate",
        help="sentences on the line between two sentences' latents",
        description="Decode points on the straight line between the posterior means of two sentences.",
    )
    add_model(line)
    line.add_argument("start", metavar="FROM", help="the first sentence")
    line.add_argument("end", metavar="TO", help="the last sentence")
    line.add_argument("--steps", type=int, default=7, help="sentences to print, with both ends (default: 7)")
    line.add_argument("--beam", type=int, default=5, help="beam width (default: 5)")
    line.add_argument(
        "--sentencepiece-model",
        metavar="FILE",
        help="encode the sentences with it (default: what lies beside checkpoint or data; else they are tokens)",
    )
    return main


def add_evaluate(commands) -> None:
    command = commands.add_parser(
        "evaluate",
        help="likelihood, use of z, reconstructions and samples of one or several checkpoints",
        description="Evaluate checkpoints at the ELBO's own weights: ELBO, importance-weighted likelihood, "
        "perplexities with their denominators, mutual information, active units, what other z's cost, reconstructions "
        "and samples. "
        "Several checkpoints give a table as well.",
    )
    command.add_argument(
        "paths",
        metavar="CHECKPOINT ... DATA",
        nargs="+",
        help="checkpoints of bart_vae, then fairseq-preprocess' folder",
    )
    command.add_argument("--split", default="test", help="the split (default: test)")
    command.add_argument("--samples", type=int, default=20, metavar="K", help="z's of each sentence (default: 20)")
    command.add_argument("--json", metavar="FILE", help="also write the numbers there; of several, as a list")
    command.add_argument("--markdown", metavar="FILE", help="also write the table of all checkpoints there")
    command.add_argument(
        "--generate",
        type=int,
        default=1000,
        metavar="N",
        help="sentences of the split to reconstruct (the first ones) and of the prior to sample; 0 leaves text out "
        "(default: 1000)",
    )
    command.add_argument(
        "--language-model", metavar="CHECKPOINT", help="one trained with --zero-latent, to hold -ELBO to"
    )
    command.add_argument(
        "--labels", metavar="FILE", help="a label a line for each sentence of the split, for a linear classifier on mu"
    )
    command.add_argument("--paper", choices=sorted(PAPERS), help="print its rows, and ours under its definitions")
    command.add_argument(
        "--mi-batch",
        type=int,
        metavar="B",
        help="mutual information within batches of B sentences as well, as older papers define it",
    )
    command.add_argument(
        "--words", type=int, help="the split's words, one more a sentence (default: counted by joining the pieces)"
    )
    command.add_argument("--seed", type=int, help="of all streams (default: the model's)")
    command.add_argument("--max-tokens", type=int, default=4096, help="tokens in a batch (default: 4096)")
    command.add_argument(
        "--keep",
        metavar="DIR",
        help="folder for posteriors, z, likelihoods, texts and samples; of several checkpoints, one each below it. "
        "A later run, or one after an interruption, uses what is there",
    )


def add_model(command: argparse.ArgumentParser) -> None:
    command.add_argument("checkpoint", metavar="CHECKPOINT", help="a checkpoint of bart_vae")
    command.add_argument("data", metavar="DATA", help="folder that fairseq-preprocess wrote")


def measure(args: argparse.Namespace) -> None:
    """Evaluate one or several checkpoints; what stands before DATA are checkpoints."""
    from ..evaluate import evaluate
    from ..report.render import as_json, as_markdown
    from ..report.text import beside_paper, comparison, names, table

    checkpoints, data = args.paths[:-1], args.paths[-1]
    if not checkpoints:
        raise ValueError(f"{data}: expected one or more checkpoints, then the data folder")
    for flag, path in (("--json", args.json), ("--markdown", args.markdown)):
        folder = os.path.dirname(os.path.abspath(path or "."))
        if not os.path.isdir(folder):
            raise ValueError(f"{flag} {path}: the folder {folder} does not exist")
    mi_batch = args.mi_batch or (PAPERS[args.paper].mi_batch if args.paper else None)
    results = []
    keep = [args.keep] * len(checkpoints)
    if args.keep and len(checkpoints) > 1:
        keep = [os.path.join(args.keep, name) for name in names(checkpoints)]
    for checkpoint, folder in zip(checkpoints, keep):
        numbers = evaluate(
            checkpoint,
            data,
            args.split,
            samples=args.samples,
            words=args.words,
            max_tokens=args.max_tokens,
            seed=args.seed,
            generate=args.generate,
            language_model=args.language_model,
            labels=args.labels,
            mi_batch=mi_batch,
            keep=folder,
        )
        print((f"{checkpoint}\n" if len(checkpoints) > 1 else "") + table(numbers), flush=True)
        results.append(numbers)
    if len(results) > 1:
        print("\n" + comparison(results))
    if args.paper:
        print("\n" + beside_paper(results, args.paper))
    if args.markdown:
        write(args.markdown, as_markdown(results, args.paper))
    if args.json:
        write(args.json, as_json(results))


def run(args: argparse.Namespace) -> None:
    if args.command == "path":
        print(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    elif args.command == "finetune":
        from ..finetune.run import Finetuning

        lengths = {phase: getattr(args, f"{phase}_updates") for phase in recipe.PHASES}
        updates = {phase: length for phase, length in lengths.items() if length is not None}
        Finetuning(args.data, args.output, args.recipe, args.bart, args.set, updates).run()
    elif args.command == "convert":
        from ..checkpoints.convert import from_hf, to_hf

        if bool(args.from_hf) != bool(args.to):
            raise ValueError("expected --from-hf DIR with --to FILE, or --from FILE with --to-hf DIR")
        if args.from_hf:
            heads = from_hf(args.from_hf, args.to)
            print(f"{args.to}; beside it dict.txt, encoder.json, vocab.bpe")
            if heads:
                print(f"left out: {', '.join(heads)}")
        else:
            names = to_hf(args.from_fairseq, args.to_hf)
            print(f"{args.to_hf}: {', '.join(names)}")
            if "vocab.json" not in names:
                print("no tokenizer: it needs dict.txt, encoder.json and vocab.bpe (GPT-2's BPE) beside the checkpoint")
    elif args.command == "evaluate":
        measure(args)
    elif args.command == "interpolate":
        from .. import hub
        from ..base.text import find_bpe
        from ..checkpoints.read import folders

        given = args.sentencepiece_model
        settings = {"bpe": "sentencepiece", "sentencepiece_model": given}
        bpe = settings if given else find_bpe(folders(args.checkpoint, args.data))
        vae = hub.load(args.checkpoint, args.data, bpe)
        print("\n".join(vae.interpolate(args.start, args.end, args.steps, beam=args.beam)))


def main(argv: Optional[List[str]] = None) -> int:
    """Run a subcommand; bad input is one line on standard error and exit status 1."""
    args = parser().parse_args(argv)
    terminate = signal.signal(signal.SIGTERM, signal.default_int_handler)
    disabled = logging.root.manager.disable
    logging.disable(logging.ERROR)  # fairseq's reports, and errors that are printed below
    try:
        run(args)
    except (ValueError, OSError) as error:
        print(f"fairseq-vae {args.command}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"fairseq-vae {args.command}: interrupted; run it again", file=sys.stderr)
        return 130
    finally:
        logging.disable(disabled)
        signal.signal(signal.SIGTERM, terminate)
    return 0
