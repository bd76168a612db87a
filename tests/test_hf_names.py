import pytest
import torch
from helpers import bart

from fairseq_vae.base.errors import InputError
from fairseq_vae.checkpoints.adapt import COPIES, EMBEDDINGS
from fairseq_vae.checkpoints.hf_names import check_names, expected_names, gpt2_numbers, read_json, take_tied

MERGES = ["t h", "Ġ th", "Ġth e", "d o", "Ġ do", "Ġdo g"]


def test_the_encoder_of_gpt2_is_rebuilt_in_its_order():
    numbers = gpt2_numbers(MERGES)
    assert [numbers[piece] for piece in ("!", "~", "¡", "ÿ", "Ā", "Ġ", "Ń")] == [0, 93, 94, 187, 188, 220, 255]
    assert (numbers["th"], numbers["Ġdog"], numbers["<|endoftext|>"]) == (256, 261, 262)


def test_the_names_are_those_of_a_stock_bart():
    names = [name for name in bart().state_dict() if not COPIES.fullmatch(name)]
    assert sorted(expected_names(2, 2)) == sorted(names)


@pytest.mark.parametrize(
    "found, message",
    [
        (["a", "b"], r"model.pt has no c \(1 such in all\)"),
        (["a", "b", "c", "d", "e"], r"model.pt has an unexpected d \(2 such"),
    ],
)
def test_missing_and_unknown_names_are_refused(found, message):
    with pytest.raises(InputError, match=message):
        check_names("model.pt", found, iter(["a", "b", "c"]))
    check_names("model.pt", ["c", "a", "b"], iter(["a", "b", "c"]))


def test_a_tied_matrix_is_taken_out_under_every_name():
    matrix = torch.rand(3, 2)
    weights = {**{name: matrix.clone() for name in EMBEDDINGS[1:]}, "other": torch.zeros(1)}
    assert take_tied("model.pt", weights, EMBEDDINGS).equal(matrix) and list(weights) == ["other"]
    with pytest.raises(InputError, match="model.pt has no encoder.embed_tokens.weight"):
        take_tied("model.pt", weights, EMBEDDINGS)
    for other in torch.zeros(3, 2), torch.zeros(2, 2):
        with pytest.raises(InputError, match="differ, expected one matrix"):
            take_tied("model.pt", {EMBEDDINGS[0]: matrix, EMBEDDINGS[1]: other}, EMBEDDINGS)


@pytest.mark.parametrize(
    "content, message", [(b"{", "is not JSON"), (b"[1]", "found a list"), (b'{"caf\xe9": 1}', "is not JSON")]
)
def test_bad_json_is_refused_by_its_path(tmp_path, content, message):
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(InputError, match=f"config.json.*{message}"):
        read_json(str(tmp_path / "config.json"))
    with pytest.raises(InputError, match=f"{tmp_path} has no vocab.json"):
        read_json(str(tmp_path / "vocab.json"))
