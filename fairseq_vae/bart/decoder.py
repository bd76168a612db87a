"""The decoder: stock layers, each of which takes its own share of the memory that z became."""

from typing import Dict, Optional

import torch
from fairseq.distributed import fsdp_wrap
from fairseq.models.transformer import TransformerDecoderBase
from fairseq.modules.checkpoint_activations import checkpoint_wrapper
from fairseq.modules.transformer_layer import TransformerDecoderLayerBase
from torch import Tensor

from ..latent.injection import MemoryLayout


class LatentDecoderLayer(TransformerDecoderLayerBase):
    """A stock decoder layer that takes its own share of the memory."""

    def __init__(self, cfg, no_encoder_attn: bool, layout: MemoryLayout, index: int):
        super().__init__(cfg, no_encoder_attn)
        self.cross_attention = layout.cross_attention
        self.self_attention = layout.self_attention(index)
        self.embedding = layout.embedding if index == 0 else None

    def forward(
        self,
        x: Tensor,
        encoder_out: Optional[Tensor] = None,
        encoder_padding_mask: Optional[Tensor] = None,
        incremental_state: Optional[Dict[str, Dict[str, Optional[Tensor]]]] = None,
        prev_self_attn_state=None,
        prev_attn_state=None,
        self_attn_mask: Optional[Tensor] = None,
        self_attn_padding_mask: Optional[Tensor] = None,
        need_attn: bool = False,
        need_head_weights: bool = False,
    ):
        """x: U x B x C; encoder_out: memory, M x B x C, whose slots are never padding; else as in fairseq."""
        memory = encoder_out
        if self.embedding:
            x = x + memory[self.embedding]  # 1 x B x C, the same at every position
        if self.self_attention:
            slots = memory[self.self_attention]  # S x B x C
            if incremental_state is None:
                # a cache for this call alone is how stock attention takes keys and values from outside
                incremental_state = {}
                if self_attn_mask is not None:
                    visible = self_attn_mask.new_zeros(self_attn_mask.size(0), len(slots))
                    self_attn_mask = torch.cat((visible, self_attn_mask), dim=1)  # U x S+U
            if "prev_key" not in self.self_attn._get_input_buffer(incremental_state):
                heads = slots.view(*slots.shape[:2], self.self_attn.num_heads, -1)  # S x B x H x D
                heads = heads.permute(1, 2, 0, 3).contiguous()  # B x H x S x D
                prev_self_attn_state = [heads, heads]
        return super().forward(
            x,
            memory[self.cross_attention] if self.cross_attention else None,
            None,
            incremental_state,
            prev_self_attn_state,
            prev_attn_state,
            self_attn_mask,
            self_attn_padding_mask,
            need_attn,
            need_head_weights,
        )


class BARTVAEDecoder(TransformerDecoderBase):
    """The stock decoder, made of layers that know their place in the memory."""

    def __init__(self, cfg, dictionary, embed_tokens):
        self.layers_built = 0
        super().__init__(cfg, dictionary, embed_tokens, no_encoder_attn=cfg.no_cross_attention)
        self.logits_slot = MemoryLayout.of(cfg).logits

    def extract_features(self, prev_output_tokens, encoder_out=None, *args, **kwargs):
        x, extra = super().extract_features(prev_output_tokens, encoder_out, *args, **kwargs)  # B x U x C
        if self.logits_slot:
            x = x + encoder_out["encoder_out"][0][self.logits_slot].transpose(0, 1)  # B x 1 x C
        return x, extra

    def build_decoder_layer(self, cfg, no_encoder_attn=False):
        layer = LatentDecoderLayer(cfg, no_encoder_attn, MemoryLayout.of(cfg), self.layers_built)
        self.layers_built += 1
        if cfg.checkpoint_activations:
            layer = checkpoint_wrapper(layer, offload_to_cpu=cfg.offload_activations)
        return fsdp_wrap(layer, min_num_params=0 if cfg.checkpoint_activations else cfg.min_params_to_wrap)
