"""From text to a trained, measured and sampled text VAE, through fairseq's own command lines.

Text is prepared, encoded with sentencepiece and binarised; then `fairseq-vae finetune` trains a small BART VAE from
random weights in two phases, first to reconstruct (beta = 0, z = mu), then the ELBO with annealing and free bits, and
evaluates and samples it. Every command is printed, and can be run by hand. Interrupted or run again, this goes on where
it stopped.
"""

import argparse
import importlib.util
import json
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import Optional


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="bash scripts/quickstart.sh",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--smoke", action="store_true", help="the same path on little text, in some 2 minutes")
    parser.add_argument("--data", type=Path, help="your own text, UTF-8, one sentence a line (default: English chat)")
    parser.add_argument(
        "--output", type=Path, help="folder for everything made (default: quickstart/NAME in the clone)"
    )
    return parser.parse_args()


ARGUMENTS = arguments()  # before the package is needed: --help works in a clone that has nothing installed

from fairseq_vae.base.errors import InputError  # noqa: E402
from fairseq_vae.base.files import fingerprint, write  # noqa: E402
from fairseq_vae.base.lines import read_lines  # noqa: E402
from fairseq_vae.finetune.process import call, run  # noqa: E402
from fairseq_vae.finetune.steps import minutes, step  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent

# full: 5 to 12 minutes of training on two CPU cores; smoke: the same path in seconds
SIZES = {
    "full": {
        **{"limit": 0, "vocabulary": 4000, "layers": 2, "width": 192, "heads": 4, "tokens": 1536},
        **{"lr": 0.002, "phase1": 450, "phase2": 1050, "every": 150},
    },
    "smoke": {
        **{"limit": 3000, "vocabulary": 800, "layers": 2, "width": 64, "heads": 2, "tokens": 1024},
        **{"lr": 0.005, "phase1": 120, "phase2": 100, "every": 50},
    },
}
FREE_BITS = 0.25
POSITIONS = 256  # of the model: the longest sentence in pieces, <s> and </s> counted


class Quickstart:
    def __init__(self, output: Path, data: Optional[Path], size: str):
        self.output, self.data = output, data
        self.size = SIZES[size]
        self.settings = {
            "size": size,
            **self.size,
            "free_bits": FREE_BITS,
            "data": fingerprint(data) if data else "chitchat-dataset",
        }

    def run(self) -> None:
        started = time.time()
        self.output.mkdir(parents=True, exist_ok=True)
        self.check_settings()
        out = self.output
        step("text", out / "text", self.prepare_text)
        step("sentencepiece model and pieces", out / "pieces", self.encode)
        step("binarised text", out / "data-bin", self.binarise)
        self.finetune()
        step("training curves", out / "curves.png", self.plot)
        print(f"Curves: {out / 'curves.png'}. All in {minutes(started)}.")

    def check_settings(self) -> None:
        """One folder, one run: refuse to mix steps of different settings."""
        path = self.output / "settings.json"
        if path.exists():
            try:
                kept = json.loads(path.read_text(encoding="utf-8"))
            except ValueError as error:
                fail(f"{path} is damaged ({error}): give another --output, or delete {self.output}")
            if kept != self.settings:
                fail(f"{self.output} holds a run with other settings or data: give another --output, or delete it")
        else:
            write(path, json.dumps(self.settings, indent=2) + "\n")

    def prepare_text(self, target: Path) -> None:
        command = [sys.executable, str(ROOT / "scripts/prepare_data.py"), "--output", str(target)]
        command += ["--data", str(self.data)] if self.data else []
        command += ["--limit", str(self.size["limit"])] if self.size["limit"] else []
        call(command)

    def encode(self, target: Path) -> None:
        import sentencepiece
        from fairseq.data import Dictionary

        from fairseq_vae.base.text import build_bpe
        from fairseq_vae.finetune.encode import Limit, encode, loss

        target.mkdir(parents=True)
        text = self.output / "text"
        try:
            sentencepiece.SentencePieceTrainer.train(
                sentence_iterator=iter(read_lines(text / "train.txt")),
                model_prefix=str(target / "sentencepiece"),
                vocab_size=self.size["vocabulary"],
                hard_vocab_limit=False,  # a small text may not have so many pieces
                character_coverage=1.0,
                bos_id=-1,
                eos_id=-1,
                minloglevel=2,
            )
        except RuntimeError as error:
            fail(f"sentencepiece cannot learn {self.size['vocabulary']} pieces from this text: {error}")
        bpe = build_bpe({"bpe": "sentencepiece", "sentencepiece_model": str(target / "sentencepiece.model")})
        dictionary = Dictionary()
        for piece in map(bpe.model.id_to_piece, range(bpe.model.get_piece_size())):
            dictionary.add_symbol(piece)
        limit = Limit(POSITIONS - 2, "the model's positions take", " or leave it out")
        parts = [encode(text / f"{split}.txt", bpe, dictionary, limit) for split in ("train", "valid", "test")]
        for part in parts:
            write(target / part.path.name, "".join(f"{pieces}\n" for pieces in part.pieces))
        changed = loss(parts)
        if changed:
            print(f"  {changed}", flush=True)

    def binarise(self, target: Path) -> None:
        pieces = self.output / "pieces"
        prefs = [
            part for split in ("train", "valid", "test") for part in (f"--{split}pref", str(pieces / f"{split}.txt"))
        ]
        call(["fairseq-preprocess", "--only-source", *prefs, "--destdir", str(target), "--workers", "2"])
        shutil.copyfile(pieces / "sentencepiece.model", target / "sentencepiece.bpe.model")

    def finetune(self) -> None:
        size = self.size
        command = ["fairseq-vae", "finetune", str(self.output / "data-bin"), f"--output={self.output / 'vae'}"]
        command += [f"--phase1-updates={size['phase1']}", f"--phase2-updates={size['phase2']}"]
        for setting in (
            *(
                f"model.{side}_{key}={value}"
                for side in ("encoder", "decoder")
                for key, value in (
                    ("layers", size["layers"]),
                    ("embed_dim", size["width"]),
                    ("ffn_embed_dim", 4 * size["width"]),
                    ("attention_heads", size["heads"]),
                )
            ),
            *(f"model.max_{side}_positions={POSITIONS}" for side in ("source", "target")),
            f"dataset.max_tokens={size['tokens']}",
            "dataset.num_workers=0",
            f"optimization.lr=[{size['lr']}]",
            "lr_scheduler.warmup_updates=100",
            f"phase2.criterion.free_bits={FREE_BITS}",
            f"phase2.criterion.kl_warmup_updates={size['phase2'] // 2}",
            f"checkpoint.save_interval_updates={size['every']}",
        ):
            command.append(f"--set={setting}")
        run(command)

    def plot(self, target: Path) -> None:
        logs = [str(self.output / f"vae/phase{phase}.log") for phase in (1, 2)]
        call([sys.executable, str(ROOT / "scripts/plot_training.py"), *logs, "--output", str(target)])


def fail(message: str) -> None:
    sys.exit(f"quickstart: {message}")


def main() -> None:
    args = ARGUMENTS
    if args.data and not args.data.is_file():
        fail(f"--data {args.data}: no such file")
    if importlib.util.find_spec("matplotlib") is None:  # of the last step
        fail("the package matplotlib is missing: pip install matplotlib")
    size = "smoke" if args.smoke else "full"
    output = args.output or ROOT / "quickstart" / "-".join([args.data.stem if args.data else "chat", size])
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("quickstart: stopped; run it again to go on"))
    try:
        Quickstart(output.resolve(), args.data and args.data.resolve(), size).run()
    except InputError as error:
        fail(str(error))
    except KeyboardInterrupt:
        fail("interrupted; run it again to go on")


if __name__ == "__main__":
    main()
