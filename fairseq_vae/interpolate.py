"""Sentences on the straight line between two sentences' latents."""

from argparse import Namespace
from typing import List, Optional

import torch
from fairseq.data.data_utils import post_process
from torch import Tensor

from .checkpoints import load_model
from .errors import InputError


def interpolate(
    checkpoint: str,
    data: str,
    start: str,
    end: str,
    steps: int = 7,
    beam: int = 5,
    sentencepiece_model: Optional[str] = None,
) -> List[str]:
    """Decode z = (1 - t) mu(start) + t mu(end) for `steps` values of t from 0 to 1 (Bowman et al. 2016).

    Args:
        checkpoint, data: files of the model and folder with its dict.txt
        start, end: sentences, plain with `sentencepiece_model`, else as tokens with spaces between
        steps: sentences to return, at least 2; the first and last are the ends' own reconstructions
        beam: beam width
        sentencepiece_model: file of the model that the data was encoded with

    Raises:
        InputError: a sentence is empty or longer than the model's positions
    """
    model, _, task = load_model(checkpoint, data, latent_mode="mean", num_samples=0)
    sentences = [start, end]
    if sentencepiece_model is not None:
        import sentencepiece

        pieces = sentencepiece.SentencePieceProcessor(model_file=sentencepiece_model)
        sentences = [" ".join(pieces.encode(sentence, out_type=str)) for sentence in sentences]
    dictionary = task.source_dictionary
    tokens = [dictionary.encode_line(sentence, add_if_not_exist=False).long() for sentence in sentences]
    for given, encoded in zip((start, end), tokens):
        if not 1 < len(encoded) < model.max_positions()[0]:
            raise InputError(
                f"{given[:60]!r} has {len(encoded) - 1} pieces; expected 1 or more, and fewer than the model's "
                f"{model.max_positions()[0]} positions"
            )
    dataset = task.build_dataset_for_inference(tokens, [len(sentence) for sentence in tokens])
    device = next(model.parameters()).device
    ends = [dataset.collater([dataset[i]])["net_input"] for i in range(2)]
    with torch.no_grad():
        mu = [model.encoder.infer(**{key: value.to(device) for key, value in end.items()}).mu for end in ends]  # 1 x Z
    t = torch.linspace(0, 1, steps, device=device).unsqueeze(1)
    return decode(model, task, torch.lerp(mu[0], mu[1], t), beam, "sentencepiece" if sentencepiece_model else None)


def decode(model, task, z: Tensor, beam: int = 5, join: Optional[str] = None) -> List[str]:
    """The best sentence of fairseq's own beam search for each row of z, B x Z.

    join: fairseq's name for how pieces become words (`--post-process`), or None
    """
    generator = task.build_generator([model], Namespace(beam=beam))
    eos = torch.full((len(z), 1), task.target_dictionary.eos(), device=z.device)
    hypotheses = generator.generate([model], {"net_input": {"src_tokens": eos, "z": z}})
    return [post_process(task.target_dictionary.string(best["tokens"]), join) for best, *_ in hypotheses]
