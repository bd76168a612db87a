"""The encoder with which a training starts, kept as it was, and what it says of whole sentences.

Shapes: B batch, U target length, C model width.
"""

from typing import Any, Dict

import torch
import torch.nn as nn
from fairseq.models.transformer import TransformerEncoderBase
from torch import Tensor

__all__ = ["FrozenEncoder", "with_start"]


class FrozenEncoder(TransformerEncoderBase):
    """A copy of an encoder's layers that nothing changes: no gradient, no dropout, no layer left out.

    Its weights are buffers, so that no optimiser, no gradient of workers and no flag that freezes or shares weights has
    to know of them. It has token embeddings of its own, since those of the encoder learn.

    Args:
        encoder: a BARTVAEEncoder, whose weights are copied; a checkpoint brings its own, see checkpoints.adapt
    """

    def __init__(self, encoder: TransformerEncoderBase):
        words, table = encoder.dictionary, encoder.embed_tokens
        super().__init__(encoder.cfg, words, nn.Embedding(len(words), table.embedding_dim, words.pad()))
        self.starts = words.bos()
        for module in self.modules():
            for name, parameter in list(module.named_parameters(recurse=False)):
                delattr(module, name)
                module.register_buffer(name, parameter.detach())
        del self.version  # its form is that of the encoder that it is a copy of
        own, state = self.state_dict(), encoder.state_dict()
        self.load_state_dict({key: state[key] for key in own})
        self.eval()

    @property
    def width(self) -> int:
        """C, the length of what `means` gives."""
        return self.embed_tokens.embedding_dim

    def train(self, mode: bool = True) -> "FrozenEncoder":
        """Stay in evaluation mode.

        Args:
            mode: not used
        """
        super().train(False)
        return self

    def upgrade_state_dict_named(self, state_dict: Dict[str, Tensor], name: str) -> Dict[str, Tensor]:
        """Do nothing: a checkpoint's own encoder has been brought up to date before it is copied.

        Args:
            state_dict: returned
            name: not used
        """
        return state_dict

    @torch.no_grad()
    def means(self, target: Tensor) -> Tensor:
        """The mean of the last states of each sentence's words and its end; <s> is read and does not count.

        Args:
            target: sentences with </s>, B x U; a task may have put <s> in front

        Returns:
            B x C, float32 or more, without a gradient
        """
        tokens = with_start(target, self.padding_idx, self.starts)[:, : self.max_source_positions]
        found: Dict[str, Any] = self(tokens)
        states = found["encoder_out"][0].transpose(0, 1)  # B x T x C
        states = states.to(torch.promote_types(states.dtype, torch.float32))
        counted = (tokens.ne(self.padding_idx) & tokens.ne(self.starts)).unsqueeze(2).to(states)
        return (states * counted).sum(1) / counted.sum(1).clamp(min=1)


def with_start(target: Tensor, padding: int, start: int) -> Tensor:
    """Sentences as BART's encoder reads them, with <s> in front.

    Args:
        target: sentences with </s>, B x U; a task may have put <s> in front
        padding: the number of <pad>
        start: the number of <s>

    Returns:
        B x U + 1; a sentence that had its <s> has padding before it

    >>> with_start(torch.tensor([[7, 2], [0, 2]]), padding=1, start=0).tolist()
    [[0, 7, 2], [1, 0, 2]]
    """
    first = torch.where(target[:, :1] == start, padding, start).to(target)
    return torch.cat((first, target), dim=1)
