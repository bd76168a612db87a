"""BART as a text VAE: the stock encoder, a Gaussian posterior, and a decoder that reads z and nothing else.

fairseq's generator never calls a model's forward: it calls the encoder, reorders what that returned, and calls the
decoder. So z is sampled in the encoder, and the memory made of it stands where stock BART has the source's states.
"""

import argparse
import dataclasses
import logging
import os
from contextlib import nullcontext
from typing import Any, Dict, Optional, Tuple, Type, Union

import torch
from fairseq.dataclass import FairseqDataclass
from fairseq.dataclass.utils import gen_parser_from_dataclass
from fairseq.models import register_model, register_model_architecture
from fairseq.models.bart.model import BARTModel, bart_base_architecture
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from .bart.decoder import BARTVAEDecoder
from .bart.dropout import use_cheap_dropout
from .bart.encoder import BARTVAEEncoder
from .bart.flags import REGISTRIES, check_rate, latent_config
from .base.errors import InputError, reported
from .base.host import declare
from .base.precision import bfloat16_works
from .checkpoints.adapt import VERSION_KEY, adapt, check_architecture, check_origin
from .latent.injection import injections
from .latent.output import VAEOutput
from .objective.controller import RateController
from .objective.likelihood import nll_each, nll_sum, smoothing
from .objective.terms import TermBatch, active_terms, terms

logger = logging.getLogger(__name__)


def bart_fields():
    """BART's own flags as optional, typed dataclass fields, read from its parser so that none is missing or stale.

    A registered dataclass types the model's configuration in hydra and keeps checkpoints free of pickled objects.
    """
    parser = argparse.ArgumentParser(argument_default=argparse.SUPPRESS, add_help=False)
    BARTModel.add_args(parser)
    for action in parser._actions:
        kind = bool if action.nargs == 0 else action.type if action.type in (int, float, str) else Any
        # the trainer compares base_layers with 0, before any architecture could fill in a None
        default = 0 if action.dest == "base_layers" else None
        yield action.dest, Optional[kind], dataclasses.field(default=default, metadata={"help": action.help})


def model_config() -> Type[FairseqDataclass]:
    """The dataclass of all flags of bart_vae: BART's, and the latent ones with the parts that are registered now."""
    return dataclasses.make_dataclass(
        "BARTVAEConfig", bart_fields(), bases=(latent_config(),), namespace={"__module__": __name__}
    )


@register_model("bart_vae", dataclass=model_config())
class BARTVAEModel(BARTModel):
    """BART with a latent variable between encoder and decoder (Park & Lee 2021; Li et al. 2020)."""

    def __init__(self, args: Any, encoder: BARTVAEEncoder, decoder: BARTVAEDecoder):
        super().__init__(args, encoder, decoder)
        self.num_updates = 0
        for part in (self.encoder.posterior, self.encoder.memory, self.encoder.prior):
            part.reset_parameters()
        self.rate_controller = None
        if str(self.cfg.rate_controller) != "none":
            self.rate_controller = RateController(
                str(self.cfg.rate_controller), self.cfg.rate_target, self.cfg.rate_gain, self.cfg.rate_max_weight
            )
        self.terms = active_terms(self.cfg, of_model=True)  # their modules stand under their names, as in checkpoints
        for name in self.terms:
            if hasattr(self, name):
                raise InputError(f"term {name!r}: bart_vae has an attribute of that name; register it under another")
            config = terms.config(name, self.cfg)
            setattr(
                self, name, terms[name](config, self.latent_dim, self.cfg.decoder.embed_dim, len(decoder.dictionary))
            )
        self.freeze_decoder = self.cfg.freeze_decoder
        self.checkpoint = "the checkpoint"  # its name in messages; who knows the path of what is loaded next sets it
        frozen = []
        if self.cfg.zero_latent:  # what nothing uses gets no gradient, which pytorch_ddp takes for a mistake
            used = {id(parameter) for part in (self.decoder, self.encoder.memory) for parameter in part.parameters()}
            frozen += [parameter for parameter in self.encoder.parameters() if id(parameter) not in used]
        if self.cfg.freeze_decoder:
            shared = {id(parameter) for parameter in self.encoder.parameters()}
            frozen += [parameter for parameter in self.decoder.parameters() if id(parameter) not in shared]
        if self.cfg.freeze_embeddings:
            frozen += [self.encoder.embed_tokens.weight, self.decoder.embed_tokens.weight]
        for parameter in frozen:
            parameter.requires_grad_(False)
        use_cheap_dropout(self)

    def train(self, mode: bool = True):
        super().train(mode)
        if self.freeze_decoder:
            self.decoder.eval()
        return self

    @staticmethod
    def add_args(parser):
        BARTModel.add_args(parser)
        gen_parser_from_dataclass(parser, latent_config()(), delete_default=True)

    @classmethod
    @reported()
    def build_model(cls, cfg, task):
        """Build from an argparse.Namespace or a (hydra) configuration.

        Raises:
            InputError: a key that is no flag of the model, or flags that contradict one another
        """
        typed = isinstance(cfg, DictConfig)
        given = OmegaConf.to_container(cfg, resolve=True, enum_to_str=True) if typed else vars(cfg)
        known = {field.name: field.default for field in dataclasses.fields(model_config())}
        unknown = [key for key in given if typed and key not in known]
        if unknown:
            raise InputError(
                f"model configuration: unknown {', '.join(unknown)}; expected flags of BART or latent ones. If a part "
                "of your own has them, give its --user-dir, or in Python import its module first"
            )
        # fairseq's architecture functions fill in what is absent, and take a None for a value
        args = argparse.Namespace(**{k: v for k, v in {**known, **given}.items() if v is not None})
        args.task = getattr(task.cfg, "_name", "")
        bart_base_architecture(args)
        if args.adaptive_softmax_cutoff is not None:
            raise InputError(
                "--adaptive-softmax-cutoff: bart_vae's loss needs one projection onto all words; leave it out"
            )
        check_rate(args)
        names = [name for name in args.latent_injection.split(",") if name in injections.names()]
        if not any(injections[name].cross_attention for name in names):
            args.no_cross_attention = True
        return super().build_model(args, task)

    @classmethod
    def hub_models(cls):
        return {}  # BART's archives are no VAEs

    @classmethod
    def from_pretrained(
        cls,
        model_name_or_path: str,
        checkpoint_file: str = "model.pt",
        data_name_or_path: str = ".",
        bpe: Optional[str] = "auto",
        **options: Any,
    ):
        """A trained VAE as a BARTVAEHubInterface, on the GPU if there is one.

        Args:
            model_name_or_path: the checkpoint's folder
            checkpoint_file: its name in that folder
            data_name_or_path: folder with dict.txt; if it starts with a dot, relative to the checkpoint's folder
            bpe: "gpt2" (encoder.json, vocab.bpe) or "sentencepiece" (sentencepiece.bpe.model), whose files lie beside
                the checkpoint or dict.txt; "auto" takes what is there; None takes tokens with spaces between
            options: batch_size, sentences at a time

        Raises:
            InputError: a file is missing, or the checkpoint is not of bart_vae
        """
        from .hub import load

        data = data_name_or_path
        if data.startswith("."):
            data = os.path.normpath(os.path.join(model_name_or_path, data))
        return load(os.path.join(model_name_or_path, checkpoint_file), data, bpe, **options)

    @classmethod
    def build_encoder(cls, cfg, src_dict, embed_tokens):
        return BARTVAEEncoder(cfg, src_dict, embed_tokens)

    @classmethod
    def build_decoder(cls, cfg, tgt_dict, embed_tokens):
        return BARTVAEDecoder(cfg, tgt_dict, embed_tokens)

    @property
    def latent_dim(self) -> int:
        return self.encoder.memory.project.in_features

    @property
    def deterministic_latent(self) -> bool:
        return self.encoder.deterministic_latent

    def forward(
        self,
        src_tokens: Tensor,
        src_lengths: Optional[Tensor],
        prev_output_tokens: Tensor,
        features_only: bool = False,
        token_embeddings: Optional[Tensor] = None,
        return_all_hiddens: bool = True,
        alignment_layer: Optional[int] = None,
        alignment_heads: Optional[int] = None,
        eps: Optional[Tensor] = None,
        z: Optional[Tensor] = None,
        target: Optional[Tensor] = None,
        label_smoothing: float = 0.0,
    ) -> Union[Tuple[Tensor, Dict[str, Any]], VAEOutput]:
        """Teacher forcing: logits, as fairseq expects them; or, of a target, `loss`, which data-parallel wrappers reach
        by their forward alone.

        Args:
            src_tokens, src_lengths, prev_output_tokens, and others up to alignment_heads: as in fairseq
            eps, z: the choice of z, see BARTVAEEncoder.forward
            target, label_smoothing: see loss

        Returns:
            logits (or features), B x U x V, and fairseq's dictionary of a decoder with `vae`, a VAEOutput, and its
            `posterior` (None if z was given); or loss's VAEOutput
        """
        with self.autocast(src_tokens.device.type):
            encoder_out = self.encoder(src_tokens, src_lengths, token_embeddings=token_embeddings, eps=eps, z=z)
            output = encoder_out["vae"]
            x, extra = self.decoder(
                prev_output_tokens,
                encoder_out=encoder_out,
                features_only=features_only or target is not None,
                alignment_layer=alignment_layer,
                alignment_heads=alignment_heads,
                src_lengths=src_lengths,
                return_all_hiddens=return_all_hiddens,
            )
            if target is not None:
                return self.loss(x, output, target, label_smoothing)
            return x, {**extra, "vae": output, "posterior": output.posterior}

    def loss(self, features: Tensor, output: VAEOutput, target: Tensor, label_smoothing: float = 0.0) -> VAEOutput:
        """The reconstruction loss and, in training, the terms with parameters, of the decoder's features.

        The loss is of the tokens that are not padding only, and never holds the logits of all of them.

        Args:
            features: B x U x C
            output: the batch's latent
            target: B x U
            label_smoothing: fairseq's, of `rec_loss` alone

        Returns:
            the output with `nll` and `rec_loss`, in evaluation with `nll_rows`, in training with `terms`
        """
        padding, weight = self.decoder.padding_idx, self.decoder.output_projection.weight  # V x C
        real = target.ne(padding)
        hidden, words = features[real], target[real]  # N x C, N
        rows, found = None, {}
        if self.training:
            nll = nll_sum(hidden, weight, words)
        else:
            tokens = torch.zeros(real.shape, device=features.device)
            rows = tokens.masked_scatter(real, nll_each(hidden, weight, words)).sum(1)  # B
            nll = rows.sum()
        rec_loss = nll
        if label_smoothing:
            rec_loss = nll + smoothing(hidden, weight, words, label_smoothing)
        if self.training and self.terms:
            batch = TermBatch(output.z, output.posterior, output.prior, target, padding)
            found = {name: getattr(self, name).loss(batch) for name in self.terms}
        return output._replace(nll=nll, nll_rows=rows, rec_loss=rec_loss, terms=found)

    def autocast(self, device: str):
        """The context of a forward pass: bfloat16 products if --autocast-bf16 asks for them, in training only."""
        wanted = self.cfg.autocast_bf16 and self.training and self.encoder.embed_tokens.weight.dtype == torch.float32
        return torch.autocast(device, torch.bfloat16) if wanted and bfloat16_works(device) else nullcontext()

    def upgrade_state_dict_named(self, state_dict: Dict[str, Tensor], name: str) -> None:
        """Make a checkpoint's weights fit before they are loaded; see checkpoints.adapt.

        Raises:
            InputError: the checkpoint is of another architecture or dictionary, or a newer fairseq-vae wrote it
        """
        with reported():
            check_origin(state_dict, self.checkpoint)
            state_dict[VERSION_KEY] = self.encoder.plugin_version
            heads = sum(key.startswith("classification_heads.") for key in state_dict)
            super().upgrade_state_dict_named(state_dict, name)
            own = self.state_dict()
            cross_attention = not self.decoder.cfg.no_cross_attention
            adapt(state_dict, own, self.encoder.dictionary, self.checkpoint, cross_attention, heads)
            if not (self.cfg.encoder.layers_to_keep or self.cfg.decoder.layers_to_keep):  # else pruned only after this
                check_architecture(state_dict, own, self.checkpoint)

    def set_num_updates(self, num_updates):
        """Keep fairseq's update number, which the criterion's schedules are functions of."""
        super().set_num_updates(num_updates)
        self.num_updates = num_updates

    def set_beam_size(self, beam):
        """Do nothing: BART's version stops reordering what the encoder returned, and stays in force for later calls."""


SIZES = {  # layers of the encoder and of the decoder each, width, heads; the feed-forward width is 4 times the width
    "bart_vae_base": (6, 768, 12),
    "bart_vae_large": (12, 1024, 16),
    "bart_vae_small": (4, 256, 4),
    "bart_vae_tiny": (2, 32, 2),
}


def register_size(name: str, layers: int, embed_dim: int, heads: int) -> None:
    """Register an architecture of these sizes; flags that are given win, and the rest is BART's."""
    sizes = {}
    for side in ("encoder", "decoder"):
        sizes[f"{side}_layers"] = layers
        sizes[f"{side}_embed_dim"] = embed_dim
        sizes[f"{side}_ffn_embed_dim"] = 4 * embed_dim
        sizes[f"{side}_attention_heads"] = heads

    @register_model_architecture("bart_vae", name)
    def architecture(args):
        for key, value in sizes.items():
            if getattr(args, key, None) is None:
                setattr(args, key, value)


for name, size in SIZES.items():
    register_size(name, *size)


def declare_flags() -> None:
    """Tell fairseq the flags of parts that were registered after the model."""
    declare("model", "bart_vae", BARTVAEModel, model_config())


for registry in REGISTRIES:
    registry.on_change(declare_flags)
