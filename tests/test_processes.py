"""kmerl beside other threads, in forked and spawned processes, interrupted, and as a guest in a process of others.

Each case is a program of its own, ended after TIMEOUT seconds: a hang is a failure."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

TIMEOUT = 60
ROOT = Path(__file__).resolve().parent.parent

# A model that answers, its recordings, and answers by the calling process to compare with.
MODEL = """
import os, sys, threading, time
import numpy as np
import kmerl
from small import TINY
classes = ["sinus rhythm", "atrial fibrillation"]
records = kmerl.simulate(12, seed=1)
def made(seed=1):
    embeddings = kmerl.sample_embeddings()
    model = kmerl.KMERL(**{**TINY, "seed": seed, "threads": 2}).initialize(embeddings.width)
    model.text_encoder = embeddings
    return model
def answers(model):
    return model.predict_proba(records, classes).tobytes()
"""


def program(code, *arguments, **environment):
    return start(["-W", "error::RuntimeWarning", "-c", MODEL + textwrap.dedent(code), *arguments], environment)


def start(command, environment):
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests"), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": path, "PYTHONFAULTHANDLER": "1", **environment}
    return subprocess.Popen([sys.executable, *command], env=environment, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, text=True)


def finish(child, timeout=TIMEOUT):
    try:
        out, err = child.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        child.kill()
        pytest.fail(f"it hangs: {child.communicate()}")
    return child.returncode, out.strip(), err


def run(code, *arguments, **environment):
    status, out, err = finish(program(code, *arguments, **environment))
    assert status == 0, err
    return out


# ---- threads ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("models", [1, 4])
def test_threads_get_the_same_bits(models):
    run("""
    from concurrent.futures import ThreadPoolExecutor
    models = [made() for _ in range(int(sys.argv[1]))]
    expected = answers(models[0])
    features = models[0].encode(records).tobytes()
    def work(i):
        model = models[i % len(models)]
        return answers(model), model.encode(records).tobytes(), model.attend(records[0], "sinus rhythm").tobytes()
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(work, range(24)))
    assert all(one[:2] == (expected, features) for one in found)
    assert len(set(found)) == 1
    """, str(models))


def test_threads_that_set_parameters_give_one_set_or_the_other():
    run("""
    model = made()
    sets = [made(seed).parameters() for seed in (1, 2)]
    expected = set()
    for one in sets:
        expected.add(model.set_parameters(one).encode(records[:4]).tobytes())
    assert len(expected) == 2
    found, stop = set(), threading.Event()
    def read():
        while not stop.is_set():
            found.add(model.encode(records[:4]).tobytes())
    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for i in range(60):
        model.set_parameters(sets[i % 2])
        model.predict_proba(records[0], classes)
    stop.set()
    for thread in threads:
        thread.join()
    assert found <= expected and found
    """)


def test_extraction_and_simulation_in_threads():
    run("""
    from concurrent.futures import ThreadPoolExecutor
    texts = [record.report for record in records]
    def work(i):
        return str(kmerl.extract(texts)), [r.signal.tobytes() for r in kmerl.simulate(3, seed=i % 2)]
    expected = [work(0), work(1)]
    with ThreadPoolExecutor(8) as pool:
        assert all(found == expected[i % 2] for i, found in enumerate(pool.map(work, range(24))))
    """)


# ---- processes -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_pools_after_use_in_the_parent(method, tmp_path):
    """As scripts are written: a file, a model in the parent, a pool."""
    script = tmp_path / "script.py"
    script.write_text(MODEL + textwrap.dedent("""
    import multiprocessing
    model = None
    def work(i):
        return answers(model if model is not None else made())
    def given(model):
        return answers(model)
    if __name__ == "__main__":
        model = made()
        expected = answers(model)
        with multiprocessing.get_context(sys.argv[1]).Pool(2) as pool:
            assert set(pool.map(work, range(4))) == {expected}
            assert set(pool.map(given, [model] * 4)) == {expected}
        assert answers(model) == expected
    """))
    child = start([script, method], {})
    status, _, err = finish(child)
    assert status == 0, err


def test_a_fork_while_another_thread_uses_the_model_is_told():
    """The model's lock is held by a thread that the child does not have."""
    out = run("""
    model, busy = made(), threading.Event()
    many = records * 400
    def work():
        busy.set()
        model.encode(many)
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    busy.wait()
    told = worked = 0
    for _ in range(20):
        time.sleep(0.02)
        child = os.fork()
        if child == 0:
            try:
                answers(model)
                os._exit(7)
            except RuntimeError as error:
                os._exit(8 if "forked" in str(error) else 9)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        assert status in (7, 8), status
        told += status == 8
        worked += status == 7
    print(told, worked)
    """)
    told, _ = map(int, out.split())
    assert told > 0     # else nothing was tried


def test_a_lock_held_at_a_fork_is_open_in_the_child():
    run("""
    from kmerl.lock import Lock
    lock, held = Lock(), threading.Event()
    def hold():
        with lock:
            held.set()
            time.sleep(30)
    threading.Thread(target=hold, daemon=True).start()
    held.wait()
    child = os.fork()
    if child == 0:
        with lock:
            os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    os._exit(0)
    """)


def test_a_sub_interpreter_is_refused():
    interpreters = "_xxsubinterpreters" if sys.version_info < (3, 13) else "_interpreters"
    pytest.importorskip(interpreters)
    out = run(f"""
    import {interpreters} as interpreters
    inside = '''
    try:
        from importlib.machinery import ExtensionFileLoader
        from importlib.util import module_from_spec, spec_from_loader
        loader = ExtensionFileLoader("_kmerl", binary)      # not by its package: NumPy would refuse first
        loader.exec_module(module_from_spec(spec_from_loader("_kmerl", loader)))
        word = "imported"
    except ImportError as error:
        word = str(error)
    open(path, "w").write(word)
    '''
    import tempfile, textwrap
    name = tempfile.mktemp()
    made_one = interpreters.create()
    interpreters.run_string(made_one, "path = " + repr(name) + "; binary = " + repr(kmerl._kmerl.__file__)
                            + chr(10) + textwrap.dedent(inside))
    print(open(name).read())
    os.unlink(name)
    answers(made())
    """)
    assert "interpreter" in out, out     # Python's own words from 3.12 on


def test_a_python_told_to_go_without_its_lock_is_refused():
    """As PYTHON_GIL=0 does in a free-threaded Python; without it such a Python turns the lock on at the import."""
    child = start(["-c", "import sys; sys._is_gil_enabled = lambda: False; import kmerl"], {})
    status, _, errors = finish(child)
    assert status == 1 and errors.splitlines()[-1].startswith("ImportError: kmerl needs Python's global interpreter lock")


# ---- Ctrl-C ----------------------------------------------------------------------------------------------------

CALLS = {
    "predict": "model = made(); many = records * 2000; go(); model.predict_proba(many, classes)",
    "predict each lead": "model = made(); many = records * 2000; go(); "
                         "model.predict_proba(many, classes, lead_pooling='mean')",
    "encode": "model = made(); many = records * 2000; go(); model.encode(many)",
    "attend": "model = made(); many = records * 2000; go(); model.attend(many, classes)",
    "fit": """store = kmerl.Simulator(seed=0, epoch_size=8192, validation_size=64)
store.embed(kmerl.sample_embeddings())
model = kmerl.KMERL(**{**TINY, "batch_size": 64}); go(); model.fit(store, progress=False)""",
    "validation": """store = kmerl.Simulator(seed=0, epoch_size=8, validation_size=100000)
store.embed(kmerl.sample_embeddings())
model = kmerl.KMERL(**TINY); go(); model.fit(store, progress=False)""",
    "simulate": "go(); kmerl.simulate(20000, seed=0)",
    "extract": "texts = [r.report for r in records] * 60000; go(); kmerl.extract(texts)",
    "bootstrap": "r = np.random.default_rng(0); y = r.random((20000, 20)) < 0.3; p = r.random((20000, 20)); go(); "
                 "kmerl.metrics.bootstrap(y, p, n=100000)",
    "store": "many = records * 2000; go(); kmerl.Store.create(sys.argv[1] + '/s', many, progress=False)",
    "label": """store = kmerl.Store.create(sys.argv[1] + '/s', [kmerl.Record(np.sin(np.arange(100))[None], 500, ["I"],
    report=" ".join(r.report for r in records) * 50 + str(i)) for i in range(1500)], progress=False)
go(); store.label(kmerl.Vocabulary.default(), progress=False)""",
    "probe": """from kmerl import _kmerl
from kmerl.probe import OPTIMISER
r = np.random.default_rng(0); x = r.standard_normal((20000, 512)).astype(np.float32)
y = (r.random((20000, 20)) < 0.3).astype(np.uint8); nothing = (x[:0], y[:0]); go()
_kmerl.probe_fit(x, y, x[:500], y[:500], *nothing, seeds=np.arange(3, dtype=np.uint64), epochs=1000, batch_size=16,
                 lr=1e-3, threads=2, hook=lambda done: None, **OPTIMISER)""",
    "batches": "text = made(); big = [kmerl.Record(np.tile(r.signal, 400), r.fs, r.leads) for r in records[:3]]; go(); "
               "text.encode(big)",
}


@pytest.mark.parametrize("call", CALLS)
def test_ctrl_c_returns_within_a_second(call, tmp_path):
    """Measured in the program: from the signal to the exception, so that its end does not count. Two cores that others
    use too: 2 s are allowed."""
    child = program("def go():\n    import signal\n"
                    "    def strike():\n        time.sleep(0.7)\n        global struck\n        struck = time.monotonic()\n"
                    "        os.kill(os.getpid(), signal.SIGINT)\n"
                    "    signal.signal(signal.SIGINT, signal.default_int_handler)\n"
                    "    threading.Thread(target=strike, daemon=True).start()\n"
                    "struck = None\n"
                    "try:\n" + textwrap.indent(CALLS[call], "    ") + "\n    print('done', flush=True)\n"
                    "except KeyboardInterrupt:\n    print(time.monotonic() - struck, flush=True)\nos._exit(0)\n",
                    str(tmp_path))
    status, out, err = finish(child, 180)
    assert status == 0, err
    assert out != "done", "it ended before the interruption: nothing was tried"
    assert float(out.splitlines()[-1]) < 2, out


# ---- the host process ------------------------------------------------------------------------------------------

EVERYTHING = """
def everything(folder):
    from small import make_store
    model = made()
    answers(model), model.encode(records), model.attend(records[0], "sinus rhythm")
    store = make_store(os.path.join(folder, "store"), 8)
    kmerl.KMERL(**TINY).fit(store, out=os.path.join(folder, "run"), max_steps=2, progress=False)
    kmerl.metrics.bootstrap(np.arange(40) % 2, np.linspace(0, 1, 40), n=50)
    kmerl.extract([r.report for r in records])
"""


def test_the_host_process_stays_as_it_was(tmp_path):
    run(EVERYTHING + """
import ctypes, locale, signal, sys
libc = ctypes.CDLL(None)
libm = ctypes.CDLL("libm.so.6") if sys.platform == "linux" else libc
environment = (ctypes.c_uint8 * 64)
def state():
    e = environment()
    assert libm.fegetenv(e) == 0
    words = bytes(e)[:4] + bytes(e)[28:32]    # x87 control word and MXCSR, without the flags that any sum raises
    mxcsr = int.from_bytes(words[4:], "little") & ~0x3F
    tiny = np.float32(1e-40) * np.float32(0.5)
    return {"rounding": libm.fegetround(), "control": words[:2], "mxcsr": mxcsr, "denormals": float(tiny),
            "signals": [signal.getsignal(s) for s in signal.valid_signals()],
            "locale": locale.setlocale(locale.LC_ALL), "numpy": np.geterr(), "directory": os.getcwd(),
            "environment": dict(os.environ), "threads": threading.active_count(),
            "excepthook": sys.excepthook, "recursion": sys.getrecursionlimit(), "umask": (os.umask(18), os.umask(18))[1],
            "random": np.random.get_state()[1].tobytes(), "path": list(sys.path)}
np.ones((300, 300)) @ np.ones((300, 300))
before = state()
assert before["denormals"] > 0
everything(sys.argv[1])
after = state()
for name in before:
    assert before[name] == after[name], (name, before[name], after[name])
""", str(tmp_path))


def test_numpys_threads_stay_as_many(tmp_path):
    pytest.importorskip("threadpoolctl")
    run(EVERYTHING + """
from threadpoolctl import threadpool_info
np.ones((300, 300)) @ np.ones((300, 300))
def pools():
    return {p["filepath"]: p["num_threads"] for p in threadpool_info()}
before = pools()
assert before
everything(sys.argv[1])
after = pools()
assert {name: after[name] for name in before} == before, (before, after)
""", str(tmp_path))


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="affinity is Linux's")
def test_affinity_is_respected():
    code = """
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    info = kmerl.build_info()
    print(info["threads"], info["processors"])
    """
    out = run(code, **{"OMP_NUM_THREADS": ""})
    assert out == "1 1"


def test_omp_num_threads_limits_the_threads_that_run():
    out = run("""
    model = made()
    model.threads = None
    model.config_ = kmerl.Config(**{**TINY, "threads": None, "text_width": model.config_.text_width})
    answers(model)
    print(len(os.listdir("/proc/self/task")) if os.path.isdir("/proc/self/task") else 1)
    """, OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")
    assert out == "1"


def test_an_interrupt_leaves_the_handler(tmp_path):
    """`fit` holds Ctrl-C back while a step is written; the handler that was there is there again."""
    code = """
    import signal
    from small import make_store
    store = make_store(sys.argv[1] + "/s", 8)
    seen = []
    signal.signal(signal.SIGINT, lambda *_: seen.append(1))
    handler = signal.getsignal(signal.SIGINT)
    threading.Timer(0.1, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
    kmerl.KMERL(**{**TINY, "epochs": 10}).fit(store, progress=False)
    assert signal.getsignal(signal.SIGINT) is handler
    print(len(seen))
    """
    begun = time.monotonic()
    assert run(code, str(tmp_path)) == "1"
    assert time.monotonic() - begun < TIMEOUT
    assert signal.getsignal(signal.SIGINT) is not signal.SIG_IGN
