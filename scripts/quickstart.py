"""From text to a trained, measured and sampled text VAE, through fairseq's own command lines.

Text is prepared, encoded with sentencepiece and binarised; a small BART VAE learns in two phases, first to reconstruct
(beta = 0, z = mu), then the ELBO with annealing and free bits; then it is evaluated and sampled. Every command is
printed, and can be run by hand. Interrupted or run again, this goes on where it stopped.
"""

import argparse
import hashlib
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from typing import Callable, Dict, List, Optional

ROOT = Path(__file__).resolve().parent.parent

# full: about 11 minutes of training on two CPU cores; smoke: the same path in seconds
SIZES = {
    "full": {
        **{"limit": 0, "vocabulary": 4000, "layers": 2, "width": 192, "heads": 4, "tokens": 1536},
        **{"lr": 0.002, "phase1": 450, "phase2": 1050, "every": 150},
    },
    "smoke": {
        **{"limit": 3000, "vocabulary": 800, "layers": 2, "width": 64, "heads": 2, "tokens": 1024},
        **{"lr": 0.005, "phase1": 180, "phase2": 120, "every": 60},
    },
}
FREE_BITS = 0.25
POSITIONS = 256  # of the model: the longest sentence in pieces, <s> and </s> counted
CHAT = ("I like to play video games.", "What did you do over the weekend?")


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
        self.step("text", out / "text", self.prepare_text)
        self.step("sentencepiece model and pieces", out / "pieces", self.encode)
        self.step("binarised text", out / "data-bin", self.binarise)
        for phase, what in ((1, "reconstruction"), (2, "the ELBO, with annealing and free bits")):
            self.step(
                f"phase {phase}: {what}", out / f"phase{phase}.done", lambda target, n=phase: self.train(n, target)
            )
        self.step("training curves", out / "curves.png", self.plot)
        self.step("evaluation", out / "evaluation.txt", self.evaluate)
        self.step("samples", out / "samples.txt", self.sample)
        print("\n" + (out / "evaluation.txt").read_text(encoding="utf-8"))
        print((out / "samples.txt").read_text(encoding="utf-8"))
        print(f"Curves: {out / 'curves.png'}. Model: {out / 'phase2/checkpoint_best.pt'}. All in {minutes(started)}.")

    def check_settings(self) -> None:
        """One folder, one run: refuse to mix steps of different settings."""
        path = self.output / "settings.json"
        if path.exists():
            if json.loads(path.read_text(encoding="utf-8")) != self.settings:
                fail(f"{self.output} holds a run with other settings or data: give another --output, or delete it")
        else:
            write(path.with_name(".settings.json"), json.dumps(self.settings, indent=2))
            path.with_name(".settings.json").replace(path)

    def step(self, name: str, target: Path, action: Callable[[Path], None]) -> None:
        """Make `target` unless it is there; `action` writes beside it, so no half-written step is taken for done."""
        if target.exists():
            print(f"✓ {name}: done before")
            return
        print(f"▶ {name}", flush=True)
        started = time.time()
        temporary = target.with_name(f".{target.name}")
        if temporary.is_dir():
            shutil.rmtree(temporary)
        action(temporary)
        temporary.replace(target)
        print(f"✓ {name}: {minutes(started)}", flush=True)

    def prepare_text(self, target: Path) -> None:
        command = [sys.executable, str(ROOT / "scripts/prepare_data.py"), "--output", str(target)]
        command += ["--data", str(self.data)] if self.data else []
        command += ["--limit", str(self.size["limit"])] if self.size["limit"] else []
        call(command)

    def encode(self, target: Path) -> None:
        import sentencepiece

        target.mkdir(parents=True)
        text = self.output / "text"
        try:
            sentencepiece.SentencePieceTrainer.train(
                sentence_iterator=iter((text / "train.txt").read_text(encoding="utf-8").splitlines()),
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
        model = sentencepiece.SentencePieceProcessor(model_file=str(target / "sentencepiece.model"))
        for split in ("train", "valid", "test"):
            lines = (text / f"{split}.txt").read_text(encoding="utf-8").splitlines()
            encoded = "".join(" ".join(model.encode(line, out_type=str)) + "\n" for line in lines)
            for number, pieces in enumerate(encoded.splitlines(), 1):
                if not 0 < len(pieces.split()) <= POSITIONS - 2:
                    fail(
                        f"{text / split}.txt: line {number} has {len(pieces.split())} pieces, expected 1 to "
                        f"{POSITIONS - 2}; split it or leave it out: {lines[number - 1][:60]!r}"
                    )
            (target / f"{split}.txt").write_text(encoded, encoding="utf-8")

    def binarise(self, target: Path) -> None:
        pieces = self.output / "pieces"
        prefs = [
            part for split in ("train", "valid", "test") for part in (f"--{split}pref", str(pieces / f"{split}.txt"))
        ]
        call(["fairseq-preprocess", "--only-source", *prefs, "--destdir", str(target), "--workers", "2"], quiet=True)

    def train(self, phase: int, target: Path) -> None:
        size, out = self.size, self.output
        sizes = [
            f"--{side}-{flag}={value}"
            for side in ("encoder", "decoder")
            for flag, value in (
                ("layers", size["layers"]),
                ("embed-dim", size["width"]),
                ("ffn-embed-dim", 4 * size["width"]),
                ("attention-heads", size["heads"]),
            )
        ]
        updates = size[f"phase{phase}"]
        if phase == 1:
            objective = ["--deterministic-latent", "--kl-weight=0"]
        else:
            objective = [
                f"--finetune-from-model={out / 'phase1/checkpoint_last.pt'}",
                *("--kl-schedule=linear", f"--kl-warmup-updates={updates // 2}", f"--free-bits={FREE_BITS}"),
            ]
        command = [
            *("fairseq-train", str(out / "data-bin"), "--user-dir=fairseq_vae", "--task=vae_denoising"),
            *("--arch=bart_vae_small", *sizes, "--latent-dim=32"),
            *(f"--max-source-positions={POSITIONS}", f"--max-target-positions={POSITIONS}"),
            *("--criterion=vae_cross_entropy", *objective),
            *("--optimizer=adam", "--adam-betas=(0.9,0.98)", "--clip-norm=1", f"--lr={size['lr']}"),
            *("--lr-scheduler=inverse_sqrt", "--warmup-updates=100", f"--max-tokens={size['tokens']}"),
            *(f"--max-update={updates}", f"--save-interval-updates={size['every']}", "--keep-interval-updates=1"),
            *("--no-epoch-checkpoints", "--best-checkpoint-metric=neg_elbo", f"--save-dir={out / f'phase{phase}'}"),
            *("--num-workers=0", "--seed=1", "--log-format=json", "--log-interval=10"),
        ]
        mend(out / f"phase{phase}")
        train(command, out / f"phase{phase}.log", updates)
        write(target, shlex.join(command) + "\n")

    def plot(self, target: Path) -> None:
        logs = [str(self.output / f"phase{phase}.log") for phase in (1, 2)]
        call([sys.executable, str(ROOT / "scripts/plot_training.py"), *logs, "--output", str(target)])

    @property
    def trained(self) -> List[str]:
        return [str(self.output / "phase2/checkpoint_best.pt"), str(self.output / "data-bin")]

    def evaluate(self, target: Path) -> None:
        json_file = str(self.output / "evaluation.json")
        write(
            target, call(["fairseq-vae", "evaluate", *self.trained, "--split=test", f"--json={json_file}"], quiet=True)
        )

    def sample(self, target: Path) -> None:
        checkpoint, data = self.trained
        model = str(self.output / "pieces/sentencepiece.model")
        common = [data, f"--path={checkpoint}", "--user-dir=fairseq_vae", "--task=vae_denoising"]
        common.append(f"--max-len-b={POSITIONS - 2 if self.data else 40}")
        common += ["--bpe=sentencepiece", f"--sentencepiece-model={model}", "--beam=5"]
        prior = call(["fairseq-generate", *common, "--latent-mode=prior", "--num-samples=10"], quiet=True)
        lines = (self.output / "text/test.txt").read_text(encoding="utf-8").splitlines()[:5]
        ends = lines[:2] if self.data else CHAT
        reconstructed = call(
            ["fairseq-interactive", *common, "--buffer-size=5"], quiet=True, stdin="\n".join(lines) + "\n"
        )
        between = call(
            ["fairseq-vae", "interpolate", checkpoint, data, *ends, f"--sentencepiece-model={model}"],
            quiet=True,
        )
        rows = ["Ten sentences from the prior", *(f"  {text}" for _, text in sorted(hypotheses(prior).items()))]
        rows.append("\nFive reconstructions of test sentences")
        for line, (_, text) in zip(lines, sorted(hypotheses(reconstructed).items())):
            rows += [f"  {line}", f"  → {text}"]
        rows.append("\nOn the line between the latents of two sentences")
        rows += [f"  {ends[0]}", *(f"  · {text}" for text in between.splitlines()), f"  {ends[1]}"]
        write(target, "\n".join(rows) + "\n")


def hypotheses(output: str) -> Dict[int, str]:
    """Sentence number to detokenised hypothesis, from what fairseq-generate or -interactive printed."""
    return {int(number): text for number, text in re.findall(r"^D-(\d+)\t\S+\t(.*)$", output, re.MULTILINE)}


def environment() -> Dict[str, str]:
    """Settings that pay on a CPU: threads that sleep while they wait, and large buffers kept for the next update (some
    12 % of an update's time goes into getting them back from the kernel)."""
    return {
        "OMP_WAIT_POLICY": "PASSIVE",
        "MALLOC_MMAP_MAX_": "0",
        "MALLOC_TRIM_THRESHOLD_": "100000000000",
        "MALLOC_TOP_PAD_": "300000000",
        "PYTHONWARNINGS": "ignore",
        **os.environ,
    }


def call(command: List[str], quiet: bool = False, stdin: Optional[str] = None) -> str:
    """Run a command from the clone's root, shown first; returns its standard output, printed too unless quiet."""
    print(f"  $ {shlex.join(command)}", flush=True)
    done = subprocess.run(command, cwd=ROOT, env=environment(), input=stdin, capture_output=True, text=True)
    if done.returncode:
        sys.stderr.write((done.stdout + done.stderr)[-3000:])
        fail(f"{Path(command[0]).name} ended with status {done.returncode}")
    if not quiet:
        sys.stdout.write(done.stdout)
    return done.stdout


def train(command: List[str], log: Path, updates: int) -> None:
    """Run fairseq-train under a progress bar, its output appended to a log."""
    from tqdm import tqdm

    print(f"  $ {shlex.join(command)}", flush=True)
    interval = 0.5 if sys.stderr.isatty() else 15
    with open(log, "a", encoding="utf-8") as file, tqdm(total=updates, unit="update", mininterval=interval) as bar:
        process = subprocess.Popen(
            command, cwd=ROOT, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        for line in process.stdout:
            file.write(line)
            found = re.search(r"\| train_inner \| (\{.*\})$", line)
            if found:
                values = json.loads(found.group(1))
                shown = (
                    f"rec {float(values['rec']):.1f} kl {float(values['kl']):.1f} β {float(values['kl_weight']):.2f}"
                )
                bar.set_postfix_str(shown, refresh=False)
                bar.update(int(values["num_updates"]) - bar.n)
        process.wait()
    if process.returncode:
        tail = log.read_text(encoding="utf-8").splitlines()
        errors = [line for line in tail if "ERROR" in line][-1:] or tail[-5:]
        sys.stderr.write("\n".join(errors) + "\n")
        fail(f"fairseq-train ended with status {process.returncode}; its log is {log}")


def mend(folder: Path) -> None:
    """Replace checkpoints that a kill cut off: fairseq writes one file, then copies it to the others byte by byte."""
    whole = [path for path in folder.glob("checkpoint*.pt") if zipfile.is_zipfile(path)]
    for name in ("checkpoint_last.pt", "checkpoint_best.pt"):
        path = folder / name
        if path.exists() and path not in whole:
            path.unlink()
            if whole:
                newest = max(whole, key=lambda found: found.stat().st_mtime)
                shutil.copyfile(newest, folder / ".mended")
                (folder / ".mended").replace(path)


def write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


def fingerprint(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def minutes(started: float) -> str:
    seconds = round(time.time() - started)
    return f"{seconds // 60} min {seconds % 60} s"


def fail(message: str) -> None:
    sys.exit(f"quickstart: {message}")


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="bash scripts/quickstart.sh",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--smoke", action="store_true", help="the same path on little text, in under 2 minutes")
    parser.add_argument("--data", type=Path, help="your own text, UTF-8, one sentence a line (default: English chat)")
    parser.add_argument(
        "--output", type=Path, help="folder for everything made (default: quickstart/NAME in the clone)"
    )
    args = parser.parse_args()
    if args.data and not args.data.is_file():
        fail(f"--data {args.data}: no such file")
    size = "smoke" if args.smoke else "full"
    output = args.output or ROOT / "quickstart" / "-".join([args.data.stem if args.data else "chat", size])
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("quickstart: stopped; run it again to go on"))
    try:
        Quickstart(output.resolve(), args.data and args.data.resolve(), size).run()
    except KeyboardInterrupt:
        fail("interrupted; run it again to go on")


if __name__ == "__main__":
    main()
