"""A small store and a small configuration, for tests of what comes after them."""

import zlib

import numpy as np

import kmerl

TINY = dict(size="custom", width=64, depth=1, heads=1, mlp_width=96, query_width=64, query_layers=2, query_heads=1,
            query_mlp_width=96, projection_width=32, batch_size=8, epochs=3, lr=1e-3, seed=1)


class HashEncoder:
    """Embeddings that are a function of the text and the pooling alone, of any text."""

    id = "hash-24"
    width = 24

    def embed(self, texts, pooling="mean"):
        rows = [np.random.default_rng(zlib.crc32(f"{pooling}:{text}".encode())).standard_normal(self.width)
                for text in texts]
        return np.array(rows, dtype=np.float32).reshape(-1, self.width)


def make_store(path, count=24, records=None, vocabulary=None, **options):
    """The first recordings of the sample, or those given, labelled and embedded."""
    records = kmerl.sample_records()[:count] if records is None else records
    store = kmerl.Store.create(path, records, progress=False, executor=None, **options)
    store.label(vocabulary or kmerl.Vocabulary.default(), progress=False)
    store.embed(HashEncoder(), progress=False)
    return store
