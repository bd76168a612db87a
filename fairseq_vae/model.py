"""BART as a text VAE: the stock encoder, a posterior, and a decoder that learns of the source through z alone.

fairseq's sequence generator never calls a model's forward: it calls the encoder, reorders the encoder's output, and
calls the decoder. So z is sampled in the encoder, and its slots stand where stock BART has the source's states.
"""

import argparse
import dataclasses
import logging
import os
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, ClassVar, ContextManager, Dict, List, Optional, Tuple, Type, Union

import torch
from fairseq.data import Dictionary
from fairseq.dataclass import FairseqDataclass
from fairseq.dataclass.utils import gen_parser_from_dataclass
from fairseq.models import register_model, register_model_architecture
from fairseq.models.bart.model import BARTClassificationHead, BARTModel, bart_base_architecture
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from .bart.activation import use_cheap_gelu
from .bart.conditional import BARTCVAEEncoder
from .bart.decoder import BARTVAEDecoder
from .bart.dropout import use_cheap_dropout
from .bart.encoder import BARTVAEEncoder
from .bart.recompute import use_recomputation
from .base.errors import InputError, reported
from .base.host import declare
from .base.precision import bfloat16_products, bfloat16_works
from .checkpoints.adapt import TARGET_ENCODER, VERSION_KEY, adapt, check_architecture, check_origin
from .flags.model import REGISTRIES, check_pruning, check_rate, latent_config, model_config
from .latent.distributions import rate
from .latent.injection import injections
from .latent.output import VAEOutput
from .objective.controller import RateController
from .objective.likelihood import nll_each, nll_sum, smoothing
from .objective.terms import TermBatch, active_terms, terms

if TYPE_CHECKING:
    from .hub import BARTVAEHubInterface

__all__ = ["MODELS", "SIZES", "BARTCVAEModel", "BARTVAEModel", "register_size"]

logger = logging.getLogger(__name__)


@register_model("bart_vae", dataclass=model_config())
class BARTVAEModel(BARTModel):
    """BART with a latent variable between encoder and decoder.

    Park & Lee 2021, https://arxiv.org/abs/2108.02446; Li et al. 2020, Optimus, https://arxiv.org/abs/2004.04092.

    Args:
        args: the model's flags; build_model fills them in
        encoder: with the posterior, the prior and the map from z to slots
        decoder: reads the slots

    Attributes:
        conditional: whether the model is one of sentences given sources
        num_updates: fairseq's update number
        rate_controller: of beta; None without --rate-controller
        terms: names of the objective's terms with parameters; each is a module under its name
        checkpoint: the name, in messages, of the checkpoint that is loaded next; its loader sets it

    Raises:
        InputError: a term has the name of an attribute of the model
    """

    conditional: ClassVar[bool] = False
    encoder_class: ClassVar[Type[BARTVAEEncoder]] = BARTVAEEncoder

    def __init__(self, args: Any, encoder: BARTVAEEncoder, decoder: BARTVAEDecoder):
        super().__init__(args, encoder, decoder)
        self.num_updates = 0
        for part in (self.encoder.posterior, self.encoder.memory, self.encoder.prior):
            part.reset_parameters()
        if self.cfg.mirror_slots:
            if not isinstance(getattr(encoder.posterior, "mu", None), torch.nn.Linear):
                raise InputError(
                    f"--mirror-slots has no effect with --latent-posterior {self.cfg.latent_posterior}, whose mean is "
                    "no affine map: leave one of the two out"
                )
            self.encoder.memory.mirror(encoder.posterior.mu, decoder.layout, self.cfg.encoder.embed_dim)
        self.rate_controller: Optional[RateController] = None
        if str(self.cfg.rate_controller) != "none":
            numbers = self.cfg.rate_target, self.cfg.rate_gain, self.cfg.rate_max_weight
            start = None if self.cfg.rate_start == -1 else self.cfg.rate_start
            self.rate_controller = RateController(str(self.cfg.rate_controller), *numbers, start)
        self.terms = active_terms(self.cfg, of_model=True)
        for name in self.terms:
            if hasattr(self, name):
                raise InputError(f"term {name!r}: the model has an attribute of that name; register it under another")
            config = terms.config(name, self.cfg)
            setattr(
                self, name, terms[name](config, self.latent_dim, self.cfg.decoder.embed_dim, len(decoder.dictionary))
            )
            if hasattr(terms[name], "connect"):
                getattr(self, name).connect(encoder)
        self.freeze_decoder = self.cfg.freeze_decoder
        self.checkpoint = "the checkpoint"
        frozen: List[torch.nn.Parameter] = []
        if self.cfg.zero_latent:  # a trainable parameter that gets no gradient is a mistake to pytorch_ddp
            modules = self.encoder.idle()
            others = [module for module in self.encoder.children() if all(module is not other for other in modules)]
            used = {id(parameter) for module in (self.decoder, *others) for parameter in module.parameters()}
            idle = (parameter for module in modules for parameter in module.parameters())
            frozen += [parameter for parameter in idle if id(parameter) not in used]
        if self.cfg.freeze_decoder:
            shared = {id(parameter) for parameter in self.encoder.parameters()}
            frozen += [parameter for parameter in self.decoder.parameters() if id(parameter) not in shared]
        if self.cfg.freeze_embeddings:
            frozen += [self.encoder.embed_tokens.weight, self.decoder.embed_tokens.weight]
        for parameter in frozen:
            parameter.requires_grad_(False)
        use_cheap_dropout(self)
        use_cheap_gelu(self)
        use_recomputation(self, self.cfg.offload_activations)

    def train(self, mode: bool = True) -> "BARTVAEModel":
        """Set training mode; a frozen decoder stays in evaluation mode, without dropout.

        Args:
            mode: True for training, False for evaluation
        """
        super().train(mode)
        if self.freeze_decoder:
            self.decoder.eval()
        return self

    @classmethod
    def add_args(cls, parser: argparse.ArgumentParser) -> None:
        """Add the flags of BART and of the latent to a parser."""
        BARTModel.add_args(parser)
        gen_parser_from_dataclass(parser, latent_config(cls.conditional)(), delete_default=True)

    @classmethod
    def config(cls) -> Type[FairseqDataclass]:
        """The dataclass of all flags of the model, with the parts that are registered now."""
        return model_config(cls.conditional)

    @classmethod
    @reported()
    def build_model(cls, cfg: Any, task: Any) -> "BARTVAEModel":
        """Build a model.

        Args:
            cfg: the model's flags: an argparse.Namespace or a (hydra) configuration
            task: with the dictionaries

        Returns:
            the model, its weights initialised

        Raises:
            InputError: a key that is no flag of the model, or flags that contradict one another
        """
        typed = isinstance(cfg, DictConfig)
        given: Any = OmegaConf.to_container(cfg, resolve=True, enum_to_str=True) if typed else vars(cfg)
        known = {field.name: field.default for field in dataclasses.fields(cls.config())}
        # fairseq's task sentence_prediction adds its own max_positions
        unknown = [key for key in given if typed and key not in (*known, "max_positions")]
        if unknown:
            raise InputError(
                f"model configuration: unknown {', '.join(unknown)}; expected flags of BART or latent ones. If a part "
                "of your own has them, give its --user-dir, or in Python import its module first"
            )
        # fairseq's architecture functions fill in absent flags, and take None for a value
        args = argparse.Namespace(**{k: v for k, v in {**known, **given}.items() if v is not None})
        args.task = getattr(task.cfg, "_name", "")
        bart_base_architecture(args)
        if args.adaptive_softmax_cutoff is not None:
            raise InputError("--adaptive-softmax-cutoff: the loss needs one projection onto all words; leave it out")
        check_rate(args)
        check_pruning(args)
        names = [name for name in args.latent_injection.split(",") if name in injections.names()]
        if cls.conditional:
            if getattr(args, "no_cross_attention", False):
                raise InputError("--no-cross-attention: bart_cvae's decoder reads the source by it; leave it out")
        elif not any(injections[name].cross_attention for name in names):
            args.no_cross_attention = True
        return super().build_model(args, task)

    @classmethod
    def hub_models(cls) -> Dict[str, Any]:
        """No archives: those of BART are not VAEs."""
        return {}

    @classmethod
    def from_pretrained(
        cls,
        model_name_or_path: str,
        checkpoint_file: str = "model.pt",
        data_name_or_path: str = ".",
        bpe: Optional[str] = "auto",
        **options: Any,
    ) -> "BARTVAEHubInterface":
        """Load a trained VAE, onto the GPU if there is one.

        Args:
            model_name_or_path: the checkpoint's folder
            checkpoint_file: the checkpoint's name in that folder
            data_name_or_path: folder with dict.txt; if it starts with a dot, relative to the checkpoint's folder
            bpe: "gpt2" (encoder.json, vocab.bpe) or "sentencepiece" (sentencepiece.bpe.model), whose files lie beside
                the checkpoint or dict.txt; "auto" takes the one that is there; None takes tokens with spaces between
            options: batch_size, sentences at a time

        Returns:
            the model behind an interface of strings, in evaluation mode

        Raises:
            InputError: a file is missing, or the checkpoint is not of bart_vae
        """
        from .hub import load

        data = data_name_or_path
        if data.startswith("."):
            data = os.path.normpath(os.path.join(model_name_or_path, data))
        return load(os.path.join(model_name_or_path, checkpoint_file), data, bpe, **options)

    @classmethod
    def build_encoder(cls, cfg: Any, src_dict: Dictionary, embed_tokens: torch.nn.Embedding) -> BARTVAEEncoder:
        """fairseq's hook: build the encoder of a configuration."""
        return cls.encoder_class(cfg, src_dict, embed_tokens)

    @classmethod
    def build_decoder(cls, cfg: Any, tgt_dict: Dictionary, embed_tokens: torch.nn.Embedding) -> BARTVAEDecoder:
        """fairseq's hook: build the decoder of a configuration."""
        return BARTVAEDecoder(cfg, tgt_dict, embed_tokens)

    @property
    def latent_dim(self) -> int:
        """Z, the number of dimensions of z, of all its vectors."""
        return self.encoder.memory.latent_dim

    @property
    def deterministic_latent(self) -> bool:
        """Whether z is the posterior's mean in training: an autoencoder."""
        return self.encoder.deterministic_latent

    def register_classification_head(
        self, name: str, num_classes: Optional[int] = None, inner_dim: Optional[int] = None, **others: Any
    ) -> None:
        """fairseq's hook: add a head that tells classes by mu, for its task `sentence_prediction`.

        Args:
            name: of the head
            num_classes: that it tells
            inner_dim: width of its hidden layer (default: Z)
            others: not used, as in fairseq

        Raises:
            InputError: the model has no z of a sentence alone
        """
        if self.conditional or self.encoder.zero_latent:
            raise InputError(
                "a classification head reads mu of a sentence: expected --arch bart_vae without --zero-latent"
            )
        args = self.args
        spectral = getattr(args, "spectral_norm_classification_head", False)
        self.classification_heads[name] = BARTClassificationHead(
            self.latent_dim,
            inner_dim or self.latent_dim,
            num_classes,
            args.pooler_activation_fn,
            args.pooler_dropout,
            spectral,
        )

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
        z_source: Optional[Dict[str, Tensor]] = None,
        places: Optional[Tensor] = None,
        classification_head_name: Optional[str] = None,
    ) -> Union[Tuple[Tensor, Dict[str, Any]], VAEOutput]:
        """Teacher forcing: logits, as fairseq expects them, or the losses of a target.

        The losses are here because data-parallel wrappers call nothing but a model's forward.

        Args:
            src_tokens: B x T
            src_lengths: B
            prev_output_tokens: B x U
            features_only: whether to return features, B x U x C, instead of logits
            token_embeddings: as in fairseq, like the flags after it
            eps: standard normal draws, see BARTVAEEncoder.forward; with --deterministic-latent and a target they are of
                the rate alone, and z is the posterior's mean
            z: latents to decode, see BARTVAEEncoder.forward
            target: B x U; see loss, like `label_smoothing` and `places`
            z_source: other sentences, whose z to decode, see BARTVAEEncoder.forward
            classification_head_name: of the head that alone reads the posterior's mean; nothing is decoded then

        Returns:
            without a target: logits, B x U x V, and fairseq's dictionary of a decoder with `vae`, a VAEOutput, and its
            `posterior` (None if z was given); with a target: the VAEOutput of `loss`; with a head: its logits, B x
            classes, and a dictionary of the `posterior`
        """
        with self.autocast(src_tokens, prev_output_tokens):
            if classification_head_name is not None:
                posterior = self.encoder.infer(src_tokens, src_lengths)
                return self.classification_heads[classification_head_name](posterior.mean), {"posterior": posterior}
            others: Dict[str, Any] = {} if z_source is None else {"z_source": z_source}  # our validation alone needs it
            if self.conditional and z is None:
                others["target"] = self.sentences(prev_output_tokens) if target is None else target
            rate_eps = eps if self.deterministic_latent and target is not None else None
            encoder_out = self.encoder(
                src_tokens,
                src_lengths,
                token_embeddings=token_embeddings,
                eps=eps if rate_eps is None else None,
                z=z,
                **others,
            )
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
                return self.loss(x, output, target, label_smoothing, places, rate_eps)
            return x, {**extra, "vae": output, "posterior": output.posterior}

    def sentences(self, prev_output_tokens: Tensor) -> Tensor:
        """The target of a decoder's input, which has it one token to the right behind </s>.

        Args:
            prev_output_tokens: B x U, padded on the right

        Returns:
            B x U
        """
        padding, eos = self.decoder.padding_idx, self.decoder.dictionary.eos()
        target = torch.nn.functional.pad(prev_output_tokens[:, 1:], (0, 1), value=padding)
        return target.scatter(1, prev_output_tokens.ne(padding).sum(1, keepdim=True) - 1, eos)

    def loss(
        self,
        features: Tensor,
        output: VAEOutput,
        target: Tensor,
        label_smoothing: float = 0.0,
        places: Optional[Tensor] = None,
        rate_eps: Optional[Tensor] = None,
    ) -> VAEOutput:
        """The reconstruction loss of the decoder's features, the rate and, in training, the terms with parameters.

        Padding does not count. The logits of all tokens never exist at once.

        Args:
            features: B x U x C
            output: the batch's latent
            target: B x U
            label_smoothing: fairseq's, 0 to 1; it changes `rec_loss` alone
            places: of the N target tokens that are not padding, among B x U, in order; None finds them, for which the
                host waits if they are on a device
            rate_eps: standard normal draws, B x posterior.eps_dim, of the z at which a rate without closed form is
                taken where z is the posterior's mean, which is no sample of it; None: z is one

        Returns:
            the output with `nll`, `rec_loss` and `rate`; in evaluation also with `nll_rows`, in training with `terms`
        """
        padding, weight = self.decoder.padding_idx, self.decoder.output_projection.weight  # V x C
        real = target.ne(padding)
        if places is None:
            places = real.flatten().nonzero().flatten()
        hidden, words = (part.flatten(0, 1).index_select(0, places) for part in (features, target))  # N x C, N
        rows: Optional[Tensor] = None
        kl: Optional[Tensor] = None
        found: Dict[str, Tensor] = {}
        if self.training:
            nll = nll_sum(hidden, weight, words)
        else:
            tokens = torch.zeros(real.shape, device=features.device)
            rows = tokens.masked_scatter(real, nll_each(hidden, weight, words)).sum(1)  # B
            nll = rows.sum()
        rec_loss = nll
        if label_smoothing:
            rec_loss = nll + smoothing(hidden, weight, words, label_smoothing)
        if output.posterior is not None:
            with torch.autocast(features.device.type, enabled=False):
                z = output.z
                if rate_eps is not None:
                    z = output.posterior.rsample(rate_eps[:, : self.encoder.posterior.eps_dim])
                kl = rate(output.posterior, output.prior, z)
        if self.training and self.terms:
            batch = TermBatch(output.z, output.posterior, output.prior, target, padding)
            found = {name: getattr(self, name).loss(batch) for name in self.terms}
        return output._replace(nll=nll, nll_rows=rows, rec_loss=rec_loss, rate=kl, terms=found)

    def autocast(self, src_tokens: Tensor, prev_output_tokens: Optional[Tensor]) -> ContextManager[Any]:
        """The context of a forward pass: with --autocast-bf16, products in bfloat16, in training only.

        Args:
            src_tokens: B x T
            prev_output_tokens: B x U; None where nothing is decoded
        """
        device = src_tokens.device.type
        width = max(src_tokens.size(1), 0 if prev_output_tokens is None else prev_output_tokens.size(1))
        wanted = self.cfg.autocast_bf16 and self.training and self.encoder.embed_tokens.weight.dtype == torch.float32
        return bfloat16_products(device, width) if wanted and bfloat16_works(device) else nullcontext()

    def upgrade_state_dict_named(self, state_dict: Dict[str, Tensor], name: str) -> None:
        """Make a checkpoint's weights fit before they are loaded; see checkpoints.adapt.

        Args:
            state_dict: the checkpoint's weights, changed in place
            name: prefix of the model's weights, as in fairseq

        Raises:
            InputError: the checkpoint is of another architecture or dictionary, or a newer fairseq-vae wrote it
        """
        with reported():
            check_origin(state_dict, self.checkpoint)
            state_dict[VERSION_KEY] = self.encoder.plugin_version
            if "encoder.memory.project.weight" in state_dict:
                # fairseq's moving average keeps no name with "version" in it, and to fairseq's upgrade of weights this
                # is the mark of its oldest, which had no layer norm at the end
                state_dict.setdefault("encoder.version", self.encoder.version)
                state_dict.setdefault("decoder.version", self.decoder.version)
            if "encoder.version" in state_dict and getattr(self.encoder, "target_encoder", None) is not None:
                state_dict.setdefault(f"{TARGET_ENCODER}version", state_dict["encoder.version"])
            heads = sum(key.startswith("classification_heads.") for key in state_dict)
            super().upgrade_state_dict_named(state_dict, name)
            own = self.state_dict()
            cross_attention = not self.decoder.cfg.no_cross_attention
            optional = self.encoder.optional_state()
            adapt(state_dict, own, self.encoder.dictionary, self.checkpoint, cross_attention, heads, optional)
            # with layers to keep, fairseq prunes the checkpoint only after this
            if not (self.cfg.encoder.layers_to_keep or self.cfg.decoder.layers_to_keep):
                check_architecture(state_dict, own, self.checkpoint)

    def set_num_updates(self, num_updates: int) -> None:
        """Keep fairseq's update number, from which the criterion computes its schedules.

        Args:
            num_updates: the update's number, from 0
        """
        super().set_num_updates(num_updates)
        self.num_updates = num_updates

    def set_beam_size(self, beam: int) -> None:
        """Do nothing: BART's version stops the reordering of the encoder's output, for all later calls too."""


@register_model("bart_cvae", dataclass=model_config(conditional=True))
class BARTCVAEModel(BARTVAEModel):
    """BART as a conditional VAE: p(y|x) = integral of p(z|x) p(y|x, z) over z, for any source-target data.

    The decoder's cross-attention reads the source, as BART's does, and z comes in beside it. The posterior is
    q(z|x, y). Without z (--zero-latent) it is BART with slots that are learned.
    Sohn et al. 2015, https://papers.nips.cc/paper/5775; Zhao et al. 2017, https://arxiv.org/abs/1703.10960.
    """

    conditional = True
    encoder_class = BARTCVAEEncoder

    def max_positions(self) -> Tuple[int, int]:
        """Positions of a source and of a target, which the encoder reads too, with <s> in front, unless z is 0."""
        source, target = super().max_positions()
        return source, target if self.encoder.zero_latent else min(target, source - 1)


MODELS: Dict[str, Type[BARTVAEModel]] = {"bart_vae": BARTVAEModel, "bart_cvae": BARTCVAEModel}
SIZES = {  # layers of the encoder and of the decoder each, width, heads; the feed-forward width is 4 times the width
    "base": (6, 768, 12),
    "large": (12, 1024, 16),
    "small": (4, 256, 4),
    "tiny": (2, 32, 2),
}


def register_size(model: str, name: str, layers: int, embed_dim: int, heads: int) -> None:
    """Register an architecture; given flags win over its sizes, and all other flags are BART's.

    Args:
        model: one of MODELS
        name: the value of --arch
        layers: of the encoder and of the decoder each
        embed_dim: width
        heads: of every attention
    """
    sizes = {}
    for side in ("encoder", "decoder"):
        sizes[f"{side}_layers"] = layers
        sizes[f"{side}_embed_dim"] = embed_dim
        sizes[f"{side}_ffn_embed_dim"] = 4 * embed_dim
        sizes[f"{side}_attention_heads"] = heads

    @register_model_architecture(model, name)
    def architecture(args: argparse.Namespace) -> None:
        for key, value in sizes.items():
            if getattr(args, key, None) is None:
                setattr(args, key, value)


for model in MODELS:
    for name, size in SIZES.items():
        register_size(model, f"{model}_{name}", *size)


def declare_flags() -> None:
    """Tell fairseq the flags of parts that were registered after the model."""
    model_config.cache_clear()
    for name, model in MODELS.items():
        declare("model", name, model, model.config())


for registry in REGISTRIES:
    registry.on_change(declare_flags)
