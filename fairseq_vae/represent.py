"""What latents are worth as representations: vectors of a VAE, and of models beside it, on labelled or scored text.

Shapes: B sentences of a batch, T tokens, C model width, Z latent dimensions.
"""

import os
from types import SimpleNamespace
from typing import Any, Callable, Dict, Iterable, Iterator, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from .base.errors import InputError
from .base.labelled import Task
from .base.text import read_dictionary
from .checkpoints.load import check_alone
from .checkpoints.read import model_settings, read_checkpoint
from .hub import BARTVAEHubInterface, settings_of
from .latent.pooling import poolings
from .measure.dimensions import OfTask, read_task_dimensions
from .measure.representation import Figure, drawn, needed, probed
from .measure.seeds import OverSeeds
from .model import BARTVAEModel

__all__ = ["BART", "MU", "NAMES", "Found", "Reader", "Summary", "load_bart", "represent", "summary"]

MU, STATES, BART, LANGUAGE_MODEL = NAMES = ("mu", "encoder states", "BART", "language model")
Read = Callable[[Any, Dict[str, Any]], Dict[str, Tensor]]


class Reader:
    """The vectors of sentences under a model, each distinct sentence encoded once and kept in memory.

    Args:
        vae: a hub interface
        read: from its model and a batch to vectors by name, B x any each
        has_target: whether the batches have what a decoder reads
    """

    def __init__(self, vae: BARTVAEHubInterface, read: Read, has_target: bool = False):
        self.vae, self.read, self.has_target = vae, read, has_target
        self.known: Dict[str, Dict[str, np.ndarray]] = {}

    def add(self, sentences: Iterable[Tuple[str, str]], name: str) -> None:
        """Encode sentences that are not known yet.

        Args:
            sentences: each with its place for messages
            name: of the progress bar

        Raises:
            InputError: a sentence is empty or longer than the model's positions, or its vector is not finite; names
                its place
        """
        new = {text: place for text, place in sentences if text not in self.known}
        tokens = [self.tokens(text, place) for text, place in new.items()]
        texts = list(new)
        with tqdm(total=len(texts), desc=name, unit="sentence", leave=False) as bar:
            for sample in self.vae.batches(tokens, has_target=self.has_target):
                with torch.no_grad():
                    found = self.read(self.vae.model, sample)
                rows = {key: value.double().cpu().numpy() for key, value in found.items()}
                numbers = sample["id"].tolist()
                bad = [~np.isfinite(value.reshape(len(numbers), -1)).all(1) for value in rows.values()]
                for number in np.asarray(numbers)[np.any(bad, 0)][:1]:
                    raise InputError(
                        f"{new[texts[number]]}: its vector under {name} has numbers that are not finite: the model's "
                        "training has diverged; take an earlier checkpoint"
                    )
                for row, number in enumerate(numbers):
                    self.known[texts[number]] = {key: value[row] for key, value in rows.items()}
                bar.update(len(numbers))

    def tokens(self, text: str, place: str) -> Tensor:
        """The tokens of a sentence; arguments and errors as of `add`."""
        try:
            return self.vae.tokens(text)
        except InputError as error:
            raise InputError(f"{place}: {error}") from error

    def vectors(self, name: str) -> Callable[[Sequence[str]], np.ndarray]:
        """The vectors of a name as a function of sentences, which have been added."""
        return lambda sentences: np.stack([self.known[text][name] for text in sentences])


def of_vae(model: Any, sample: Dict[str, Any]) -> Dict[str, Tensor]:
    """The posterior's mean, and the states of the encoder as the posterior pools them: all it knows before z's noise.

    Args:
        model: a bart_vae
        sample: a batch of B sentences

    Returns:
        B x Z, and B x C, or with K latent vectors B x KC
    """
    hidden, padding = model.encoder.states(sample["net_input"]["src_tokens"])
    pooled = model.encoder.posterior.pooling(hidden, padding)
    return {MU: model.encoder.posterior(hidden, padding).mean, STATES: pooled.flatten(1)}


def of_bart(model: Any, sample: Dict[str, Any]) -> Dict[str, Tensor]:
    """The mean of the encoder's last states, without padding, B x C; arguments as of `of_vae`."""
    hidden, padding = model.encoder.states(sample["net_input"]["src_tokens"])
    return {BART: poolings["mean"](hidden.size(2))(hidden, padding)}


def of_language_model(model: Any, sample: Dict[str, Any]) -> Dict[str, Tensor]:
    """The mean of the decoder's last states over the tokens that it predicts, B x C; the batch has a target."""
    hidden, _ = model(**sample["net_input"], features_only=True)
    padding = sample["target"].eq(model.decoder.padding_idx)
    return {LANGUAGE_MODEL: poolings["mean"](hidden.size(2))(hidden.transpose(0, 1), padding)}


def load_bart(path: str, batch_size: int = 64) -> BARTVAEHubInterface:
    """A stock BART as a VAE whose latent has not learnt: its encoder is the BART's own.

    Args:
        path: a checkpoint of fairseq's, beside it its dict.txt and BPE
        batch_size: sentences at a time

    Raises:
        InputError: the checkpoint cannot be read, is of no BART, or lacks what belongs beside it
    """
    state = read_checkpoint(path)
    settings = model_settings(state)
    if not settings.arch.startswith(("bart", "mbart")) or settings.arch.startswith(("bart_vae", "bart_cvae")):
        raise InputError(f"--bart {path} is of architecture {settings.arch}, expected a BART's")
    folder = os.path.dirname(os.path.abspath(path))
    if not os.path.isfile(os.path.join(folder, "dict.txt")):
        raise InputError(f"--bart {path}: no dict.txt beside it: put the one of its training there")
    words = read_dictionary(os.path.join(folder, "dict.txt"))
    words.add_symbol("<mask>")
    cfg = SimpleNamespace(_name="denoising")
    task = SimpleNamespace(source_dictionary=words, target_dictionary=words, cfg=cfg)
    with torch.random.fork_rng():  # the latent's weights are drawn, and not used
        model = BARTVAEModel.build_model(settings, task)
    model.checkpoint = f"checkpoint {path}"
    model.load_state_dict(state["model"])
    model = model.cuda() if torch.cuda.is_available() else model
    return BARTVAEHubInterface(None, task, model, settings_of(path, folder, words), batch_size, path)


class Found(NamedTuple):
    """What is found of a task.

    Attributes:
        figures: of all representations
        dimensions: what those of mu say; None of pairs, or where they are not asked for
    """

    figures: List[Figure]
    dimensions: Optional[OfTask]


def represent(
    vae: BARTVAEHubInterface,
    tasks: Sequence[Task],
    shares: Sequence[float] = (0.01, 0.1, 1.0),
    seeds: Sequence[int] = (1, 2, 3),
    most_labels: int = 20_000,
    bart: Optional[BARTVAEHubInterface] = None,
    language_model: Optional[BARTVAEHubInterface] = None,
    dimensions: int = 0,
) -> Iterator[Found]:
    """Hold the mu of sentences to other representations of them, task by task.

    Nothing of the models is trained. No figure depends on the batch size, but for the rounding of vectors.

    Args:
        vae: the model
        tasks: of sentences with labels or of pairs with scores
        shares: of the labels of sentences, above 0 to 1
        seeds: of which labels a share has
        most_labels: training items that are the whole
        bart: the BART before the VAE's training, of `load_bart`
        language_model: trained with --zero-latent
        dimensions: of mu, and principal directions, to read on the test sentences of tasks of labels; 0: none

    Yields:
        what is found of each task

    Raises:
        InputError: a model is of another kind, a share leaves a label without a sentence, a sentence cannot be
            encoded, or labels of test are too few to be read (see measure.dimensions)
    """
    check_latent(vae)
    readers: List[Tuple[Sequence[str], Reader]] = [((MU, STATES), Reader(vae, of_vae))]
    if bart is not None:
        readers.append(((BART,), Reader(bart, of_bart)))
    if language_model is not None:
        check_language_model(language_model)
        readers.append(((LANGUAGE_MODEL,), Reader(language_model, of_language_model, has_target=True)))
    for task in tasks:
        draws = drawn(task, shares, seeds, most_labels)
        for names, reader in readers:
            reader.add(needed(task, draws), f"{task.name}: {names[0]}")
        representations = {name: reader.vectors(name) for names, reader in readers for name in names}
        figures = probed(task, representations, draws, progress=True)
        read = dimensions and task.kind == "classification"
        yield Found(figures, read_task_dimensions(task, representations[MU], dimensions) if read else None)


def check_latent(vae: BARTVAEHubInterface) -> None:
    """Refuse a model without a posterior of sentences alone.

    Raises:
        InputError: it is conditional, or has no z
    """
    check_alone(vae.model, vae.checkpoint)
    if vae.model.encoder.zero_latent:
        raise InputError(f"checkpoint {vae.checkpoint} has no z (--zero-latent): give it as --language-model")


def check_language_model(language_model: BARTVAEHubInterface) -> None:
    """Refuse a model that is none of language alone.

    Raises:
        InputError: it has a z, or is conditional
    """
    check_alone(language_model.model, language_model.checkpoint)
    if not language_model.model.encoder.zero_latent:
        raise InputError(
            f"--language-model {language_model.checkpoint} has a latent; expected a model trained with --zero-latent"
        )


class Summary(NamedTuple):
    """A figure's mean over seeds, and half of its 95 % interval by Student's t.

    Attributes:
        figure: accuracy, macro_f1, pearson or spearman
        mean: over the seeds
        half: of the interval; None where there is one value alone
        others: as in Figure
    """

    task: str
    target: str
    representation: str
    method: str
    share: Optional[float]
    labels: int
    figure: str
    mean: float
    half: Optional[float]


def summary(figures: Sequence[Figure]) -> List[Summary]:
    """The means over seeds of all figures, in their order.

    >>> one = Figure("reviews", "label", "mu", "logistic", 0.1, 100, 1, 1.0, 0.8, accuracy=0.7, macro_f1=0.7)
    >>> [first, _] = summary([one, one._replace(seed=2, accuracy=0.9)])
    >>> first.figure, first.mean, round(first.half, 2)
    ('accuracy', 0.8, 1.27)
    """
    found = []
    groups = [(row.task, row.target, row.representation, row.method, row.share, row.labels) for row in figures]
    for group in dict.fromkeys(groups):
        same = [row for row, own in zip(figures, groups) if own == group]
        for name in ("accuracy", "macro_f1", "pearson", "spearman"):
            values = [getattr(row, name) for row in same if getattr(row, name) is not None]
            if values:
                mean, half = OverSeeds.of(values)
                found.append(Summary(*group, name, mean, half if len(values) > 1 else None))
    return found
