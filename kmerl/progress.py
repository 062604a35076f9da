"""A progress bar: tqdm's where tqdm is installed, a plain line to stderr where it is not."""

import sys
import time

__all__ = ["Progress"]


class Progress:
    """Counts `update`s of a task of `total` (None: unknown) `unit`s; shows nothing where `show` is false."""

    def __init__(self, total, description, unit, show=True, initial=0):
        self._bar = None
        self._line = False
        if not show:
            return
        try:
            from tqdm import tqdm
        except ImportError:
            self._line = True
            self._total, self._what, self._unit = total, description, unit
            self._done = self._first = initial
            self._begun = time.monotonic()
            self._said = 0.0
        else:
            self._bar = tqdm(
                total=total, desc=description, unit=" " + unit, initial=initial, dynamic_ncols=True
            )

    def update(self, count, **numbers):
        """Adds `count`; `numbers` are shown behind the bar."""
        if self._bar is not None:
            if numbers:
                self._bar.set_postfix(numbers, refresh=False)
            self._bar.update(count)
        elif self._line:
            self._done += count
            now = time.monotonic()
            if now - self._said >= (0.5 if sys.stderr.isatty() else 10):
                self._said = now
                self._say(numbers, "\r" if sys.stderr.isatty() else "\n")

    def _say(self, numbers, end):
        rate = (self._done - self._first) / max(time.monotonic() - self._begun, 1e-9)
        of = f"/{self._total:,}" if self._total is not None else ""
        extra = "".join(f", {value} {name}" for name, value in numbers.items())
        print(
            f"{self._what}: {self._done:,}{of} {self._unit}, {rate:,.0f}/s{extra}   ",
            end=end,
            file=sys.stderr,
            flush=True,
        )

    def close(self):
        if self._bar is not None:
            self._bar.close()
        elif self._line:
            self._say({}, "\n")
            self._line = False

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
