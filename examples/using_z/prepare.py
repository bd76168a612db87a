"""Text folders for run.sh: python prepare.py DATA OUTPUT

DATA holds flickr30k/{train,valid,test}.txt.gz and yelp/{train,valid,test}.{txt,labels}.gz. OUTPUT gets `captions`, and
of the reviews' training sentences a random half as `reviews`, with labels, and the other half as `fluency`, for the
language model that judges.
"""

import gzip
import os
import random
import sys
from typing import Dict, List


def lines(path: str) -> List[str]:
    """The lines of a gzipped file."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return file.read().splitlines()


def save(folder: str, files: Dict[str, List[str]]) -> None:
    """Write lines to files of a folder, which is made."""
    os.makedirs(folder, exist_ok=True)
    for name, rows in files.items():
        with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
            file.writelines(f"{row}\n" for row in rows)


def main() -> None:
    """Write the folders."""
    data, output = sys.argv[1:]
    captions = {split: lines(f"{data}/flickr30k/{split}.txt.gz") for split in ("train", "valid", "test")}
    known = set(captions["train"])
    for split in ("valid", "test"):
        captions[split] = [caption for caption in captions[split] if caption not in known]
    save(f"{output}/captions", {f"{split}.txt": rows for split, rows in captions.items()})

    reviews = {
        split: list(zip(lines(f"{data}/yelp/{split}.txt.gz"), lines(f"{data}/yelp/{split}.labels.gz")))
        for split in ("train", "valid", "test")
    }
    train = reviews["train"]
    random.Random(1).shuffle(train)
    reviews["train"], others = train[: len(train) // 2], train[len(train) // 2 :]
    files: Dict[str, List[str]] = {}
    for split, rows in reviews.items():
        files[f"{split}.txt"] = [text for text, _ in rows]
        files[f"{split}.labels"] = [label for _, label in rows]
    save(f"{output}/reviews", files)
    fluency = {"train.txt": [text for text, _ in others]}
    save(f"{output}/fluency", {**files, **fluency, "train.labels": [label for _, label in others]})


main()
