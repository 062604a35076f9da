"""The frozen text encoder and ready-made embeddings (SPEC 4).

Reports and entity names are embedded once each, in evaluation mode, by a BERT of any size from a local folder
(:class:`TextEncoder`), or looked up in matrices made before (:class:`TextEmbeddings`). Both have the same
interface: ``embed(texts, pooling)``, ``id``, ``width``.
"""

import hashlib
import json
import os

import numpy as np

from kmerl import _kmerl, safetensors
from kmerl.lock import Lock
from kmerl.progress import Progress

__all__ = ["TextEmbeddings", "TextEncoder", "sample_embeddings"]

POOLINGS = ("mean", "cls", "pooler")
SHIPPED = os.path.join(os.path.dirname(__file__), "data", "embeddings.safetensors")
_REAL = np.dtype(_kmerl.build_info()["real"])
_TEXTS = 4096  # tokenised at a time
_TOKENS = 4096  # a thread's share between two looks at Ctrl-C and the progress bar: a second or two

# The core's names and the tensors of a Hugging Face folder that each of them is made of, one below the other.
_TENSORS = {
    "embeddings.word": ["embeddings.word_embeddings.weight"],
    "embeddings.position": ["embeddings.position_embeddings.weight"],
    "embeddings.type": ["embeddings.token_type_embeddings.weight"],
    "embeddings.norm": ["embeddings.LayerNorm"],
    "pooler": ["pooler.dense"],
}
_LAYER_TENSORS = {
    "attention.qkv": ["attention.self.query", "attention.self.key", "attention.self.value"],
    "attention.out": ["attention.output.dense"],
    "norm1": ["attention.output.LayerNorm"],
    "mlp.fc1": ["intermediate.dense"],
    "mlp.fc2": ["output.dense"],
    "norm2": ["output.LayerNorm"],
}
# The core's sizes and what config.json calls them.
_SIZES = {
    "vocabulary": "vocab_size",
    "positions": "max_position_embeddings",
    "types": "type_vocab_size",
    "width": "hidden_size",
    "layers": "num_hidden_layers",
    "heads": "num_attention_heads",
    "mlp_width": "intermediate_size",
}


class TextEncoder:
    """A frozen BERT: texts in, one vector each out. Made by :meth:`load`.

    Attributes
    ----------
    id : str
        What the encoder is: sizes and a hash of weights and tokenizer. Equal for the same model however its
        folder stores it (float16 that widens to the same numbers, ``tokenizer.json`` or ``vocab.txt``).
    width : int
        Length of an embedding.
    poolings : tuple of str
        Which of "mean", "cls", "pooler" this encoder has.
    max_length : int
        The most tokens it can read.
    ignores_case : bool
        Whether upper and lower case are the same to it.
    """

    def __init__(self, core, tokenizer, config, fingerprint):
        self._core = core
        self._tokenizer = tokenizer
        self._lock = Lock()  # truncation is a setting of the tokenizer
        self.width = config["width"]
        self.max_length = config["positions"]
        self.poolings = POOLINGS if config["pooler"] else POOLINGS[:2]
        self.ignores_case = _ignores_case(tokenizer)
        self.id = f"bert-l{config['layers']}-h{config['width']}-{fingerprint}"

    def __repr__(self):
        return f"<kmerl.TextEncoder {self.id}>"

    @classmethod
    def load(cls, folder):
        """Load a BERT from a local folder in the layout of Hugging Face.

        Parameters
        ----------
        folder : path-like
            With ``config.json``, ``model.safetensors``, and ``tokenizer.json`` or ``vocab.txt`` (then
            ``tokenizer_config.json``, where there is one, says whether the tokenizer lower-cases).

        Returns
        -------
        TextEncoder

        Raises
        ------
        FileNotFoundError
            The folder or one of its files is missing.
        ValueError
            Another kind of model, or files that do not belong together: the message names file and field or
            tensor.
        ImportError
            The ``tokenizers`` package is not installed.
        """
        folder = os.fspath(folder)
        if not os.path.isdir(folder):
            raise FileNotFoundError(f"text encoder folder {folder} does not exist")
        config = _read_config(os.path.join(folder, "config.json"))
        weights = _read_weights(folder, config)
        tokenizer = _read_tokenizer(folder, config)
        fingerprint = _fingerprint(weights, tokenizer, config)
        core = _kmerl.Text(weights, **config)
        return cls(core, tokenizer, config, fingerprint)

    def embed(self, texts, pooling="mean", max_length=None, threads=None, progress=False):
        """Embed texts, each distinct one once.

        A text's embedding is the same to the last bit whatever else is in the list.

        Parameters
        ----------
        texts : sequence of str
            Empty texts are allowed.
        pooling : {"mean", "cls", "pooler"}
            Mean of the last hidden states of all tokens, that of the first token, or the pooler's output.
        max_length : int, optional
            Texts are cut to so many tokens, the two special ones included. By default 256 (SPEC 4), or what the
            encoder has positions for where that is less.
        threads : int, optional
            By default ``OMP_NUM_THREADS``, else the cores this process may use.
        progress : bool
            Show a progress bar on standard error.

        Returns
        -------
        ndarray, (n, width), float32

        Raises
        ------
        TypeError, ValueError
            Texts that are no strings; a pooling, length or number of threads that cannot be.
        """
        texts = _check_texts(texts)
        _check_pooling(pooling, self.poolings, self.id)
        if max_length is None:
            max_length = min(256, self.max_length)
        max_length = _check_integer("max_length", max_length, 2, self.max_length)
        threads = (
            _kmerl.build_info()["threads"] if threads is None else _check_integer("threads", threads, 1, 4096)
        )

        row = {text: i for i, text in enumerate(dict.fromkeys(texts))}
        tokens = self._tokenize(list(row), max_length)
        # Longest first: spans of equal length, and the last ones to be handed out are short.
        order = sorted(range(len(tokens)), key=lambda i: -len(tokens[i]))
        out = np.empty((len(tokens), self.width), np.float32)
        with Progress(len(tokens), "embed", "texts", show=progress) as bar:
            start = 0
            while start < len(order):
                longest = len(tokens[order[start]])
                chunk = order[start : start + max(1, _TOKENS * threads // longest)]
                offset = np.cumsum([0] + [len(tokens[i]) for i in chunk], dtype=np.int32)
                ids = np.concatenate([tokens[i] for i in chunk])
                out[chunk] = self._core.forward(ids, offset, pooling, threads)
                if not np.isfinite(out[chunk]).all():
                    raise RuntimeError(f"{self.id} gives embeddings that are not finite: its weights are too large for "
                                       "float32, or damaged")
                start += len(chunk)
                bar.update(len(chunk))
        return out[[row[text] for text in texts]] if texts else out

    def _tokenize(self, texts, max_length):
        """Token ids, one int32 array a text, cut to max_length with the special tokens kept."""
        tokens = []
        with self._lock:
            self._tokenizer.enable_truncation(max_length)
            for start in range(0, len(texts), _TEXTS):
                encodings = self._tokenizer.encode_batch(texts[start : start + _TEXTS])
                tokens += [np.array(encoding.ids, np.int32) for encoding in encodings]
            self._tokenizer.no_truncation()
        return tokens


class TextEmbeddings:
    """Ready-made embeddings with the interface of :class:`TextEncoder`.

    Parameters
    ----------
    texts : sequence of str
        n distinct texts.
    matrices : dict of str to array_like
        For each pooling ("mean", "cls", "pooler") the (n, width) embeddings of the texts, in their order.
    id : str
        Which encoder made them (:attr:`TextEncoder.id`), or any name of one's own. Models trained with one id
        refuse another.
    ignore_case : bool
        Whether texts are looked up without regard to case: right for an encoder that lower-cases.

    Attributes
    ----------
    id, width, poolings, ignores_case
        As for :class:`TextEncoder`.
    texts : tuple of str
    """

    def __init__(self, texts, matrices, *, id, ignore_case=False):
        self.texts = tuple(_check_texts(texts))
        if not isinstance(id, str) or not id:
            raise ValueError(f"id must be a string that names the encoder, got {id!r}")
        if not matrices:
            raise ValueError("matrices is empty, expected a matrix for at least one pooling")
        self.id = id
        self.ignores_case = bool(ignore_case)
        self._matrices = {}
        for pooling, matrix in dict(matrices).items():
            _check_choice("pooling", pooling, POOLINGS)
            matrix = np.asarray(matrix)
            if matrix.dtype not in (np.float16, np.float32, np.float64):
                raise TypeError(f"matrices[{pooling!r}] has dtype {matrix.dtype}, expected a float one")
            if matrix.ndim != 2 or len(matrix) != len(self.texts) or matrix.shape[1] == 0:
                raise ValueError(
                    f"matrices[{pooling!r}] has shape {matrix.shape}, expected ({len(self.texts)}, width): "
                    f"a row for each of the {len(self.texts)} texts"
                )
            if not np.isfinite(matrix).all():
                raise ValueError(f"matrices[{pooling!r}] has NaN or infinite values")
            self._matrices[pooling] = matrix
        self.poolings = tuple(pooling for pooling in POOLINGS if pooling in self._matrices)
        widths = {pooling: matrix.shape[1] for pooling, matrix in self._matrices.items()}
        if len(set(widths.values())) > 1:
            raise ValueError(f"the matrices differ in width: {widths}")
        self.width = next(iter(widths.values()))
        self._row = {self._key(text): i for i, text in enumerate(self.texts)}
        if len(self._row) < len(self.texts):
            twice = next(text for i, text in enumerate(self.texts) if self._row[self._key(text)] != i)
            raise ValueError(f"texts has {twice!r} twice")

    def __repr__(self):
        return f"<kmerl.TextEmbeddings of {len(self)} texts by {self.id}>"

    def __len__(self):
        return len(self.texts)

    def __contains__(self, text):
        return isinstance(text, str) and self._key(text) in self._row

    def _key(self, text):
        return text.lower() if self.ignores_case else text

    def embed(self, texts, pooling="mean"):
        """Look embeddings up.

        Parameters
        ----------
        texts : sequence of str
        pooling : {"mean", "cls", "pooler"}
            One of :attr:`poolings`.

        Returns
        -------
        ndarray, (n, width), float32

        Raises
        ------
        KeyError
            A text that has no embedding here.
        TypeError, ValueError
            Texts that are no strings; a pooling that is not there.
        """
        texts = _check_texts(texts)
        _check_pooling(pooling, self.poolings, self.id)
        rows = [self._row.get(self._key(text)) for text in texts]
        unknown = [text for text, row in zip(texts, rows, strict=True) if row is None]
        if unknown:
            more = f" (and {len(unknown) - 1} more)" if len(unknown) > 1 else ""
            raise KeyError(
                f"no embedding of {_short(unknown[0])}{more} among the {len(self)} ready-made ones; "
                "any other text needs a text encoder: kmerl.TextEncoder.load(folder) with a local copy "
                f"of the model that made these ({self.id}); docs/text_encoder.md says how to get one"
            )
        return self._matrices[pooling][np.array(rows, np.intp)].astype(np.float32)

    def save(self, path, metadata=None):
        """Write to a safetensors file: the matrices as they are, and the texts as UTF-8.

        Parameters
        ----------
        path : path-like
        metadata : dict of str to str, optional
            More for the header, where it came from for instance.
        """
        encoded = [text.encode() for text in self.texts]
        tensors = {
            **self._matrices,
            "texts": np.frombuffer(b"".join(encoded), np.uint8),
            "text_ends": np.cumsum([len(text) for text in encoded], dtype=np.int64),
        }
        header = {"format": "kmerl.TextEmbeddings", "id": self.id, "ignore_case": str(int(self.ignores_case))}
        safetensors.write(path, tensors, {**(metadata or {}), **header})

    @classmethod
    def load(cls, path):
        """Read what :meth:`save` wrote; the matrices stay memory-mapped.

        Raises
        ------
        ValueError
            The file is no such file, or damaged.
        """
        path = os.fspath(path)
        tensors, metadata = safetensors.read(path)
        if metadata.get("format") != "kmerl.TextEmbeddings" or not {"texts", "text_ends"} <= set(tensors):
            raise ValueError(f"{path} holds no text embeddings: it was not written by TextEmbeddings.save")
        data = tensors.pop("texts").tobytes()
        bounds = [0, *tensors.pop("text_ends").ravel().tolist()]
        if bounds != sorted(bounds) or bounds[-1] != len(data):
            raise ValueError(f"{path}: text_ends does not divide the {len(data)} bytes of texts")
        try:
            texts = [data[start:end].decode() for start, end in zip(bounds[:-1], bounds[1:], strict=True)]
            return cls(texts, tensors, id=metadata.get("id"), ignore_case=metadata.get("ignore_case") == "1")
        except (ValueError, TypeError) as error:
            raise ValueError(f"{path}: {error}") from None


def sample_embeddings():
    """The embeddings that ship with kmerl: no text encoder needed for what they cover.

    Made with all-MiniLM-L6-v2 (see ``kmerl/data/embeddings.md``), poolings "mean" and "cls": the sample's
    reports, every name and synonym of the default vocabulary, and every class name of SPEC 9.

    Returns
    -------
    TextEmbeddings
    """
    return TextEmbeddings.load(SHIPPED)


def _read_json(path):
    try:
        with open(path, "rb") as file:
            value = json.loads(file.read().decode())
    except FileNotFoundError:
        raise FileNotFoundError(f"text encoder file {path} is missing") from None
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is no valid JSON: {error}") from None
    if not isinstance(value, dict):
        raise ValueError(f"{path} holds a JSON {type(value).__name__}, expected an object")
    return value


def _read_config(path):
    """config.json as keyword arguments of the core; whatever is not a plain BERT is refused."""
    fields = _read_json(path)
    for field, expected in [
        ("model_type", "bert"),
        ("position_embedding_type", "absolute"),
        ("hidden_act", "gelu"),
        ("is_decoder", False),
        ("add_cross_attention", False),
    ]:
        value = fields.get(field, expected)
        if value != expected:
            raise ValueError(
                f"{path}: {field} is {value!r}, expected {expected!r}: "
                "only encoders in BERT's layout are supported"
            )
    config = {}
    for name, field in _SIZES.items():
        value = fields.get(field)
        if type(value) is not int or not 0 < value < 2**31:
            raise ValueError(f"{path}: {field} is {value!r}, expected a positive whole number")
        config[name] = value
    eps = fields.get("layer_norm_eps", 1e-12)  # BERT's own; config files older than the field leave it out
    if type(eps) not in (int, float):
        raise ValueError(f"{path}: layer_norm_eps is {eps!r}, expected a number")
    config["eps"] = float(eps)
    try:
        _kmerl.text_weights(**config, pooler=False)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    return config


def _read_weights(folder, config):
    """The core's weights by its names; config gains its pooler field."""
    path = os.path.join(folder, "model.safetensors")
    if not os.path.exists(path):
        hint = ""
        if os.path.exists(os.path.join(folder, "pytorch_model.bin")):
            hint = (
                "; pytorch_model.bin is there: transformers.AutoModel.from_pretrained(folder)"
                ".save_pretrained(folder, safe_serialization=True) writes it as model.safetensors"
            )
        raise FileNotFoundError(f"text encoder file {path} is missing{hint}")
    tensors, _ = safetensors.read(path, float32=True)
    prefix = "bert." if any(name.startswith("bert.embeddings.") for name in tensors) else ""
    ours = {}
    for name, tensor in tensors.items():
        if name.startswith(prefix):  # heads of another task and the like stay outside
            name = name[len(prefix) :].replace("LayerNorm.gamma", "LayerNorm.weight")
            ours[name.replace("LayerNorm.beta", "LayerNorm.bias")] = tensor
    config["pooler"] = any(name.startswith("pooler.") for name in ours)
    ours.pop("embeddings.position_ids", None)  # 0, 1, 2, ...: stored by old versions

    weights = {}
    for name, shape in _kmerl.text_weights(**config).items():
        sources = _sources(name)
        part = (shape[0] // len(sources), *shape[1:])
        parts = [_take(ours, source, part, path) for source in sources]
        whole = parts[0] if len(parts) == 1 else np.concatenate(parts)
        weights[name] = np.ascontiguousarray(whole, _REAL)
    unexpected = [name for name in ours if name.startswith(("embeddings.", "encoder.", "pooler."))]
    if unexpected:
        raise ValueError(
            f"{path}: tensor {unexpected[0]!r} has no place in a BERT of {config['layers']} layers"
            + (f" (nor have {len(unexpected) - 1} more)" if len(unexpected) > 1 else "")
        )
    return weights


def _sources(name):
    """The folder's names of the tensors that make up one weight of the core."""
    if name.startswith("layers."):
        _, layer, name = name.split(".", 2)
        place, table = f"encoder.layer.{layer}.", _LAYER_TENSORS
    else:
        place, table = "", _TENSORS
    if name in table:
        return [place + source for source in table[name]]
    stem, kind = name.rsplit(".", 1)
    return [f"{place}{source}.{kind}" for source in table[stem]]


def _take(tensors, name, shape, path):
    if name not in tensors:
        raise ValueError(f"{path}: tensor {name!r} is missing, expected shape {shape}")
    tensor = tensors.pop(name)
    if tensor.shape != shape:
        raise ValueError(f"{path}: tensor {name!r} has shape {tensor.shape}, config.json says {shape}")
    if tensor.dtype != np.float32:
        raise ValueError(f"{path}: tensor {name!r} has dtype {tensor.dtype}, expected a float one")
    if not np.isfinite(tensor).all():
        raise ValueError(f"{path}: tensor {name!r} has NaN or infinite values")
    return tensor


def _read_tokenizer(folder, config):
    try:
        import tokenizers
    except ImportError:
        raise ImportError(
            'kmerl.TextEncoder needs the tokenizers package: pip install "kmerl[text]"'
        ) from None
    path = os.path.join(folder, "tokenizer.json")
    if not os.path.exists(path):
        path = os.path.join(folder, "vocab.txt")
    if not os.path.exists(path):
        raise FileNotFoundError(f"text encoder folder {folder} has neither tokenizer.json nor vocab.txt")
    options_path = os.path.join(folder, "tokenizer_config.json")
    options = _read_json(options_path) if os.path.exists(options_path) else {}
    try:
        if path.endswith("tokenizer.json"):
            tokenizer = tokenizers.Tokenizer.from_file(path)
        else:
            tokenizer = _wordpiece(tokenizers, path, options)
        tokenizer.no_padding()
        tokenizer.no_truncation()
        empty = tokenizer.encode("")
    except Exception as error:  # the package raises plain Exception
        raise ValueError(f"{path} is no tokenizer for BERT: {error}") from None
    if len(empty.ids) != 2:
        raise ValueError(
            f"{path} gives an empty text the tokens {empty.tokens}, "
            "expected a first and a last one ([CLS], [SEP])"
        )
    lowers = _ignores_case(tokenizer)
    if options.get("do_lower_case", lowers) != lowers:
        raise ValueError(
            f"{options_path}: do_lower_case is {options['do_lower_case']}, but {path} "
            + ("lower-cases" if lowers else "keeps the case")
        )
    last = max(tokenizer.get_vocab(with_added_tokens=True).values())
    if last >= config["vocabulary"]:
        raise ValueError(
            f"{path} has token ids up to {last}, config.json a vocab_size of {config['vocabulary']}: "
            "tokenizer and weights do not belong together"
        )
    return tokenizer


def _wordpiece(tokenizers, path, options):
    """BERT's tokenizer from its list of word pieces."""
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordPiece.from_file(path, unk_token="[UNK]"))
    for token in ("[UNK]", "[CLS]", "[SEP]"):
        if tokenizer.token_to_id(token) is None:
            raise ValueError(f"it has no {token}")
    special = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
    tokenizer.add_special_tokens([token for token in special if tokenizer.token_to_id(token) is not None])
    tokenizer.normalizer = tokenizers.normalizers.BertNormalizer(
        lowercase=options.get("do_lower_case", True),
        strip_accents=options.get("strip_accents"),
        handle_chinese_chars=options.get("tokenize_chinese_chars", True),
    )
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.BertPreTokenizer()
    first, last = (("[CLS]", tokenizer.token_to_id("[CLS]")), ("[SEP]", tokenizer.token_to_id("[SEP]")))
    tokenizer.post_processor = tokenizers.processors.BertProcessing(last, first)
    return tokenizer


def _ignores_case(tokenizer):
    normalizer = tokenizer.normalizer
    return normalizer is not None and normalizer.normalize_str("Aß") == normalizer.normalize_str("aß")


def _fingerprint(weights, tokenizer, config):
    """A hash of what decides an embedding: numbers, not the way the folder stores them."""
    digest = hashlib.sha256(json.dumps(config, sort_keys=True).encode())
    for name in sorted(weights):
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(weights[name], "<f4").data)
    vocabulary = sorted(tokenizer.get_vocab(with_added_tokens=True).items(), key=lambda item: item[1])
    digest.update(json.dumps(vocabulary).encode())
    # What the tokenizer does with case, accents, ideographs, hyphens and control characters.
    probe = tokenizer.encode("Größe ÉTÉ naïve 心電図 ST-Hebung,\x00\u200b 0.1mV/s T\u0308").ids
    digest.update(json.dumps(probe).encode())
    return digest.hexdigest()[:16]


def _check_texts(texts):
    if isinstance(texts, (str, bytes)):
        raise TypeError(
            f"texts must be a list of strings, got a single {type(texts).__name__}: put it into a list"
        )
    texts = list(texts)
    for i, text in enumerate(texts):
        if not isinstance(text, str):
            raise TypeError(f"texts[{i}] must be a string, got {type(text).__name__}")
        try:
            text.encode()
        except UnicodeEncodeError:
            raise ValueError(f"texts[{i}] is not valid Unicode: it has a lone surrogate") from None
    return [str(text) for text in texts]


def _check_pooling(pooling, available, id):
    _check_choice("pooling", pooling, POOLINGS)
    if pooling not in available:
        raise ValueError(f"{id} has no pooling {pooling!r}, only {', '.join(map(repr, available))}")


def _check_choice(name, value, choices):
    if value not in choices:
        raise ValueError(f"{name} is {value!r}, expected one of {', '.join(map(repr, choices))}")


def _check_integer(name, value, least, most):
    try:
        number = value.__index__()
    except AttributeError:
        raise TypeError(f"{name} must be a whole number, got {value!r}") from None
    if isinstance(value, bool) or not least <= number <= most:
        raise ValueError(f"{name} is {value!r}, expected {least} to {most}")
    return number


def _short(text):
    return repr(text) if len(text) <= 80 else repr(text[:77] + "...")
