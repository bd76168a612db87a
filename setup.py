import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
VERSION = re.search(r'"(\d.*)"', (HERE / "fairseq_vae/base/version.py").read_text(encoding="utf-8")).group(1)

setup(
    name="fairseq-vae",
    version=VERSION,
    description="BART models as text variational autoencoders: a plug-in for fairseq",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="MIT",
    packages=find_packages(include=["fairseq_vae", "fairseq_vae.*"]),
    package_data={"fairseq_vae": ["py.typed", "config/*.yaml", "config/recipe/*/*.yaml", "report/*.html"]},
    python_requires=">=3.8",
    install_requires=[
        "torch>=1.12",
        "numpy<2",  # fairseq's own recipes call np.compat, which numpy 2 no longer has
        "sacrebleu",
        "scikit-learn",  # probes of evaluate
        "sentencepiece",
        "hydra-core",
        "jinja2",  # report; torch brings it too
        "omegaconf",
        "pyyaml",
        "safetensors",
        "tqdm",
    ],
    extras_require={
        # Three distributions ship the import name `fairseq`, and a user may have a checkout: so the host is an extra,
        # and an installation without it overwrites nothing. These versions are tested together.
        "fairseq": [
            "ve-fairseq==0.12.3; python_version>='3.11' and python_version<'3.13'",
            "torch==2.13.0; python_version>='3.11' and python_version<'3.13'",
            "numpy==1.26.4; python_version>='3.11' and python_version<'3.13'",
            "hydra-core==1.3.8; python_version>='3.11' and python_version<'3.13'",
            "omegaconf==2.3.1; python_version>='3.11' and python_version<'3.13'",
            "sacrebleu==2.6.0; python_version>='3.11' and python_version<'3.13'",
            "scikit-learn==1.9.1; python_version>='3.11' and python_version<'3.13'",
            "sentencepiece==0.2.3; python_version>='3.11' and python_version<'3.13'",
            "fairseq==0.12.2; python_version<'3.11'",
            "torch==1.12.1; python_version<'3.11'",
            "torchaudio==0.12.1; python_version<'3.11'",
        ],
        "quickstart": ["chitchat-dataset==0.9.0", "better-profanity==0.7.0", "matplotlib"],
        "docs": ["mkdocs-material>=9.7"],
        "parquet": ["pyarrow<26"],  # 26 wants numpy 2, and fairseq 1
        "priors": ["zuko"],  # flows
        "edit": ["torchdiffeq"],
        "smoothness": ["POT", "wordllama<0.3.4"],  # later ones hold the same vectors, but want numpy 2, and fairseq 1
        "explore": ["nicegui>=3.18,<4"],
        "report": ["matplotlib"],  # pictures of report, evaluate-edit and represent
        "neighbours": ["faiss-cpu"],  # a graph of them, for large texts
        "test": [
            "mkdocs-material>=9.7",  # the documentation is built and its links followed
            "allpairspy",  # rows of options that hold each pair
            "mypy",
            "playwright",  # pages in a real browser, which scripts/browser.sh installs
            "pytest",
            "pytest-xdist",
            "ruff",
            "tensorboard",
            "transformers",
            "pyarrow; python_version>='3.11'",
            "zuko; python_version>='3.11'",
            "torchdiffeq; python_version>='3.11'",
            "POT",
            "wordllama<0.3.4",
            "nicegui>=3.18,<4; python_version>='3.11'",
            "faiss-cpu",
        ],
    },
    entry_points={"console_scripts": ["fairseq-vae = fairseq_vae.cli:main"]},
)
