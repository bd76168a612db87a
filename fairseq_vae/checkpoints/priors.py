"""Priors fitted after training, in files of safetensors that name their checkpoint."""

import json
from typing import Any

from ..base.errors import InputError
from ..base.files import Path, fingerprint, write
from ..latent.fitted import KINDS

__all__ = ["check_prior", "load_prior", "save_prior", "use_prior"]

FORMAT = "1"


def save_prior(prior: Any, path: Path, checkpoint: str) -> None:
    """Write a prior to a file, whole or not at all.

    Args:
        prior: of one of KINDS
        path: of the file
        checkpoint: the fingerprint of the checkpoint that it was fitted to
    """
    from safetensors.torch import save

    [kind] = [name for name, part in KINDS.items() if type(prior) is part]
    about = {"format": FORMAT, "kind": kind, "checkpoint": checkpoint, "latent_dim": str(prior.dim)}
    about["settings"] = json.dumps(getattr(prior, "settings", {}))
    tensors = {name: tensor.contiguous() for name, tensor in prior.state_dict().items()}
    write(path, save(tensors, {"fairseq_vae": json.dumps(about)}))


def load_prior(path: str, latent_dim: int, checkpoint: str) -> Any:
    """Load a prior that save_prior wrote.

    Args:
        path: of the file
        latent_dim: Z of the model
        checkpoint: the fingerprint of the model's checkpoint

    Returns:
        a Prior in evaluation mode, without gradients

    Raises:
        InputError: the file is missing or of something else, or the prior was fitted to another checkpoint
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            about = json.loads((file.metadata() or {})["fairseq_vae"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}
        if about["format"] != FORMAT or about["kind"] not in KINDS:
            raise ValueError
    except FileNotFoundError as error:
        raise InputError(f"--prior {path} does not exist: `fairseq-vae fit-prior` writes it") from error
    except (SafetensorError, OSError, LookupError, ValueError, TypeError) as error:
        raise InputError(
            f"--prior {path} is no prior that this `fairseq-vae fit-prior` wrote, or is damaged"
        ) from error
    if about["checkpoint"] != checkpoint:
        raise InputError(
            f"--prior {path} was fitted to another checkpoint (of latent_dim {about['latent_dim']}, SHA-256 "
            f"{about['checkpoint'][:12]}…; this one has {latent_dim} and {checkpoint[:12]}…): fit it to this one"
        )
    prior = KINDS[about["kind"]](tensors, **json.loads(about["settings"]))
    return prior.requires_grad_(False).eval()


def check_prior(model: Any, path: str) -> None:
    """Refuse a fitted prior for a conditional model.

    Args:
        model: a bart_vae or bart_cvae
        path: of the prior's file

    Raises:
        InputError: the model is conditional
    """
    if model.conditional:
        raise InputError(f"--prior {path}: one for all sentences, and bart_cvae has one of each source: leave it out")


def use_prior(model: Any, path: str, checkpoint: str) -> None:
    """Put a fitted prior into the place of a model's own.

    Args:
        model: a bart_vae
        path: of the prior's file
        checkpoint: the model's file

    Raises:
        InputError: the model is conditional, or as load_prior
    """
    check_prior(model, path)
    device = next(model.parameters()).device
    model.encoder.prior = load_prior(path, model.latent_dim, fingerprint(checkpoint)).to(device)
