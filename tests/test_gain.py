"""What examples/pretrain_small_bart/gain.py gathers of pretrainings and of the studies behind them."""

import importlib.util
import json
from pathlib import Path

import pytest

from fairseq_vae.base.errors import InputError

PATH = Path(__file__).parent.parent / "examples/pretrain_small_bart/gain.py"
LOG = """\
2026-12-01 04:12:22 | INFO | train_inner | epoch 001:     50 / 99 loss=9.25, ppl=9, wps=2, num_updates=50, lr=0.1
2026-12-01 04:13:22 | INFO | valid | epoch 001 | valid on 'valid' subset | loss 8.5 | ppl 9 | num_updates 50
2026-12-01 04:14:22 | INFO | train_inner | epoch 001:     50 / 99 loss=9, ppl=9, wps=2, num_updates=50, lr=0.1
2026-12-01 04:15:22 | INFO | valid | epoch 001 | valid on 'valid' subset | loss 8 | ppl 9 | num_updates {} | best_loss 7
2026-12-01 04:15:23 | INFO | train | epoch 001 | loss 8.914 | ppl 482.46 | num_updates 60
"""


@pytest.fixture
def gain():
    spec = importlib.util.spec_from_file_location("gain_of_pretraining", PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_pretraining_without_a_log_is_named(gain, tmp_path):
    with pytest.raises(InputError, match="none/work/train.log: expected the log of run.sh, with a validation"):
        gain.main(tmp_path / "gain.json", [f"{tmp_path / 'none'}:{tmp_path / 'study'}"])
    assert list(tmp_path.iterdir()) == []


def point(arm, bound, state="done"):
    figures = {"neg_elbo": bound, "nll_iw": bound - 1, "mi": 4.0, "bleu_greedy": 5.0} if state == "done" else {}
    return {"arm": arm, "seed": 1, "updates": 9, "code": [], "state": state, "figures": figures}


def test_pretrainings_are_sorted_by_length_and_what_is_not_there_is_left_out(gain, tmp_path):
    for name, updates in (("long", 600), ("short", 60)):
        (tmp_path / name / "work").mkdir(parents=True)
        (tmp_path / name / "work/train.log").write_text(LOG.format(updates))
    (tmp_path / "study").mkdir()
    points = [point("language model", 90.0), point("two phases", 93.0), point("two phases", None, "missing")]
    (tmp_path / "study/curve.json").write_text(json.dumps({"points": points}))
    pairs = [f"{tmp_path / 'long'}:{tmp_path / 'study'}", f"{tmp_path / 'short'}:{tmp_path / 'none'}"]
    gain.main(tmp_path / "gain.json", pairs)
    short, long = json.loads((tmp_path / "gain.json").read_text())["pretrainings"]
    assert short["losses"]["train"] == {"updates": [50], "bits": [9.0]} and short["points"] == []
    assert short["losses"]["valid"] == {"updates": [50, 60], "bits": [8.5, 8.0]}
    assert [each["figures"]["neg_elbo"] for each in long["points"]] == [90.0, 93.0]
    picture = (tmp_path / "gain.svg").read_bytes()
    (tmp_path / "gain.svg").unlink()
    gain.main(tmp_path / "gain.json", [])
    assert (tmp_path / "gain.svg").read_bytes() == picture and b"</svg>" in picture
