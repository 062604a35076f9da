"""A pool of worker processes that start afresh: nothing is forked (OpenMP may have run), the caller's main
module is not imported again (a script needs no ``if __name__ == "__main__"``), and a worker that dies costs
its task, not the pool."""

import concurrent.futures
import contextlib
import json
import os
import pickle
import queue
import struct
import subprocess
import sys
import threading

__all__ = ["WorkerDied", "Workers"]

CHILD = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from kmerl.workers import serve; serve()"
READY = b"ready"


class WorkerDied(RuntimeError):
    """The process that worked on a task ended in the middle of it, twice."""


def write_frame(file, data):
    """A frame: length in 8 bytes, little-endian, then the bytes."""
    file.write(struct.pack("<Q", len(data)))
    file.write(data)
    file.flush()


def read_frame(file):
    head = file.read(8)
    if len(head) < 8:
        raise EOFError
    (size,) = struct.unpack("<Q", head)
    data = file.read(size)
    if len(data) < size:
        raise EOFError
    return data


def serve():
    """The worker's side: reads tasks from standard input until it ends. What tasks print goes to standard
    error."""
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    tasks, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    try:
        write_frame(answers, READY)
        while True:
            write_frame(answers, answer(read_frame(tasks)))
    except (EOFError, BrokenPipeError):
        os._exit(0)  # nobody asks any more, or the parent is gone


def answer(data):
    """A task's outcome as a frame: (True, result) or (False, exception)."""
    try:
        function, argument = pickle.loads(data)
        return pickle.dumps((True, function(argument)), protocol=5)
    except Exception as error:  # carried to the caller's future
        try:
            frame = pickle.dumps((False, error))
            pickle.loads(frame)
            return frame
        except Exception:
            return pickle.dumps((False, RuntimeError(f"{type(error).__name__}: {error}")))


class Workers(concurrent.futures.Executor):
    """`count` worker processes; `submit(function, argument)` with a function of a module that can be
    imported."""

    def __init__(self, count):
        self._tasks = queue.SimpleQueue()
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(count)]
        for thread in self._threads:
            thread.start()

    def submit(self, function, argument):
        future = concurrent.futures.Future()
        self._tasks.put((future, pickle.dumps((function, argument), protocol=5)))
        return future

    def shutdown(self, wait=True, *, cancel_futures=False):
        while cancel_futures:
            try:
                item = self._tasks.get_nowait()
            except queue.Empty:
                break
            if item is not None:
                item[0].cancel()
        for _ in self._threads:
            self._tasks.put(None)
        if wait:
            for thread in self._threads:
                thread.join()

    @staticmethod
    def _start():
        environment = dict(os.environ, OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")
        command = [sys.executable, "-c", CHILD, json.dumps([os.path.abspath(p) for p in sys.path])]
        child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment)
        try:
            if read_frame(child.stdout) != READY:
                raise EOFError
        except EOFError:
            raise RuntimeError(
                f"a worker process could not start: {sys.executable} ended with {child.wait()}"
            ) from None
        return child

    @staticmethod
    def _stop(child):
        """Ends a worker, which may be dead already; its exit status."""
        with contextlib.suppress(OSError):  # what a dead one did not take
            child.stdin.close()
        child.stdout.close()
        return child.wait()

    def _run(self):
        child = None
        while (item := self._tasks.get()) is not None:
            future, data = item
            if not future.set_running_or_notify_cancel():
                continue
            try:
                for attempt in (1, 2):  # a worker may have died of the machine's lack of memory: once more
                    child = child or self._start()
                    try:
                        write_frame(child.stdin, data)
                        good, value = pickle.loads(read_frame(child.stdout))
                        break
                    except (EOFError, OSError):
                        status, child = self._stop(child), None
                        if attempt == 2:
                            raise WorkerDied(f"the process that read it died, exit status {status}") from None
            except BaseException as error:
                good, value = False, error
            if good:
                future.set_result(value)
            else:
                future.set_exception(value)
        if child is not None:
            self._stop(child)
