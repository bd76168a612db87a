"""No file that is read runs code, and no name in one leads out of the folder that is written."""

import ast
import contextlib
import json
import os
import pickle
import subprocess
from pathlib import Path

import commands
import finetuning
import numpy as np
import pytest
import torch
from helpers import save_bart, save_vae, write_data
from huggingface import hugging_face
from omegaconf import OmegaConf

from fairseq_vae.base.errors import InputError
from fairseq_vae.base.inert import call_in
from fairseq_vae.base.store import Store
from fairseq_vae.base.text import build_bpe, find_bpe, read_dictionary
from fairseq_vae.checkpoints.hf_read import from_hf
from fairseq_vae.checkpoints.hf_write import to_hf
from fairseq_vae.checkpoints.load import load_model
from fairseq_vae.checkpoints.read import check_file, load_safely, read_checkpoint
from fairseq_vae.collect import collect
from fairseq_vae.data import read_sentences
from fairseq_vae.finetune.plan import Plan
from fairseq_vae.finetune.recipe import CONFIG, read_recipe
from fairseq_vae.finetune.steps import Finetuning

pytestmark = pytest.mark.usefixtures("quick_conversion")

ROOT = Path(__file__).parent.parent
SOURCES = [
    path for folder in ("fairseq_vae", "scripts", "examples", "benchmarks") for path in ROOT.glob(f"{folder}/**/*.py")
]
UNSAFE = {  # the last parts of a call's name
    *("eval", "exec", "compile", "__import__", "os.system", "os.popen", "yaml.load", "yaml.unsafe_load"),
    *("yaml.full_load", "extractall", "pickle.load", "pickle.loads", "joblib.load", "marshal.loads", "shelve.open"),
    *("torch.jit.load", "torch.hub.load", "load_model_ensemble_and_task", "literal_eval"),
}


def name_of(node):
    """A call's name with its dots."""
    if isinstance(node, ast.Attribute):
        return f"{name_of(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def unsafe_calls(source):
    """Calls in a source that may run what they read, with their lines."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            names = [alias.name for alias in node.names] + [getattr(node, "module", None) or ""]
            for name in {"pickle", "marshal", "shelve", "dill", "cloudpickle", "joblib", "tarfile"} & set(names):
                yield node.lineno, f"import {name}"
        if not isinstance(node, ast.Call):
            continue
        name, keywords = name_of(node.func), {key.arg: key.value for key in node.keywords}
        parts = name.split(".")
        method = isinstance(node.func, ast.Attribute) and parts[-1] in ("eval", "compile")  # of a module or a pattern
        if not method and ({name, parts[-1], ".".join(parts[-2:])} & UNSAFE):
            yield node.lineno, name
        if name == "torch.load" and not ("weights_only" in keywords or None in keywords):
            yield node.lineno, "torch.load without weights_only"
        if name in ("np.load", "numpy.load") and not isinstance(keywords.get("allow_pickle"), ast.Constant):
            yield node.lineno, "np.load without allow_pickle"
        for key in ("shell", "allow_pickle"):
            if key in keywords and getattr(keywords[key], "value", None) is not False:
                yield node.lineno, f"{key}=True"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_source_has_an_unsafe_load(path):
    assert not list(unsafe_calls(path.read_text(encoding="utf-8")))


@pytest.mark.parametrize(
    "source",
    [
        "eval(x)", "import pickle", "from pickle import load", "torch.load(x)", "np.load(x)", "f(shell=True)",
        "np.load(x, allow_pickle=True)", "yaml.load(x)", "tar.extractall()", "os.system(x)", "builtins.exec(x)",
    ],
)  # fmt: skip
def test_an_unsafe_load_would_be_found(source):
    assert list(unsafe_calls(source))
    assert not list(unsafe_calls("m.eval(); re.compile(x); torch.load(x, **SAFE); np.load(x, allow_pickle=False)"))


class Hostile:
    """Makes the marker when it is unpickled."""

    def __init__(self, marker):
        self.marker = str(marker)

    def __reduce__(self):
        return open, (self.marker, "w")


@pytest.fixture
def marker(tmp_path):
    """A file that must not come into being."""
    path = tmp_path / "marker"
    yield path
    assert not path.exists(), "code ran"


def test_the_hostile_file_is_hostile(tmp_path):
    pickle.loads(pickle.dumps(Hostile(tmp_path / "marker"))).close()
    assert (tmp_path / "marker").exists()


@contextlib.contextmanager
def refused(path):
    """One line that names the file."""
    with pytest.raises(InputError) as error:
        yield
    assert "\n" not in str(error.value) and Path(path).name in str(error.value), error.value


def hostile_checkpoints(folder, marker, state):
    """A hostile object in each format that torch.load reads, by file name."""
    state["extra_state"] = Hostile(marker)
    torch.save(state, folder / "zip.pt")
    torch.save(state, folder / "old.pt", _use_new_zipfile_serialization=False)
    (folder / "bare.pt").write_bytes(pickle.dumps(Hostile(marker)))
    return ["zip.pt", "old.pt", "bare.pt"]


def test_a_hostile_checkpoint_is_refused_on_every_path(tmp_path, marker):
    given = finetuning.make(tmp_path)
    save_vae(tmp_path / "vae")
    state = torch.load(tmp_path / "vae/checkpoint_best.pt")
    data = str(tmp_path / "vae")
    for name in hostile_checkpoints(tmp_path / "vae", marker, state):
        path = tmp_path / "vae" / name
        for read in (
            check_file,
            load_safely,
            read_checkpoint,
            lambda path: load_model(path, data),
            lambda path: collect(path, data),
            lambda path: to_hf(path, str(tmp_path / "hf")),
            lambda path: Plan(str(given / "data"), str(tmp_path / "out"), "naive", path),
        ):
            with refused(path):
                read(str(path))
    assert not (tmp_path / "hf").exists() and not (tmp_path / "out").exists()


def test_hostile_weights_of_hugging_faces_are_refused(tmp_path, marker):
    hugging_face(tmp_path / "hf", safe=False)
    path = tmp_path / "hf/pytorch_model.bin"
    weights = {**torch.load(path), "more": Hostile(marker)}
    for options in {}, {"_use_new_zipfile_serialization": False}:
        torch.save(weights, path, **options)
        with refused(path):
            from_hf(str(tmp_path / "hf"), str(tmp_path / "out/model.pt"))
    path.rename(tmp_path / "hf/model.safetensors")
    with refused("model.safetensors"):
        from_hf(str(tmp_path / "hf"), str(tmp_path / "out/model.pt"))
    assert not (tmp_path / "out").exists()


def test_names_in_an_index_of_hugging_faces_lead_nowhere(tmp_path):
    hugging_face(tmp_path / "hf")
    os.rename(tmp_path / "hf/model.safetensors", tmp_path / "outside.safetensors")
    index = {"metadata": {}, "weight_map": {"model.shared.weight": "../outside.safetensors"}}
    (tmp_path / "hf/model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(InputError, match="has neither model.safetensors nor pytorch_model.bin"):
        from_hf(str(tmp_path / "hf"), str(tmp_path / "out/model.pt"))


@pytest.mark.parametrize("name", ["config.json", "vocab.json", "merges.txt"])
def test_a_pickle_for_another_file_of_hugging_faces_is_refused(tmp_path, marker, name):
    hugging_face(tmp_path / "hf")
    (tmp_path / "hf" / name).write_bytes(pickle.dumps(Hostile(marker)))
    with refused(name):
        from_hf(str(tmp_path / "hf"), str(tmp_path / "out/model.pt"))


CODE = "__import__('pathlib').Path('{}').touch()"  # what fairseq would evaluate


@pytest.mark.parametrize(
    "content",
    [
        "!!python/object/apply:pathlib.Path.touch [marker]",
        "optimizer: !!python/object/apply:os.system ['touch {}']",
        "optimizer: !!python/name:os.system ''",
        "optimizer: {{adam_betas: \"{code}\"}}",
        "optimization: {{lr: [\"{code}\"]}}",
        "optimization: {{lr: [\"open('{}'\", \"'w')\"]}}",  # a call when the two are joined
        "model: {{adaptive_softmax_cutoff: \"1, {code}\"}}",
    ],
)  # fmt: skip
@pytest.mark.parametrize("phase", ["phase1", "phase2"])
def test_a_hostile_recipe_is_refused(tmp_path, marker, content, phase):
    recipe, given = tmp_path / "recipe", finetuning.make(tmp_path)
    recipe.mkdir()
    for name in "phase1", "phase2":
        (recipe / f"{name}.yaml").write_bytes(Path(CONFIG, "recipe/default", f"{name}.yaml").read_bytes())
    spoilt = content.format(marker, code=CODE.format(marker))
    head, _, value = spoilt.partition(":")
    text = (recipe / f"{phase}.yaml").read_text()
    group = f"\n{head}:"
    if "{" in value and group in text:  # into the group that is there
        text = text.replace(group, f"{group}\n  {value.strip()[1:-1]}")
        (recipe / f"{phase}.yaml").write_text(text)
    else:
        (recipe / f"{phase}.yaml").write_text(f"{text}\n{spoilt}\n")
    with pytest.raises(InputError) as error:
        Plan(str(given / "data"), str(tmp_path / "out"), str(recipe))
    assert "\n" not in str(error.value)
    assert "which to read could run any code" in str(error.value) or f"{phase}.yaml" in str(error.value)


def test_a_hostile_setting_is_refused(tmp_path, marker):
    given = finetuning.make(tmp_path)
    for value in (
        f"optimizer.adam_betas={CODE.format(marker)}",
        f"optimization.lr=!!python/object/apply:os.system ['touch {marker}']",
    ):
        with pytest.raises(InputError, match="could run any code|is no YAML") as error:
            Plan(str(given / "data"), str(tmp_path / "out"), "naive", overrides=[value])
        assert "\n" not in str(error.value)


def test_settings_in_a_checkpoint_that_fairseq_would_evaluate_are_refused(tmp_path, marker):
    """A safe loader lets strings through, and fairseq's decoder evaluates one of them."""
    save_vae(tmp_path)
    state = torch.load(tmp_path / "checkpoint_best.pt")
    state["cfg"]["model"]["adaptive_softmax_cutoff"] = CODE.format(marker)
    torch.save(state, tmp_path / "checkpoint_best.pt")
    with pytest.raises(InputError, match="--adaptive-softmax-cutoff: the loss needs one projection"):
        load_model(str(tmp_path / "checkpoint_best.pt"), str(tmp_path))


def test_what_only_looks_like_a_call_is_a_value():
    for name in os.listdir(os.path.join(CONFIG, "recipe")):
        assert call_in([OmegaConf.to_container(settings) for settings in read_recipe(name).values()]) is None
    assert call_in(["(0.9,0.98)", "/runs/first(1)/model.pt", "(" * 500, "lambda: 1 if (", 3, None]) is None
    assert call_in({"a": [("x", "[f() for f in ()]")]})


def test_hostile_parts_of_a_store_are_refused(tmp_path, marker):
    folder = tmp_path / "store"
    store = Store(str(folder))
    store.add(z=torch.zeros(2))
    np.save(tmp_path / "bad.npy", np.array([Hostile(marker)], dtype=object), allow_pickle=True)
    for name in "z.npy", "settings.json":
        content = (folder / name).read_bytes()
        for bad in (tmp_path / "bad.npy").read_bytes(), pickle.dumps(Hostile(marker)):
            (folder / name).write_bytes(bad)
            if name == "settings.json":
                with refused(name):
                    Store(str(folder))
            else:
                assert Store(str(folder)).damaged == {"z": "z.npy is damaged"}
        (folder / name).write_bytes(content)


def test_hostile_files_of_data_and_tokenizers_are_refused(tmp_path, marker):
    bad = pickle.dumps(Hostile(marker))
    (tmp_path / "dict.txt").write_bytes(bad)
    with refused("dict.txt"):
        read_dictionary(str(tmp_path / "dict.txt"))
    write_data(tmp_path, train=[[1, 2]])
    dictionary = read_dictionary(str(tmp_path / "dict.txt"))
    (tmp_path / "train.idx").write_bytes(bad)
    with refused("train.bin"):
        read_sentences(str(tmp_path / "train"), dictionary)
    for names in ("sentencepiece.bpe.model",), ("encoder.json", "vocab.bpe"):
        folder = tmp_path / names[0]
        folder.mkdir()
        for name in names:
            (folder / name).write_bytes(bad)
        with refused(names[0]):
            build_bpe(find_bpe([str(folder)]))


def test_hostile_settings_and_labels_of_runs_are_refused(tmp_path, marker):
    given = finetuning.make(tmp_path)
    (tmp_path / "out").mkdir()
    (tmp_path / "out/settings.json").write_bytes(pickle.dumps(Hostile(marker)))
    with refused("settings.json"):
        run = Plan(str(given / "data"), str(tmp_path / "out"), "naive", str(given / "bart/model.pt"))
        Finetuning(run).check_settings()
    (tmp_path / "labels").write_bytes(pickle.dumps(Hostile(marker)))
    with refused("labels"):
        collect("none.pt", "none", labels=str(tmp_path / "labels"))


def test_a_recipe_writes_nowhere_else_and_imports_nothing(tmp_path, marker):
    """Its folders of the host's are replaced, its phases have fixed names, and its --user-dir is left out."""
    given, plugin = finetuning.make(tmp_path), tmp_path / "plugin"
    plugin.mkdir()
    (plugin / "__init__.py").write_text(f"open({str(marker)!r}, 'w')")
    outside = [f"checkpoint.save_dir={tmp_path / 'outside'}", f"common.user_dir={plugin}"]
    plan = Plan(str(given / "data"), str(tmp_path / "out"), "default", str(given / "bart/model.pt"), outside)
    for phase in plan.phases:
        given_flags = plan.flags(phase, None)
        assert f"--save-dir={tmp_path / 'out' / phase}" in given_flags
        assert not [flag for flag in given_flags if "outside" in flag or "user-dir" in flag]
    for setting in (f"common.user-dir={plugin}", f"task.user_dir={plugin}", f"task.save-dir={tmp_path / 'outside'}"):
        with pytest.raises(InputError, match=r"the recipe or --set has \w+\.[\w-]+: expected (common|checkpoint)\.\w+"):
            Plan(str(given / "data"), str(tmp_path / "out"), "default", str(given / "bart/model.pt"), [setting])
    for name in "../../finetune", "no/such", "":
        with pytest.raises(InputError, match="expected one of .*, or a folder with a phase2.yaml"):
            read_recipe(name)


def test_names_in_a_store_lead_nowhere(tmp_path):
    (tmp_path / "outside.jsonl").write_text('"secret"\n')
    store = Store(str(tmp_path / "store"))
    store.add(z=torch.zeros(2))
    path = tmp_path / "store/settings.json"
    index = json.loads(path.read_text())
    for name in "../outside.jsonl", str(tmp_path / "outside.jsonl"):
        index["files"][name] = "0" * 64
    path.write_text(json.dumps(index))
    before = sorted(tmp_path.rglob("*"))
    again = Store(str(tmp_path / "store"))
    again.add(z=torch.ones(2))
    assert list(again) == ["z"] and sorted(tmp_path.rglob("*")) == before
    assert (tmp_path / "outside.jsonl").read_text() == '"secret"\n'


@pytest.mark.slow
def test_fairseqs_own_commands_refuse_hostile_files(tmp_path, marker):
    save_vae(tmp_path / "vae")
    save_bart(tmp_path / "bart")
    (tmp_path / "data").mkdir()
    for split in "train", "valid":
        write_data(tmp_path / "data", **{split: [[1, 2, 3]] * 9})
    names = hostile_checkpoints(tmp_path / "vae", marker, torch.load(tmp_path / "vae/checkpoint_best.pt"))
    data = str(tmp_path / "data")
    for name, program in zip(names, ("fairseq-train", "fairseq-generate")):  # one in each format
        path = str(tmp_path / "vae" / name)
        command = [str(commands.folder() / program), data, "--task=vae_denoising", "--cpu"]
        command.append("--user-dir=fairseq_vae")
        if program == "fairseq-train":
            command += [f"--finetune-from-model={path}", "--arch=bart_vae_tiny", "--criterion=vae_cross_entropy"]
            command += ["--optimizer=adam", "--max-tokens=64", "--max-update=1", f"--save-dir={tmp_path / 'out'}"]
        else:
            command += [f"--path={path}", "--gen-subset=valid"]
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
        assert done.returncode and "which to load could run any code" in done.stdout + done.stderr, done.stderr
        assert not marker.exists()
