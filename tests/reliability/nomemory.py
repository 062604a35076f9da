"""Python has no memory in a call of the binding: ``python tests/reliability/nomemory.py``.

Public calls are made once while every call that goes into the core is noted with its arguments. Each of those is then made
again and again with the n-th of Python's allocations failing (``_testcapi.set_nomemory``), alone and with all behind it, for
every n: the call must say MemoryError or succeed, nothing may be left allocated, and it must work afterwards. What the core
itself allocates fails in tests/c/test_allocation_*.c."""

import ctypes
import faulthandler
import gc
import os
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests"), str(Path(__file__).resolve().parent)]

from references import calls  # noqa: E402

from kmerl import _kmerl  # noqa: E402

IN_A_ROW = 3        # successes after which a call is taken to have no more allocations
MOST = 400          # allocations of one call
ROUNDS = 4          # a leak shows in each, a cache that happens to fill in one
# Blocks that caches take however many calls there are: 12. A block kept by each refusal of a call that has few is not seen.


def noted(table):
    """{name: (function, arguments, keywords)}: the first calls of the binding that a table of public calls makes."""
    found = {}

    def note(name, function):
        def call(*args, **kwargs):
            answer = function(*args, **kwargs)      # only calls that are right: of another any error would do
            found.setdefault(name, (function, args, kwargs))
            return answer

        return call

    class Noting:
        """In place of the module where Python's side has it; the core's own look at it sees what it is."""

        def __getattr__(self, name):
            return note(name, getattr(_kmerl, name))

    users = [module for name, module in sys.modules.items() if name.partition(".")[0] in ("kmerl", "references")
             and getattr(module, "_kmerl", None) is _kmerl]
    kept = [(module, "_kmerl", _kmerl) for module in users]
    for module in users:
        module._kmerl = Noting()
    for owner in (one for one in vars(_kmerl).values() if isinstance(one, type)):
        for name, method in list(vars(owner).items()):
            if type(method).__name__ == "method_descriptor":
                kept.append((owner, name, method))
                setattr(owner, name, note(f"{owner.__name__}.{name}", method))
    try:
        for call in table.values():
            call()
    finally:
        for owner, name, was in kept:
            setattr(owner, name, was)
    return found


def c_memory():
    """Bytes in use of the C library's allocator; 0 where it does not say."""

    class Info(ctypes.Structure):
        _fields_ = [(name, ctypes.c_size_t) for name in "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks "
                    "fordblks keepcost".split()]

    try:
        say = ctypes.CDLL(None).mallinfo2
    except AttributeError:
        return 0
    say.restype = Info
    info = say()
    return info.uordblks + info.hblkhd


def exhaust(call, rest):
    """Makes the call with one allocation failing after the other; how many failed, how many calls said so."""
    from _testcapi import remove_mem_hooks, set_nomemory

    failed = told = row = 0
    while row < IN_A_ROW and failed < MOST:
        failed += 1
        end = 0 if rest else failed + 1
        try:
            set_nomemory(failed, end)
            try:
                call()
            finally:
                remove_mem_hooks()
            row += 1
        except MemoryError:
            told, row = told + 1, 0
        except Exception as error:
            raise SystemExit(f"nomemory: allocation {failed}{' and all behind it' if rest else ''}: {error!r}") from None
    return failed, told


def main():
    faulthandler.enable()
    faults, allocations, refusals, made = [], 0, 0, 0
    with tempfile.TemporaryDirectory() as folder:
        table, _ = calls(Path(folder))
        for name, (function, args, kwargs) in sorted(noted(table).items()):
            def call(function=function, args=args, kwargs=kwargs):
                function(*args, **kwargs)

            if len(sys.argv) > 1 and name not in sys.argv:
                continue
            made += 1
            # Python's own code in a hook does not end without any memory: CPython 3.11 tries for ever to note where a
            # `finally` was met. A single failure it stands.
            hooked = any(type(one).__name__ == "function" for one in (*args, *kwargs.values()))
            for rest in (False,) if hooked else (False, True):
                os.write(2, f"{name}, {'all behind it' if rest else 'one'}\n".encode())     # of a crash
                exhaust(call, rest)         # caches fill
                gc.collect()
                for _ in range(ROUNDS):
                    blocks, bytes_ = sys.getallocatedblocks(), c_memory()
                    failed, told = exhaust(call, rest)
                    gc.collect()
                    blocks, bytes_ = sys.getallocatedblocks() - blocks, c_memory() - bytes_
                    if blocks <= 12 + told // 4 and bytes_ <= 100_000 + 1000 * told:
                        break
                else:
                    faults.append(f"{name}: {blocks:+} blocks, {bytes_:+} bytes after {told} refusals, {ROUNDS} times")
                allocations, refusals = allocations + failed, refusals + told
                call()
    print(f"nomemory: {made} calls of the binding, {allocations} failures of Python's allocations, {refusals} MemoryErrors; "
          f"{len(faults)} keep something")
    if faults:
        raise SystemExit("nomemory: " + "\n".join(faults))


if __name__ == "__main__":
    main()
