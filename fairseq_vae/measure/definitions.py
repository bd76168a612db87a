"""The definition of every figure: names, formula or meaning, unit. Data alone: no torch, no fairseq.

The documentation's pages of metrics and of JSON keys are made of these tuples. Formulas have N sentences, T tokens
(one end a sentence included), K samples of z a sentence, Z latent dimensions, q(z given x) the posterior, p(z) the
prior.
"""

from typing import Mapping, NamedTuple, Sequence, Tuple


class Definition(NamedTuple):
    keys: Tuple[str, ...]
    meaning: str
    unit: str = ""
    when: str = ""  # the condition under which there is a value; empty: always


TRAINING, VALIDATION = "training", "validation"
TERM = f"{TRAINING} with the term's weight"
AGGRESSIVE = "training of a task of this package with `--aggressive-inference`"
PARTNERS = f"{VALIDATION} of a task of this package, M above 1"

LOGGED: Sequence[Definition] = (  # in fairseq's logs, by the criterion vae_cross_entropy and the tasks
    Definition(
        ("loss",),
        "training: the training loss / T / ln 2; validation: neg_elbo · N / T / ln 2. With `--sentence-avg`: / N in "
        "place of / T, per sentence",
        "bits per token",
    ),
    Definition(("nll_loss",), "−Σ log p(x given z) / T / ln 2", "bits per token"),
    Definition(("rec",), "−Σ log p(x given z) / N", "nats per sentence"),
    Definition(("kl",), "Σ KL(q(z given x) ‖ p(z)) / N, before free bits", "nats per sentence"),
    Definition(
        ("neg_elbo",),
        "rec + kl: an unbiased estimate of the negative ELBO; no bound with `--deterministic-latent`",
        "nats per sentence",
    ),
    Definition(("kl_weight",), "β, the schedule's or the controller's", "", TRAINING),
    Definition(
        ("align",),
        "1 − cos(head(z), target), the target the sentence's mean state in the frozen encoder, centred and whitened by "
        "the training text: 0 (the same direction) to 2; 1: nothing is predicted",
        "per sentence",
        TERM,
    ),
    Definition(("bow",), "−Σ log p(word given z) over the sentence's words, in no order", "nats per sentence", TERM),
    Definition(("mmd",), "squared MMD of the batch's z and the prior's", "per sentence", TERM),
    Definition(("inner_steps",), "steps of the encoder side before an update; 0 after their end", "steps", AGGRESSIVE),
    Definition(("ppl",), "exp(neg_elbo · N / T): estimates an upper bound of the perplexity", "per token"),
    Definition(("rec_ppl",), "exp(rec · N / T): not a perplexity of the text", "per token"),
    Definition(
        ("au",),
        "active units: dimensions d with Var(mu_d) > 0.01 over the split; mu less the prior's mean where each source "
        "has a prior of its own",
        "dimensions",
        VALIDATION,
    ),
    Definition(
        ("mi",),
        "mutual information of x and z: Σ [log q(z given x) − log mean over x′ of q(z given x′)] / M over the split's "
        "first M ≤ 1,024 sentences; of a conditional model I(z; x, y), of source and target, less, where the prior is "
        "one of the source, I(z; x) of the priors p(z given x): then that of y and z given x",
        "nats",
        VALIDATION,
    ),
    Definition(("mi_cap",), "log M, less I(z; x) of priors of the source: mi is never above it", "nats", VALIDATION),
    Definition(
        ("marginal_kl",),
        "KL of the same M sentences − mi: how far the aggregated posterior is from the prior; too large where mi nears "
        "its cap",
        "nats",
        VALIDATION,
    ),
    Definition(
        ("nll_gap",),
        "the own-z gap: by how much the z of the next of those M sentences (of the first one, for the last) explains a "
        "sentence worse than its own z; nll_gap_shuffled of an evaluation with one sample, if M are all sentences",
        "nats per sentence",
        PARTNERS,
    ),
    Definition(("kl_dim_max",), "the largest of kl_dims", "nats per sentence", VALIDATION),
    Definition(("kl_dim_median",), "the median of kl_dims", "nats per sentence", VALIDATION),
    Definition(("kl_dim_min",), "the smallest of kl_dims", "nats per sentence", VALIDATION),
    Definition(
        ("kl_dims",),
        "the KL of every dimension, in order, as text, which TensorBoard leaves out; of each latent vector for the "
        "posterior `full`, of the whole of z where one sample estimates it, but for layer-wise latents",
        "nats per sentence",
        VALIDATION,
    ),
    Definition(
        ("diagnosis",),
        "`ok`, `collapsed`, `unused` (a KL that says nothing), `weak`, `outrun` (by β), `exploding` or `no z`, by "
        "rules of thumb",
        "",
        VALIDATION,
    ),
)

TEXT, LABELS, REFERENCE, BATCHES = (
    "`--generate` above 0 and text",
    "`--labels`",
    "`--language-model`",
    "`--mi-batch`",
)
FITTED = "`--prior`"
TOLD = "`--language-model` that reads text"
SOURCES = "a conditional model"
SMOOTH = "`--smoothness`, and a latent"
KINDS = ("lerp", "slerp", "typical")  # of latent/paths.py

LIKELIHOOD: Sequence[Definition] = (
    Definition(("rec",), "mean over K samples of q(z given x) of −log p(x given z)", "nats per sentence"),
    Definition(
        ("kl",),
        "KL(q(z given x) ‖ p(z)): in closed form of a posterior `diagonal` or `full` under a Gaussian prior, else the "
        "mean of log q(z given x) − log p(z) over the K samples; of layer-wise latents in closed form given the layers "
        "below, which are sampled",
        "nats per sentence",
    ),
    Definition(("kl_sampled",), "whether kl is an estimate by the K samples"),
    Definition(("neg_elbo",), "rec + kl", "nats per sentence"),
    Definition(
        ("nll_iw",),
        "−log 1/K Σ p(x given z) p(z) / q(z given x), the importance-weighted likelihood: in expectation above "
        "−log p(x), and falling with K",
        "nats per sentence",
    ),
    Definition(
        ("iw_effective",),
        "mean effective number of the K samples of nll_iw: near 1, a few samples carry it, and a larger K lowers it "
        "further",
        "samples",
    ),
    Definition(("nll_iw_fitted",), "nll_iw under the prior of `--prior`", "nats per sentence", FITTED),
    Definition(("ppl_token",), "exp(neg_elbo · sentences / tokens)", "per token"),
    Definition(("ppl_word",), "exp(neg_elbo · sentences / words)", "per word"),
    Definition(("bits_per_byte",), "neg_elbo · sentences / bytes / ln 2", "bits", "text"),
    Definition(("ppl_token_iw",), "ppl_token of nll_iw in place of neg_elbo", "per token"),
    Definition(("ppl_word_iw",), "ppl_word of nll_iw", "per word"),
    Definition(("bits_per_byte_iw",), "bits_per_byte of nll_iw", "bits", "text"),
    Definition(("sentences",), "number of the split's sentences"),
    Definition(("tokens",), "number of the split's tokens, one end a sentence counted"),
    Definition(("words",), "number of the split's words, one end a sentence counted; or as `--words` says"),
    Definition(("bytes",), "bytes of the text in UTF-8, without line ends and white space beside them", "", "text"),
    Definition(
        ("bytes_of",),
        "the text whose bytes are counted: `given`, the file of `--text`; or `joined`, what the tokens join to",
        "",
        "text",
    ),
    Definition(
        ("intervals",),
        "95 % bootstrap intervals over sentences, [low, high], of `rec`, `kl`, `neg_elbo`, `nll_iw`, `ppl_token`, "
        "`ppl_word`, `bits_per_byte`, `ppl_token_iw`, `ppl_word_iw`, `bits_per_byte_iw`, `nll_gap_shuffled`, "
        "`nll_gap_zero`, `nll_gap_prior`, `nll_iw_fitted`, `lm_nll`, `lm_gap`, `aubleu` and `aubleu_own`, and "
        "over pairs, of `smoothness_lerp`, `smoothness_slerp`, `smoothness_typical`, `smoothness_slerp_gain`, "
        "`largest_step_lerp`, `largest_step_slerp` and `largest_step_typical`",
        "each its key's",
    ),
)

USE_OF_Z: Sequence[Definition] = (
    Definition(
        ("mi",),
        "mutual information of x and z: mean of log q(z given x) − log mean over all x′ of q(z given x′); of a "
        "posterior that is a flow, over the first 1,024 sentences. Of a conditional model it is I(z; x, y), of source "
        "and target; less mi_source where the prior is one of the source: then an estimate of I(z; y given x), what z "
        "says of the target beyond its source, that is right where p(z given x) is the mean of q(z given x, y) over "
        "the y of an x, and else counts what q says of x beyond p(z given x)",
        "nats",
    ),
    Definition(
        ("mi_source",),
        "I(z; x) of the priors p(z given x), which stand for the mean of q(z given x, y) over the y of an x; null "
        "where the prior is one for all sources",
        "nats",
        SOURCES,
    ),
    Definition(("mi_stderr",), "Monte Carlo error of mi, the sentences being given", "nats"),
    Definition(("mi_cap",), "log of the sentences that mi is over, less mi_source: mi is never above it", "nats"),
    Definition(
        ("mi_saturated",),
        "whether mi, with mi_source, > log of the sentences − ln 2, so that the cap may hide far more",
    ),
    Definition(
        ("mi_batch",),
        "mutual information within batches of mi_batch_size consecutive sentences, as older papers have it: hardly "
        "ever above the log of mi_batch_size; of a conditional model I(z; x, y), source and target together",
        "nats",
        BATCHES,
    ),
    Definition(("mi_batch_size",), "sentences in a batch of mi_batch", "", BATCHES),
    Definition(
        ("marginal_kl",),
        "kl of the sentences that mi is over − mi: KL of the aggregated posterior from the prior, too large by as much "
        "as the cap hides",
        "nats",
    ),
    Definition(
        ("agg_gaussian_kl",),
        "KL from the prior of the Gaussian with the aggregated posterior's mean and covariance: a lower bound of the "
        "marginal KL",
        "nats",
    ),
    Definition(("agg_mean_norm",), "Euclidean norm of the aggregated posterior's mean less the prior's"),
    Definition(("agg_cov_distance",), "Frobenius norm of the aggregated posterior's covariance less the prior's"),
    Definition(
        ("kl_dims",),
        "mean KL of each dimension, a list of Z; with `--latent-posterior full` of each of K vectors; of one number, "
        "the whole, where the KL is an estimate by samples, but for layer-wise latents",
        "nats per sentence",
    ),
    Definition(("mu_variance_dims",), "Var(mu) over sentences of each dimension, unbiased, a list of Z; of mu itself"),
    Definition(("variance_dims",), "mean variance of q(z given x) of each dimension, a list of Z"),
    Definition(
        ("au",), "active units: dimensions with Var(mu) > 0.01, mu less a source's own prior's mean", "dimensions"
    ),
    Definition(("au_curve",), "active units at other thresholds of Var(mu), from threshold to number", "dimensions"),
    Definition(("latent_dim",), "Z", "dimensions"),
    Definition(
        ("nll_gap_shuffled",),
        "the own-z gap: by how much the next sentence's z (the first one's, for the last) explains a sentence worse "
        "than its K own on average",
        "nats per sentence",
    ),
    Definition(("nll_gap_zero",), "the same for z = 0", "nats per sentence"),
    Definition(("nll_gap_prior",), "the same for z drawn from the prior, of a source its own", "nats per sentence"),
    Definition(("lm_nll",), "the language model's −log p(x)", "nats per sentence", REFERENCE),
    Definition(("lm_gap",), "neg_elbo − lm_nll", "nats per sentence", REFERENCE),
    Definition(("diagnosis",), "a word for the use of z, by rules of thumb: `ok` where z is used"),
    Definition(("diagnosis_message",), "the diagnosis in a line: a figure, the likely cause, and flags to try"),
)

SENTENCES: Sequence[Definition] = (
    Definition(("text_sentences",), "sentences that are reconstructed, the split's first ones", "", TEXT),
    Definition(("max_len",), "most tokens of a decoded sentence", "", TEXT),
    Definition(("bleu",), "corpus BLEU of reconstructions from mu, beam 5, by sacrebleu", "0–100", TEXT),
    Definition(("chrf",), "corpus chrF of the same reconstructions, by sacrebleu", "0–100", TEXT),
    Definition(("exact_match",), "share of the same reconstructions that equal their sentence", "0–1", TEXT),
    Definition(("bleu_greedy",), "BLEU of greedy reconstructions from mu", "0–100", TEXT),
    Definition(("chrf_greedy",), "chrF of greedy reconstructions from mu", "0–100", TEXT),
    Definition(
        ("exact_match_greedy",), "share of greedy reconstructions from mu that equal their sentence", "0–1", TEXT
    ),
    Definition(("bleu_signature",), "sacrebleu's signature of BLEU", "", TEXT),
    Definition(("chrf_signature",), "sacrebleu's signature of chrF", "", TEXT),
    Definition(("prior_samples",), "sentences sampled from the prior, greedy: only equal numbers compare", "", TEXT),
    Definition(
        ("self_bleu",),
        "mean sentence BLEU-4 of each of the prior's samples against the rest: 0 where all differ",
        "0–100",
        TEXT,
    ),
    Definition(("self_bleu_data",), "self-BLEU of as many sentences of the data", "0–100", TEXT),
    Definition(("self_bleu_signature",), "number of samples and settings of self-BLEU", "", TEXT),
    *(
        Definition((f"distinct_{n}",), f"different / all {n}-grams of the prior's samples", "0–1", TEXT)
        for n in (1, 2, 3)
    ),
    *(
        Definition((f"distinct_{n}_data",), f"distinct_{n} of as many sentences of the data", "0–1", TEXT)
        for n in (1, 2, 3)
    ),
    Definition(
        ("prior_length",),
        "words a sample of the prior: `mean`, `sd` (standard deviation), `p5`, `p50`, `p95` (quantiles)",
        "words",
        TEXT,
    ),
    Definition(("data_length",), "the same of the data's sentences", "words", TEXT),
    Definition(("length_distance",), "Wasserstein-1 distance of both length distributions", "words", TEXT),
    Definition(("empty_share",), "share of the prior's samples without a word", "0–1", TEXT),
    Definition(
        ("samples_nll",),
        "−log p of the prior's samples under the language model of sentences alone, of long ones of their beginnings: "
        "far above the data's is no language, far below it is dull",
        "nats per token",
        TOLD,
    ),
    Definition(("samples_nll_data",), "the same of the split", "nats per token", TOLD),
    Definition(
        ("training_copies",),
        "share of the prior's samples that stand in the training text as they are",
        "0–1",
        f"{TEXT}, and a training split",
    ),
)

OF_FITTED: Sequence[Definition] = (
    Definition(("fitted_prior",), "kind and fingerprint of the prior of `--prior`", "", FITTED),
    *(
        Definition((f"{key}_fitted",), f"{key} of as many samples of that prior", unit, f"{FITTED} and text")
        for key, unit in (
            ("self_bleu", "0–100"),
            ("distinct_1", "0–1"),
            ("distinct_2", "0–1"),
            ("distinct_3", "0–1"),
            ("prior_length", "words"),
            ("length_distance", "words"),
            ("empty_share", "0–1"),
        )
    ),
    Definition(("samples_nll_fitted",), "samples_nll of these samples", "nats per token", f"{FITTED}, {TOLD}"),
)

SMOOTHNESS: Sequence[Definition] = (
    Definition(
        ("smoothness_sentences",), "N, the split's first sentences that are decoded for this section", "", SMOOTH
    ),
    Definition(
        ("aubleu",),
        "area under noise_bleu over noise_scales by the trapezoid rule, the curve's mean height. After PLANNER's "
        "AuBLEU (Zhang et al. 2023), by which diffusion models that take noise off are judged: their figures differ",
        "0–100",
        SMOOTH,
    ),
    Definition(
        ("aubleu_own",),
        "the same of noise_bleu_own: 100 if the decoder ignores z, so never to be read alone",
        "0–100",
        SMOOTH,
    ),
    Definition(
        ("noise_scales",),
        "s of z = m + √(1 − s²) (mu − m) + s (p − m), with p a draw of the model's prior, the same at every s, and m "
        "its mean; under N(0, I) √(1 − s²) mu + s ε. Where the mu's are spread as the prior, so are these z's",
        "0–1",
        SMOOTH,
    ),
    Definition(
        ("noise_bleu",),
        "for each scale, BLEU of greedy decodings of these z's against the N sentences: from their bleu_greedy to the "
        "BLEU of unrelated samples of the prior",
        "0–100",
        SMOOTH,
    ),
    Definition(
        ("noise_bleu_own",),
        "BLEU of the same decodings against those without noise: from 100; it leaves out what z does not hold",
        "0–100",
        SMOOTH,
    ),
    Definition(
        tuple(f"smoothness_{kind}" for kind in KINDS),
        "d(first, last) / Σ d(neighbour, neighbour), with d the word mover's distance of the sentences decoded "
        "greedily from 11 points of a path between two mu's; mean over pairs; at best 1. LangSpace's definition, but "
        "all words count, in their case, and the vectors are wordllama's of tokens, 256-d; no token counts as one at 0",
        "0–1",
        SMOOTH,
    ),
    Definition(
        ("smoothness_slerp_gain",), "mean over pairs of smoothness_slerp − smoothness_lerp of the same pair", "", SMOOTH
    ),
    Definition(
        tuple(f"largest_step_{kind}" for kind in KINDS),
        "the largest of these steps' distances / Σ d(neighbour, neighbour): 0.1 if all are equal, and 1 of a path that "
        "jumps from one end to the other, which is perfectly smooth by the figure above",
        "0–1",
        SMOOTH,
    ),
    Definition(
        ("smoothness_pairs",), "random pairs of the N sentences, each in one pair, that have these figures", "", SMOOTH
    ),
    Definition(("smoothness_same_ends",), "pairs that have none, as both ends decode to the same tokens", "", SMOOTH),
)

PROBES: Sequence[Definition] = (
    Definition(
        ("probe",),
        "cross-validated accuracy of a logistic regression from mu to the label",
        "0–1",
        LABELS,
    ),
    Definition(("probe_interval",), "95 % interval of probe, [low, high], Wilson's", "0–1", LABELS),
    Definition(("probe_majority",), "accuracy of always saying the commonest label", "0–1", LABELS),
    Definition(
        ("probe_bag_of_words",),
        "accuracy of the same classifier on the words that a sentence has, not on how often",
        "0–1",
        f"{LABELS} and text",
    ),
    Definition(("probe_classes",), "number of different labels", "", LABELS),
    Definition(("probe_folds",), "folds of the cross-validation", "", LABELS),
    Definition(("probe_signature",), "settings of the classifier, and scikit-learn's version", "", LABELS),
)

WORDS, SEVERAL = "token vectors", "N above 1"
RESPONSES: Sequence[Definition] = (  # of response_figures: N responses to each context, M references of each
    *(
        Definition(
            tuple(f"bleu_{n}_{kind}" for n in range(1, 5)),
            meaning + ", with the score the sentence BLEU of order 1 to 4 by sacrebleu (effective order, exponential "
            "smoothing); the released code of CVAEs takes NLTK's smoothing 7, whose figures are others",
            "0–1",
        )
        for kind, meaning in (
            ("precision", "mean over contexts and responses of the best reference's score"),
            ("recall", "mean over contexts and references of the best response's score"),
            ("f1", "harmonic mean of these two means"),
        )
    ),
    Definition(
        tuple(f"a_bow_{kind}" for kind in ("precision", "recall", "f1")),
        "the same of another score, (1 + cosine) / 2 of the means of both texts' token vectors, wordllama's of 256 "
        "numbers; 0 of a text without tokens. DialogWAE reports the cosine itself, of other vectors",
        "0–1",
        WORDS,
    ),
    Definition(
        tuple(f"e_bow_{kind}" for kind in ("precision", "recall", "f1")),
        "the same of extrema in place of means: of each dimension the value farthest from 0",
        "0–1",
        WORDS,
    ),
    Definition(
        ("within_distinct_1", "within_distinct_2"),
        "different / all words or bigrams of the N responses to a context; mean over contexts. DialogWAE calls it "
        "inter-dist",
        "0–1",
    ),
    Definition(("within_unique",), "different responses / N, mean over contexts", "0–1"),
    Definition(
        ("within_self_bleu",),
        "mean sentence BLEU-4 of each response against the context's other ones: 0 where all differ, 100 where all are "
        "the same, or empty",
        "0–100",
        SEVERAL,
    ),
    Definition(
        ("across_distinct_1", "across_distinct_2"),
        "different / all words or bigrams of all responses to all contexts: falls as they grow more",
        "0–1",
    ),
    Definition(("response_words",), "mean words of a response", "words"),
    Definition(("reference_words",), "mean words of a reference", "words"),
    Definition(("contexts",), "number of contexts"),
    Definition(("responses",), "N, responses to each context"),
    Definition(("references",), "mean over contexts of M, references of a context"),
    Definition(("responses_signature",), "settings of BLEU, sacrebleu's version, and the token vectors"),
)
STORIES: Sequence[Definition] = (  # of rouge_figures
    Definition(
        ("rouge_1", "rouge_2"),
        "F1 of the words, or bigrams, that a text and its reference share; mean over texts. Of responses the text is "
        "the first one of each source, and the reference its target alone. Words are runs of letters "
        "and digits in lower case, not stemmed",
        "0–1",
    ),
    Definition(("rouge_l",), "F1 of the longest common subsequence of their words, gaps allowed", "0–1"),
)

OF_SOURCES: Sequence[Definition] = (
    Definition(
        ("responses",),
        "figures of the responses to sources, and their intervals: an object of the keys below; null of other models",
        "",
        SOURCES,
    ),
)

MAKING: Sequence[Definition] = (
    Definition(("schema",), "version of this list: raised when a key changes its meaning or goes"),
    Definition(("samples",), "K, z's of each sentence; 1 with `--zero-latent`"),
    Definition(("seed",), "seed of every stream"),
    Definition(("split",), "the split's name"),
    Definition(("checkpoint",), "the checkpoint's file"),
    Definition(
        ("signature",),
        "model, Z, pooling, injection, data and their hash, split, tokenizer, prior, K, seed, thresholds and versions",
    ),
)

SECTIONS: Mapping[str, Sequence[Definition]] = {  # of evaluate()'s figures, the keys of its JSON
    "The likelihood": LIKELIHOOD,
    "The use of z": USE_OF_Z,
    "The text": SENTENCES,
    "A prior fitted afterwards": OF_FITTED,
    "The smoothness of the space": SMOOTHNESS,
    "Labels": PROBES,
    "Responses": OF_SOURCES,
    "How the figures were made": MAKING,
}
EVALUATED: Sequence[Definition] = tuple(definition for section in SECTIONS.values() for definition in section)


FIT, OF_LABELS, OF_SCORES = "a fit", "labels", "scores"
REPRESENTED: Sequence[Definition] = (  # the JSON of `fairseq-vae represent`
    Definition(("checkpoint",), "the checkpoint's file"),
    Definition(("bart", "language_model"), "the files of these, null without them"),
    Definition(("most_labels",), "the most training items in the pool of a task"),
    Definition(("tuned",), "`updates` and `lr` of each training of `--tuned`; null without it"),
    Definition(("sentences",), "items of each split of each task"),
    Definition(("figures",), "of each task, representation, share and seed an object of the keys below"),
    Definition(("task",), "name of its folder"),
    Definition(("target",), "`label` or `score`"),
    Definition(
        ("representation",),
        "`mu`; `encoder states`, as the posterior pools them; `BART`, the mean of its encoder's last states, `<s>` and "
        "`</s>` included; `language model`, the mean of its decoder's last states over the tokens they predict; "
        "`bag of words`, which words there are; `tf-idf`, with 1 + log of the counts; `majority`, the commonest label; "
        "with `--tuned`, `mu, tuned` and `BART, tuned`, a head's own",
    ),
    Definition(
        ("method",),
        "`logistic` regression; `ridge` regression; `cosine` of a pair, which learns nothing (but tf-idf its "
        "frequencies, of train's sentences); `majority`; `tuned`, where encoder and head learn. The first two "
        "read the vector of a sentence, and of a pair "
        "u, v the numbers of abs(u − v) and u · v; dense ones are standardised by mean and deviation of the items "
        "fitted, from which words and frequencies are, too",
    ),
    Definition(("share",), "of the pool of training items", "0–1", FIT),
    Definition(("labels",), "training items fitted", "", FIT),
    Definition(
        ("seed",),
        "of the choice of a share; null where it is the whole pool; of `tuned` also of the head's first weights, "
        "dropout and order",
        "",
        FIT,
    ),
    Definition(
        ("penalty",),
        "of the squared weights, against the sum of losses: the best on valid of the powers of 10 from 10,000 down to "
        "0.01, the strongest of equally good ones; two in a row that are worse than the best end the search; null of "
        "`tuned`",
        "",
        FIT,
    ),
    Definition(("valid",), "what chose it: accuracy, or Pearson's correlation, on valid", "", FIT),
    Definition(("accuracy",), "share of test items whose label is told", "0–1", OF_LABELS),
    Definition(("macro_f1",), "mean over labels of F1 on test", "0–1", OF_LABELS),
    Definition(("pearson",), "correlation with the scores of test", "−1–1", OF_SCORES),
    Definition(("spearman",), "the same of ranks, equal ones sharing their mean", "−1–1", OF_SCORES),
    Definition(("summary",), "means over seeds: objects with the keys above up to `labels`, and these"),
    Definition(("figure",), "which of the last four the mean is of"),
    Definition(("mean",), "over the seeds"),
    Definition(("half",), "of its 95 % interval, by Student's t over the seeds", "", "several seeds"),
    Definition(("dimensions",), "with `--dimensions`, of each task of labelled sentences an object; else empty"),
)

PERMUTED = "the quantiles 0.025 and 0.975 of the same under 100 random orders of the labels"

DIMENSIONS: Sequence[Definition] = (  # an object of REPRESENTED's `dimensions`
    Definition(("task",), "name of its folder"),
    Definition(("sentences",), "of test, all or 5,000, of which the rest is"),
    Definition(
        ("mig",),
        "mutual information of the label and a dimension, cut into 20 bins of as many sentences, less its bias: that "
        "of the best dimension less the second best's, over the label's entropy",
        "0–1",
    ),
    Definition(("mig_permuted",), PERMUTED),
    Definition(
        ("sap",),
        "balanced accuracy of the best threshold on a dimension, mean over one label against the rest: the best "
        "dimension's less the second best's",
        "0–0.5",
    ),
    Definition(("sap_permuted",), PERMUTED),
    Definition(
        ("completeness",),
        "1 − H(w) / ln Z, w the shares of the dimensions in the absolute coefficients of a logistic regression with an "
        "L1 penalty",
        "0–1",
    ),
    Definition(("completeness_permuted",), PERMUTED),
    Definition(("information",), "of each of the Z dimensions, as in `mig`", "nats"),
    Definition(("accuracy",), "of each of the Z dimensions, as in `sap`", "0.5–1"),
    Definition(("entropy",), "of the label", "nats"),
    Definition(("noise",), "within this of 0 lie 95 % of the correlations of what is unrelated: 1.96 / √sentences"),
    Definition(("dimensions", "directions"), "readings, those of most variance first: objects of the keys below"),
    Definition(("name",), "`dimension d`, from 0, or `direction k`, a principal one, from 1"),
    Definition(("weight",), "variance of mu along it"),
    Definition(("length",), "Pearson's correlation with the words of the sentence", "−1–1"),
    Definition(("labels",), "the same with whether it has a label, by label; of two the second alone", "−1–1"),
    Definition(
        ("low", "high"),
        "of the 20 sentences of the least and of the largest values the `shortest`, the `longest` and the one that "
        "shares the fewest of its words with the other end (`different`)",
    ),
)


def names(definitions: Sequence[Definition], *when: str) -> Tuple[str, ...]:
    """All keys in order; with `when`, those that always have a value and those of the conditions given."""
    return tuple(key for d in definitions if not when or d.when in ("", *when) for key in d.keys)
