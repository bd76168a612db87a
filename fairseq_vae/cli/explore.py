"""`fairseq-vae explore`: a local page to look around in z."""

import argparse

from .arguments import add_decoding, add_model, decoding, labelled, load
from .edit import add_labelled

__all__ = ["add_arguments", "run"]

HELP = "a page in your browser to look around in z"
DESCRIPTION = (
    "Serve a page to this machine alone: slide between two sentences, walk a dimension of z, draw new sentences, and "
    "edit by an attribute learned from labelled ones. It needs the extra explore; the page loads nothing from other "
    "hosts. End it with Ctrl-C."
)


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Model, prior, labelled text, the port, and the decoding."""
    add_model(command, prior=True)
    add_labelled(command, required=False)
    command.add_argument(
        "--port", type=int, default=7860, metavar="N", help="where the page is; 0: any that is free (default: 7860)"
    )
    add_decoding(command)
    command.set_defaults(beam=1, max_len=64)  # a step is to be quick


def run(args: argparse.Namespace) -> None:
    """Print the page's address and serve it until an interrupt."""
    from ..explore.serve import listen, require_nicegui, serve

    require_nicegui()
    with listen(args.port) as found:
        if bool(args.text) != bool(args.labels):
            raise ValueError("labelled sentences are two files: give both --text FILE and --labels FILE")
        vae, attribute = load(args), None
        if args.text:
            from ..edit.attributes import fit_label

            texts, labels = labelled(vae, args.text, args.labels, None)
            attribute = fit_label(vae.encode(texts).mean.cpu(), labels, args.hidden, args.seed).to(vae.device)

        from ..explore.explorer import Explorer
        from ..explore.latest import Latest
        from ..explore.page import Page

        explorer = Explorer(vae, decoding(args), attribute)
        latest, prior = Latest(), f"the prior {args.prior}" if args.prior else "the model's prior"
        print(f"http://{found.getsockname()[0]}:{found.getsockname()[1]}/  (Ctrl-C ends it)", flush=True)
        serve(lambda: Page(explorer, latest, args.checkpoint, prior), found, "fairseq-vae explore")
