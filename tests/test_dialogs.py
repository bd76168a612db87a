"""Pairs of dialogs: laws of contexts, marks, cuts and splits, the files that are read, and the command."""

import gzip
import json
import random
import sys
from collections import Counter
from types import SimpleNamespace

import pytest

from fairseq_vae.base.dialogs import (
    Layout,
    Utterance,
    joined,
    lowered,
    paired,
    pairs,
    parted,
    read_dialogs,
    split_dialogs,
    spoken,
)
from fairseq_vae.base.errors import InputError
from fairseq_vae.cli.main import main

WORDS = "tea rain music Snow books are is not very good".split()
CHAT = [("1", "A", "is it raining ?"), ("1", "B", "no ."), ("1", "B", "it snows ."), ("1", "A", "good")]
CHAT += [("2", "C", "hello"), ("2", "D", "hi")]


def made_up(seed, speakers="AB"):
    draws = random.Random(seed)
    return [
        Utterance(draws.choice(speakers), " ".join(draws.choices(WORDS, k=draws.randint(1, 6))))
        for _ in range(draws.randint(0, 14))
    ]


DIALOGS = [made_up(seed, "ABC" if seed % 3 == 0 else "AB") for seed in range(30)]


@pytest.mark.parametrize("context", [1, 3, 9, 100])
def test_each_utterance_but_the_first_answers_the_last_k_before_it(context):
    for dialog in DIALOGS:
        found = list(pairs(dialog, Layout(context), Counter()))
        assert [pair.target for pair in found] == [text for _, text in dialog[1:]]
        for number, pair in enumerate(found, 1):
            said = [part.split(": ", 1) for part in pair.source.split(" | ")]
            before = dialog[max(0, number - context) : number]
            assert [text for _, text in said] == [text for _, text in before]
            assert [mark == "me" for mark, _ in said] == [speaker == dialog[number].speaker for speaker, _ in before]


def test_names_of_speakers_change_nothing_and_marks_and_separator_are_as_given():
    for dialog in DIALOGS:
        renamed = [Utterance({"A": "Z", "B": "A", "C": "B"}[speaker], text) for speaker, text in dialog]
        assert list(pairs(renamed, Layout(), Counter())) == list(pairs(dialog, Layout(), Counter()))
    dialog = [Utterance("A", "a"), Utterance("B", "b"), Utterance("A", "c")]
    assert list(pairs(dialog, Layout(9, " <s> ", ("", "")), Counter()))[1] == ("a <s> b", "c")
    assert list(pairs(dialog, Layout(9, "/", ("<", "> >")), Counter()))[1] == ("< a/> > b", "c")


@pytest.mark.parametrize("words", [1, 5, 12, 1000])
def test_a_context_loses_whole_utterances_at_its_start_and_as_few_as_it_takes(words):
    for dialog in DIALOGS:
        tally = Counter()
        whole = list(pairs(dialog, Layout(), Counter()))
        found = list(pairs(dialog, Layout(max_words=words), tally))
        expected, cut, long_response, long_context = [], 0, 0, 0
        for source, target in whole:
            if len(target.split()) > words:
                long_response += 1
                continue
            parts = source.split(" | ")
            while parts and len(" | ".join(parts).split()) > words:
                parts.pop(0)
            long_context += not parts
            cut += bool(parts) and len(parts) < len(source.split(" | "))
            expected += [(" | ".join(parts), target)] if parts else []
        assert found == expected
        assert sorted(filter(None, tally.values())) == sorted(filter(None, (cut, long_response, long_context)))


def test_turns_are_joined_until_speakers_alternate():
    for dialog in DIALOGS:
        turns = joined(dialog)
        assert all(a.speaker != b.speaker for a, b in zip(turns, turns[1:])) and joined(turns) == turns
        assert " ".join(text for _, text in turns) == " ".join(text for _, text in dialog)
        assert lowered(joined(dialog)) == joined(lowered(dialog))


def test_unwanted_utterances_are_in_no_pair_and_all_others_stay_in_order():
    for dialog in DIALOGS:
        tally = Counter()
        parts = parted(dialog, lambda text: "rain" in text, tally)
        kept = [utterance for utterance in dialog if "rain" not in utterance.text]
        assert sum(parts, []) == kept and all(parts) and sum(tally.values()) == len(dialog) - len(kept)
    dialog = [Utterance("A", "tea"), Utterance("B", "rain"), Utterance("A", "snow"), Utterance("B", "good")]
    found = paired([dialog], Layout(), Counter(), unwanted=lambda text: text == "rain")
    assert found == [[("you: snow", "good")]], "no context reaches over what was taken out"


def test_conversations_without_a_pair_are_counted():
    tally = Counter()
    rows = [[], [Utterance("A", "a")], [Utterance("A", "a"), Utterance("A", "b | c")]]
    assert paired(rows, Layout(), tally) == [[("me: a", "b | c")]]
    assert tally["conversations without two utterances, left out"] == 2
    assert tally["utterances that hold the separator, as they are"] == 1
    found = paired([[Utterance("A", "|"), Utterance("B", "b")]], Layout(), tally)
    assert found == [[("you: |", "b")]] and tally["utterances that hold the separator, as they are"] == 2
    assert paired(rows, Layout(), tally, join_turns=True) == []
    assert tally["conversations without two utterances, left out"] == 5


def test_a_split_is_by_conversation_and_seed_and_keeps_the_order():
    dialogs = [[Utterance("A", str(number))] for number in range(200)]
    found = split_dialogs(dialogs, 1)
    assert {split: len(part) for split, part in found.items()} == {"train": 188, "valid": 6, "test": 6}
    assert sorted(sum(found.values(), [])) == sorted(dialogs)
    for part in found.values():
        assert part == sorted(part, key=lambda dialog: int(dialog[0].text))
    assert split_dialogs(dialogs, 1) == found != split_dialogs(dialogs, 2)
    assert all(len(part) == 1 for part in split_dialogs(dialogs[:3], 1).values())
    with pytest.raises(InputError, match="2 conversations: expected 3 or more"):
        split_dialogs(dialogs[:2], 1)


def write(path, rows, opened=open):
    with opened(path, "wb") as file:
        file.write("".join("\t".join(row) + "\n" for row in rows).encode())
    return path


def test_files_with_and_without_acts_plain_and_packed_are_read_alike(tmp_path):
    acts = [(conversation, speaker, "sd", text) for conversation, speaker, text in CHAT]
    files = [
        (f"{kind}.tsv{end}", rows, how)
        for kind, rows in (("a", CHAT), ("b", acts))
        for end, how in (("", open), (".gz", gzip.open))
    ]
    expected = [[Utterance(*row[1:]) for row in CHAT if row[0] == name] for name in "12"]
    for name, rows, opened in files:
        tally = Counter()
        assert read_dialogs(write(tmp_path / name, rows, opened), tally) == expected and not +tally
    (tmp_path / "dos.tsv").write_bytes((tmp_path / "a.tsv").read_bytes().replace(b"\n", b"\r\n")[:-2])
    assert read_dialogs(tmp_path / "dos.tsv", Counter()) == expected


def test_acts_say_what_is_continued_and_what_has_no_words_and_notes_go(tmp_path):
    rows = [
        ("A", "sd", "so"),
        ("A", "sd", "we went <noise> out ,"),
        ("B", "b", "yes ."),
        ("A", "+", "to the sea . *typo ?"),
        ("B", "x", "<cough>"),
    ]
    rows += [("B", "%", "."), ("C", "+", "who is it")]
    tally = Counter()
    found = read_dialogs(write(tmp_path / "a.tsv", [("1", *row) for row in rows]), tally)
    expected = [("A", "so"), ("A", "we went out , to the sea ."), ("B", "yes ."), ("C", "who is it")]
    assert found == [[Utterance(*row) for row in expected]]
    assert sorted(tally.values()) == [2, 3], "without text, and with notes"
    plain = [("1", "A", "2 * 3 <b> ?"), ("1", "B", "6 .")]
    assert read_dialogs(write(tmp_path / "b.tsv", plain), Counter()) == [[Utterance(*row[1:]) for row in plain]]
    assert spoken("child's <laughs>, *note") == "child's," and spoken("<noise> .") == ""


def test_white_space_around_names_and_acts_is_none_of_theirs(tmp_path):
    rows = [("1", "A ", "sd", "hi"), (" 1", "B", "x ", "huh"), ("1", " A", "sd", "y"), ("1", "B", "sd", "z")]
    said = [("A", "hi"), ("A", "y"), ("B", "z")]
    assert read_dialogs(write(tmp_path / "a.tsv", rows), Counter()) == [[Utterance(*row) for row in said]]


def test_a_mark_of_the_byte_order_is_no_text(tmp_path):
    tally = Counter()
    rows = [("1", "A", "\ufeff"), ("1", "A", "\ufeff a"), ("1", "B", "b")]
    said = [("A", "a"), ("B", "b")]
    assert read_dialogs(write(tmp_path / "a.tsv", rows), tally) == [[Utterance(*row) for row in said]]
    assert tally["utterances without text, left out"] == 1


def test_white_space_that_a_line_cannot_hold_is_a_space(tmp_path):
    rows = [("1", "A", " a\u2028b\u00a0 c\x0b"), ("1", "B", "\u3000"), ("1", "B", "d")]
    tally = Counter()
    assert read_dialogs(write(tmp_path / "a.tsv", rows), tally) == [[Utterance("A", "a b c"), Utterance("B", "d")]]
    assert tally["utterances without text, left out"] == 1


@pytest.mark.parametrize(
    "content, message",
    [
        (b"1\tA\n", "line 1: 2 columns; expected 3 (conversation, speaker, utterance) or 4"),
        (b"1\tA\ta\n\n", "line 2: 1 columns, 3 in the lines before"),
        (b"1\tA\ta\n1\tB\tx\tb\n", "line 2: 4 columns, 3 in the lines before"),
        (b"1\tA\ta\tb\tc\n", "line 1: 5 columns; expected 3"),
        (b"Conversation\tspeaker\tutterance\n1\tA\ta\n", "line 1: names of columns, which none has: remove the line"),
        (b"1\t\ta\n", "line 1: no name of the conversation or of the speaker"),
        (b"1\tA\ta\n2\tA\tb\n1\tB\tc\n", "line 3: conversation 1 again, after another one"),
        (b"1\tA\tcaf\xe9\n", "line 1: not UTF-8"),
        (b"1\tA\t\0\n", "line 1: a NUL byte"),
        (b"\x1f\x8b\x08\0", "unpack it with gunzip"),
    ],
)
def test_bad_lines_are_named(tmp_path, content, message):
    (tmp_path / "a.tsv").write_bytes(content)
    with pytest.raises(InputError) as error:
        read_dialogs(tmp_path / "a.tsv", Counter())
    assert message in str(error.value) and str(error.value).startswith(str(tmp_path / "a.tsv"))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "content",
    [gzip.compress(b"1\tA\ta\n" * 9)[:-4], b"1\tA\ta\n", gzip.compress(b"a" * 99)[:14] + b"\xff" * 9],
    ids=["cut off", "not packed", "damaged"],
)
def test_a_damaged_packed_file_is_named(tmp_path, content):
    (tmp_path / "a.tsv.gz").write_bytes(content)
    with pytest.raises(InputError, match=r"a\.tsv\.gz cannot be unpacked \(.*\): copy it again"):
        read_dialogs(tmp_path / "a.tsv.gz", Counter())


def folder(path, **splits):
    path.mkdir()
    for split, rows in splits.items():
        write(path / f"{split}.tsv", rows)
    return path


def lines(path):
    return path.read_text(encoding="utf-8").splitlines()


def refused(capsys, *arguments):
    assert main(["dialogs", *map(str, arguments)]) == 1
    error = capsys.readouterr().err
    assert error.startswith("fairseq-vae dialogs: ") and error.count("\n") == 1
    return error


def test_the_command_writes_the_pairs_of_a_folder_and_says_what_it_did(tmp_path, capsys):
    given = folder(tmp_path / "in", train=CHAT, valid=CHAT[:2], test=[*CHAT, ("3", "E", "hello"), ("3", "F", "ah")])
    command = ["dialogs", str(given), "--output", str(tmp_path / "out"), "--references", "--lower", "--join-turns"]
    assert main(command) == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown[0] == "train: 3 pairs of 2 conversations, 19 words of contexts, 7 of responses"
    assert shown[-2:] == [
        "test: 4 pairs of 3 conversations, 21 words of contexts, 8 of responses",
        "  3 different contexts",
    ]
    out = tmp_path / "out"
    assert lines(out / "train.source")[1] == "me: is it raining ? | you: no . it snows ."
    assert lines(out / "train.target") == ["no . it snows .", "good", "hi"]
    assert lines(out / "test.source")[2] == "you: hello" and lines(out / "test.target")[2] == "hi"
    assert [json.loads(line) for line in lines(out / "test.references")][2] == ["hi", "ah"]
    assert len(list(out.iterdir())) == 7
    assert f"{out}/train.source is there already" in refused(capsys, *command[1:])
    kept = {path.name: path.read_bytes() for path in out.iterdir()}
    for name in ("train.target", "valid.source"):  # as a kill between two renames leaves them
        (out / name).rename(out / f".{name}.part")
    assert main(command) == 0 and {path.name: path.read_bytes() for path in out.iterdir()} == kept
    (out / "train.target").rename(out / ".train.target.part")
    assert f"{out}/train.source is there already" in refused(capsys, *command[1:-1]), "of other turns"


def test_references_need_a_test(tmp_path, capsys):
    given = folder(tmp_path / "in", train=CHAT, valid=CHAT)
    assert "in has no test" in refused(capsys, given, "--output", tmp_path / "out", "--references")
    assert not (tmp_path / "out").exists()


def test_one_file_is_split_by_conversation(tmp_path, capsys):
    rows = [(str(number), *row[1:]) for number in range(70) for row in CHAT[:4]]
    write(tmp_path / "all.tsv.gz", rows, gzip.open)
    assert main(["dialogs", str(tmp_path / "all.tsv.gz"), "--output", str(tmp_path / "out"), "--context", "1"]) == 0
    shown = capsys.readouterr().out.splitlines()
    assert shown[0] == f"{tmp_path}/all.tsv.gz: 70 conversations"
    assert [line.split(" conv")[0] for line in shown[1:]] == [
        "train: 198 pairs of 66",
        "valid: 6 pairs of 2",
        "test: 6 pairs of 2",
    ]
    assert lines(tmp_path / "out/valid.source")[:3] == ["you: is it raining ?", "me: no .", "you: it snows ."]


@pytest.fixture
def chitchat(tmp_path, monkeypatch):
    """A package that must not be imported, with three conversations in its file."""
    package = tmp_path / "packages/chitchat_dataset"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise AssertionError('it was imported')")
    turns = [[("a", "Hello"), ("a", "bad  day\n?")], [("b", "yes")], [("a", ""), ("a", "oh")]]
    messages = [[{"sender": sender, "text": text, "timestamp": ""} for sender, text in turn] for turn in turns]
    conversations = {str(number): {"messages": messages, "prompt": "?"} for number in range(3)}
    (package / "dataset.json").write_text(json.dumps(conversations))
    monkeypatch.syspath_prepend(str(package.parent))


def test_the_packages_conversations_are_read_in_order(tmp_path, capsys, chitchat):
    assert main(["dialogs", "--chitchat", "--output", str(tmp_path / "out")]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith(
        "chitchat-dataset: 3 conversations\n  3 utterances without text, left out\ntrain: 3 pairs of 1"
    )
    assert lines(tmp_path / "out/test.source")[1:] == [
        "you: Hello | you: bad day ?",
        "me: Hello | me: bad day ? | you: yes",
    ]


def test_profanity_parts_a_conversation(tmp_path, capsys, chitchat, monkeypatch):
    listed = SimpleNamespace(contains_profanity=lambda word: word == "bad")
    monkeypatch.setitem(sys.modules, "better_profanity", SimpleNamespace(profanity=listed))
    assert main(["dialogs", "--chitchat", "--output", str(tmp_path / "out"), "--profanity-filter"]) == 0
    assert "\n  1 utterances with profanity, where a conversation is parted\n" in capsys.readouterr().out
    assert lines(tmp_path / "out/test.source") == ["you: yes"]
    assert "no pair is left in train (1 utterances with profanity" in refused(
        capsys, "--chitchat", "--output", tmp_path / "other", "--profanity-filter", "--max-words=1"
    )
    monkeypatch.setitem(sys.modules, "better_profanity", None)
    message = refused(capsys, "--chitchat", "--output", tmp_path / "other", "--profanity-filter")
    assert message.endswith("--profanity-filter: pip install better-profanity==0.7.0\n")
    assert not (tmp_path / "other").exists()


def test_what_the_command_cannot_use_is_one_line_and_nothing_is_written(tmp_path, capsys, monkeypatch):
    given = folder(tmp_path / "in", train=CHAT, valid=CHAT)
    out = ["--output", tmp_path / "out"]
    assert "expected either INPUT" in refused(capsys, *out)
    assert "expected either INPUT" in refused(capsys, given, "--chitchat", *out)
    assert "--context 0: expected 1 or more" in refused(capsys, given, *out, "--context=0")
    assert "--max-words 0: expected 1 or more" in refused(capsys, given, *out, "--max-words=0")
    assert "--seed 1: a folder has its splits" in refused(capsys, given, *out, "--seed=1")
    assert "--separator '': expected text on one line" in refused(capsys, given, *out, "--separator=")
    assert r"--marks 'a\nb': expected text on one line" in refused(capsys, given, *out, "--marks", "a\nb", "c")
    assert "No such file" in refused(capsys, tmp_path / "none.tsv", *out)
    write(given / "train.tsv.gz", CHAT, gzip.open)
    assert "train.tsv.gz: expected one of them" in refused(capsys, given, *out)
    alone = folder(tmp_path / "alone", train=CHAT)
    assert f"{alone} has neither valid.tsv nor valid.tsv.gz" in refused(capsys, alone, *out)
    short = folder(tmp_path / "short", train=CHAT, valid=[CHAT[0], CHAT[4]], test=CHAT)
    message = refused(capsys, short, *out)
    assert "no pair is left in valid (2 conversations without two utterances, left out)" in message
    nothing = folder(tmp_path / "nothing", train=[], valid=CHAT)
    assert "no pair is left in train (no conversation)" in refused(capsys, nothing, *out)
    monkeypatch.setattr("importlib.util.find_spec", lambda name, *_: None)
    assert "pip install chitchat-dataset==0.9.0" in refused(capsys, "--chitchat", *out)
    assert not (tmp_path / "out").exists()


def test_a_full_disk_leaves_nothing(tmp_path, capsys, monkeypatch):
    given = folder(tmp_path / "in", train=CHAT, valid=CHAT, test=CHAT)

    def full(path, text):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("fairseq_vae.base.files.write_text", full)
    assert "cannot be written (No space left on device)" in refused(capsys, given, "--output", tmp_path / "out")
    assert not (tmp_path / "out").exists()
