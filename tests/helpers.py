"""Tiny models and batches, made in memory; nothing outside the clone is needed."""

import collections
import contextlib
import importlib.util
import itertools
import pickle
import sys
from argparse import Namespace
from types import SimpleNamespace
from unittest import mock

import torch
from fairseq.data import Dictionary
from fairseq.models.bart.model import BARTModel, bart_base_architecture
from fairseq.sequence_generator import SequenceGenerator
from omegaconf import OmegaConf

from fairseq_vae.base.errors import InputError
from fairseq_vae.base.registry import Registry
from fairseq_vae.criterion import VAECrossEntropyCriterion
from fairseq_vae.flags.criterion import criterion_config
from fairseq_vae.latent.blocks import least_vectors
from fairseq_vae.latent.injection import injections
from fairseq_vae.latent.posterior import posteriors
from fairseq_vae.latent.prior import priors
from fairseq_vae.model import MODELS

B, T, U, Z, V = 5, 9, 8, 6, 30
SMALL = {  # sizes of priors that would take tests long
    "flow": {"prior_flow_transforms": 1, "prior_flow_hidden": 8},
    "vamp": {"vamp_components": 3, "vamp_length": 6},
}
ZUKO = importlib.util.find_spec("zuko") is not None  # which flows need, and old Pythons lack


def choosing(registry, name, **flags):
    """The flags of a model that has a part, small, with as many latent vectors as the part needs."""
    least = least_vectors(registry, name)
    several = {"latent_vectors": least, "latent_pooling": "attention"} if least > 1 else {}
    small = SMALL.get(name, {}) if registry is priors else {}
    arch = {"arch": "bart_cvae_tiny"} if getattr(registry[name], "conditional", False) else {}
    return {**arch, f"latent_{registry.kind}": name, **several, **small, **flags}


def every_injection(vectors):
    """The injections that work with so many latent vectors and two decoder layers, and all of these together."""
    sizes = SimpleNamespace(layers=2, layerdrop=0.0, embed_dim=16, output_dim=16)
    cfg = SimpleNamespace(latent_vectors=vectors, no_cross_attention=False, decoder=sizes)

    def works(name):
        try:
            injections[name](layers=2, slots=1).check(cfg)
        except InputError:
            return False
        return True

    names = [name for name in injections.names() if works(name)]
    return [*names, ",".join(names)]


PRIORS, POSTERIORS = (
    {name: choosing(registry, name) for name in registry.names() if ZUKO or name != "flow"}
    for registry in (priors, posteriors)
)
EVERY_INJECTION = every_injection(1)
GIVEN = " given x"  # of a conditional model
EVERY_LATENT = [*EVERY_INJECTION, *(f"{injection} x 2" for injection in every_injection(2))]  # of two vectors
EVERY_LATENT += [f"{injection}{GIVEN}" for injection in ("self-attention", EVERY_INJECTION[-1])]


@contextlib.contextmanager
def plugged(folder):
    """The module of a plug-in from outside the package, whose parts leave the registries at the end."""
    kept = [(part, dict(part)) for each in Registry.every for part in (each.parts, each.configs, each.helps)]
    sys.path.insert(0, str(folder.parent))
    try:
        yield importlib.import_module(folder.name)
    finally:
        sys.path.remove(str(folder.parent))
        sys.modules.pop(folder.name, None)
        for part, before in kept:
            part.clear()
            part.update(before)
        for listener in {listener for each in Registry.every for listener in each.listeners}:
            listener()


def abreast(*columns):
    """Rows in which each entry of each column stands at least once, beside those of the other columns."""
    count = max(map(len, columns))
    return list(zip(*(itertools.islice(itertools.cycle(column), count) for column in columns)))


def command_line(flags):
    """Flags by name as a command has them."""
    return " ".join(f"--{name.replace('_', '-')}={value}" for name, value in flags.items())


def dictionary(words=V - 5):
    result = Dictionary()
    for i in range(words):
        result.add_symbol(f"w{i}")
    result.add_symbol("<mask>")
    return result


def task(**cfg):
    words = dictionary()
    return SimpleNamespace(source_dictionary=words, target_dictionary=words, cfg=SimpleNamespace(**cfg))


def arguments(injection="self-attention", **flags):
    """Flags of a tiny model without dropout; "INJECTION x K" has K latent vectors."""
    injection = injection.replace(GIVEN, "")
    injection, _, vectors = injection.partition(" x ")
    if vectors:
        several = {"latent_vectors": int(vectors), "latent_dim": Z // int(vectors), "latent_pooling": "attention"}
        flags = {**several, **flags}
    sizes = {"layers": 2, "embed_dim": 16, "ffn_embed_dim": 32, "attention_heads": 2}
    return Namespace(
        **{
            **{f"{side}_{key}": value for side in ("encoder", "decoder") for key, value in sizes.items()},
            "latent_dim": Z,
            "latent_injection": injection,
            "latent_memory_slots": 2,
            "dropout": 0.0,
            "max_source_positions": 32,
            "max_target_positions": 32,
            **flags,
        }
    )


def model(injection="self-attention", std=None, arch="bart_vae", **flags):
    """A tiny model. std: redraw every weight with this deviation, so that z visibly matters."""
    torch.manual_seed(1)
    arch = "bart_cvae" if GIVEN in injection else arch
    built = MODELS["_".join(arch.split("_")[:2])].build_model(arguments(injection, **flags), task())
    if std is not None:
        with torch.no_grad():
            for name, parameter in built.named_parameters():
                if parameter.dim() > 1:
                    parameter.normal_(std=std)
                    if "embed_tokens" in name:
                        parameter[built.encoder.padding_idx] = 0
    return built.eval()


def bart(**flags):
    """A tiny stock BART of the same sizes."""
    args = arguments(**flags)
    args.task = "denoising"
    bart_base_architecture(args)
    return BARTModel.build_model(args, task())


def criterion(**cfg):
    defaults = {"sentence_avg": False, "max_update": 0, "seed": 1}
    return VAECrossEntropyCriterion(task(), criterion_config()(**{**defaults, **cfg}))


def batch(sentences, left_pad=False, extra_padding=0):
    """A batch as fairseq's collater makes it, of lists of word numbers; ids in order."""
    words = dictionary()
    pad, eos, bos = words.pad(), words.eos(), words.bos()

    def merge(rows):
        length = max(map(len, rows)) + extra_padding
        padded = [
            [pad] * (length - len(row)) + row if left_pad and row[0] == bos else row + [pad] * (length - len(row))
            for row in rows
        ]
        return torch.tensor(padded)

    tokens = [[words.index(f"w{i}") for i in sentence] for sentence in sentences]
    source = merge([[bos, *row, eos] for row in tokens])
    return {
        "id": torch.arange(len(tokens)),
        "ntokens": sum(len(row) + 1 for row in tokens),
        "nsentences": len(tokens),
        "target": merge([[*row, eos] for row in tokens]),
        "net_input": {
            "src_tokens": source,
            "src_lengths": source.ne(pad).sum(1),
            "prev_output_tokens": merge([[eos, *row] for row in tokens]),
        },
    }


SENTENCES = [[3, 1, 4, 1, 5], [9, 2], [6, 5, 3, 5, 8, 9, 7], [2, 3, 8], [4, 6, 2, 6]]


def outputs(built, sample, **latent):
    """mu, logvar and the logits of real positions, row by row."""
    with torch.no_grad():
        logits, extra = built(**sample["net_input"], **latent)
    lengths = sample["target"].ne(1).sum(1)
    rows = [row[:length] for row, length in zip(logits, lengths)]
    return extra["posterior"], rows


def hypotheses(built, sample, beam=5):
    generator = SequenceGenerator([built], task().target_dictionary, beam_size=beam, max_len_b=12)
    results = generator.generate([built], sample)
    return [(best["tokens"].tolist(), best["score"].item()) for best, *_ in results]


def write_data(folder, **splits):
    """A folder as fairseq-preprocess --only-source writes it; splits are lists of sentences of word numbers."""
    for split, sentences in splits.items():
        write_sentences(folder / split, sentences)
    return write_dictionary(folder / "dict.txt")


def write_pairs(folder, **splits):
    """A folder as fairseq-preprocess --joined-dictionary writes it; splits are lists of pairs of such sentences."""
    for split, pairs in splits.items():
        for side, name in enumerate(("src", "tgt")):
            write_sentences(folder / f"{split}.src-tgt.{name}", [pair[side] for pair in pairs])
    write_dictionary(folder / "dict.src.txt")
    return write_dictionary(folder / "dict.tgt.txt")


def write_dictionary(path):
    """The file of a dictionary of words of the numbers below V - 5; its folder."""
    words = Dictionary()
    for i in range(V - 5):
        words.add_symbol(f"w{i}")
    words.save(str(path))
    return str(path.parent)


def write_sentences(path, sentences):
    words = dictionary()
    write_tokens(path, [[words.index(f"w{i}") for i in sentence] for sentence in sentences], V - 1)


def write_tokens(path, sentences, size):
    """Sentences of numbers of a dictionary of this size, each of which gets its </s>."""
    from fairseq.data import indexed_dataset

    builder = indexed_dataset.make_builder(f"{path}.bin", "mmap", vocab_size=size)
    for sentence in sentences:
        builder.add_item(torch.tensor([*sentence, dictionary().eos()]))
    builder.finalize(f"{path}.idx")


WORDS = ("a", "barks", "cat", "dog", "sleeps", "the", ".")


def save_vae(folder, *flags, words=WORDS, std=0.3):
    """A tiny VAE over these words as fairseq-train saves it: checkpoint_best.pt and dict.txt in the folder."""
    flags = ("--task=vae_denoising", "--arch=bart_vae_tiny", "--criterion=vae_cross_entropy", *flags)
    return save_trained(folder, "checkpoint_best.pt", flags, words, std)


def save_cvae(folder, *flags, words=WORDS, std=0.3):
    """A tiny conditional VAE, likewise, with the dict.txt alone beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    for side in ("source", "target"):
        (folder / f"dict.{side}.txt").write_text("".join(f"{word} 1\n" for word in words), encoding="utf-8")
    flags = ("--source-lang=source", "--target-lang=target", "--arch=bart_cvae_tiny", *flags)
    flags = ("--task=vae_translation", "--criterion=vae_cross_entropy", *flags)
    built = save_trained(folder, "checkpoint_best.pt", flags, words, std)
    for side in ("source", "target"):
        (folder / f"dict.{side}.txt").unlink()
    return built


def save_bart(folder, *flags, words=WORDS, std=0.3):
    """A tiny stock BART as fairseq-train saves it: model.pt and dict.txt in the folder."""
    sizes = {"layers": 2, "embed-dim": 16, "ffn-embed-dim": 24, "attention-heads": 2}
    given = [f"--{side}-{key}={value}" for side in ("encoder", "decoder") for key, value in sizes.items()]
    positions = ["--max-source-positions=64", "--max-target-positions=64", "--tokens-per-sample=64"]
    return save_trained(
        folder, "model.pt", ("--task=denoising", "--arch=bart_base", *given, *positions, *flags), words, std
    )


def moved(module, scale=0.1):
    """A module whose parameters are off their beginnings, where some laws hold by accident."""
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(scale * torch.randn(parameter.shape, generator=generator))
    return module


CONVERTED = {}  # configurations of parts alone, and their values, by the parts
for registry in Registry.every:
    registry.on_change(CONVERTED.clear)  # a plugged part has flags of its own


def configuration(kind, given):
    """fairseq's configuration of a command's arguments, as convert_namespace_to_omegaconf makes it.

    Its conversion takes most of a second, so it is made once for the same parts without a flag; flags are set by name.

    Args:
        kind: of fairseq's parsers: training, generation, interactive_generation
        given: the arguments
    """
    from fairseq import options

    return converted(kind, options.parse_args_and_arch(getattr(options, f"get_{kind}_parser")(), input_args=given))


def rates(flags, updates):
    """The learning rate of each update of a training with these flags."""
    from fairseq.optim import FairseqOptimizer
    from fairseq.optim.lr_scheduler import build_lr_scheduler

    arguments = ["text", *(f"--{flag}={value}" if value else f"--{flag}" for flag, value in flags.items())]
    cfg = configuration("training", arguments).lr_scheduler
    optimizer = mock.MagicMock(spec=FairseqOptimizer)
    optimizer.get_lr.side_effect = lambda: optimizer.set_lr.call_args[0][0]
    scheduler = build_lr_scheduler(cfg, optimizer)
    return [scheduler.step_update(update) for update in range(updates)]


def converted(kind, args):
    """fairseq's configuration of a command's parsed arguments, see configuration."""
    from fairseq.dataclass.utils import convert_namespace_to_omegaconf, overwrite_args_by_name
    from fairseq.registry import REGISTRIES

    parts = {name: getattr(args, name, None) for name in ("task", "arch", *REGISTRIES)}
    key = (kind, *parts.values())
    if key not in CONVERTED:
        made = convert_namespace_to_omegaconf(Namespace(**parts))
        CONVERTED[key] = pickle.dumps(made), values(made)
    dumped, there = CONVERTED[key]
    cfg = pickle.loads(dumped)  # a deep copy would share stock BART's namespace
    given = {name: value for name, value in vars(args).items() if there is None or differs(value, there.get(name, ()))}
    overwrite_args_by_name(cfg, given)
    return cfg


def values(cfg):
    """Lists of the values in a configuration's groups, by name; None where a group is a namespace, which takes any."""
    found, left = collections.defaultdict(list), [OmegaConf.to_container(cfg)]
    while left:
        for name, value in left.pop().items():
            if isinstance(value, Namespace):
                return None
            left += [value] if isinstance(value, dict) else []
            found[name].append(value)
    return found


def differs(value, others):
    """Whether a value is another than some of these, or of another type."""
    return any(type(value) is not type(other) or value != other for other in others)


def save_trained(folder, name, flags, words, std):
    from fairseq import tasks

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "dict.txt").write_text("".join(f"{word} 1\n" for word in words), encoding="utf-8")
    cfg = configuration("training", [str(folder), *flags])
    torch.manual_seed(1)
    built = tasks.setup_task(cfg.task).build_model(cfg.model, from_checkpoint=True)  # needs no training text
    with torch.no_grad():
        for parameter in built.parameters():
            if parameter.dim() > 1:
                parameter.normal_(std=std)
    history = [{"criterion_name": "", "optimizer_name": "", "lr_scheduler_state": {}, "num_updates": 0}]
    settings = OmegaConf.to_container(cfg, resolve=True, enum_to_str=True)  # as the trainer saves them
    state = {
        "args": None,
        "cfg": settings,
        "model": built.state_dict(),
        "optimizer_history": history,
        "extra_state": {},
    }
    torch.save(state, folder / name)
    return built.eval()


def write_sentencepiece(folder, byte_fallback=False):
    """sentencepiece.bpe.model of a few words; its pieces. byte_fallback: with a piece for each byte, as most have."""
    import sentencepiece

    folder.mkdir(parents=True, exist_ok=True)
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["the dog barks at the cat", "a cat sleeps on the dog"] * 20),
        model_prefix=str(folder / "sentencepiece.bpe"),
        vocab_size=300 if byte_fallback else 40,
        byte_fallback=byte_fallback,
        hard_vocab_limit=False,
        bos_id=-1,
        eos_id=-1,
        minloglevel=2,
    )
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(folder / "sentencepiece.bpe.model"))
    return [pieces.id_to_piece(i) for i in range(pieces.get_piece_size()) if not pieces.is_unknown(i)]


def write_gpt2(folder):
    """encoder.json and vocab.bpe of GPT-2's form with a few merges: every byte has a number; its numbers as symbols."""
    import json

    from fairseq.data.encoders.gpt2_bpe_utils import bytes_to_unicode

    folder.mkdir(parents=True, exist_ok=True)
    merges = ["t h", "th e", "\u0120 a", "\u0120 d", "o g"]
    pieces = [*bytes_to_unicode().values(), *(merge.replace(" ", "") for merge in merges)]
    (folder / "encoder.json").write_text(json.dumps({piece: i for i, piece in enumerate(pieces)}), encoding="utf-8")
    (folder / "vocab.bpe").write_text("#version: 0.2\n" + "\n".join(merges) + "\n", encoding="utf-8")
    return [str(i) for i in range(len(pieces))]
