"""The decoder: stock layers, each of which reads its own share of the slots that z became.

Shapes: B batch, U target length, C model width, M slots in all, S slots of one layer's self-attention, H heads, D width
of a head.
"""

from typing import Any, Dict, List, Optional, Tuple

import torch
from fairseq.data import Dictionary
from fairseq.distributed import fsdp_wrap
from fairseq.models.transformer import TransformerDecoderBase
from fairseq.modules.checkpoint_activations import checkpoint_wrapper
from fairseq.modules.transformer_layer import TransformerDecoderLayerBase
from torch import Tensor

from ..latent.slots import SlotLayout

__all__ = ["BARTVAEDecoder", "LatentDecoderLayer"]


class LatentDecoderLayer(TransformerDecoderLayerBase):
    """A stock decoder layer that reads its own share of the slots.

    Args:
        cfg: fairseq's TransformerConfig with the latent flags
        no_encoder_attn: whether the layer has no cross-attention
        layout: of the slots
        index: the layer's number, from 0
    """

    def __init__(self, cfg: Any, no_encoder_attn: bool, layout: SlotLayout, index: int):
        super().__init__(cfg, no_encoder_attn)
        self.layout, self.index = layout, index

    def forward(
        self,
        x: Tensor,
        encoder_out: Optional[Tensor] = None,
        encoder_padding_mask: Optional[Tensor] = None,
        incremental_state: Optional[Dict[str, Dict[str, Optional[Tensor]]]] = None,
        prev_self_attn_state: Optional[List[Tensor]] = None,
        prev_attn_state: Optional[List[Tensor]] = None,
        self_attn_mask: Optional[Tensor] = None,
        self_attn_padding_mask: Optional[Tensor] = None,
        need_attn: bool = False,
        need_head_weights: bool = False,
    ) -> Tuple[Tensor, Optional[Tensor], Any]:
        """fairseq's layer on its share of the slots.

        Args:
            x: U x B x C
            encoder_out: slots, M x B x C, of which none is padding, and behind them a conditional model's states
            encoder_padding_mask: B x M, or more columns for the states
            others: as in fairseq

        Returns:
            as in fairseq
        """
        assert encoder_out is not None
        x = self.layout.before_layer(x, encoder_out, self.index)
        slots = self.layout.keys_values(encoder_out, self.index)  # S x B x C
        if slots is not None:
            if incremental_state is None:
                # stock attention takes keys and values from outside through a cache; this one is for this call alone
                incremental_state = {}
                if self_attn_mask is not None:
                    visible = self_attn_mask.new_zeros(self_attn_mask.size(0), len(slots))
                    self_attn_mask = torch.cat((visible, self_attn_mask), dim=1)  # U x S+U
            if "prev_key" not in self.self_attn._get_input_buffer(incremental_state):
                heads = slots.view(*slots.shape[:2], self.self_attn.num_heads, -1)  # S x B x H x D
                heads = heads.permute(1, 2, 0, 3).contiguous()  # B x H x S x D
                prev_self_attn_state = [heads, heads]
        states, padding_mask = self.layout.states(encoder_out), None
        if len(encoder_out) > self.layout.size:
            assert encoder_padding_mask is not None
            context, padding_mask = encoder_out[self.layout.size :], encoder_padding_mask[:, self.layout.size :]
            if states is not None:
                padding_mask = torch.cat((padding_mask.new_zeros(x.size(1), len(states)), padding_mask), dim=1)
            states = context if states is None else torch.cat((states, context))
        return super().forward(
            x,
            states,
            padding_mask,
            incremental_state,
            prev_self_attn_state,
            prev_attn_state,
            self_attn_mask,
            self_attn_padding_mask,
            need_attn,
            need_head_weights,
        )


class BARTVAEDecoder(TransformerDecoderBase):
    """The stock decoder, made of layers that know their share of the slots.

    Args:
        cfg: fairseq's TransformerConfig with the latent flags
        dictionary: the target's
        embed_tokens: token embeddings

    Raises:
        InputError: the architecture lacks something that an injection needs
    """

    def __init__(self, cfg: Any, dictionary: Dictionary, embed_tokens: torch.nn.Embedding):
        self.layers_built = 0
        super().__init__(cfg, dictionary, embed_tokens, no_encoder_attn=cfg.no_cross_attention)
        self.layout = SlotLayout.of(cfg)

    def extract_features(
        self, prev_output_tokens: Tensor, encoder_out: Optional[Dict[str, Any]] = None, *args: Any, **kwargs: Any
    ) -> Tuple[Tensor, Dict[str, Any]]:
        """fairseq's features, after the injections at the decoder's output.

        Args:
            prev_output_tokens: B x U
            encoder_out: the encoder's dictionary, with the slots, M x B x C, in front
            others: as in fairseq

        Returns:
            features, B x U x C, and fairseq's dictionary
        """
        assert encoder_out is not None
        x, extra = super().extract_features(prev_output_tokens, encoder_out, *args, **kwargs)  # B x U x C
        return self.layout.after_layers(x, encoder_out["encoder_out"][0]), extra

    def build_decoder_layer(self, cfg: Any, no_encoder_attn: bool = False) -> torch.nn.Module:
        """Build the next layer, which knows its number; wrapped as fairseq wraps it.

        Args:
            cfg: fairseq's TransformerConfig with the latent flags
            no_encoder_attn: whether the layer has no cross-attention
        """
        layer = LatentDecoderLayer(cfg, no_encoder_attn, SlotLayout.of(cfg), self.layers_built)
        self.layers_built += 1
        if cfg.checkpoint_activations:
            layer = checkpoint_wrapper(layer, offload_to_cpu=cfg.offload_activations)
        return fsdp_wrap(layer, min_num_params=0 if cfg.checkpoint_activations else cfg.min_params_to_wrap)
