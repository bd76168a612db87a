"""Published results, as their papers define them; each row was read in a source, and the source is named."""

import math
from typing import Any, Callable, Dict, List, NamedTuple, Optional, Sequence

__all__ = ["PAPERS", "Column", "Numbers", "Paper", "of", "with_starts"]

Numbers = Dict[str, Any]  # evaluate's result


class Column(NamedTuple):
    """A figure of a paper's table.

    Attributes:
        heading: its name and denominator
        ours: our figure under the paper's definition; None if the evaluation has none
        digits: behind the point
    """

    heading: str
    ours: Callable[[Numbers], Optional[float]]
    digits: int = 1


class Paper(NamedTuple):
    """A paper's tables.

    Attributes:
        title: authors, year and title
        definition: of its figures, with units
        source: where its rows were read
        columns: of every table
        tables: data set to rows, each a label and a value a column; a value that is text is printed as it is
        mi_batch: sentences in a batch of its mutual information, if it is one within batches
    """

    title: str
    definition: str
    source: str
    columns: Sequence[Column]
    tables: Dict[str, List[Sequence[Any]]]
    mi_batch: Optional[int] = None


def of(key: str, factor: float = 1.0) -> Callable[[Numbers], Optional[float]]:
    """A function from an evaluation to one of its figures, in the paper's unit.

    >>> of("bleu", 0.01)({"bleu": 29.0}), of("bleu")({"bleu": None})
    (0.29, None)
    """
    return lambda numbers: None if numbers.get(key) is None else numbers[key] * factor


def with_starts(numbers: Numbers) -> float:
    """Perplexity of the importance-weighted NLL, with a start and an end of each sentence among the tokens.

    >>> round(with_starts({"nll_iw": 48.0, "sentences": 10, "tokens": 150}), 1)  # exp(480 / 160)
    20.1
    """
    nats = numbers["nll_iw"] * numbers["sentences"] / (numbers["tokens"] + numbers["sentences"])
    return math.exp(nats) if nats < 709 else math.inf


PAPERS = {
    "he-2019": Paper(
        "He et al. 2019, Lagging Inference Networks, table 1",
        "NLL: 500 importance samples (LSTM-LM: exact; <= a bound); KL; MI: within batches of 32, so at most 3.47. Nats "
        "per sentence; words; z of 32 dimensions, one-layer LSTM.",
        "the paper's table in an OCR copy on GitHub",
        (Column("NLL", of("nll_iw")), Column("KL", of("kl")), Column("MI", of("mi_batch"))),
        {
            "Yahoo": [
                ("CNN-VAE (Yang et al. 2017)", "<=332.1", 10.0, None),
                ("SA-VAE + anneal (Kim et al. 2018)", "<=327.5", 7.19, None),
                ("LSTM-LM", 328.1, None, None),
                ("VAE", 328.8, 0.0, 0.0),
                ("VAE + anneal", 328.6, 0.0, 0.0),
                ("beta-VAE 0.2", 333.1, 18.7, 3.4),
                ("beta-VAE 0.4", 328.5, 3.8, 2.2),
                ("beta-VAE 0.6", 328.6, 0.1, 0.1),
                ("beta-VAE 0.8", 328.8, 0.0, 0.0),
                ("SA-VAE", 329.1, 0.1, 0.0),
                ("SA-VAE + anneal", 327.4, 3.5, 1.9),
                ("Aggressive", 328.0, 5.4, 3.0),
                ("Aggressive + anneal", 326.6, 6.7, 3.2),
            ],
            "Yelp": [
                ("CNN-VAE (Yang et al. 2017)", "<=359.1", 7.6, None),
                ("LSTM-LM", 357.3, None, None),
                ("VAE", 358.2, 0.0, 0.0),
                ("VAE + anneal", 358.1, 0.0, 0.0),
                ("beta-VAE 0.2", 360.4, 11.3, 3.3),
                ("beta-VAE 0.4", 358.8, 4.0, 1.8),
                ("beta-VAE 0.6", 358.1, 0.1, 0.1),
                ("beta-VAE 0.8", 357.9, 0.0, 0.0),
                ("SA-VAE", 357.7, 0.4, 0.3),
                ("SA-VAE + anneal", 355.9, 2.3, 1.3),
                ("Aggressive", 357.0, 3.8, 2.6),
                ("Aggressive + anneal", 355.9, 3.7, 2.3),
            ],
        },
        mi_batch=32,
    ),
    "yang-2017": Paper(
        "Yang et al. 2017, Improved Variational Autoencoders for Text",
        "Bounds from the ELBO (RNN-LM: exact), in nats per sentence; words. Printed there with the sign of log p.",
        "DeepLatentNLP tutorial of harvardnlp, slides 122-124",
        (Column("-ELBO", of("neg_elbo"), 2), Column("rec", of("rec"), 2), Column("KL", of("kl"), 2)),
        {
            "Yahoo": [
                ("RNN-LM", 329.10, None, None),
                ("RNN-VAE", 330.20, 330.19, 0.01),
                ("RNN-VAE + word drop", 334.2, 332.8, 1.44),
                ("CNN-VAE", 332.1, 322.1, 10.0),
            ]
        },
    ),
    "optimus-2020": Paper(
        "Li et al. 2020, Optimus: the figures that other sources confirm",
        "PPL per sub-word of GPT-2's BPE, a start and an end of each sentence among them, of 100 importance samples.",
        "wizwand leaderboards, RegaVAE's table 2; the definition: calc_iwnll in the released code",
        (Column("PPL/sub-word", with_starts, 2),),
        {
            "PTB": [("best", 23.58)],
            "Yelp": [("best", 21.99), ("lambda 0.5", 22.79)],
            "Yahoo": [("lambda 0.5", 23.11)],
        },
    ),
    "sentencemim": Paper(
        "SentenceMIM, demo README",
        "PPL per word and NLL (nats per sentence) from upper bounds; BLEU of reconstructions, 0 to 1. The prior of "
        "sMIM is learned, the aggregate of posteriors: its bounds are no ELBOs under N(0, I).",
        "the README of its demo on GitHub",
        (Column("PPL/word", of("ppl_word"), 2), Column("NLL", of("neg_elbo"), 2), Column("BLEU", of("bleu", 0.01), 4)),
        {
            "PTB": [
                ("AE, z 16", None, None, 0.2916),
                ("AE, z 128", None, None, 0.5321),
                ("AE, z 512", None, None, 0.5745),
                ("sVAE, z 16", 113.14, 107.38, 0.0882),
                ("sVAE, z 128", 117.2, 108.19, 0.0803),
                ("sVAE, z 512", 121.7, 109.04, 0.0809),
                ("sMIM, z 16", 75.29, 98.14, 0.2975),
                ("sMIM, z 128", 28.58, 76.14, 0.5542),
                ("sMIM, z 512", 19.02, 66.9, 0.6226),
            ]
        },
    ),
    "regavae": Paper(
        "RegaVAE, table 2: GPT-2 backbones",
        "PPL per sub-word; self-BLEU, 0 to 100; distinct-2, %; active units at Var(mu) > 0.2. AdaVAE's released code "
        "has the importance weights' sign inverted: distrust its PPL.",
        "the paper's table by OCR (one unreadable cell left out)",
        (
            Column("PPL/sub-word", of("ppl_token_iw"), 2),
            Column("self-BLEU", of("self_bleu"), 2),
            Column("Dist-2", of("distinct_2", 100), 2),
            Column("AU", lambda numbers: numbers["au_curve"]["0.2"], 0),
        ),
        {
            "Yelp": [
                ("GPT-2", 22.13, 65.90, 17.96, None),
                ("Optimus, lambda 0.5", 22.79, None, None, None),
                ("Embed", 19.98, 65.27, 15.59, 6),
                ("Memory", 19.95, 63.90, 16.91, 11),
                ("Softmax", 20.14, 64.26, 16.51, 13),
                ("AdaVAE", 15.49, None, None, 32),
                ("DELLA", 12.35, 60.02, 17.63, 23),
                ("RegaVAE (retrieval)", 8.62, 36.10, 28.83, 52),
            ],
            "Yahoo": [
                ("GPT-2", 24.17, 54.06, 21.07, None),
                ("Optimus, lambda 0.5", 23.11, None, None, None),
                ("Embed", 22.18, 54.15, 20.80, None),
                ("Memory", 22.03, 54.59, 21.87, 18),
                ("Softmax", 22.35, 54.49, 21.65, 19),
                ("AdaVAE", 14.23, None, None, 32),
                ("DELLA", 11.49, 48.53, 21.88, 21),
                ("RegaVAE (retrieval)", 6.99, 30.74, 33.03, 56),
            ],
        },
    ),
    "texar": Paper(
        "texar, vae_text example",
        "PPL per word and NLL, nats per sentence; z of 32 dimensions. Which bound is not said; ours is the ELBO's.",
        "the README of the example on GitHub",
        (Column("PPL/word", of("ppl_word"), 2), Column("NLL", of("neg_elbo"), 2)),
        {
            "Yahoo": [("VAE-LSTM", 69.85, 339.15), ("VAE-Transformer", 60.78, 328.03)],
            "PTB": [("VAE-LSTM", 107.64, 102.54), ("VAE-Transformer", 103.14, 101.61)],
        },
    ),
}
