"""Near-duplicates proposed by a text encoder, and merged as an edited table says."""

import csv

import numpy as np
import pytest

import kmerl
from kmerl.cli import main


class Angles:
    """An encoder of directions: texts it was told about have an angle in degrees, others stand alone."""

    id, width = "angles", 64

    def __init__(self, **angles):
        self.angles = {name.replace("_", " "): angle for name, angle in angles.items()}
        self.asked = []

    def embed(self, texts, pooling="cls"):
        self.asked.append((list(texts), pooling))
        x = np.zeros((len(texts), self.width), np.float32)
        for i, text in enumerate(texts):
            if text in self.angles:
                x[i, :2] = np.cos(np.radians(self.angles[text])), np.sin(np.radians(self.angles[text]))
            else:
                x[i, 2 + i % (self.width - 2)] = 3  # not of length 1
        return x


VOCABULARY = kmerl.Vocabulary(
    [
        kmerl.Entity("arrhythmia"),
        kmerl.Entity("atrial fibrillation", ("afib",), ("arrhythmia",), {"scp": ("AFIB",)},
                     {"abbreviations": ("afib",)}),
        kmerl.Entity("fibrillation of the atria", ("vhf",), ("irregular rhythm",), {"snomed": ("1",)},
                     {"de": ("vhf",)}, ("atria fibrillating",)),
        kmerl.Entity("irregular rhythm"),
        kmerl.Entity("left bundle branch block"),
        kmerl.Entity("right bundle branch block"),
        kmerl.Entity("coarse fibrillation", superclasses=("fibrillation of the atria",)),
    ],
    name="seven",
)  # fmt: skip
ENCODER = dict(
    atrial_fibrillation=0, fibrillation_of_the_atria=10, arrhythmia=2,
    left_bundle_branch_block=100, right_bundle_branch_block=108, vhf=5,
)  # fmt: skip


def cosine(degrees):
    return pytest.approx(np.cos(np.radians(degrees)), abs=1e-6)


def test_pairs_of_a_vocabulary():
    encoder = Angles(**ENCODER)
    review = kmerl.review_vocabulary(VOCABULARY, encoder, threshold=0.95)
    # arrhythmia stands above atrial fibrillation: no pair, however near
    assert [(p.keep, p.merge) for p in review] == [
        ("arrhythmia", "fibrillation of the atria"),
        ("atrial fibrillation", "fibrillation of the atria"),
        ("left bundle branch block", "right bundle branch block"),
    ]
    first, second, third = review
    assert first.similarity == cosine(3) and first.via == "arrhythmia = vhf"
    assert second.similarity == cosine(5) and second.via == "atrial fibrillation = vhf"
    assert third.similarity == cosine(8) and third.via == "" and third.differs == "left / right"
    assert encoder.asked[0][1] == "cls" and "vhf" in encoder.asked[0][0]
    names = kmerl.review_vocabulary(VOCABULARY, Angles(**ENCODER), threshold=0.95, synonyms=False)
    assert [p.similarity for p in names] == [cosine(8), cosine(8), cosine(10)]


def test_pairs_of_a_list_of_names_and_the_threshold():
    names = ["atrial fibrillation", "fibrillation of the atria", "sinus rhythm"]
    for degrees, count in ((10.01, 1), (9.9, 0)):
        threshold = float(np.cos(np.radians(degrees)))
        review = kmerl.review_vocabulary(names, Angles(**ENCODER), threshold=threshold)
        assert len(review) == count
    assert len(kmerl.review_vocabulary(["a", "b"], Angles(a=3, b=3), threshold=1)) == 1
    assert len(kmerl.review_vocabulary(["a"], Angles(a=3))) == 0


def test_many_names_come_out_as_from_the_whole_matrix(monkeypatch):
    from kmerl import vocabulary_review

    monkeypatch.setattr(vocabulary_review, "BLOCK", 7)
    rng = np.random.default_rng(0)
    x = rng.standard_normal((40, 5)).astype(np.float32)

    class Random(Angles):
        def embed(self, texts, pooling="cls"):
            return x[: len(texts)]

    found = kmerl.review_vocabulary([f"name {i}" for i in range(40)], Random(), threshold=0.6)
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    near = np.triu(unit @ unit.T, 1) >= 0.6
    assert {(p.keep, p.merge) for p in found} == {(f"name {i}", f"name {j}") for i, j in np.argwhere(near)}
    similarities = [p.similarity for p in found]
    assert similarities == sorted(similarities, reverse=True) and len(similarities) > 10


def test_the_encoder_that_comes_with_kmerl():
    review = kmerl.review_vocabulary(kmerl.Vocabulary.default(), kmerl.sample_embeddings(), threshold=0.9)
    pairs = {frozenset((p.keep, p.merge)) for p in review}
    assert frozenset(("left bundle branch block", "right bundle branch block")) in pairs
    assert all(0.9 - 1e-6 <= p.similarity <= 1 for p in review)


def edited(path, *rows, columns=("keep", "merge", "decision")):
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([columns, *rows])
    return path


def test_the_table_goes_there_and_back(tmp_path):
    path = tmp_path / "pairs.csv"
    kmerl.review_vocabulary(VOCABULARY, Angles(**ENCODER), threshold=0.95).save(path)
    assert kmerl.apply_review(VOCABULARY, path) == VOCABULARY  # nothing decided, nothing merged
    lines = path.read_text().splitlines()
    assert lines[0] == "similarity,keep,merge,as,differs,decision" and lines[3].startswith(
        "0.9903,left bundle"
    )
    lines[1], lines[2], lines[3] = lines[1] + "keep", lines[2] + " Merge ", lines[3] + "keep"
    path.write_text("\r\n".join(lines))
    merged = kmerl.apply_review(VOCABULARY, path)
    assert list(merged) == [name for name in VOCABULARY if name != "fibrillation of the atria"]
    one = merged["atrial fibrillation"]
    assert one is merged[merged["VHF"].name] and merged["fibrillation of the atria"].name == one.name
    assert one.superclasses == ("arrhythmia", "irregular rhythm") and one.patterns == ("atria fibrillating",)
    assert one.codes == {"scp": ("AFIB",), "snomed": ("1",)}
    assert one.languages["de"] == ("vhf",) and "fibrillation of the atria" in one.languages["en"]
    assert merged["coarse fibrillation"].superclasses == ("atrial fibrillation",)
    assert merged.name == "seven, merged"
    assert kmerl.Vocabulary.from_json(merged.to_json()) == merged
    assert kmerl.extract(["vhf"], merged)[0][0].entity == "atrial fibrillation"


def test_columns_exchanged_and_chains(tmp_path):
    table = edited(tmp_path / "t.csv", ["c", "a", "merge"], ["d", "c", "merge"], ["b", "d", ""])
    merged = kmerl.apply_review(["a", "b", "c", "d"], table)
    assert list(merged) == ["b", "d"] and set(merged["d"].synonyms) == {"a", "c"}


@pytest.mark.parametrize(
    "rows, message",
    [
        ([["a", "b", "yes"]], 'line 2: decision is \'yes\', expected "merge", "keep" or nothing'),
        ([["a", "b", ""], ["a", "x", "merge"]], "line 3: 'x' is no name in vocabulary 'names'"),
        ([["a", "a", "merge"]], "line 2: 'a' is merged into itself"),
        (
            [["a", "b", "merge"], ["c", "b", "merge"]],
            "line 3: 'b' is merged into 'c', and into 'a' in line 2",
        ),
        ([["a", "b", "merge"], ["b", "a", "merge"]], "is merged in a circle"),
    ],
)
def test_tables_with_faults(rows, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        kmerl.apply_review(["a", "b", "c"], edited(tmp_path / "t.csv", *rows))


def test_tables_that_are_none(tmp_path):
    with pytest.raises(ValueError, match="t.csv has no column 'decision'"):
        kmerl.apply_review(["a", "b"], edited(tmp_path / "t.csv", ["a", "b"], columns=("keep", "merge")))
    with pytest.raises(FileNotFoundError):
        kmerl.apply_review(["a", "b"], tmp_path / "missing.csv")


def test_merging_that_makes_a_cycle(tmp_path):
    vocabulary = kmerl.Vocabulary([
        kmerl.Entity("a"), kmerl.Entity("b", superclasses=("a",)), kmerl.Entity("c", superclasses=("b",)),
    ])  # fmt: skip
    with pytest.raises(ValueError, match="cycle of superclasses"):
        kmerl.apply_review(vocabulary, edited(tmp_path / "t.csv", ["a", "c", "merge"]))
    merged = kmerl.apply_review(vocabulary, edited(tmp_path / "t.csv", ["b", "c", "merge"]))
    assert merged["b"].superclasses == ("a",) and merged["c"].name == "b"


class Odd(Angles):
    def __init__(self, value):
        super().__init__()
        self.value = value

    def embed(self, texts, pooling="cls"):
        return self.value


@pytest.mark.parametrize(
    "change, error, message",
    [
        ({"threshold": 0}, ValueError, "threshold is 0, expected a cosine above 0 and at most 1"),
        ({"threshold": "x"}, ValueError, "threshold is 'x'"),
        ({"vocabulary": "atrial fibrillation"}, TypeError, "vocabulary is the single text"),
        ({"vocabulary": 5}, TypeError, "vocabulary is a int"),
        ({"vocabulary": ["a", " "]}, TypeError, "name 2 is ' ', expected a text"),
        ({"vocabulary": ["a", "A"]}, ValueError, 'name "A" is also the name at'),
        ({"encoder": "minilm"}, TypeError, "encoder is a str without .embed"),
        (
            {"encoder": Odd(np.zeros((1, 3)))},
            ValueError,
            "encoder angles gave no finite vector for each of 2 names",
        ),
        ({"encoder": Odd(np.full((2, 3), np.nan))}, ValueError, "gave no finite vector"),
    ],
)
def test_wrong_arguments(change, error, message):
    with pytest.raises(error, match=message):
        kmerl.review_vocabulary(**{"vocabulary": ["a", "b"], "encoder": Angles(), **change})


def test_names_that_ready_made_embeddings_do_not_have():
    with pytest.raises(KeyError, match="gibberish"):
        kmerl.review_vocabulary(["sinus rhythm", "gibberish"], kmerl.sample_embeddings())


def test_from_the_shell(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "names.txt").write_text(
        "left bundle branch block\n\nright bundle branch block\r\nsinus rhythm\n"
    )
    assert main(["vocabulary", "review", "names.txt", "--encoder", "sample", "--out", "pairs.csv"]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0] == "pairs.csv: 1 pairs among 3 entities with a cosine of 0.9 or more"
    assert out[-1] == "next: kmerl vocabulary review names.txt --apply pairs.csv --out merged.json"
    table = (tmp_path / "pairs.csv").read_text()
    (tmp_path / "pairs.csv").write_text(table.replace("left / right,", "left / right,merge"))
    assert main(["vocabulary", "review", "names.txt", "--apply", "pairs.csv", "--out", "merged.json"]) == 0
    assert "merged.json: 2 entities, 1 merged into others" in capsys.readouterr().out
    merged = kmerl.Vocabulary.load("merged.json")
    assert merged["right bundle branch block"].name == "left bundle branch block"
    with pytest.raises(SystemExit):
        main(["vocabulary", "review", "names.txt", "--out", "x.csv"])
    capsys.readouterr()
    (tmp_path / "names.txt").write_text("a\nb\na\n")
    assert main(["vocabulary", "review", "names.txt", "--encoder", "sample", "--out", "pairs.csv"]) == 1
    assert 'line 3 ("a"): name "a" is also the name at line 1' in capsys.readouterr().err
    (tmp_path / "names.txt").write_bytes(b"\xff\xfe\x00")
    assert main(["vocabulary", "review", "names.txt", "--encoder", "sample", "--out", "pairs.csv"]) == 1
    assert "not UTF-8" in capsys.readouterr().err
