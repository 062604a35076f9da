"""The text encoder against a NumPy twin, on a tiny random BERT; ready-made embeddings; what both refuse."""

import json
import math
import os

import numpy as np
import pytest

import kmerl
from kmerl import safetensors
from kmerl.classes import class_names
from kmerl.text import SHIPPED, TextEmbeddings, TextEncoder

WORDS = "sinus rhythm st - . heb ##ung gro ##ß ##e mo ##glich Sinus ##u x".split()
VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]
CONFIG = {
    "model_type": "bert",
    "vocab_size": len(VOCABULARY),
    "max_position_embeddings": 256,
    "type_vocab_size": 2,
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 40,
    "layer_norm_eps": 1e-6,
    "hidden_act": "gelu",
    "position_embedding_type": "absolute",
}
TEXTS = ["sinus rhythm.", "", "ST-Hebung möglich", "große " * 50, "sinus", "something unknown", "x"]


def random_tensors(seed=0):
    """Weights of a BERT of CONFIG under the names of Hugging Face."""
    rng = np.random.default_rng(seed)
    C, M = CONFIG["hidden_size"], CONFIG["intermediate_size"]
    shapes = {
        "embeddings.word_embeddings.weight": (CONFIG["vocab_size"], C),
        "embeddings.position_embeddings.weight": (CONFIG["max_position_embeddings"], C),
        "embeddings.token_type_embeddings.weight": (2, C),
        "embeddings.LayerNorm.weight": (C,),
        "embeddings.LayerNorm.bias": (C,),
        "pooler.dense.weight": (C, C),
        "pooler.dense.bias": (C,),
    }
    for i in range(CONFIG["num_hidden_layers"]):
        layer = {
            "attention.self.query": (C, C),
            "attention.self.key": (C, C),
            "attention.self.value": (C, C),
            "attention.output.dense": (C, C),
            "attention.output.LayerNorm": (C,),
            "intermediate.dense": (M, C),
            "output.dense": (C, M),
            "output.LayerNorm": (C,),
        }
        for name, shape in layer.items():
            shapes[f"encoder.layer.{i}.{name}.weight"] = shape
            shapes[f"encoder.layer.{i}.{name}.bias"] = shape[:1]
    return {name: rng.normal(size=shape).astype(np.float32) / 2 for name, shape in shapes.items()}


def make_folder(folder, config=CONFIG, tensors=None, vocabulary=VOCABULARY, **options):
    """A text encoder folder with a vocab.txt; options go to tokenizer_config.json."""
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    safetensors.write(folder / "model.safetensors", random_tensors() if tensors is None else tensors)
    (folder / "vocab.txt").write_text("\n".join(vocabulary) + "\n", encoding="utf-8")
    if options:
        (folder / "tokenizer_config.json").write_text(json.dumps(options))
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    pytest.importorskip("tokenizers", reason="the tokenizers package is not installed")
    return make_folder(tmp_path_factory.mktemp("text") / "bert")


@pytest.fixture(scope="module")
def encoder(folder):
    return TextEncoder.load(folder)


# The twin: float64, one function an equation.


def linear(x, w, name):
    return x @ w[name + ".weight"].T + w[name + ".bias"]


def layer_norm(x, w, name):
    centred = x - x.mean(-1, keepdims=True)
    scale = np.sqrt((centred**2).mean(-1, keepdims=True) + CONFIG["layer_norm_eps"])
    return centred / scale * w[name + ".weight"] + w[name + ".bias"]


def gelu(x):
    return x / 2 * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))


def attention(x, w, name):
    heads = CONFIG["num_attention_heads"]
    q, k, v = (
        linear(x, w, f"{name}.self.{part}").reshape(len(x), heads, -1).transpose(1, 0, 2)
        for part in ("query", "key", "value")
    )
    scores = np.exp(q @ k.transpose(0, 2, 1) / math.sqrt(q.shape[-1]))
    return (scores / scores.sum(-1, keepdims=True) @ v).transpose(1, 0, 2).reshape(x.shape)


def twin(ids, pooling):
    w = {name: tensor.astype(np.float64) for name, tensor in random_tensors().items()}
    x = w["embeddings.word_embeddings.weight"][ids] + w["embeddings.position_embeddings.weight"][: len(ids)]
    x = layer_norm(x + w["embeddings.token_type_embeddings.weight"][0], w, "embeddings.LayerNorm")
    for i in range(CONFIG["num_hidden_layers"]):
        name = f"encoder.layer.{i}"
        y = linear(attention(x, w, name + ".attention"), w, name + ".attention.output.dense")
        x = layer_norm(x + y, w, name + ".attention.output.LayerNorm")
        y = linear(gelu(linear(x, w, name + ".intermediate.dense")), w, name + ".output.dense")
        x = layer_norm(x + y, w, name + ".output.LayerNorm")
    return {"mean": x.mean(0), "cls": x[0], "pooler": np.tanh(linear(x[0], w, "pooler.dense"))}[pooling]


# The core


def make_core(module):
    """The module's Text with the random weights, without tokenizer or folder."""
    from kmerl.text import _SIZES, _sources

    sizes = {name: CONFIG[field] for name, field in _SIZES.items()}
    sizes |= {"eps": CONFIG["layer_norm_eps"], "pooler": True}
    tensors = random_tensors()
    real = np.dtype(module.build_info()["real"])
    weights = {
        name: np.concatenate([tensors[source] for source in _sources(name)]).astype(real)
        for name in module.text_weights(**sizes)
    }
    return module.Text(weights, **sizes), weights, sizes


def pack(sequences):
    offset = np.cumsum([0] + [len(ids) for ids in sequences], dtype=np.int32)
    return np.concatenate([np.zeros(0, np.int32), *sequences]).astype(np.int32), offset


@pytest.fixture(scope="module")
def sequences():
    rng = np.random.default_rng(1)
    return [rng.integers(0, len(VOCABULARY), n).astype(np.int32) for n in [3, 1, 40, 17, 2, 39, 16, 8] * 5]


@pytest.mark.parametrize("pooling", ["mean", "cls", "pooler"])
@pytest.mark.parametrize("build, tolerance", [("core", 1e-5), ("core64", 1e-12)])
def test_forward_equals_the_twin(request, sequences, build, tolerance, pooling):
    text, _, _ = make_core(request.getfixturevalue(build))
    got = text.forward(*pack(sequences), pooling, 2)
    expected = [twin(ids, pooling) for ids in sequences]
    np.testing.assert_allclose(got, expected, rtol=0, atol=tolerance)


def test_neighbours_and_threads_change_no_bit(core, sequences):
    text, _, _ = make_core(core)
    together = text.forward(*pack(sequences), "mean", 1)
    np.testing.assert_array_equal(text.forward(*pack(sequences), "mean", 2), together)
    backwards = text.forward(*pack(sequences[::-1]), "mean", 2)[::-1]
    np.testing.assert_array_equal(backwards, together)
    for i, ids in enumerate(sequences):
        np.testing.assert_array_equal(text.forward(*pack([ids]), "mean", 1)[0], together[i])


def test_the_core_checks_its_tokens(core):
    text, _, sizes = make_core(core)

    def forward(ids, offset, pooling="mean", threads=1):
        return text.forward(np.array(ids, np.int32), np.array(offset, np.int32), pooling, threads)

    assert forward([], [0]).shape == (0, 24)
    for arguments, message in [
        (([1, 20], [0, 2]), "token id 20 is not among the 20"),
        (([-1, 2], [0, 2]), "token id -1"),
        (([1, 2], [0, 0, 2]), "text 0 has 0 tokens, expected 1 to 256"),
        (([1] * 257, [0, 257]), "text 0 has 257 tokens"),
        (([1, 2, 3], [0, 2, 1, 3]), "text 1 has -1 tokens"),
        (([1, 2], [1, 2]), "offset starts at 1"),
        (([1, 2], [0, 3]), "offset must end with the number of ids, 2"),
        (([], []), "offset must end"),
        (([1], [0, 1], "max"), 'pooling is "max"'),
        (([1], [0, 1], "mean", 0), "threads is 0"),
    ]:
        with pytest.raises(ValueError, match=message):
            forward(*arguments)
    with pytest.raises(TypeError, match="ids must be a C-contiguous array of int32"):
        text.forward(np.zeros(1), np.array([0, 1], np.int32), "mean", 1)


def test_the_core_checks_its_weights(core):
    text, weights, sizes = make_core(core)
    with pytest.raises(KeyError, match="layers.1.mlp.fc2.bias"):
        core.Text(
            {name: array for name, array in weights.items() if name != "layers.1.mlp.fc2.bias"}, **sizes
        )
    with pytest.raises(ValueError, match="pooler.bias has length 23 along axis 0, expected 24"):
        core.Text({**weights, "pooler.bias": weights["pooler.bias"][:23]}, **sizes)
    for field, value, message in [
        ("width", 0, "width is 0, expected 1 to 16384"),
        ("heads", 5, "width 24 is not divisible by heads 5"),
        ("layers", 2**20, "layers is 1048576"),
        ("eps", 0.0, "eps is 0, expected"),
        ("eps", math.nan, "eps is nan"),
    ]:
        with pytest.raises(ValueError, match=message):
            core.text_weights(**{**sizes, field: value})
    with pytest.raises(ValueError, match="this encoder has no pooler"):
        plain = core.Text(weights, **{**sizes, "pooler": False})
        plain.forward(np.array([1], np.int32), np.array([0, 1], np.int32), "pooler", 1)


# Embedding


@pytest.mark.parametrize("pooling", ["mean", "cls", "pooler"])
def test_embed_equals_the_twin(encoder, pooling):
    ids = {
        "sinus rhythm.": [2, 5, 6, 9, 3],
        "": [2, 3],
        "ST-Hebung möglich": [2, 7, 8, 10, 11, 15, 16, 3],
        "große " * 50: [2, *[12, 13, 14] * 12, 12, 13, 3],
        "sinus": [2, 5, 3],
        "something unknown": [2, 1, 1, 3],
        "x": [2, 19, 3],
    }
    got = encoder.embed(TEXTS, pooling, max_length=40)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, [twin(ids[text], pooling) for text in TEXTS], rtol=0, atol=1e-5)
    cut = [twin(ids["große " * 50][:9] + [3], pooling)]
    np.testing.assert_allclose(encoder.embed(["große " * 50], pooling, max_length=10), cut, rtol=0, atol=1e-5)


def test_embed_does_not_depend_on_the_list(encoder, monkeypatch):
    if kmerl.build_info()["blas"] != "builtin":
        pytest.skip("only the built-in products promise this")
    monkeypatch.setattr("kmerl.text._TEXTS", 3)
    monkeypatch.setattr("kmerl.text._TOKENS", 10)
    together = encoder.embed(TEXTS * 2, max_length=40, threads=2)
    for i, text in enumerate(TEXTS * 2):
        np.testing.assert_array_equal(encoder.embed([text], max_length=40, threads=1)[0], together[i])


def test_each_distinct_text_is_embedded_once(folder):
    encoder = TextEncoder.load(folder)
    forward, embedded = encoder._core.forward, []

    class Counting:
        @staticmethod
        def forward(ids, offset, pooling, threads):
            embedded.append(len(offset) - 1)
            return forward(ids, offset, pooling, threads)

    encoder._core = Counting
    out = encoder.embed(["x", "sinus", "x", "x"])
    assert sum(embedded) == 2
    np.testing.assert_array_equal(out[[0, 0]], out[[2, 3]])
    assert not np.array_equal(out[0], out[1])


def test_nothing_to_embed(encoder):
    assert encoder.embed([]).shape == (0, 24)


def test_a_progress_bar(encoder, capsys):
    encoder.embed(TEXTS, max_length=40)
    assert capsys.readouterr().err == ""
    encoder.embed(TEXTS, max_length=40, progress=True)
    assert "7/7" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments, error, message",
    [
        ({"texts": "sinus"}, TypeError, "texts must be a list of strings, got a single str"),
        ({"texts": ["a", None]}, TypeError, r"texts\[1\] must be a string, got NoneType"),
        ({"texts": ["a\ud800"]}, ValueError, r"texts\[0\] is not valid Unicode"),
        ({"pooling": "max"}, ValueError, "pooling is 'max', expected one of 'mean', 'cls', 'pooler'"),
        ({"max_length": 257}, ValueError, "max_length is 257, expected 2 to 256"),
        ({"max_length": 1}, ValueError, "max_length is 1"),
        ({"max_length": 3.5}, TypeError, "max_length must be a whole number, got 3.5"),
        ({"threads": 0}, ValueError, "threads is 0, expected 1"),
        ({"threads": True}, ValueError, "threads is True"),
    ],
)
def test_what_embed_refuses(encoder, arguments, error, message):
    with pytest.raises(error, match=message):
        encoder.embed(**{"texts": ["sinus"], **arguments})


# Loading


def test_how_the_folder_stores_it_does_not_matter(tmp_path, encoder, folder):
    tensors = random_tensors()
    old_names = {
        "bert."
        + name.replace("LayerNorm.weight", "LayerNorm.gamma").replace(
            "LayerNorm.bias", "LayerNorm.beta"
        ): tensor
        for name, tensor in tensors.items()
    }
    old_names["bert.embeddings.position_ids"] = np.arange(256)[None]
    old_names["cls.predictions.bias"] = np.zeros(len(VOCABULARY), np.float32)
    other = make_folder(tmp_path / "a", tensors=old_names)
    tokenizer = encoder._tokenizer
    tokenizer.save(str(other / "tokenizer.json"))
    (other / "vocab.txt").unlink()
    loaded = TextEncoder.load(other)
    assert loaded.id == encoder.id and loaded.id.startswith("bert-l2-h24-")
    assert (loaded.width, loaded.max_length, loaded.poolings) == (24, 256, ("mean", "cls", "pooler"))
    np.testing.assert_array_equal(
        loaded.embed(TEXTS, max_length=40), TextEncoder.load(str(folder)).embed(TEXTS, max_length=40)
    )


def test_a_tokenizer_that_pads_and_cuts_is_told_not_to(tmp_path, encoder):
    import tokenizers

    folder = make_folder(tmp_path / "a")
    encoder._tokenizer.save(str(folder / "tokenizer.json"))
    tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    tokenizer.enable_truncation(4)
    tokenizer.enable_padding(length=4)
    tokenizer.save(str(folder / "tokenizer.json"))
    loaded = TextEncoder.load(folder)
    assert loaded.id == encoder.id
    np.testing.assert_array_equal(loaded.embed(TEXTS, max_length=40), encoder.embed(TEXTS, max_length=40))


@pytest.mark.parametrize("stored", ["float16", "bfloat16", "float64"])
def test_other_number_types(tmp_path, encoder, stored):
    folder, tensors = make_folder(tmp_path / "a"), random_tensors()
    if stored == "bfloat16":
        safetensors.write(folder / "model.safetensors", tensors, bfloat16=list(tensors))
    else:
        safetensors.write(
            folder / "model.safetensors", {name: t.astype(stored) for name, t in tensors.items()}
        )
    rounded, _ = safetensors.read(folder / "model.safetensors", float32=True)
    widened = make_folder(tmp_path / "b", tensors=rounded)
    loaded = TextEncoder.load(folder)
    assert loaded.id == TextEncoder.load(widened).id
    assert (loaded.id == encoder.id) == (stored == "float64")


def test_the_id_tells_encoders_apart(tmp_path, encoder):
    tensors = random_tensors()
    tensors["pooler.dense.bias"][3] += 1e-6
    ids = {
        encoder.id,
        TextEncoder.load(make_folder(tmp_path / "weight", tensors=tensors)).id,
        TextEncoder.load(make_folder(tmp_path / "case", do_lower_case=False)).id,
        TextEncoder.load(make_folder(tmp_path / "eps", {**CONFIG, "layer_norm_eps": 1e-5})).id,
        TextEncoder.load(make_folder(tmp_path / "words", vocabulary=VOCABULARY[:-2] + ["x", "##u"])).id,
    }
    assert len(ids) == 5


def test_case(tmp_path, encoder):
    cased = TextEncoder.load(make_folder(tmp_path / "a", do_lower_case=False))
    assert encoder.ignores_case and not cased.ignores_case
    np.testing.assert_array_equal(encoder.embed(["Sinus"]), encoder.embed(["sinus"]))
    np.testing.assert_array_equal(encoder.embed(["sinus"]), cased.embed(["sinus"]))
    np.testing.assert_allclose(cased.embed(["Sinus"]), [twin([2, 17, 3], "mean")], rtol=0, atol=1e-5)


def test_without_pooler(tmp_path, encoder):
    tensors = {name: tensor for name, tensor in random_tensors().items() if not name.startswith("pooler")}
    plain = TextEncoder.load(make_folder(tmp_path / "a", tensors=tensors))
    assert plain.poolings == ("mean", "cls")
    np.testing.assert_array_equal(plain.embed(["sinus"], "cls"), encoder.embed(["sinus"], "cls"))
    with pytest.raises(ValueError, match=r"bert-l2-h24-\w+ has no pooling 'pooler', only 'mean', 'cls'"):
        plain.embed(["sinus"], "pooler")


@pytest.mark.parametrize(
    "change, message",
    [
        ({"model_type": "roberta"}, "model_type is 'roberta', expected 'bert'"),
        ({"position_embedding_type": "relative_key"}, "position_embedding_type is 'relative_key'"),
        ({"hidden_act": "gelu_new"}, "hidden_act is 'gelu_new', expected 'gelu'"),
        ({"is_decoder": True}, "is_decoder is True"),
        ({"add_cross_attention": True}, "add_cross_attention is True"),
        ({"hidden_size": None}, "hidden_size is None, expected a positive whole number"),
        ({"num_hidden_layers": 0}, "num_hidden_layers is 0"),
        ({"vocab_size": "20"}, "vocab_size is '20'"),
        ({"num_attention_heads": 5}, "config.json: width 24 is not divisible by heads 5"),
        ({"layer_norm_eps": "small"}, "layer_norm_eps is 'small'"),
        ({"layer_norm_eps": -1}, "config.json: eps is -1"),
        ({"num_hidden_layers": 3}, "'encoder.layer.2.attention.self.query.weight' is missing"),
        ({"num_hidden_layers": 1}, r"'encoder.layer.1.\S+ has no place in a BERT of 1 layers"),
        (
            {"hidden_size": 48},
            r"word_embeddings.weight' has shape \(20, 24\), config.json says|says \(20, 48\)",
        ),
        (
            {"hidden_size": 12288, "vocab_size": 2**24},
            r"has shape \(20, 24\), config.json says \(16777216, 12288\)",
        ),
    ],
)
def test_configs_that_are_refused(tmp_path, folder, change, message):
    with pytest.raises(ValueError, match=message):
        TextEncoder.load(make_folder(tmp_path / "a", {**CONFIG, **change}))


@pytest.mark.parametrize(
    "name, tensor, message",
    [
        ("pooler.dense.bias", None, r"'pooler.dense.bias' is missing, expected shape \(24,\)"),
        (
            "embeddings.LayerNorm.bias",
            np.zeros(23, np.float32),
            r"has shape \(23,\), config.json says \(24,\)",
        ),
        ("embeddings.LayerNorm.bias", np.full(24, np.nan, np.float32), "'embeddings.LayerNorm.bias' has NaN"),
        ("embeddings.LayerNorm.bias", np.zeros(24, np.int64), "has dtype int64"),
        (
            "encoder.layer.0.attention.self.distance_embedding.weight",
            np.zeros((9, 8)),
            "distance_embedding.*no place",
        ),
    ],
)
def test_tensors_that_are_refused(tmp_path, folder, name, tensor, message):
    tensors = random_tensors()
    tensors.pop(name, None)
    if tensor is not None:
        tensors[name] = tensor
    with pytest.raises(ValueError, match=f"model.safetensors: tensor .*{message}"):
        TextEncoder.load(make_folder(tmp_path / "a", tensors=tensors))


@pytest.mark.parametrize(
    "vocabulary, message",
    [
        (VOCABULARY + ["more"], "token ids up to 20, config.json a vocab_size of 20.*do not belong together"),
        (VOCABULARY[3:], r"vocab.txt is no tokenizer for BERT: it has no \[UNK\]"),
    ],
)
def test_tokenizers_that_are_refused(tmp_path, folder, vocabulary, message):
    with pytest.raises(ValueError, match=message):
        TextEncoder.load(make_folder(tmp_path / "a", vocabulary=vocabulary))


def test_a_tokenizer_without_special_tokens_is_refused(tmp_path, folder):
    import tokenizers

    folder = make_folder(tmp_path / "a")
    words = {word: i for i, word in enumerate(VOCABULARY)}
    tokenizers.Tokenizer(tokenizers.models.WordPiece(words, unk_token="[UNK]")).save(
        str(folder / "tokenizer.json")
    )
    with pytest.raises(ValueError, match="tokenizer.json gives an empty text the tokens"):
        TextEncoder.load(folder)
    (folder / "tokenizer.json").write_text("{")
    with pytest.raises(ValueError, match="tokenizer.json is no tokenizer for BERT"):
        TextEncoder.load(folder)


def test_a_tokenizer_that_contradicts_its_settings_is_refused(tmp_path, encoder):
    folder = make_folder(tmp_path / "a", do_lower_case=False)
    encoder._tokenizer.save(str(folder / "tokenizer.json"))
    with pytest.raises(
        ValueError, match="tokenizer_config.json: do_lower_case is False, but .*json lower-cases"
    ):
        TextEncoder.load(folder)


def test_missing_and_broken_files(tmp_path, folder):
    with pytest.raises(FileNotFoundError, match="folder .*nowhere does not exist"):
        TextEncoder.load(tmp_path / "nowhere")
    broken = make_folder(tmp_path / "a")
    (broken / "vocab.txt").unlink()
    with pytest.raises(FileNotFoundError, match="neither tokenizer.json nor vocab.txt"):
        TextEncoder.load(broken)
    whole = (broken / "model.safetensors").read_bytes()
    (broken / "model.safetensors").write_bytes(whole[:-1])
    with pytest.raises(ValueError, match="model.safetensors is truncated"):
        TextEncoder.load(broken)
    (broken / "model.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match="model.safetensors is missing$"):
        TextEncoder.load(broken)
    (broken / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(FileNotFoundError, match="model.safetensors is missing; pytorch_model.bin is there"):
        TextEncoder.load(broken)
    (broken / "config.json").write_text("[" * 100_000)
    with pytest.raises(ValueError, match="config.json is no valid JSON"):
        TextEncoder.load(broken)
    (broken / "config.json").unlink()
    with pytest.raises(FileNotFoundError, match="config.json is missing"):
        TextEncoder.load(broken)


def test_without_the_tokenizers_package(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "tokenizers", None)
    with pytest.raises(ImportError, match=r'pip install "kmerl\[text\]"'):
        TextEncoder.load(make_folder(tmp_path / "a"))


# Ready-made embeddings


def made(n=3, **options):
    rng = np.random.default_rng(0)
    matrices = {"mean": rng.normal(size=(n, 4)), "cls": rng.normal(size=(n, 4)).astype(np.float16)}
    return TextEmbeddings([f"Text {i} ö" for i in range(n)], matrices, **{"id": "mine", **options}), matrices


def test_lookup():
    embeddings, matrices = made()
    got = embeddings.embed(["Text 2 ö", "Text 0 ö", "Text 2 ö"], "cls")
    assert got.dtype == np.float32
    np.testing.assert_array_equal(got, matrices["cls"][[2, 0, 2]].astype(np.float32))
    assert embeddings.embed([]).shape == (0, 4)
    assert (embeddings.id, embeddings.width, embeddings.poolings, len(embeddings)) == (
        "mine",
        4,
        ("mean", "cls"),
        3,
    )
    assert "Text 1 ö" in embeddings and "text 1 ö" not in embeddings and 1 not in embeddings


def test_lookup_without_case():
    embeddings, matrices = made(ignore_case=True)
    np.testing.assert_array_equal(embeddings.embed(["TEXT 1 Ö"]), matrices["mean"][[1]].astype(np.float32))


def test_save_and_load(tmp_path):
    for embeddings in (made()[0], made(ignore_case=True)[0], made(0)[0]):
        embeddings.save(tmp_path / "a", {"source": "nowhere"})
        loaded = TextEmbeddings.load(tmp_path / "a")
        assert loaded.texts == embeddings.texts and loaded.id == embeddings.id
        assert loaded.ignores_case == embeddings.ignores_case
        for pooling in embeddings.poolings:
            np.testing.assert_array_equal(
                loaded.embed(loaded.texts, pooling), embeddings.embed(embeddings.texts, pooling)
            )


def test_what_lookup_refuses():
    embeddings, _ = made()
    with pytest.raises(KeyError, match=r"no embedding of 'flutter' \(and 1 more\).*kmerl.TextEncoder.load"):
        embeddings.embed(["Text 1 ö", "flutter", "waves"])
    with pytest.raises(ValueError, match="mine has no pooling 'pooler', only 'mean', 'cls'"):
        embeddings.embed(["Text 1 ö"], "pooler")
    with pytest.raises(TypeError, match="got a single str"):
        embeddings.embed("Text 1 ö")


@pytest.mark.parametrize(
    "texts, matrices, options, error, message",
    [
        (["a", "a"], {"mean": np.ones((2, 3))}, {}, ValueError, "'a' twice"),
        (["a", "A"], {"mean": np.ones((2, 3))}, {"ignore_case": True}, ValueError, "'a' twice"),
        (["a"], {}, {}, ValueError, "matrices is empty"),
        (["a"], {"max": np.ones((1, 3))}, {}, ValueError, "pooling is 'max'"),
        (["a"], {"mean": np.ones((2, 3))}, {}, ValueError, r"\(2, 3\), expected \(1, width\)"),
        (["a"], {"mean": np.ones(3)}, {}, ValueError, r"\(3,\), expected \(1, width\)"),
        (["a"], {"mean": np.ones((1, 3), int)}, {}, TypeError, "dtype int64"),
        (["a"], {"mean": np.full((1, 3), np.inf)}, {}, ValueError, "NaN or infinite"),
        (["a"], {"mean": np.ones((1, 3)), "cls": np.ones((1, 4))}, {}, ValueError, "differ in width"),
        (["a"], {"mean": np.ones((1, 3))}, {"id": ""}, ValueError, "id must be a string"),
    ],
)
def test_matrices_that_are_refused(texts, matrices, options, error, message):
    with pytest.raises(error, match=message):
        TextEmbeddings(texts, matrices, **{"id": "mine", **options})


def test_files_that_are_refused(tmp_path):
    made()[0].save(tmp_path / "a")
    tensors, metadata = safetensors.read(tmp_path / "a")
    for change, message in [
        ({"text_ends": np.array([5, 3, len(tensors["texts"])])}, "text_ends does not divide"),
        ({"text_ends": np.array([1, 2])}, "text_ends does not divide"),
        ({"text_ends": tensors["text_ends"] - [1, 0, 0]}, "can't decode"),
        ({"mean": np.zeros((2, 4))}, r"\(2, 4\), expected \(3, width\)"),
    ]:
        safetensors.write(tmp_path / "b", {**tensors, **change}, metadata)
        with pytest.raises(ValueError, match=message):
            TextEmbeddings.load(tmp_path / "b")
    safetensors.write(tmp_path / "b", tensors)
    with pytest.raises(ValueError, match="holds no text embeddings"):
        TextEmbeddings.load(tmp_path / "b")


# What ships

RERUN = "not in the shipped embeddings: run tools/make_embeddings.py"


def test_the_shipped_embeddings_cover_the_vocabulary():
    shipped = kmerl.sample_embeddings()
    vocabulary = kmerl.Vocabulary.default()
    names = [*vocabulary, *(synonym for name in vocabulary for synonym in vocabulary[name].synonyms)]
    assert [name for name in names if name not in shipped] == [], RERUN


def test_the_shipped_embeddings_cover_the_class_names():
    shipped = kmerl.sample_embeddings()
    names = [name for names in class_names().values() for name in names.values()]
    assert len(names) == 106
    assert [name for name in names if name not in shipped] == [], RERUN


def test_the_shipped_embeddings_cover_the_sample():
    shipped = kmerl.sample_embeddings()
    reports = [record.report for record in kmerl.sample_records()]
    assert [report for report in reports if report not in shipped] == [], RERUN


def test_the_shipped_embeddings_are_sound():
    shipped = kmerl.sample_embeddings()
    assert (
        shipped.id.startswith("bert-l6-h384-")
        and shipped.width == 384
        and shipped.poolings == ("mean", "cls")
    )
    for pooling in shipped.poolings:
        matrix = shipped.embed(shipped.texts, pooling)
        length = np.linalg.norm(matrix, axis=1)
        assert length.min() > 1 and len(np.unique(matrix, axis=0)) > 0.95 * len(shipped)
    # Related names are nearer to each other than to others: the rows belong to their texts.
    names = ["atrial fibrillation", "atrial flutter", "left bundle branch block", "right bundle branch block"]
    rows = shipped.embed(names, "mean")
    near = rows @ rows.T / np.outer(*[np.linalg.norm(rows, axis=1)] * 2)
    assert (near - 2 * np.eye(4)).argmax(axis=1).tolist() == [1, 0, 3, 2]
    assert os.path.getsize(SHIPPED) < 6e6
