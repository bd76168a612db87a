"""The memory of fairseq's early stopping (`--patience`), which its checkpoints lack. No fairseq here.

fairseq-train keeps the best validation loss, and the number of validations since, as attributes of its own function
`should_stop_early`. They are read and set there, and nothing else of the host is touched.
"""

import sys
from typing import Any, Callable, Dict, List

__all__ = ["early_stopping", "restore_early_stopping"]

MODULES = ("fairseq_cli.train", "__main__", "__mp_main__")  # the later names where it runs as a script


def functions() -> List[Callable]:
    """The function of each module of fairseq-train that is loaded."""
    loaded = (getattr(sys.modules.get(name), "should_stop_early", None) for name in MODULES)
    return [function for function in loaded if callable(function)]


def early_stopping() -> Dict[str, Any]:
    """The best validation loss and the number of validations since; empty before the first, or without --patience."""
    for function in functions():
        if hasattr(function, "best"):
            return {"best": float(function.best), "num_runs": int(getattr(function, "num_runs", 0))}
    return {}


def restore_early_stopping(state: Dict[str, Any]) -> None:
    """Let fairseq-train count on from what `early_stopping` gave.

    Args:
        state: empty: nothing is changed
    """
    for function in functions():
        for name, value in state.items():
            setattr(function, name, value)
