"""The command line: what each verb prints, its exit codes, and what it passes on."""

import csv
import io
import json
import os
import re
import shlex
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from small import TINY
from test_datasets import write_folder, write_record

import kmerl
from kmerl import cli

CLASSES = ["atrial fibrillation", "normal ecg", "bigeminy (unknown, or ventricular)"]


@pytest.fixture
def run(capsys):
    """Runs a command; gives exit code, standard output and standard error."""

    def command(text, *more):
        words = [*shlex.split(text), *map(str, more)]
        try:
            code = cli.main(words)
        except SystemExit as stop:
            code = stop.code
        out, err = capsys.readouterr()
        return SimpleNamespace(code=code, out=out, err=err, lines=out.splitlines())

    return command


class Model:
    """Stands for a trained model; the probability of class k is the share of leads, halved k times."""

    vocabulary_ = CLASSES
    config_ = SimpleNamespace(segment_samples=50, fs=500.0, encoder="vit", size="tiny", width=192, depth=12)

    def parameters(self):
        return {"w": np.ones(3, np.float32)}

    def __init__(self):
        self.text_encoder = None
        self.asked = []

    def predict_proba(self, records, classes, *, details=False):
        self.asked.append((records, classes))
        if "frogs" in classes:
            raise ValueError("classes: this model does not know 'frogs'")
        for record in records:
            if record.name.startswith("flat"):
                raise ValueError(f"{record.name}: no lead is left: all 12 are flat")
        p = np.array([[len(r.leads) / 12 / 2**k for k in range(len(classes))] for r in records], np.float32)
        done = [
            {
                "name": r.name,
                "windows": 1,
                "leads": r.leads,
                "dropped": ["V6"] * (r.name == "odd"),
                "repaired": 0,
            }
            for r in records
        ]
        return SimpleNamespace(probabilities=p, classes=classes, recordings=done) if details else p

    def attend(self, record, finding):
        self.asked.append((record, finding))
        return np.full((len(record.leads), 10), 0.1 / len(record.leads))


@pytest.fixture
def model(monkeypatch):
    model = Model()

    def load(path):
        if path != "best.safetensors":
            raise FileNotFoundError(f"there is no checkpoint {path!r}")
        return model

    monkeypatch.setattr(kmerl, "load_model", load, raising=False)
    return model


@pytest.fixture
def records(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("r1", "r2", "odd", "flat"):
        write_record(tmp_path / name)
    return tmp_path


# ---- Usage and errors ----


def test_help_and_version(run):
    result = run("--help")
    assert result.code == 0
    for verb in ("demo", "simulate", "store", "label", "embed", "pretrain", "predict", "evaluate", "plot", "info"):
        assert re.search(rf"^    {verb} +\w", result.out, re.M)
    assert run("--version").out == f"kmerl {kmerl.__version__}\n"


@pytest.mark.parametrize("verb", [verb for verb in cli.VERBS if verb != "demo"])
def test_every_verb_has_help(run, verb):
    result = run(f"{verb} --help")
    assert result.code == 0 and result.out.startswith(f"usage: kmerl {verb} ")


@pytest.mark.parametrize(
    "words, message",
    [
        ("", "usage: kmerl"),
        ("sing", "invalid choice: 'sing'"),
        ("predict", "the following arguments are required: CHECKPOINT"),
        ("predict c r --json --csv", "not allowed with argument"),
        ("predict c r --classes 'a,,b'", "'a,,b' has an empty name"),
        ("predict c r --class a", "unrecognized arguments: --class a"),
        ("store out r --seconds long", "'long' is neither a number of seconds nor"),
        ("pretrain s", "the following arguments are required: --out"),
        ("pretrain s --out r --epochs five", "argument --epochs: invalid int value: 'five'"),
        ("pretrain s --out r --masked-leads 9,x", "'9,x' is not like 9,10,11"),
        ("pretrain s --out r --betas 0.9", "'0.9' is not like 0.9,0.999"),
        ("plot r --checkpoint c", "--checkpoint needs --class"),
        ("plot r --out r.gif", "--out r.gif: expected .png, .pdf or .svg"),
        ("evaluate c f --out r.txt", "--out r.txt: expected .json"),
    ],
)
def test_wrong_usage(run, words, message):
    result = run(words)
    assert result.code == 2 and message in result.err and result.out == ""


@pytest.mark.parametrize(
    "error, line",
    [
        (ValueError("signal has 11 leads,\n  leads names 12"), "signal has 11 leads, leads names 12"),
        (KeyError("no entity 'x'"), "no entity 'x'"),
        (FileNotFoundError(2, "No such file or directory", "a/b.hea"), "a/b.hea: No such file or directory"),
        (RuntimeError("the model is neither trained nor loaded"), "the model is neither trained nor loaded"),
        (MemoryError(), "MemoryError"),
        (ImportError("needs matplotlib: pip install matplotlib"), "needs matplotlib: pip install matplotlib"),
    ],
)
def test_bad_input_is_one_line_and_code_1(run, monkeypatch, error, line):
    def fail(path):
        raise error

    monkeypatch.setattr("kmerl.info.describe", fail)
    result = run("info x")
    assert (result.code, result.out, result.err) == (1, "", f"kmerl info: {line}\n")


def test_a_mistake_of_our_own_is_not_hidden(run, monkeypatch):
    monkeypatch.setattr("kmerl.info.describe", lambda path: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run("info x")


def test_interrupted(run, monkeypatch):
    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(kmerl.Store, "open", stop)
    monkeypatch.setattr(kmerl, "KMERL", lambda **_: None, raising=False)
    result = run("pretrain s --out run")
    assert result.code == 130
    assert (
        result.err
        == "\nkmerl pretrain: interrupted; run/last.safetensors is kept, the same command goes on\n"
    )


def test_warnings_are_lines(run, monkeypatch):
    import warnings

    def warn(path):
        warnings.warn("3 recordings are missing", stacklevel=1)
        return ["x: a thing"], ["plot", "x"]

    monkeypatch.setattr("kmerl.info.describe", warn)
    result = run("info x")
    assert result.err == "kmerl info: warning: 3 recordings are missing\n"
    assert result.out == "x: a thing\nnext: kmerl plot x\n"


def test_as_a_program(tmp_path):
    """python -m kmerl, in a folder of its own, into a pipe that closes early."""
    write_record(tmp_path / "r1")
    command = [sys.executable, "-m", "kmerl", "info", "r1"]
    environment = {**os.environ, "PYTHONPATH": os.path.dirname(os.path.dirname(kmerl.__file__))}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.startswith("r1: a recording\n") and done.stderr == ""
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, stdout=writer, stderr=subprocess.PIPE, text=True
    )
    os.close(writer)
    assert done.returncode == 1 and done.stderr == ""


# ---- store ----


def test_store(run, records):
    (records / "reports.csv").write_text("record,report,patient\nr1,sinus rhythm,p1\nr2.hea,,p2\nodd,af,p1\n")
    (records / "cut.hea").write_text("cut 1 500 10\ncut.dat 16 1000/mV 16 0 0 0 0 II\n")
    result = run("store out r1 r2 odd cut --reports reports.csv -q")
    assert result.code == 0
    assert result.lines[0] == "out: 3 recordings stored, 1 skipped"
    assert "  skipped cut: " in result.out and "cut.dat" in result.out
    assert "2 of 4 recordings have no report in reports.csv" in result.out
    assert result.lines[-1] == "next: kmerl label out"
    store = kmerl.Store.open("out")
    assert [record.report for record in store] == ["sinus rhythm", "", "af"]
    assert store.describe()["patients"] == 2


def test_store_of_a_folder_with_other_columns(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_record(tmp_path / "ecgs" / "records500" / "00001_hr")
    write_record(tmp_path / "ecgs" / "records500" / "00002_hr")
    (tmp_path / "db.csv").write_text(
        "filename_hr,text,patient_id\nrecords500/00002_hr,zwei,7\nrecords500/00001_hr,eins,8\n"
    )
    columns = "--record-column filename_hr --report-column text --patient-column patient_id"
    result = run(f"store out ecgs --reports db.csv {columns} -q --seconds all --validation 0.5 --seed 3")
    assert result.code == 0, result.err
    store = kmerl.Store.open("out")
    assert [record.report for record in store] == ["eins", "zwei"]
    assert run(f"store out2 ecgs/records500 --reports db.csv {columns} -q").code == 0
    assert [record.report for record in kmerl.Store.open("out2")] == ["eins", "zwei"]
    assert len(store.split["validation"]) == 1 and store.describe()["seconds"] is None


def test_store_with_patients_apart(run, records):
    (records / "patients.csv").write_text("record,patient\nr1,p\nr2,p\n")
    result = run("store out r1 r2 --patients patients.csv -q")
    assert result.code == 0, result.err
    assert kmerl.Store.open("out").describe()["patients"] == 1
    assert "no reports: without --reports there is nothing to learn from" in result.out
    following = "next: kmerl store OUT RECORD --reports CSV"
    assert result.lines[-1] == following == run("info out").lines[-1]
    result = run("label out -q")
    assert result.code == 1
    assert "none of its 2 recordings has a report, so there is nothing to learn" in result.err


@pytest.mark.parametrize(
    "text, options, message",
    [
        ("record,patient\nr1,1\n", "", "reports.csv has no column 'report'; it has record, patient"),
        ("name,report\nr1,x\n", "", "reports.csv has no column 'record'"),
        (
            "record,report\nx9,x\n",
            "",
            "reports.csv has no line about any of the 2 recordings: its first is about 'x9'",
        ),
        ("record,report\nr1,x\nr1.hea,y\n", "", "reports.csv line 3: 'r1' is in line 2 too"),
        ("record,report\nr1,x\n", "--patient-column who", "reports.csv has no column 'who'"),
    ],
)
def test_store_with_bad_reports(run, records, text, options, message):
    (records / "reports.csv").write_text(text)
    result = run(f"store out r1 r2 --reports reports.csv -q {options}")
    assert result.code == 1 and message in result.err and result.err.count("\n") == 1
    assert not (records / "out").exists()


def test_store_with_nothing_to_read(run, records):
    (records / "empty").mkdir()
    assert "empty: a folder without a recording" in run("store out empty -q").err
    assert (
        run("store out r1 --reports none.csv -q").err == "kmerl store: none.csv: No such file or directory\n"
    )


# ---- pretrain: every field of the configuration is an option ----


def test_pretrain_passes_what_is_given_and_nothing_else(run, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    given = {}

    class Fake:
        def __init__(self, **parameters):
            given.update(parameters)

        def fit(self, store, out, max_steps, nonfinite, progress):
            given.update(store=store, out=out, max_steps=max_steps, nonfinite=nonfinite, progress=progress)
            os.mkdir(out)
            with open(os.path.join(out, "log.jsonl"), "w") as file:
                file.write('{"step": 1, "loss": 5.5}\n{"step": 2, "loss": 5.25}\n')
                file.write('{"step": 2, "val_loss": 6.5}\n{"step": 3, "lo')

    monkeypatch.setattr(kmerl, "KMERL", Fake, raising=False)
    monkeypatch.setattr(kmerl.Store, "open", lambda path: path)
    result = run(
        "pretrain mine --out run --preset paper --size small --epochs 5 --batch-size 16 --lr 1e-3 "
        "--betas 0.9,0.98 --masked-leads 9:0.5,11:0.5 --isolate-queries --no-contrast-positive "
        "--max-steps 2 -q"
    )
    assert given == {
        "preset": "paper", "size": "small", "epochs": 5, "batch_size": 16, "lr": 1e-3, "betas": (0.9, 0.98),
        "masked_leads": {9: 0.5, 11: 0.5}, "isolate_queries": True, "contrast_positive": False,
        "store": "mine", "out": "run", "max_steps": 2, "nonfinite": "stop", "progress": False,
    }  # fmt: skip
    assert result.code == 0
    assert result.lines == [
        "run: 2 steps",
        "  run/best.safetensors: validation loss 6.5, the lowest",
        "  run/last.safetensors: loss 5.25",
        "next: kmerl predict run/best.safetensors RECORD --classes 'atrial fibrillation,normal ecg'",
    ]


def test_pretrain_has_an_option_for_each_field(run):
    import dataclasses

    from kmerl.config import Config

    text = run("pretrain --help").out
    for field in dataclasses.fields(Config):
        assert f"--{field.name.replace('_', '-')}" in text
    assert "Numbers of masked leads" in text and "(default: 512)" in text


# ---- predict ----


def test_predict_prints_a_table(run, records, model):
    result = run("predict best.safetensors r1 --classes", "atrial fibrillation,st depression")
    assert result.code == 0 and result.err == ""
    assert result.lines == [
        "r1, 12 leads: I II III aVR aVL aVF V1 V2 V3 V4 V5 V6",
        f"  atrial fibrillation  1.000  {'#' * 30}",
        f"  st depression        0.500  {'#' * 15}",
        "next: kmerl plot r1 --checkpoint best.safetensors --class 'atrial fibrillation'",
    ]


def test_predict_with_some_leads(run, records, model):
    result = run("predict best.safetensors r1 --leads v2,II --classes af")
    assert result.lines[0] == "r1, 2 leads: V2 II"
    assert result.lines[1].split()[:2] == ["af", "0.167"]


def test_predict_json_and_csv(run, records, model):
    names = 'af, "bigeminy (unknown, or ventricular)"'
    found = json.loads(run("predict best.safetensors r1 odd --json --classes", names).out)
    assert [one["record"] for one in found] == ["r1", "odd"] and found[1]["dropped"] == ["V6"]
    assert found[0]["probabilities"] == {"af": 1.0, "bigeminy (unknown, or ventricular)": 0.5}
    rows = list(csv.reader(io.StringIO(run("predict best.safetensors r1 odd --csv --classes", names).out)))
    assert rows[0] == ["record", "af", "bigeminy (unknown, or ventricular)"]
    assert rows[1] == ["r1", "1.000000", "0.500000"] and len(rows) == 3


def test_predict_asks_all_that_the_model_knows(run, records, model):
    result = run("predict best.safetensors odd")
    assert [line.split("  ")[1].strip() for line in result.lines[1:4]] == CLASSES
    assert "(dropped, flat or too many missing samples: V6)" in result.lines[0]


def test_predict_goes_on_where_a_recording_fails(run, records, model):
    (records / "r2.dat").unlink()
    result = run("predict best.safetensors r1 r2 flat odd none --classes af --csv")
    assert result.code == 1
    assert [line.split(",")[0] for line in result.lines] == ["record", "r1", "odd"]
    errors = result.err.splitlines()
    assert len(errors) == 3 and all(line.startswith("kmerl predict: ") for line in errors)
    assert any("r2.dat" in line for line in errors) and any("none.hea" in line for line in errors)
    assert "kmerl predict: flat: no lead is left: all 12 are flat" in errors


def test_predict_of_nothing_but_failures(run, records, model):
    result = run("predict best.safetensors flat --classes af --json")
    assert (result.code, result.out) == (1, "")
    result = run("predict best.safetensors r1 r2 --classes frogs")
    assert (result.code, result.err) == (1, "kmerl predict: classes: this model does not know 'frogs'\n")
    result = run("predict worst.safetensors r1 --classes af")
    assert (result.code, result.err) == (1, "kmerl predict: there is no checkpoint 'worst.safetensors'\n")
    result = run("predict best.safetensors r1 --classes af --leads V9")
    assert result.code == 1 and "V9" in result.err


def test_predict_with_a_text_encoder(run, records, model, monkeypatch):
    monkeypatch.setattr(kmerl.TextEncoder, "load", lambda folder: f"encoder in {folder}")
    run("predict best.safetensors r1 --classes x --encoder minilm")
    assert model.text_encoder == "encoder in minilm"


# ---- evaluate ----


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rows = [f"r{i},p{i // 2},test,{i % 2},{i % 3 // 2}" for i in range(8)]
    write_folder(tmp_path / "mine", rows)
    return tmp_path


def test_evaluate(run, folder, model):
    result = run("evaluate best.safetensors mine --leads 2 --resamples 50 --seed 1 -q")
    assert result.code == 0, result.err
    assert result.lines[0] == "Zero-shot: mine, test, 2 leads (I II)"
    assert result.lines[-1] == "next: kmerl evaluate best.safetensors mine --sweep"
    assert any(line.startswith("macro average") and "0.500" in line for line in result.lines)
    assert {tuple(r.leads) for batch, _ in model.asked for r in batch} == {("I", "II")}


def test_evaluate_json_and_files(run, folder, model):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    files = "--out r.json --out r.md --out r.csv --out r.PNG --html r.html"
    result = run(f"evaluate best.safetensors mine --json -q --resamples 20 --leads V1,II {files}")
    assert result.code == 0, result.err
    data = json.loads(result.out)
    assert data["leads"] == ["V1", "II"] and data["recordings"] == 8
    kept = json.loads((folder / "r.json").read_text())
    assert len(kept.pop("rows")) == 8 and kept == data
    assert (folder / "r.html").read_text().startswith("<!DOCTYPE html>")
    assert (folder / "r.md").read_text().startswith("## Zero-shot: mine")
    rows = list(csv.reader(open(folder / "r.csv", newline="")))
    assert rows[0] == ["record", "patient", "atrial fibrillation", "normal ecg",
                       "atrial fibrillation (label)", "normal ecg (label)"]  # fmt: skip
    assert rows[2] == ["r1", "p0", "0.166667", "0.083333", "1", "0"] and len(rows) == 9
    assert (folder / "r.PNG").read_bytes().startswith(b"\x89PNG")


def test_evaluate_sweep(run, folder, model):
    result = run("evaluate best.safetensors mine --sweep -q --resamples 20")
    assert result.code == 0, result.err
    assert sum(line.startswith("I ") for line in result.lines) == 13  # k = 1 to 12, and lead I alone
    assert result.lines[-1] == "next: kmerl evaluate best.safetensors mine"


def test_evaluate_in_another_order(run, folder, model):
    result = run("evaluate best.safetensors mine --sweep --order V6,I,II -q --resamples 20 --out s.csv")
    assert result.code == 0, result.err
    assert sum(line.startswith("V6 I II ") for line in result.lines) == 1
    assert len((folder / "s.csv").read_text().splitlines()) == 1 + 3 + 3


def test_evaluate_compares(run, folder, model):
    assert run("evaluate best.safetensors mine --leads 1 --out one.json -q --resamples 20").code == 0
    result = run("evaluate best.safetensors mine --compare one.json -q --resamples 20")
    assert result.code == 0, result.err
    at = result.lines.index("Comparison: mine")
    assert result.lines[at + 2].split() == ["class", "difference", "of", "AUROC", "95", "%", "p"]
    assert any(line.startswith("macro average") and "+0.000" in line for line in result.lines[at:])
    assert json.loads(run("evaluate best.safetensors mine --compare one.json -q --json --resamples 9").out)["p_value"]
    (folder / "bad.json").write_text("{")
    result = run("evaluate best.safetensors mine --compare bad.json -q")
    assert result.code == 1 and "bad.json is no JSON file" in result.err
    result = run("evaluate best.safetensors mine --compare none.json -q")
    assert result.code == 1 and "none.json" in result.err


def test_evaluate_by_cosine(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    kmerl.KMERL(**TINY).initialize(384).save("tiny.safetensors")
    write_folder(tmp_path / "mine", [f"r{i},p{i // 2},test,{i % 2},{i % 3 // 2}" for i in range(6)])
    verb = "evaluate tiny.safetensors mine --encoder sample -q --resamples 20 --leads 2"
    result = run(f"{verb} --score mean --untrained 2")
    assert result.code == 0, result.err
    assert any("score mean" in line for line in result.lines)
    assert any(line.startswith("untrained model") and "2 initialisations" in line for line in result.lines)
    (tmp_path / "p.json").write_text(json.dumps({"atrial fibrillation": "sinus rhythm", "normal ecg": "normal ecg"}))
    result = run(f"{verb} --score cosine --untrained 0 --prompts p.json")
    assert result.code == 0, result.err
    assert any("prompts 2 texts, " in line for line in result.lines)
    (tmp_path / "p.json").write_text("[]")
    result = run(f"{verb} --score cosine --prompts p.json")
    assert result.code == 1 and "p.json: expected one object of a text for each class" in result.err
    for option in ("--out", "--html"):  # before the recordings are scored
        result = run(f"evaluate no.safetensors nowhere {option} none/r.html")
        assert result.code == 1 and "--out none/r.html: the folder 'none' does not exist" in result.err


@pytest.mark.parametrize(
    "options, message",
    [
        ("--html r.pdf", "--html r.pdf: expected a name that ends in .html"),
        ("--out r.txt", "--out r.txt: expected .json, .md, .csv, .html"),
        ("--order paper", "--order goes with --sweep"),
        ("--sweep --compare r.json", "--compare goes without --sweep"),
        ("--method linear-probe --score cosine", "--score goes with --method zero-shot"),
        ("--method linear-probe --untrained 3", "--untrained goes with --method zero-shot"),
    ],
)
def test_evaluate_options_that_do_not_go_together(run, folder, model, options, message):
    result = run(f"evaluate best.safetensors mine {options}")
    assert result.code == 2 and message in result.err


def test_evaluate_by_probe(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    kmerl.KMERL(**TINY).initialize(8).save("tiny.safetensors")
    parts = ["train"] * 4 + ["validation"] * 2 + ["test"] * 6
    write_folder(tmp_path / "mine", [f"r{i},p{i // 2},{part},{i % 2},{i % 3 // 2}" for i, part in enumerate(parts)])
    result = run("evaluate tiny.safetensors mine --method linear-probe --leads 2 --resamples 20 --seeds 2 -q")
    assert result.code == 0, result.err
    assert result.lines[0] == "Linear probe: mine, test, 2 leads (I II), 100 % of the training recordings"
    assert any(line.startswith("random encoder") for line in result.lines)
    assert any(line.startswith("Over seeds 0, 1:") for line in result.lines)
    result = run("evaluate tiny.safetensors mine --method linear-probe --sweep --fraction 1 --resamples 20 -q")
    assert result.code == 0, result.err
    assert result.lines[0].startswith("Linear probe by number of leads: mine, test")
    result = run("evaluate tiny.safetensors mine --fraction 1")
    assert result.code == 2 and "--fraction goes with --method linear-probe or fine-tune" in result.err


def test_evaluate_by_fine_tuning(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    kmerl.KMERL(**TINY).initialize(8).save("tiny.safetensors")
    parts = ["train"] * 4 + ["validation"] * 2 + ["test"] * 6
    write_folder(tmp_path / "mine", [f"r{i},p{i // 2},{part},{i % 2},{i % 3 // 2}" for i, part in enumerate(parts)])
    words = "evaluate tiny.safetensors mine --method fine-tune --epochs 2 --lr 1e-3 --resamples 20 -q --leads 2 --state tuned"
    first, again = run(words), run(words)
    assert first.code == 0, first.err
    assert first.lines[0] == "Fine-tuning: mine, test, 2 leads (I II), 100 % of the training recordings"
    assert first.out == again.out and (tmp_path / "tuned" / "seed-0.safetensors").exists()
    for words, message in (("--epochs 2", "--epochs goes with --method fine-tune"),
                           ("--method linear-probe --lr 1", "--lr goes with --method fine-tune"),
                           ("--method fine-tune --sweep", "--sweep goes with --method zero-shot or linear-probe")):
        result = run(f"evaluate tiny.safetensors mine {words}")
        assert result.code == 2 and message in result.err


def test_store_of_mimic_iv_ecg(run, tmp_path, monkeypatch):
    from test_datasets import write_mimic

    monkeypatch.chdir(tmp_path)
    write_mimic(tmp_path / "mimic")
    result = run("store out --dataset mimic_iv_ecg mimic")
    assert result.code == 0 and "2 of the 4 recordings that record_list.csv lists are used" in result.out
    assert kmerl.Store.open("out").patients == ["10", "11"]
    assert "goes with one folder, got 2" in run("store out --dataset mimic_iv_ecg mimic more").err
    assert "--reports does not go with --dataset" in run("store out --dataset mimic_iv_ecg mimic --reports x.csv").err
    assert "--protocol goes with --dataset" in run("store out mimic --protocol merl").err
    assert "has no record_list.csv; expected MIMIC-IV-ECG" in run("store out --dataset mimic_iv_ecg out").err


def test_evaluate_finds_out_what_the_folder_is(run, tmp_path, monkeypatch, model):
    from kmerl import datasets

    monkeypatch.chdir(tmp_path)
    seen = []
    for name in ("ptbxl", "cpsc2018", "csn", "folder"):

        def read(path, *rest, _name=name, **more):
            seen.append((_name, *rest, *more.values()))
            raise ValueError("enough")

        monkeypatch.setattr(datasets, name, read)
    (tmp_path / "a").mkdir()
    run("evaluate best.safetensors a")
    (tmp_path / "a" / "g1").mkdir()
    (tmp_path / "a" / "g1" / "A0001.hea").touch()
    run("evaluate best.safetensors a")
    (tmp_path / "a" / "ptbxl_database.csv").touch()
    run("evaluate best.safetensors a --task rhythm")
    run("evaluate best.safetensors a --labels other.csv")
    run("evaluate best.safetensors a --dataset cpsc2018 --protocol merl")
    (tmp_path / "a" / "ptbxl_database.csv").unlink()
    (tmp_path / "a" / "ConditionNames_SNOMED-CT.csv").touch()
    run("evaluate best.safetensors a --labels merl")
    assert seen == [
        ("folder", "labels.csv"),
        ("cpsc2018", "default"),
        ("ptbxl", "rhythm", "default"),
        ("folder", "other.csv"),
        ("cpsc2018", "merl"),
        ("csn", "merl", "default"),
    ]
    result = run("evaluate best.safetensors a --dataset folder --task sub")
    assert result.code == 2 and "--task goes with --dataset ptbxl, a is read as folder" in result.err


def test_evaluate_of_a_missing_folder(run, tmp_path, model):
    result = run("evaluate best.safetensors none")
    assert result.code == 1 and "no folder; expected a folder of WFDB recordings with a CSV" in result.err


# ---- plot ----


def test_plot(run, records, model):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    result = run("plot r1")
    assert result.code == 0 and (records / "r1.png").read_bytes().startswith(b"\x89PNG")
    assert re.fullmatch(r"r1.png: r1, \d+ x \d+ mm", result.lines[0])
    ours = "kmerl-tiny" if "kmerl-tiny" in kmerl.list_models() else "CHECKPOINT"
    assert result.lines[1] == f"next: kmerl plot r1 --checkpoint {ours} --class 'atrial fibrillation'"
    result = run("plot r1 --checkpoint best.safetensors --class af --leads II --out a.svg --seconds 0.5")
    assert result.code == 0, result.err
    assert (
        model.asked[0][1] == "af"
        and "attention to af, times an even share" in (records / "a.svg").read_text()
    )
    assert result.lines[1] == "next: kmerl predict best.safetensors r1"


def test_plot_of_nothing(run, records):
    result = run("plot none")
    assert result.code == 1 and "none.hea" in result.err and not list(records.glob("*.png"))


# ---- info ----


def test_info(run, records):
    result = run("info r1")
    assert result.lines[:2] == [
        "r1: a recording",
        "  1 s at 500 Hz, 12 leads: I II III aVR aVL aVF V1 V2 V3 V4 V5 V6",
    ]
    assert result.lines[-1] == "next: kmerl plot r1"
    (records / "reports.csv").write_text("record,report\nr1,sinus rhythm\n")
    assert run("store out r1 r2 --reports reports.csv -q").code == 0
    result = run("info out")
    assert result.lines[0] == "out: a store" and result.lines[-1] == "next: kmerl label out"
    os.rename("out/store.sqlite", "out/building.sqlite")
    assert run("info out").lines[0].startswith("out: a store that is not finished")


def test_info_of_a_run_without_a_checkpoint(run, records):
    os.mkdir("run")
    (records / "run" / "log.jsonl").write_text('{"step": 3, "loss": 2.0}\n')
    result = run("info run")
    assert result.lines[:3] == ["run: a pretraining run", "  3 steps", "  loss 2"]
    assert result.lines[-1] == "next: kmerl pretrain STORE --out run"


def test_info_of_a_data_set(run, tmp_path):
    write_folder(tmp_path / "mine", ["r1,p1,test,1,0", "r2,p2,train,0,1"])
    result = run("info", tmp_path / "mine")
    assert result.lines[0].endswith("mine: a data set of 2 recordings of 2 patients")
    assert "  atrial fibrillation: 1" in result.lines


def test_info_of_what_it_does_not_know(run, records):
    result = run("info .")
    assert result.code == 1 and "is a folder, but no store, run, text encoder or data set" in result.err


# ---- kmerl label ----


@pytest.fixture
def stored(run, records):
    texts = ["atrial fibrillation, left axis deviation", "Vorhofflimmern", "no AF. lateral infarct", ""]
    rows = [f'{name},"{text}"' for name, text in zip(("r1", "r2", "odd", "flat"), texts, strict=True)]
    (records / "reports.csv").write_text("\n".join(["record,report", *rows]))
    assert run("store s r1 r2 odd flat --reports reports.csv -q").code == 0
    return records


def test_label_prints_the_top_entities(run, stored, monkeypatch):
    monkeypatch.delattr(kmerl.Store, "labels")  # a row for each recording is more than a million can have
    result = run("label s -q")
    assert result.code == 0 and result.lines[0].startswith("s: 7 of ")
    assert [re.sub(" +", " ", line) for line in result.lines[1:4]] == [
        " entity recordings share",
        " arrhythmia 2 50.0 %",
        " supraventricular arrhythmia 2 50.0 %",
    ]
    assert "  1 of 4 recordings have none" in result.lines
    assert result.lines[-1] == "next: kmerl embed s --encoder FOLDER"


def test_the_sample_from_the_shell(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = run("store s sample -q")
    assert result.code == 0 and result.lines[0] == "s: 110 recordings stored, 0 skipped"
    assert result.lines[-1] == "next: kmerl label s"
    result = run("label s -q")
    assert result.code == 0 and re.search(r"sinus rhythm +\d+ +\d\d\.\d %", result.out)
    assert run("embed s --encoder sample -q").code == 0
    assert run("store t sample --reports x.csv -q").code == 2
    os.mkdir("sample")  # a folder of this name is a folder
    assert "a folder without a recording" in run("store t sample -q").err


def test_label_with_its_switches(run, stored, tmp_path):
    assert run("label s -q --no-superclasses").code == 0
    store = kmerl.Store.open("s")
    assert not store.vocabulary.superclass_names() and "arrhythmia" not in store.entities
    assert store.labels[0].sum() == 2
    assert run("label s -q --no-merge-synonyms").code == 0
    assert {"vorhofflimmern", "arrhythmia"} <= set(kmerl.Store.open("s").entities)
    assert run("label s -q --no-merge-synonyms --no-superclasses").code == 0
    names = ["atrial fibrillation", "lateral infarct", "left axis deviation", "vorhofflimmern"]
    assert kmerl.Store.open("s").entities == names
    result = run("label s -q --hold-out 'AF,axis deviation'")
    assert result.code == 0 and "  held out: atrial fibrillation, axis deviation" in result.lines
    assert any("not held out, though below them: atrial fibrillation with" in line for line in result.lines)
    result = run("label s -q --hold-out frogs")
    assert result.code == 1 and "'frogs' is no name or synonym" in result.err
    data = json.loads(kmerl.Phrases.default().to_json())
    data["negation"]["right"] = []
    (tmp_path / "phrases.json").write_text(json.dumps(data))
    assert run("label s -q --phrases phrases.json").code == 0
    assert kmerl.Store.open("s").prevalence().share("atrial fibrillation") == 0.75
    (tmp_path / "phrases.json").write_text("{}")
    result = run("label s -q --phrases phrases.json")
    assert result.code == 1 and '"negation" is missing' in result.err
    assert run("label s -q --phrases phrases.json --model m").code == 2
    assert run("label s -q --picture p.bmp").code == 2


def test_label_draws(run, stored):
    pytest.importorskip("matplotlib").use("Agg")
    result = run("label s -q --picture p.png")
    assert result.code == 0 and "  drew p.png" in result.lines
    with open("p.png", "rb") as file:
        assert file.read(4) == b"\x89PNG"


@pytest.mark.parametrize(
    "command, message",
    [
        ("embed s --encoder sample", "has no labels yet: run kmerl label STORE first"),
        ("pretrain s --out run", "has no text embeddings yet: run kmerl embed STORE --encoder FOLDER first"),
        ("store s2 r1 --seconds -1", "--seconds"),
        ("store s2 r1 --validation 2", "--validation"),
    ],
)
def test_messages_name_commands_and_options(run, stored, command, message):
    result = run(command + " -q")
    assert result.code == 1 and message in result.err, result.err
    assert not re.search(r"store\.|Store\.|kmerl\.", result.err), result.err


def test_reports_that_are_not_utf_8(run, records):
    (records / "reports.csv").write_bytes(b"record,report\nr1,\xff\xfe Vorhofflimmern\n")
    result = run("store s r1 --reports reports.csv -q")
    assert result.code == 1 and "reports.csv is no CSV in UTF-8" in result.err and not os.path.exists("s")


def test_an_unfinished_store_names_the_command(run, stored):
    os.rename("s/store.sqlite", "s/building.sqlite")
    result = run("label s")
    assert result.code == 1 and "run the same kmerl store again to go on" in result.err


# ---- The whole path ----


def test_from_recordings_to_answers(run, tmp_path, monkeypatch):
    """One verb after the other on three WFDB records that come with kmerl, and what each says to run next."""
    monkeypatch.chdir(tmp_path)
    reports = {record.name: record for record in kmerl.sample_records()}
    with open("reports.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["record", "report", "patient"])
        writer.writerows([name, record.report, record.patient] for name, record in reports.items())
    names = ("00001_hr", "00330_hr", "00286_hr")
    paths = [kmerl.sample_path(name) for name in names]

    def step(command, following):
        result = run(command)
        assert (result.code, result.err) == (0, ""), result.err
        assert result.lines[-1] == f"next: kmerl {following}"
        return result.lines

    step(f"store store {' '.join(paths)} --reports reports.csv --validation 0.4 -q", "label store")
    vocabulary, known = kmerl.Vocabulary.default(), kmerl.sample_embeddings()
    vocabulary.without([name for name in vocabulary if name not in known]).save("vocabulary.json")
    lines = step("label store --vocabulary vocabulary.json -q", "embed store --encoder FOLDER")
    assert re.fullmatch(r"store: \d+ of \d+ entities found", lines[0])
    assert re.fullmatch(r"  entity +recordings +share", lines[1])
    assert any(re.fullmatch(r"  atrial fibrillation +1 +33.3 %", line) for line in lines)
    step("embed store --encoder sample -q", "pretrain store --out run")
    small = (
        "--size custom --width 64 --depth 1 --heads 1 --mlp-width 64 --query-layers 1 --query-mlp-width 64"
    )
    question = "RECORD --classes 'atrial fibrillation,normal ecg'"
    lines = step(
        f"pretrain store --out run -q --epochs 2 --batch-size 2 {small}",
        f"predict run/best.safetensors {question}",
    )
    assert lines[0] == "run: 2 steps" and lines[1].startswith("  run/best.safetensors: validation loss ")
    lines = step("info run", f"predict run/best.safetensors {question}")
    assert lines[0] == "run: a pretraining run" and any(
        "size custom: width 64, depth 1" in line for line in lines
    )
    step("info store", "pretrain store --out run")

    result = run(f"predict run/best.safetensors {paths[1]} --classes AF,normal --leads II --json")
    assert (result.code, result.err) == (0, "")
    (answer,) = json.loads(result.out)
    assert answer["leads"] == ["II"] and all(0 < p < 1 for p in answer["probabilities"].values())
    result = run(f"predict run/best.safetensors {paths[1]} --classes frogs")
    assert result.code == 1 and "does not know 'frogs'" in result.err
    assert len(run(f"predict run/best.safetensors {paths[1]}").lines) == 2 + len(
        kmerl.Vocabulary.load("vocabulary.json")
    )

    rows = ["record,patient,split,AF,normal ecg", f"{paths[0]},1,test,0,1", f"{paths[1]},2,test,1,0"]
    (tmp_path / "labels.csv").write_text("\n".join(rows))
    result = run("evaluate run/best.safetensors . --json -q --resamples 10")
    assert result.code == 0, result.err
    assert re.fullmatch(r"KMERL, size custom .*, weights [0-9a-f]{12}", json.loads(result.out)["model"])


def test_info_of_files_that_are_no_checkpoint(run, tmp_path):
    (tmp_path / "cut.safetensors").write_bytes(b"\x10\0\0")
    result = run("info", tmp_path / "cut.safetensors")
    assert result.code == 1 and "cut.safetensors is truncated" in result.err
    (tmp_path / "x.json").write_text("{}")
    result = run("info", tmp_path / "x.json")
    assert result.code == 1 and result.err.count("\n") == 1
    kmerl.Vocabulary.default().without(["AF"]).save(tmp_path / "mine.json")
    result = run("info", tmp_path / "mine.json")
    count = len(kmerl.Vocabulary.default()) - 1
    assert result.code == 0 and f"a vocabulary of {count} entities" in result.lines[0]
    assert result.lines[3].startswith("  read with phrases kmerl (")
    assert result.lines[4] == "  taken out: atrial fibrillation"
