"""What the documentation shows runs, and the names it lists are there.

Python blocks of the README and of docs/*.md are run in order, each page in a folder of its own, with training
cut to one small step. A block that cannot run here stands behind a comment `<!-- not run: reason -->`.
"""

import contextlib
import dataclasses
import json
import pathlib
import re

import numpy as np
import pytest

import kmerl
from kmerl.config import Config

ROOT = pathlib.Path(__file__).resolve().parent.parent
pytestmark = pytest.mark.skipif(not (ROOT / "docs").is_dir(), reason="needs the source tree")
BLOCK = re.compile(r"(<!-- not run: [^>]+ -->\n)?^```python[^\n]*\n(.*?)^```", re.M | re.S)
TEXTS = (
    "README.md",
    "CONTRIBUTING.md",
    "docs/index.md",
    "docs/training.md",
    "docs/checkpoint.md",
    "docs/model.md",
)


def pages():
    return [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(path):
    """[(line, code)] of the page's blocks that run."""
    text = path.read_text(encoding="utf-8")
    return [(text.count("\n", 0, m.start(2)) + 1, m[2]) for m in BLOCK.finditer(text) if not m[1]]


def read(name):
    return (ROOT / name).read_text(encoding="utf-8")


class Pictures:
    """Stands in for plot_ecg where matplotlib is not installed."""

    def __call__(self, record, attention=None, **options):
        assert attention is None or attention.shape[0] == len(record.leads)
        return self

    def savefig(self, path):
        pathlib.Path(path).write_bytes(b"")


@pytest.fixture
def quick(monkeypatch):
    """Training of one step on few recordings; pictures only where matplotlib is."""
    fit = kmerl.KMERL.fit

    def one_step(self, store, out=None, **options):
        self.set_params(batch_size=4)
        return fit(self, store, out, **{**options, "max_steps": 1})

    monkeypatch.setattr(kmerl.KMERL, "fit", one_step)
    try:
        import matplotlib
    except ImportError:
        monkeypatch.setattr(kmerl, "plot_ecg", Pictures())
        monkeypatch.setattr(kmerl, "plot_cooccurrence", Pictures())
    else:
        matplotlib.use("agg")


@pytest.mark.filterwarnings("ignore:.*FigureCanvasAgg is non-interactive.*")
@pytest.mark.parametrize(
    "path", [p for p in pages() if blocks(p)], ids=lambda p: p.relative_to(ROOT).as_posix()
)
def test_python_blocks_run(path, quick, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names = {"__name__": "documentation"}
    for line, code in blocks(path):
        try:
            exec(compile("\n" * (line - 1) + code, str(path), "exec"), names)
        except Exception as error:
            raise AssertionError(
                f"{path.name}, block at line {line}: {type(error).__name__}: {error}"
            ) from error


def test_blocks_that_do_not_run_say_why():
    reasons = [
        re.sub(r"\W", "", m[1][12:]) for path in pages() for m in BLOCK.finditer(path.read_text()) if m[1]
    ]
    assert reasons and all(len(reason) > 10 for reason in reasons)


def run_notebook(name, tmp_path, monkeypatch):
    """Runs every cell in order; the names that it leaves."""
    notebook = json.loads(read(f"notebooks/{name}.ipynb"))
    assert notebook["nbformat"] == 4
    names = {"__name__": "notebook"}
    monkeypatch.setattr("tempfile.mkdtemp", lambda: str(tmp_path))
    for i, cell in enumerate(notebook["cells"]):
        if cell["cell_type"] == "code":
            assert cell["outputs"] == [] and cell["execution_count"] is None, "commit it without outputs"
            exec(compile("".join(cell["source"]), f"cell {i}", "exec"), names)
    return names


def test_notebook_first_steps(tmp_path, monkeypatch, capsys, quick):
    names = run_notebook("00_first_steps", tmp_path, monkeypatch)
    assert "macro AUC" in capsys.readouterr().out and 0 <= names["found"].estimate <= 1


def test_notebook_entities(tmp_path, monkeypatch, capsys, quick):
    names = run_notebook("01_entities", tmp_path, monkeypatch)
    out = capsys.readouterr().out
    for shown in (
        "negated   myocardial ischemia",
        "hedged    atrial fibrillation ",  # by the phrases of one's own
        'synonym "SR" also stands at line 8',
        "was labelled with vocabulary 'rhythms'",
    ):
        assert shown in out, shown
    assert names["store"].labels.shape == (110, 3) and names["compared"].total.f1 > 0.8


def test_notebook_evaluation(tmp_path, monkeypatch, capsys, quick):
    pytest.importorskip("matplotlib")
    names = run_notebook("02_evaluation", tmp_path, monkeypatch)
    out = capsys.readouterr().out
    for shown in ("untrained model", "random encoder", "Comparison: sample", "macro average", "Table 2a", "71.61"):
        assert shown in out, shown
    assert names["sweep"].k == [1, 2, 3, 6, 12] and not any(row["reason"] for row in names["found"].rows)


def test_every_table_has_its_command():
    """docs/reproduce.md has a line for every table and figure of the paper, and no table that is not there."""
    text = read("docs/reproduce.md")
    named = set(re.findall(r"--table (\w+)(?![\w.])", text)) | set(re.findall(r"`(7e|figure6b|figure7b)`", text))
    assert named - {"mine"} == set(kmerl.list_tables())
    for table in [*map(str, range(1, 11)), *(f"Figure {i}" for i in range(4, 10))]:
        assert re.search(rf"^\| (Tables? )?{table}\w?\b|^\| Tables? {table}|, {table}", text, re.M), table


def test_the_example_of_a_table_loads(tmp_path):
    from kmerl.ablation_table import load_table

    example = re.search(r"```json\n(.*?)```", read("docs/reproduce.md"), re.S)[1]
    (tmp_path / "mine.json").write_text(example)
    assert [row.name for row in load_table(tmp_path / "mine.json").rows] == ["K-MERL", "6 to 11 masked"]


def test_fields_of_tables_are_documented():
    from kmerl import ablation_table

    text = read("docs/reproduce.md").split("## A table of one's own")[1]
    for field in {**ablation_table._TABLE, **ablation_table._COLUMN, **ablation_table._ROW, **ablation_table.LABELS}:
        assert f"`{field}`" in text, field


# ---- names ----


def expanded(name, config):
    """The names of a row, and the index i of each."""
    if "<i>" not in name:
        return [(name, 0)]
    count = config.query_layers if name.startswith("query.") else config.depth
    blocks = range(count) if "residual" not in name else (2, 4, 6) if "shortcut" in name else range(8)
    return [(name.replace("<i>", str(i)), i) for i in blocks]


def test_checkpoint_names_are_the_models():
    """docs/checkpoint.md lists every tensor, with its shape, and no other."""
    shape = dict(size="custom", width=128, depth=2, heads=2, mlp_width=24, projection_width=20)
    model = kmerl.KMERL(
        **shape, query_width=36, query_mlp_width=28, query_heads=1, query_layers=3, learn_temperature=True,
        unimodal_weight=1.0,
    ).initialize(text_dim=10)  # fmt: skip
    merl = kmerl.KMERL("merl-vit", **shape, segment_samples=100).initialize(text_dim=10)
    resnet = kmerl.KMERL("merl-resnet", projection_width=64).initialize(text_dim=10)
    c = model.config_
    letters = dict(C=128, F=24, P=100, M=50, J=20, D=10, W=36, G=28, A=64, L=313)
    documented_of_resnet = {}
    widths = [64 << i // 2 for i in range(8)]
    inputs = [64, *widths[:7]]
    documented, prefix = {}, ""
    for line in read("docs/checkpoint.md").splitlines():
        row = re.match(r"\s*\| (`.*?) \| (\(.*?) \|", line)
        if found := re.search(r"with the prefix `([^`]+)`", line):
            prefix = found[1]
        elif line.strip() and not row:
            prefix = prefix if line.lstrip().startswith("|") else ""
        if row:
            shapes = re.findall(r"\(([^()]*)\)", row[2].split(":")[0])
            names = re.findall(r"`([^`]+)`", row[1])
            shapes = shapes * len(names) if len(shapes) == 1 else shapes
            assert len(shapes) == len(names), line
            for name, shape in zip(names, shapes, strict=True):
                for full, i in expanded(prefix + name, c):
                    theirs = full.startswith(("encoder.stem", "encoder.residual", "ecg_projector.down", "ecg_projector.pool"))
                    known = {**letters, "N[i]": widths[i], "I[i]": inputs[i], **({"J": 64} if theirs else {})}
                    (documented_of_resnet if theirs else documented)[full] = tuple(
                        int(np.prod([known[f] if f in known else int(f) for f in side.split()]))
                        for side in shape.split(",")
                    )
    listed = re.findall(r"`(ecg_projector\.norm\d\.running_\w+)`", read("docs/checkpoint.md"))
    documented.update(dict.fromkeys(listed, (c.projection_width,)))
    tensors = {**merl.parameters(), **model.parameters(), **model.statistics()}
    assert documented == {name: array.shape for name, array in tensors.items()}

    shared = ("text_projector.", "unimodal.")
    tensors = {name: x for name, x in resnet.parameters().items() if not name.startswith(shared)}
    assert documented_of_resnet == {name: array.shape for name, array in tensors.items()}
    norms = [name for name in tensors if re.search(r"norm\d?\.(weight|bias)$", name)]
    moved = {name.replace(".weight", ".running_mean").replace(".bias", ".running_var") for name in norms}
    assert moved == set(resnet.statistics())


def test_checkpoint_metadata_is_documented(tmp_path):
    from kmerl import safetensors
    from kmerl.checkpoint import Checkpoint, Names

    model = kmerl.KMERL(size="tiny", query_layers=1).initialize(text_dim=4)
    names = Names(["a"], np.zeros((1, 4), np.float32), np.zeros((1, 4), np.float32))
    vocabulary = kmerl.Vocabulary.default().to_json()
    whole = Checkpoint(model.config_, model.parameters(), model.statistics(), names, vocabulary, "id")
    whole.write(tmp_path / "m.safetensors")
    _, metadata = safetensors.read(tmp_path / "m.safetensors")
    section = read("docs/checkpoint.md").split("## `__metadata__`")[1].split("##")[0]
    assert set(re.findall(r"^\d+\. `(\w+)`", section, re.M)) == set(metadata)


def test_log_fields_are_documented(tmp_path, quick):
    store = kmerl.Store.create(tmp_path / "store", kmerl.sample_records("train")[:12], progress=False)
    store.label(progress=False).embed(kmerl.sample_embeddings(), progress=False)
    model = kmerl.KMERL(size="tiny", query_layers=1, batch_size=4, epochs=1)
    model.set_params(batch_size=4)
    model.fit(store, out=tmp_path / "run", progress=False)
    lines = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    section = read("docs/training.md").split("`log.jsonl`")[1].split("`last.safetensors`")[0]
    written = {name for line in lines for name in line}
    documented = set(re.findall(r"`(\w+)`", section))
    assert written and written <= documented
    assert documented - written <= {"val_loss", "val_contrast", "val_unimodal", "val_query"}


@pytest.mark.parametrize("name", TEXTS)
def test_configuration_fields_exist(name):
    """`field=value` in a text names a field of Config or an argument of a public function."""
    fields = {field.name for field in dataclasses.fields(Config)}
    others = {"preset", "max_steps", "leads", "fs", "text_dim", "out", "min", "attention", "finding", "dtype",
              "nonfinite"}
    text = re.sub(r"^```.*?^```", "", read(name), flags=re.M | re.S)
    for code in re.findall(r"`([^`\n]+)`", text):
        for word in re.findall(r"(?<![\w-])([a-z_]+)=", code):
            assert word in fields | others, f"{name}: {code}"


@pytest.mark.parametrize("name", TEXTS)
def test_paths_and_functions_exist(name):
    text = read(name)
    for path in re.findall(
        r"`((?:csrc|kmerl|tests|docs|benchmarks|examples|notebooks|tools)/[\w/.]+\.\w+)`", text
    ):
        assert (ROOT / path).exists(), f"{name} speaks of {path}"
    for link in re.findall(r"\]\(([^)#:]+)\)", text):
        assert ((ROOT / name).parent / link).exists() or link == "entities.md", f"{name} links to {link}"
    sources = "".join(path.read_text() for path in (ROOT / "csrc").rglob("*.[ch]"))
    for function in re.findall(r"`(km_\w+)`", text):
        assert re.search(rf"\b{function}\b", sources), f"{name} speaks of {function}"
    for dotted in re.findall(
        r"\bkmerl\.([A-Za-z_][\w.]*\w)\b(?!/)", re.sub(r"kmerl\.(h|egg|git)\b", "", text)
    ):
        with contextlib.suppress(ModuleNotFoundError):
            __import__("kmerl." + dotted.split(".")[0])
        found = kmerl
        for part in dotted.split("."):
            assert hasattr(found, part), f"{name} speaks of kmerl.{dotted}"
            found = getattr(found, part)


def test_readme_lists_every_verb():
    from kmerl.cli import VERBS

    listed = re.findall(r"^    kmerl (\w+)", read("README.md"), re.M)
    assert set(listed) == set(VERBS)


def test_index_lists_every_page():
    linked = set(re.findall(r"\]\((\w+\.md)\)", read("docs/index.md")))
    there = {path.name for path in (ROOT / "docs").glob("*.md")} - {"index.md"}
    assert there <= linked, there - linked


def test_make_targets_in_texts_exist():
    targets = set(re.findall(r"^([a-z-]+):", read("Makefile"), re.M))
    for name in TEXTS:
        for target in re.findall(r"(?:^    |`)make ([a-z-]+)", read(name), re.M):
            assert target in targets, f"{name} speaks of make {target}"


def test_data_are_attributed():
    text = read("README.md")
    for needed in (
        "CC BY 4.0",
        "10.1038/s41597-020-0495-6",
        "10.13026/kfzx-aw45",
        "MiniLM",
        "Apache",
        "medical device",
    ):
        assert needed in text
