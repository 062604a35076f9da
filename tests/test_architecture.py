"""The rules of the house, read from the sources."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
CSRC = ROOT / "csrc"
pytestmark = pytest.mark.skipif(not CSRC.is_dir(), reason="needs the source tree")

# Write-once values and the fork guard; everything else lives in objects that the caller owns.
STATE = {
    "core/threads.c": {"forked", "used", "watching", "quota"},
    "core/isa.c": {"chosen"},
    "ops/cpu/gemm.c": {"once", "km_gemm_space", "resident"},
}


def sources(pattern="*.[ch]", python=True):
    found = [path for path in sorted(CSRC.rglob(pattern)) if python or CSRC / "python" not in path.parents]
    assert found
    return found


def name(path):
    return path.relative_to(CSRC).as_posix()


def code(path):
    """The file without comments and the insides of strings, line numbers kept."""
    text = path.read_text(encoding="utf-8")
    token = re.compile(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.S)

    def blank(match):
        text = match.group()
        return re.sub(r"[^\n]", " ", text) if text.startswith("/") else text[0] + text[-1]

    return token.sub(blank, text)


def test_only_the_binding_includes_python():
    for path in sources(python=False):
        assert not re.search(r"#\s*include\s*[<\"](Python\.h|numpy/)", path.read_text()), name(path)
        assert not re.search(r"\bPy[A-Z]\w*", code(path)), name(path)


def test_one_switch_for_cuda():
    places = [name(path) for path in sources() for _ in re.findall(r"#\s*if.*\bKM_CUDA\b", code(path))]
    assert len(places) <= 1, places


def definitions(text):
    """Names of functions defined at the left margin, without those that are static."""
    found = []
    for match in re.finditer(r"^(?!static\b|typedef\b|#)([A-Za-z_][^;{}()=#]*?)\b(\w+)\s*\(([^;{}]*)\)\s*\{", text, re.M):
        if "static" not in match[1].split() and match[2] not in ("if", "for", "while", "switch"):
            found.append(match[2])
    return found


# A second noun that lives and dies with the file's own.
NOUNS = {"model/model.c": ("model", "classes"), "model/params.c": ("params", "layout"), "ops/ops_cpu.c": ("ops_cpu",)}


@pytest.mark.parametrize("path", sources("*.c", python=False) if CSRC.is_dir() else [], ids=name)
def test_a_file_defines_its_own_noun(path):
    """x.c defines km_x and km_x_*, nothing else."""
    nouns = "|".join(NOUNS.get(name(path), (path.stem,)))
    for defined in definitions(code(path)):
        assert re.fullmatch(rf"km_({nouns})(_\w+)?", defined) or defined == "GEMM", f"{name(path)} defines {defined}"


@pytest.mark.parametrize("path", sources(python=False) if CSRC.is_dir() else [], ids=name)
def test_no_printing_no_exit(path):
    assert not re.findall(r"\b(v?f?printf|f?puts|putchar|perror|exit|_exit|abort|quick_exit)\s*\(", code(path))


@pytest.mark.parametrize("path", sources(python=False) if CSRC.is_dir() else [], ids=name)
def test_no_hidden_state(path):
    """No variable outlives a call, but for the few that STATE lists."""
    text = re.sub(r"#[^\n]*(\\\n[^\n]*)*", "", code(path))
    found = set()
    for match in re.finditer(r"\bstatic\b(?P<rest>[^;{}()=]*)(?P<end>[;=(])", text):
        rest, end = match["rest"], match["end"]
        words = re.findall(r"\w+", re.sub(r"\[[^\]]*\]", "", rest))
        if end == "(" or "const" in words or not words:
            # A function, or a constant; a pointer to constant data that may itself change is state.
            if end != "(" and re.search(r"const[^*]*\*\s*(?!const)\w+", rest):
                found.add(words[-1])
            continue
        found.add(words[-1])
    for match in re.finditer(r"^(?!static|extern|typedef|struct|enum|union)(?:_Thread_local\s+)?[a-z]\w*\s+\w+\s*(?:\[[^\]]*\])?\s*(=|;)",
                             text, re.M):
        found.add(match.group().split()[1].rstrip(";="))
    assert found <= STATE.get(name(path), set())


def test_the_one_parallel_loop():
    places = [name(path) for path in sources() if re.search(r"#\s*pragma\s+omp", code(path))]
    assert places == ["core/threads.c"]


@pytest.mark.parametrize("word", ["utils", "util", "common", "helpers", "helper", "misc"])
def test_no_file_without_a_subject(word):
    folders = [ROOT / folder for folder in ("csrc", "kmerl", "tests", "benchmarks", "examples", "docs")]
    found = [path for folder in folders for path in folder.rglob("*") if re.fullmatch(rf"_?{word}", path.stem.lower())]
    assert not found


def test_lines_fit():
    for path in sources():
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            table = re.match(r"\s+X\(.*\\$", line)         # a row of an X-macro stays a row
            assert len(line) <= 120 or table, f"{name(path)}:{number} has {len(line)} columns"
            assert "\t" not in line and line == line.rstrip(), f"{name(path)}:{number} has a tab or trailing space"


def test_headers_are_guarded_by_their_name():
    for path in sources("*.h"):
        text = code(path)
        guards = re.findall(r"#ifndef (KM_\w+_H)\n#define \1\n", text)
        assert guards or path.parent.name == "kernels", name(path)


def test_every_operation_is_in_the_table():
    """ops.h declares what its table lists, and ops_cpu.c fills all of it."""
    text = code(CSRC / "ops" / "ops.h")
    table = set(re.findall(r"X\((\w+)\)", text[text.index("#define KM_OPERATIONS(X)"):])) - {"operation"}
    declared = set(re.findall(r"\bkm_(\w+)\s*\(", text.split("#define KM_OPERATIONS")[0]))
    assert table == declared


def test_no_unsafe_floating_point():
    for file in (ROOT / "setup.py", ROOT / "Makefile"):
        assert not re.search(r"-ffast-math|-Ofast|-funsafe-math", file.read_text())


def test_no_pickle():
    """Nothing is read from or written to a file by pickle; workers.py speaks it with processes of its own."""
    for path in sorted((ROOT / "kmerl").rglob("*.py")):
        text = path.read_text()
        assert "allow_pickle=True" not in text, path
        if path.name != "workers.py":
            assert not re.search(r"^\s*(import|from)\s+(pickle|marshal|shelve|dill|cloudpickle)\b", text, re.M), path
