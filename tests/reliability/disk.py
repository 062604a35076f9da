"""Disks that fill up or lose what was not synced, folders that cannot be written, two writers.

    python tests/reliability/disk.py --count 100 --seed 1

disk.c, preloaded into the process that works, gives it a disk of so many bytes, or logs what it writes. From the log
follows what a machine may have kept that stopped at any call: of each file what was synced, under the names that its
folder had when that was synced (`strict`), or under those that it had last (`renamed`: names got ahead of contents)."""

import argparse
import hashlib
import os
import random
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import work  # noqa: E402


def shim(folder):
    """disk.c compiled, or None where there is no compiler."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None or not sys.platform.startswith("linux"):
        return None
    library = Path(folder) / "disk.so"
    subprocess.run([compiler, "-O1", "-shared", "-fPIC", Path(__file__).with_suffix(".c"), "-o", library, "-ldl"],
                   check=True)
    return library


def child(folder, **more):
    return subprocess.Popen([sys.executable, work.__file__, str(folder)], stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, text=True, **more)


def run(folder, library, **settings):
    """Lines said, last line of the errors, exit status, of the work with disk.c's settings."""
    variables = {f"KM_DISK_{name.upper()}": str(value) for name, value in settings.items()}
    process = child(folder, env={**os.environ, "LD_PRELOAD": str(library), "KM_DISK_ROOT": str(folder), **variables})
    output, errors = process.communicate(timeout=work.PATIENCE)
    return output.splitlines()[1:], (errors.strip().splitlines() or [""])[-1], process.returncode


# ---- a disk that is full ----


def full(count, seed, say=print):
    draw = random.Random(seed)
    with tempfile.TemporaryDirectory() as top:
        library = shim(top)
        whole = Path(top) / "whole"
        whole.mkdir()
        assert run(whole, library, log=Path(top) / "log")[2] == 0
        written = sum(event[3] for event in events(Path(top) / "log") if event[0] == "W")
        expected = work.contents(whole)
        for i in range(count):
            room = draw.randrange(written)
            folder = Path(top) / f"full{i}"
            folder.mkdir()
            try:
                told, error, status = run(folder, library, room=room)
                assert status == 1 and error.startswith("OSError"), f"exit status {status}, {error!r}"
                work.check(folder, told)
                _, error, status = run(folder, library)
                assert status == 0, error
                work.assert_same(work.contents(folder), expected)
            except Exception as error:
                raise AssertionError(f"a disk of {room} bytes: {error}") from error
            shutil.rmtree(folder)
    say(f"{count} disks of up to {written:,} bytes were filled: an OSError each, nothing lost")


# ---- a machine that stops ----


def events(path):
    """The log's calls as tuples."""
    data = Path(path).read_bytes()
    at, calls = 0, []
    while at < len(data):
        end = data.index(b"\n", at)
        kind, _, rest = data[at:end].decode().partition(" ")
        at = end + 1
        if kind == "O":
            fd, cut, made, name = rest.split(" ", 3)
            calls.append(("O", int(fd), int(cut), int(made), name))
        elif kind in "WP":
            numbers = [int(number) for number in rest.split()]
            calls.append((kind, *numbers, data[at : at + numbers[-1]]))
            at += numbers[-1]
            if kind == "W":
                calls[-1] = ("W", numbers[0], numbers[1], numbers[2], calls[-1][-1])
        elif kind == "R":
            calls.append(("R", *rest.split("\t")))
        elif kind == "U":
            calls.append(("U", rest))
        else:
            calls.append((kind, *[int(number) for number in rest.split()]))
    return calls


class File:
    def __init__(self):
        self.data = bytearray()
        self.synced = b""


def states(calls):
    """After each call: (how, {path: bytes}, lines told), where that is another state than before."""
    names, kept, handles, told, seen = {}, {}, {}, [], set()
    for call in calls:
        kind = call[0]
        if kind == "O":
            _, fd, cut, made, path = call
            if os.path.isdir(path):
                handles[fd] = path
                continue
            if made or path not in names:
                names[path] = File()
            handles[fd] = names[path]
            if cut:
                names[path].data.clear()
        elif kind == "W":
            _, fd, offset, count, data = call
            file = handles[fd].data
            file.extend(bytes(max(0, offset - len(file))))
            file[offset : offset + count] = data
        elif kind == "T":
            file = handles[call[1]].data
            del file[call[2] :]
            file.extend(bytes(call[2] - len(file)))
        elif kind == "S":
            handle = handles[call[1]]
            if isinstance(handle, File):
                handle.synced = bytes(handle.data)
            else:
                for path in {*names, *kept}:
                    if os.path.dirname(path) == handle.rstrip("/"):
                        kept.pop(path, None)
                        if path in names:
                            kept[path] = names[path]
        elif kind == "R":
            names[call[2]] = names.pop(call[1])
        elif kind == "U":
            names.pop(call[1], None)
        else:
            told += call[2].decode().splitlines()
        for how, there in (("strict", kept), ("renamed", names)):
            state = {path: file.synced for path, file in there.items()}
            told_so_far = [line for line in told if not line.startswith(("ready", "stage"))]
            key = hashlib.sha256(repr((how, sorted((p, hashlib.sha256(d).digest()) for p, d in state.items()),
                                       told_so_far)).encode()).digest()
            if key not in seen:
                seen.add(key)
                yield how, state, told_so_far


def unsynced(count, seed, say=print):
    """`count` of the states (None: all), each checked and gone on from."""
    with tempfile.TemporaryDirectory() as top:
        library = shim(top)
        whole = Path(top) / "whole"
        whole.mkdir()
        assert run(whole, library, log=Path(top) / "log")[2] == 0
        expected = work.contents(whole)
        possible = list(states(events(Path(top) / "log")))
        chosen = possible
        if count is not None and count < len(possible):
            chosen = random.Random(seed).sample(possible, count)
        faults = []
        for i, (how, state, told) in enumerate(chosen):
            folder = Path(top) / f"cut{i}"
            for path, data in state.items():
                file = folder / os.path.relpath(path, whole)
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(data)
            folder.mkdir(exist_ok=True)
            try:
                work.check(folder, told)
                work.work(folder)
                work.assert_same(work.contents(folder), expected)
            except Exception as error:
                faults.append(f"{how}, after {told[-1:]}: {type(error).__name__}: {error}".replace(str(folder), "."))
            shutil.rmtree(folder)
    assert not faults, f"{len(faults)} of {len(chosen)} states:\n" + "\n".join(sorted(set(faults))[:20])
    say(f"{len(chosen)} of {len(possible)} states in which a machine may stop: nothing lost")


# ---- a folder that cannot be written, and two writers ----


def read_only(say=print):
    """As a user without the right to write: store and run say so, and both can be read."""
    with tempfile.TemporaryDirectory() as top:
        folder = Path(top) / "work"
        folder.mkdir()
        os.chmod(top, 0o755)
        work.work(folder)
        expected = work.contents(folder)
        for path in [*folder.rglob("*"), folder]:
            path.chmod(0o555 if path.is_dir() else 0o444)
        reader, writer = os.pipe()
        process = os.fork()
        if process == 0:        # not a new interpreter: another user may not be allowed to start this one
            try:
                if os.getuid() == 0:
                    os.setgid(65534)
                    os.setuid(65534)
                work.check(folder, ["labelled 1", "embedded 1", "validated 1", "trained 1"])
                work.work(folder)
            except BaseException as error:
                os.write(writer, f"{type(error).__name__}: {error}".encode())
            os._exit(0)
        try:
            os.close(writer)
            last = os.read(reader, 4096).decode()
            os.waitpid(process, 0)
            assert last.startswith("PermissionError") and str(folder) in last, last or "it was written"
        finally:
            for path in [folder, *folder.rglob("*")]:
                path.chmod(0o755)
        work.assert_same(work.contents(folder), expected)
    say(f"a folder that cannot be written is read, and writing it says {last!r}".replace(str(folder), "FOLDER"))


def two(stages=work.STAGES, say=print):
    """At each of `stages` a second process begins the same work in the same folder: it is told, or comes after."""
    refused = 0
    with tempfile.TemporaryDirectory() as top:
        whole = Path(top) / "whole"
        whole.mkdir()
        work.work(whole)
        expected = work.contents(whole)
        for stage in stages:
            folder = Path(top) / stage
            folder.mkdir()
            first = child(folder)
            for line in first.stdout:
                if line.strip() == f"stage {stage}":
                    break
            second = child(folder)
            for process in (first, second):
                _, errors = process.communicate(timeout=work.PATIENCE)
                if process.returncode:
                    assert "BlockingIOError" in errors.strip().splitlines()[-1], errors
                    refused += 1
            work.work(folder)
            work.assert_same(work.contents(folder), expected)
    say(f"{2 * len(stages)} writers of {len(stages)} folders: {refused} were told, the others wrote")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=100, help="disks that fill up")
    parser.add_argument("--states", type=int, help="in which a machine stops (default: all)")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**31))
    arguments = parser.parse_args()
    print(f"seed {arguments.seed}", flush=True)
    unsynced(arguments.states, arguments.seed)
    full(arguments.count, arguments.seed)
    read_only()
    two()
