"""The examples run, and do what they say."""

import csv
import importlib.util
import io
import pathlib
import shutil

import numpy as np
import pytest

import kmerl

ROOT = pathlib.Path(__file__).resolve().parent.parent
pytestmark = pytest.mark.skipif(not (ROOT / "examples").is_dir(), reason="needs the source tree")


def example(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / "examples" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_example_is_tested():
    tested = {"own_loop", "pretrain", "score_folder"}
    assert {path.stem for path in (ROOT / "examples").glob("*.py")} == tested


def test_own_loop_learns(capsys):
    history = example("own_loop").main(steps=8, batch_size=8)
    query = [losses["query"] for losses in history]
    assert query[0] == pytest.approx(np.log(2), abs=0.05)  # nothing known yet
    assert all(later < earlier for earlier, later in zip(query, query[1:], strict=False))
    assert all(losses["total"] == pytest.approx(losses["contrast"] + losses["query"]) for losses in history)


def test_pretrain_answers(capsys):
    p = example("pretrain").on_the_sample(max_steps=1)
    assert p.shape == (2, 2) and ((p > 0) & (p < 1)).all()


def test_score_folder_lists_what_it_cannot_read(tmp_path, capsys):
    folder = tmp_path / "records" / "below"
    folder.mkdir(parents=True)
    for name in ("00001_hr", "00286_hr"):
        source = pathlib.Path(kmerl.sample_path(name))
        for path in source.parent.glob(f"{name}.*"):
            shutil.copy(path, folder)
    (folder / "broken.hea").write_text("broken 1 500 5000\nmissing.dat 16 1000 16 0 0 0 0 I\n")
    model = kmerl.KMERL(size="tiny", query_layers=1).initialize(text_dim=384)
    embeddings = kmerl.sample_embeddings()
    model.text_encoder = embeddings
    model.save(tmp_path / "model.safetensors")
    out = io.StringIO()
    scoring = example("score_folder")

    loaded = kmerl.load_model

    def with_encoder(path):
        model = loaded(path)
        model.text_encoder = embeddings
        return model

    scoring.kmerl.load_model, before = with_encoder, scoring.kmerl.load_model
    try:
        failed = scoring.main(tmp_path / "model.safetensors", tmp_path, "atrial fibrillation", out=out)
    finally:
        scoring.kmerl.load_model = before
    rows = list(csv.reader(io.StringIO(out.getvalue())))
    assert failed == 1 and "broken" in capsys.readouterr().err
    assert rows[0] == ["record", "leads", "atrial fibrillation"]
    assert [pathlib.Path(row[0]).name for row in rows[1:]] == ["00001_hr", "00286_hr"]
    p = model.predict_proba(kmerl.read_record(folder / "00286_hr"), ["atrial fibrillation"])
    assert float(rows[2][2]) == pytest.approx(float(p[0]), abs=1e-4)


def test_score_folder_refuses_an_empty_folder(tmp_path):
    kmerl.KMERL(size="tiny").initialize(text_dim=4).save(tmp_path / "model.safetensors")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="no WFDB header"):
        example("score_folder").main(
            tmp_path / "model.safetensors", tmp_path / "empty", "atrial fibrillation"
        )
