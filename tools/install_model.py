"""Put a checkpoint into the package, in half precision, under a name for `kmerl.load_model`.

    python tools/install_model.py run/chosen.safetensors kmerl-tiny "what it is, in a line"

Writes kmerl/data/models/NAME.safetensors and its line in models.json. Commit both, seldom: git keeps every version.
"""

import argparse
import hashlib
import json
import sys

import kmerl
from kmerl import shipped
from kmerl.checkpoint import Checkpoint, Names, folded
from kmerl.durable import writing

LARGEST = 16_000_000    # bytes


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("checkpoint")
    parser.add_argument("name", nargs="?", default=shipped.DEFAULT)
    parser.add_argument("about", nargs="?", default="ViT-tiny with query network, trained on simulated ECGs alone")
    arguments = parser.parse_args(argv)
    install(arguments.checkpoint, arguments.name, arguments.about)
    return 0


def install(checkpoint, name, about):
    """Writes the file, checks it, and then names it in the manifest."""
    held = Checkpoint.read(checkpoint)
    if held.vocabulary is None or held.names is None:
        raise ValueError(f"{checkpoint} has no vocabulary: it answers no name")
    held.names = without_synonyms(held.names, kmerl.Vocabulary.from_json(held.vocabulary))
    held.moments = None
    shipped.FOLDER.mkdir(exist_ok=True)
    path = shipped.FOLDER / f"{name}.safetensors"
    held.write(path, "float16")
    kmerl.load_model(path)
    data = path.read_bytes()
    if len(data) > LARGEST:
        path.unlink()
        raise ValueError(f"{checkpoint} takes {len(data):,} bytes in half precision, at most {LARGEST:,} are shipped: "
                         "train with a smaller query network or projection_width")
    manifest = shipped.FOLDER / "models.json"
    entries = json.loads(manifest.read_text(encoding="utf-8")) if manifest.exists() else {}
    entries[name] = {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data), "about": about}
    with writing(manifest) as file:
        file.write((json.dumps(entries, indent=2, sort_keys=True) + "\n").encode())
    print(f"{path}: {len(data):,} bytes; kmerl.load_model({name!r})")


def without_synonyms(names, vocabulary):
    """The names without those that the vocabulary answers as their entity: nothing ever reads their vectors."""
    rows = [row for row, text in enumerate(names.texts) if text not in vocabulary
            or folded(vocabulary[text].name) == folded(text)]
    contrast = None if names.contrast is None else names.contrast[rows]
    return Names([names.texts[row] for row in rows], names.query[rows], contrast)


if __name__ == "__main__":
    sys.exit(main())
