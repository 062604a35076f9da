"""Whole tables of the paper: the files, running them, going on, what is refused."""

import json
import math
import shutil
import subprocess
import sys
import time

import numpy as np
import pytest
from small import TINY, HashEncoder, make_store

import kmerl
from kmerl.ablation_table import FIGURE_ONLY, load_table

SMALL = {**{name: value for name, value in TINY.items() if name != "seed"}, "epochs": 1, "query_layers": 1}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A folder with Table 2a on the sample, and what was found."""
    out = tmp_path_factory.mktemp("ablate") / "out"
    return out, kmerl.ablate("2a", out=out, progress=False, **SMALL)


def copy(finished, tmp_path):
    return shutil.copytree(finished[0], tmp_path / "copy")


# ---- the files ----


@pytest.mark.parametrize("name", kmerl.list_tables())
def test_every_table_loads(name):
    table = load_table(name)
    assert table.name == name and table.title and table.rows and table.columns
    assert all(quoted["average"] is None or quoted["average"] == FIGURE_ONLY or 40 < quoted["average"] < 100
               for row in table.rows for quoted in row.paper.values())  # fmt: skip


def test_the_papers_tables_are_there():
    """SPEC 11: every row of Tables 2, 7, 8, 9 and 10 and of Figures 7 and 9."""
    named = "1 2a 2b 2c 6 7a 7b 7c 7d 7e 8 9 10 figure4 figure5 figure6a figure6b figure7a figure7b figure8 figure9"
    assert set(named.split()) <= set(kmerl.list_tables())


@pytest.mark.parametrize("name", ["2a", "2c", "7a", "7d", "7e", "10", "figure9"])
def test_rows_are_one_change_away(name):
    assert all(len(row.config) + len(row.labels) + (row.encoder is not None) <= 1 for row in load_table(name).rows)


@pytest.mark.parametrize("text", ["2c", "Table 2c", "tab. 2c", "2C"])
def test_names_as_people_write_them(text):
    assert load_table(text).name == "2c"
    assert load_table("Fig. 9").name == load_table("Figure 9").name == "figure9"


def test_unknown_table():
    with pytest.raises(FileNotFoundError, match="no table '2d'; there are 1, 2a, 2b"):
        load_table("2d")


def write(path, **changes):
    document = {
        "table": "mine",
        "title": "Mine",
        "columns": [{"name": "12 leads", "evaluation": "zero_shot", "leads": 12}],
        "rows": [{"name": "K-MERL"}],
        **changes,
    }
    path.write_text(json.dumps(document))
    return path


FAULTS = {
    "unknown field of the file": ({"tabel": "x"}, "the file: unknown field 'tabel'"),
    "unknown field of a row": ({"rows": [{"name": "a", "cofig": {}}]}, r"rows\[0\]: unknown field 'cofig'"),
    "unknown field of a column": ({"columns": [{"name": "a", "evaluation": "zero_shot", "lead": 1}]}, "'lead'"),
    "no field of Config": ({"rows": [{"name": "a", "config": {"mask_ration": 0.5}}]}, "'mask_ration', which is no field"),
    "a value out of range": ({"rows": [{"name": "a", "config": {"mask_ratio": 1.5}}]}, "row 'a': config: mask_ratio"),
    "wrong type": ({"rows": [{"name": "a", "quoted": "yes"}]}, "quoted is a text, expected true or false"),
    "unknown preset": ({"preset": "papre"}, "preset: got 'papre'"),
    "unknown data set": ({"datasets": ["ptbxl"]}, "datasets: got 'ptbxl'"),
    "unknown evaluation": ({"columns": [{"name": "a", "evaluation": "zeroshot"}]}, "evaluation: got 'zeroshot'"),
    "too many leads": ({"columns": [{"name": "a", "evaluation": "zero_shot", "leads": 13}]}, "leads is 13"),
    "a probe without fraction": ({"columns": [{"name": "a", "evaluation": "linear_probe"}]}, "needs it"),
    "figure of no column": ({"rows": [{"name": "a", "paper": {"1 lead": 71.6}}]}, "'1 lead': no such column"),
    "a figure that is none": ({"rows": [{"name": "a", "paper": {"12 leads": "70"}}]}, "average is '70'"),
    "too few figures": ({"rows": [{"name": "a", "paper": {"12 leads": {"each": [1.0]}}}]}, "each of the 6 data sets"),
    "two rows of a name": ({"rows": [{"name": "a"}, {"name": "a"}]}, "'a' is there twice"),
    "no rows": ({"rows": []}, "rows is empty"),
    "a data set that is a list": ({"datasets": [["ptbxl-super"]]}, r"datasets: got \['ptbxl-super'\]"),
    "a name that is a path": ({"table": "../mine"}, r"table: got '../mine', expected letters"),
    "a name that is empty": ({"table": ""}, "table: got ''"),
    "a note that is none": ({"notes": [3]}, r"notes: got \[3\], expected texts"),
    "a seed in a row": ({"rows": [{"name": "a", "config": {"seed": 3}}]}, "'seed', which the table's seeds give"),
    "seeds that are none": ({"seeds": [0.5]}, r"seeds: got \[0.5\]"),
    "labels unknown": ({"rows": [{"name": "a", "labels": {"superclass": False}}]}, "unknown field 'superclass'"),
}


@pytest.mark.parametrize("changes, message", FAULTS.values(), ids=FAULTS)
def test_faults_are_named(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        load_table(write(tmp_path / "mine.json", **changes))


def test_all_faults_are_named_at_once(tmp_path):
    path = write(tmp_path / "mine.json", rows=[{"name": "a", "config": {"lr": -1}}, {"name": "b", "colour": 1}], layout="x")
    with pytest.raises(ValueError, match="3 faults: layout: got 'x'.*row 'a': .*lr.*unknown field 'colour'"):
        load_table(path)
    path = write(path, tabel="x", columns=[{"name": "1 lead", "evaluation": "zero", "lead": 1}, {"leads": 13}], rows=[
        {"config": {"lr": -1}, "paper": {"1 lead": 70}}, {"name": "b", "quoted": 1, "labels": {"prompt": {}}}])  # fmt: skip
    with pytest.raises(ValueError) as caught:
        load_table(path)
    assert str(caught.value).split(": ", 1)[1].startswith("9 faults: ") and "no such column" not in str(caught.value)
    named = ("'tabel'", "'lead',", "got 'zero'", "columns[1]: the field 'name'", "columns[1]: the field 'evaluation'",
             "rows[0]: the field 'name'", "rows[0]: config: lr", "quoted is a whole number", "'prompt'")  # fmt: skip
    assert [name for name in named if name not in str(caught.value)] == []


@pytest.mark.parametrize("text", ["", "[", '{"a": 1, "a": 2}', "[]", "\xff"])
def test_no_json(tmp_path, text):
    (tmp_path / "mine.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(ValueError, match="mine.json"):
        load_table(tmp_path / "mine.json")


# ---- running ----


def test_a_table_runs(finished):
    out, found = finished
    assert [row["reason"] for row in found.rows] == ["", "", ""]
    for row in found.rows:
        for column in ("1 lead", "12 leads"):
            figures = row["columns"][column]["average"]
            assert 0 <= figures["low"] <= figures["estimate"] <= figures["high"] <= 1
    text = str(found)
    assert "76.52" in text and "not comparable" in text and "preset paper, " in text and "size=custom" in text
    document = json.loads((out / "2a.json").read_text())
    assert document["rows"][0]["paper"]["12 leads"]["average"] == 76.52
    assert (out / "2a.md").read_text() == found.to_markdown()
    assert (out / "2a.html").read_text() == found.to_html() and "http" not in found.to_html()


def test_rows_are_what_they_say(finished):
    """The figures are those of the checkpoint, and the row's change is in it."""
    out, found = finished
    folders = {path.name.split("-seed")[0]: path for path in (out / "runs").iterdir()}
    assert set(folders) == {"paper", "paper-contrast-weight=0.0", "paper-query-weight=0.0"}
    model = kmerl.load_model(folders["paper-query-weight=0.0"] / "best.safetensors")
    assert model.config_.query_weight == 0 and model.config_.normalisation == "minmax"
    report = kmerl.evaluate.zero_shot(model, kmerl.sample_dataset(), 1, progress=False)
    values = found.row("- ECG-condition alignment (L_CQ)")["columns"]["1 lead"]["average"]
    assert values["estimate"] == report.metrics["roc_auc"]["macro"]
    assert values["high"] == report.metrics["roc_auc"]["high"]


def test_two_runs_give_identical_files(finished, tmp_path):
    again = kmerl.ablate("2a", out=tmp_path / "again", progress=False, **SMALL)
    assert again.to_json() == finished[1].to_json() and again.to_html() == finished[1].to_html()


def test_nothing_finished_is_repeated(finished, tmp_path, monkeypatch):
    out = copy(finished, tmp_path)
    monkeypatch.setattr(kmerl.KMERL, "fit", lambda *a, **k: pytest.fail("trained again"))
    assert kmerl.ablate("2a", out=out, progress=False, **SMALL).to_json() == finished[1].to_json()
    kmerl.ablate("2a", out=out, progress=False, threads=1, **SMALL)  # changes no bit, so it is no other setting


def test_another_table_takes_over_what_is_trained(finished, tmp_path, monkeypatch):
    out, trained, fit = copy(finished, tmp_path), [], kmerl.KMERL.fit
    monkeypatch.setattr(kmerl.KMERL, "fit", lambda self, *a, **k: trained.append(self) or fit(self, *a, **k))
    found = kmerl.ablate("10", out=out, rows=["1.00", "0.25"], progress=False, **SMALL)
    assert len(trained) == 2  # 1.00 names a weight, K-MERL's row none
    assert found.row("0.50")["reason"] == "not asked for"


def test_goes_on_where_it_was_killed(finished, tmp_path):
    """Killed in the middle of a row, by the system: what was measured is kept, the end is the same to the byte."""
    out = tmp_path / "out"
    code = f"import kmerl; kmerl.ablate('2a', out={str(out)!r}, progress=False, **{SMALL!r})"
    with subprocess.Popen([sys.executable, "-c", code]) as process:
        deadline = time.monotonic() + 120
        while len(list(out.rglob("zero_shot*.json"))) < 3:
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.002)
        process.kill()
    assert not (out / "2a.json").exists()
    before = {path: path.stat().st_mtime_ns for path in out.rglob("zero_shot*.json")}
    found = kmerl.ablate("2a", out=out, progress=False, **SMALL)
    assert found.to_json() == finished[1].to_json()
    assert all(path.stat().st_mtime_ns == when for path, when in before.items())


@pytest.mark.parametrize(
    "text, words",
    [("", "is no JSON file"), ("[" * 10_000, "is no JSON file"), ("[]", "is damaged: it is a list"),
     ("{}", "does not say of which datasets and config"), ('{"datasets": {}, "config": 3}', "does not say of which")],
)
def test_a_damaged_workspace_is_told(finished, tmp_path, text, words):
    out = copy(finished, tmp_path)
    (out / "ablation.json").write_text(text)
    with pytest.raises(ValueError, match=f"ablation.json {words}|ablation.json is damaged: it {words}"):
        kmerl.ablate("2a", out=out, progress=False, **SMALL)


def test_another_configuration_is_refused(finished, tmp_path):
    out = copy(finished, tmp_path)
    with pytest.raises(ValueError, match="lr is 0.001 there, 0.002 here; choose another folder"):
        kmerl.ablate("2a", out=out, progress=False, **{**SMALL, "lr": 0.002})
    with pytest.raises(ValueError, match="resamples is 1000 there, 10 here"):
        kmerl.ablate("2a", out=out, progress=False, resamples=10, **SMALL)


def test_another_data_set_of_the_same_name_is_refused(finished, tmp_path):
    out = copy(finished, tmp_path)
    dataset = kmerl.sample_dataset()
    dataset.labels = 1 - dataset.labels
    store = kmerl.Store.open(out / "sample")
    changed = {**kmerl.ablation.SAMPLE, **SMALL}
    with pytest.raises(ValueError, match="datasets, sample is"):
        kmerl.ablate("2a", store, dataset, out, progress=False, **changed)


def test_seeds_give_mean_and_deviation(finished, tmp_path):
    out = copy(finished, tmp_path)
    found = kmerl.ablate("2a", out=out, rows=["K-MERL"], seeds=[0, 1], progress=False, **SMALL)
    column = found.row("K-MERL")["columns"]["12 leads"]
    assert column["average"] == finished[1].row("K-MERL")["columns"]["12 leads"]["average"]
    averages = column["seeds"]["averages"]
    assert averages[0] != averages[1] and column["seeds"]["sd"] == pytest.approx(np.std(averages, ddof=1))
    assert "standard deviation over the seeds 0, 1" in str(found)


def test_rows_that_cannot_run_are_refused_with_the_reason(tmp_path):
    table = write(tmp_path / "mine.json", rows=[{"name": "a"}, {"name": "b", "needs": "a quantum computer"},
                                                {"name": "c", "quoted": True}])  # fmt: skip
    with pytest.raises(ValueError, match="table mine cannot run 'b': needs a quantum computer"):
        kmerl.ablate(table, out=tmp_path / "out", rows=["b"], progress=False, **SMALL)
    with pytest.raises(ValueError, match="rows has 'd'; table mine has 'a', 'b', 'c'"):
        kmerl.ablate(table, out=tmp_path / "out", rows=["d"], progress=False, **SMALL)
    with pytest.warns(UserWarning, match="row 'b' is not run: needs a quantum computer"):
        found = kmerl.ablate(table, out=tmp_path / "out", progress=False, **SMALL)
    assert "Not run, b: needs a quantum computer." in str(found) and "Only quoted, kmerl has no such method: c." in str(found)


class AnyText(HashEncoder):
    poolings = ("mean", "cls", "pooler")


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return make_store(tmp_path_factory.mktemp("store") / "store", 40, kmerl.sample_records("train")[:40])


def other_sample():
    """The sample once more, by another name and without one class."""
    dataset = kmerl.sample_dataset()
    dataset.name, dataset.classes, dataset.labels = "other", dataset.classes[1:], dataset.labels[:, 1:]
    dataset.codes = dataset.codes[1:]
    return dataset


def test_a_mean_over_data_sets_has_an_interval(store, tmp_path):
    found = kmerl.ablate("10", store, [kmerl.sample_dataset(), other_sample()], tmp_path / "out", rows=["1.00"],
                         report_pooling="mean", progress=False, **SMALL)  # fmt: skip
    column = found.row("1.00")["columns"]["12 leads"]
    each = [figures["estimate"] for figures in column["datasets"].values()]
    assert column["average"]["estimate"] == pytest.approx(np.mean(each)) and each[0] != each[1]
    assert column["average"]["low"] < column["average"]["estimate"] < column["average"]["high"]
    assert "mean over 2 data sets: sample, other" in str(found)


def test_rows_of_another_vocabulary(store, tmp_path):
    """Table 2b: the store is labelled anew beside itself, which stays as it was."""
    before = store.fingerprint()
    found = kmerl.ablate("2b", store, kmerl.sample_dataset(), tmp_path / "out", encoder=AnyText(),
                         progress=False, **SMALL)  # fmt: skip
    assert not any(row["reason"] for row in found.rows)
    entities = {}
    for path in (tmp_path / "out" / "runs").iterdir():
        entities[path.name.split("-seed")[0]] = len(kmerl.load_model(path / "best.safetensors").vocabulary_)
    assert entities["paper-superclasses=False"] < entities["paper"] != entities["paper-merge-synonyms=False"]
    assert kmerl.Store.open(store.path).fingerprint() == before


def test_rows_that_need_an_encoder(store, tmp_path):
    dataset = kmerl.sample_dataset()
    with pytest.raises(ValueError, match="MERL .ViT.': needs the store pooled by pooler and cls and embedded again"):
        kmerl.ablate("figure4", store, dataset, tmp_path / "out", rows=["MERL (ViT)"], progress=False, **SMALL)
    with pytest.raises(ValueError, match="needs the text encoder Med-CPT: .*--encoder NAME=FOLDER"):
        kmerl.ablate("7b", store, dataset, tmp_path / "out", progress=False, **SMALL)
    with pytest.raises(ValueError, match="needs the language model Gemma-2-9B: .*--extractor NAME=URL,MODEL"):
        kmerl.ablate("8", store, dataset, tmp_path / "out", rows=["Gemma-2-9B"], progress=False, **SMALL)
    found = kmerl.ablate("figure8", store, dataset, tmp_path / "out", rows=["MERL (ViT) with prompts"],
                         encoder=AnyText(), progress=False, **SMALL)  # fmt: skip
    report = kmerl.report.load(next((tmp_path / "out" / "runs").rglob("*ckepe*/zero_shot*.json")))
    assert "prompts" in report.settings and not math.isnan(
        found.row("MERL (ViT) with prompts")["columns"]["12 leads"]["average"]["estimate"]
    )


def test_text_encoders_by_name(store, tmp_path):
    found = kmerl.ablate("7b", store, kmerl.sample_dataset(), tmp_path / "out", rows=["Med-CPT"],
                         encoders={"Med-CPT": AnyText()}, progress=False, **SMALL)  # fmt: skip
    assert found.row("Med-CPT")["columns"]["1 lead"]["average"]["low"] > 0


def test_networks_from_scratch_and_probes(store, tmp_path):
    table = write(
        tmp_path / "mine.json",
        columns=[{"name": "zero-shot", "evaluation": "zero_shot"},
                 {"name": "probe", "evaluation": "linear_probe", "fraction": 1.0}],
        rows=[{"name": "scratch", "preset": "merl-vit", "from_scratch": True}, {"name": "K-MERL"}],
    )  # fmt: skip
    found = kmerl.ablate(table, store, kmerl.sample_dataset(), tmp_path / "out", probe={"epochs": 2},
                         fine_tune={"epochs": 1}, progress=False, **SMALL)  # fmt: skip
    assert set(found.row("scratch")["columns"]) == {"probe"} and "From scratch" in str(found)
    report = kmerl.report.load(next((tmp_path / "out" / "runs").rglob("fine_tune*.json")))
    assert report.evaluation == "fine_tune" and report.settings["epochs"] == 1
    assert [row["name"] for row in found.beside][-2:] == ["untrained model, paper", "random encoder, paper"]


def test_no_test_recordings_is_said(store, tmp_path):
    dataset = kmerl.sample_dataset()
    dataset.split = {**dataset.split, "test": np.arange(0)}
    found = kmerl.ablate("10", store, dataset, tmp_path / "out", rows=["1.00"], progress=False, **SMALL)
    assert "sample, 1.00, 12 leads: no test recordings here, so all were scored" in str(found)


def test_what_cannot_be_measured_is_named(store, tmp_path):
    dataset = kmerl.sample_dataset()
    dataset.split = {**dataset.split, "train": np.arange(0)}
    table = write(tmp_path / "mine.json", columns=[{"name": "probe", "evaluation": "linear_probe", "fraction": 0.1}])
    found = kmerl.ablate(table, store, dataset, tmp_path / "out", progress=False, **SMALL)
    assert math.isnan(found.row("K-MERL")["columns"]["probe"]["average"]["estimate"])
    assert "No figure, K-MERL, probe, sample: " in str(found) and "has no train recordings" in str(found)


def test_seen_and_unseen_classes(store, tmp_path):
    found = kmerl.ablate("figure5", store, kmerl.sample_dataset(), tmp_path / "out", rows=["K-MERL"], progress=False,
                         **SMALL)  # fmt: skip
    columns = found.row("K-MERL")["columns"]
    assert 0 < columns["AUC, seen"]["average"]["estimate"] < 1
    assert math.isnan(columns["AUC, unseen"]["average"]["estimate"])  # the vocabulary knows all five


def test_extraction_accuracy(store, tmp_path):
    from llm_server import Server

    with Server() as server:
        texts = ["sinus rhythm", "atrial fibrillation"]
        vocabulary = kmerl.Vocabulary.default()
        gold = np.zeros((2, len(vocabulary)), np.uint8)
        gold[0, vocabulary.index("sinus rhythm")] = gold[1, vocabulary.index("atrial fibrillation")] = 1

        def ablate():
            return kmerl.ablate("8", store, kmerl.sample_dataset(), tmp_path / "out", rows=["Gemma-2-9B"],
                                extractors={"Gemma-2-9B": {"base_url": server.url, "model": "m"}}, gold=(texts, gold),
                                encoder=AnyText(), progress=False, **SMALL)  # fmt: skip

        found = ablate()
        assert found.row("Gemma-2-9B")["columns"]["extraction accuracy"]["average"]["estimate"] > 0.9
        path = next((tmp_path / "out").rglob("extraction.json"))
        for text in ('{"accuracy": 7.0, "precision": 1.0, "recall": 1.0}', '{"accuracy": null}', "{}"):
            path.write_text(text)
            with pytest.raises(ValueError, match="extraction.json is damaged: accuracy is .*expected a share"):
                ablate()


def test_the_shell(finished, tmp_path, capsys):
    from kmerl import cli

    out = copy(finished, tmp_path)
    options = [f"--{name.replace('_', '-')}={value}" for name, value in SMALL.items()]
    assert cli.main(["ablate", "--table", "2a", "--out", str(out), "-q", *options]) == 0
    printed = capsys.readouterr().out
    assert str(finished[1]).splitlines()[5] in printed and f"next: kmerl ablate --table 2b --out {out}" in printed
    assert cli.main(["ablate", "--table", "2a", "--out", str(out), "-q", "--lr", "0.5"]) == 1
    assert "choose another folder" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        cli.main(["ablate", "--table", "2a", "store"])
    assert cli.main(["ablate", "--table", "2a", "store", "--data", "mit:x"]) == 1
    assert "KIND ptbxl" in capsys.readouterr().err


def test_bad_arguments(tmp_path):
    with pytest.raises(ValueError, match="store and datasets belong together"):
        kmerl.ablate("2a", datasets=kmerl.sample_dataset(), out=tmp_path / "out")
    with pytest.raises(TypeError, match="no argument 'epoch'"):
        kmerl.ablate("2a", out=tmp_path / "out", epoch=1)
    with pytest.raises(TypeError, match="seeds"):
        kmerl.ablate("2a", out=tmp_path / "out", seed=1)
    for name, given, error in (  # before a training that they would spoil
        ("probe", {"epochs": 0}, r"probe: epochs is 0, expected"),
        ("probe", {"lr": float("nan")}, "probe: lr is nan"),
        ("probe", {"epoch": 3}, "probe has 'epoch', known are epochs"),
        ("fine_tune", {"batch_size": 0}, "fine_tune: batch_size is 0"),
        ("fine_tune", {"out": "x"}, "fine_tune has 'out', known are"),
        ("resamples", 0, "resamples is 0"),
    ):
        with pytest.raises((TypeError, ValueError), match=error):
            kmerl.ablate("2a", out=tmp_path / "out", progress=False, **{name: given})
    assert not (tmp_path / "out" / "runs").exists()
    with pytest.raises(FileNotFoundError, match="does not exist; create it first"):
        kmerl.ablate("2a", out=tmp_path / "a" / "b")


def test_the_samples_labels_are_ptbxls():
    dataset = kmerl.sample_dataset()
    assert {part: len(indices) for part, indices in dataset.split.items()} == {"train": 65, "validation": 15, "test": 29}
    by_name = {record.name: record for record in kmerl.sample_records()}
    normal = [path for path, row in zip(dataset.paths, dataset.labels, strict=True) if row[dataset.codes.index("NORM")]]
    assert normal and all("NORM " in " ".join(by_name[name].comments) for name in normal)
    parts = [{dataset.patients[i] for i in indices} for indices in dataset.split.values()]
    assert not (parts[0] & parts[1] or parts[0] & parts[2] or parts[1] & parts[2])
    assert dataset.subset("test")[0].name == dataset.paths[dataset.split["test"][0]]


def test_gold_set_of_the_shell(tmp_path):
    from kmerl.cli import _gold

    path = tmp_path / "gold.csv"
    path.write_text("report,VHF,sinus rhythm,atrial fibrillation\nVorhofflimmern,1,0,0\nSinusrhythmus,0,1,0\n")
    texts, labels = _gold(path)
    vocabulary = kmerl.Vocabulary.default()
    assert texts == ["Vorhofflimmern", "Sinusrhythmus"] and labels.shape == (2, len(vocabulary))
    assert labels[:, vocabulary.index("atrial fibrillation")].tolist() == [1, 0]
    assert labels[:, vocabulary.index("sinus rhythm")].tolist() == [0, 1] and labels.sum() == 2
    path.write_text("report,entities\nVorhofflimmern,1\n")
    with pytest.raises(ValueError, match=r"gold\.csv: column 'entities' is no entity"):
        _gold(path)
