"""kill -9 at random moments of store building, labelling, embedding and training.

    python tests/reliability/kill.py --kills 200 --seed 1

Each child process works in a folder and is killed in a stage drawn at random, at a moment drawn evenly from that stage's
time; what it told as done must be there. After one to three kills on a folder a last child ends the work, and every file
must be that of the undisturbed run, byte for byte."""

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import work  # noqa: E402


def start(folder, paths):
    command = [sys.executable, work.__file__, str(folder), *(["--paths"] if paths else [])]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
                            env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONFAULTHANDLER": "1"})


def ended(child):
    """Lines that were still to be read. It and its worker processes hold its errors open: where that does not end, an
    AssertionError says where each stands."""
    try:
        output, errors = child.communicate(timeout=work.PATIENCE)
    except subprocess.TimeoutExpired:
        os.killpg(child.pid, signal.SIGABRT)
        raise AssertionError(f"a child did not end within {work.PATIENCE} s:\n{child.communicate()[1]}") from None
    return output.splitlines(), errors


def undisturbed(folder, paths):
    """Its files, and {stage: seconds}."""
    folder.mkdir()
    child = start(folder, paths)
    begun = {}
    for line in child.stdout:
        begun[line.rstrip("\n")] = time.monotonic()
    _, errors = ended(child)
    assert child.returncode == 0, errors
    moments = [begun[f"stage {stage}"] for stage in work.STAGES] + [begun["trained 1"]]
    return work.contents(folder), {stage: moments[i + 1] - moments[i] for i, stage in enumerate(work.STAGES)}


def kill(child, stage, delay):
    """Lets the child come to the stage, waits, kills. The lines it wrote, or None where it had ended before."""
    lines = []
    for line in child.stdout:
        lines.append(line.rstrip("\n"))
        if lines[-1] == f"stage {stage}":
            break
    time.sleep(delay)
    child.kill()
    rest, errors = ended(child)
    assert child.returncode in (0, -9), f"a child failed by itself:\n{errors}"
    return lines + rest, child.returncode == -9


def campaign(kills, seed, say=print):
    """{stage: how often it was killed there}; AssertionError at the first thing lost."""
    draw = random.Random(seed)
    killed = dict.fromkeys(work.STAGES, 0)
    with tempfile.TemporaryDirectory() as top:
        whole = {paths: undisturbed(Path(top) / f"whole{paths:d}", paths) for paths in (False, True)}
        rounds = 0
        while sum(killed.values()) < kills:
            rounds += 1
            paths = draw.random() < 0.3        # files, and so worker processes
            expected, seconds = whole[paths]
            folder = Path(top) / f"round{rounds}"
            folder.mkdir()
            told, here = [], []
            try:
                for stage in sorted(draw.choices(work.STAGES, k=draw.randint(1, 3)), key=work.STAGES.index):
                    delay = draw.uniform(0, seconds[stage])
                    here.append(f"{stage} after {delay * 1000:.0f} ms")
                    lines, dead = kill(start(folder, paths), stage, delay)
                    told += lines[1:]
                    killed[stage] += dead
                    work.check(folder, told)
                child = start(folder, paths)
                _, errors = ended(child)
                assert child.returncode == 0, f"going on failed:\n{errors}"
                work.assert_same(work.contents(folder), expected)
            except Exception as error:
                raise AssertionError(f"seed {seed}, round {rounds} ({', '.join(here)}): {error}") from error
            subprocess.run(["rm", "-r", str(folder)], check=True)
            if rounds % 10 == 0:
                say(f"{sum(killed.values())} kills in {rounds} rounds", flush=True)
    say(f"{sum(killed.values())} kills in {rounds} rounds: {killed}; nothing lost, every result the undisturbed one")
    return killed


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**31))
    arguments = parser.parse_args()
    print(f"seed {arguments.seed}", flush=True)
    campaign(arguments.kills, arguments.seed)
