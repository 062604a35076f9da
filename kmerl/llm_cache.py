"""Answers of language models, kept in one SQLite file so that nothing is asked twice (docs/llm.md).

An answer is found again by the model, by the prompt with the settings of the request, and by the text that
was asked about: those of another model or prompt are never mixed in. Of texts only hashes are kept.
"""

import hashlib
import json
import os

from .lock import Lock

__all__ = ["AnswerCache", "digest"]

FILE = "llm.sqlite"  # in a store's folder
APPLICATION = 0x6B6D6C61  # SQLite's application_id: "kmla"
FORMAT = 1
SYNCHRONOUS = "NORMAL"  # a killed process loses nothing
SCHEMA = """
CREATE TABLE answers (
    stage TEXT NOT NULL,
    model TEXT NOT NULL,
    prompt TEXT NOT NULL,           -- hash of the prompt file and the request's settings
    text BLOB NOT NULL,             -- hash of what was filled into the prompt
    answer TEXT NOT NULL,           -- as the server gave it, valid
    served TEXT NOT NULL,           -- the model's name according to the server
    prompt_tokens INTEGER NOT NULL,
    completion_tokens INTEGER NOT NULL,
    date TEXT NOT NULL,             -- UTC
    PRIMARY KEY (model, prompt, text)
) WITHOUT ROWID;
"""


def digest(value):
    """SHA-256 of a JSON value, hexadecimal; lone surrogates and all."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode("ascii")).hexdigest()


class AnswerCache:
    """The answers in one file; `path` None: in memory, for as long as this object lives.

    Raises
    ------
    ValueError
        The file is damaged, or something else.
    OSError
        It cannot be opened.
    """

    def __init__(self, path=None):
        self.path = None if path is None else os.fspath(path)
        self._lock = Lock()
        self._db = None

    def __repr__(self):
        return f"<AnswerCache {self.path or 'in memory'}>"

    def _open(self):
        import sqlite3

        if self._db is not None:
            return self._db
        if self.path is not None:
            if os.path.isdir(self.path):
                raise IsADirectoryError(f"cache {self.path!r} is a folder, expected a file's name")
            folder = os.path.dirname(self.path) or "."
            if not os.path.isdir(folder):
                raise FileNotFoundError(f"cache {self.path!r}: the folder {folder!r} does not exist")
        db = sqlite3.connect(
            self.path or ":memory:", timeout=60, isolation_level=None, check_same_thread=False
        )
        try:
            db.execute(f"PRAGMA synchronous = {SYNCHRONOUS}")
            db.execute("BEGIN IMMEDIATE")  # two processes may make the file at the same time
            application = db.execute("PRAGMA application_id").fetchone()[0]
            tables = db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
            if application == 0 and tables == 0:
                db.execute(f"PRAGMA application_id = {APPLICATION}")
                db.execute(f"PRAGMA user_version = {FORMAT}")
                db.execute(SCHEMA)
            elif application != APPLICATION:
                raise ValueError(f"cache {self.path!r} is another kind of SQLite file, not kmerl's answers")
            version = db.execute("PRAGMA user_version").fetchone()[0]
            if version != FORMAT:
                raise ValueError(f"cache {self.path!r} has format {version}, this kmerl reads {FORMAT}")
            db.execute("COMMIT")
        except BaseException:
            db.close()
            raise
        self._db = db
        return db

    def _run(self, statement, values=()):
        from .store_format import database_errors

        with self._lock, database_errors(self.path or "cache"):
            return self._open().execute(statement, values).fetchall()

    def get(self, model, prompt, text):
        """The answer, or None."""
        rows = self._run(
            "SELECT CAST(answer AS TEXT) FROM answers WHERE model = ? AND prompt = ? AND text = ?",
            (model, prompt, bytes.fromhex(text)),
        )
        return rows[0][0] if rows else None

    def put(self, stage, model, prompt, text, answer, served, tokens):
        """Keeps an answer at once; `tokens`: of the prompt, of the answer."""
        import datetime

        date = datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M:%S")
        self._run(
            "INSERT OR REPLACE INTO answers VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (stage, model, prompt, bytes.fromhex(text), answer, served, *tokens, date),
        )

    def about(self, model, prompts):
        """What is kept of a model and some prompts: answers, first and last date, names served, tokens."""
        marks = ", ".join("?" * len(prompts))
        where = f"FROM answers WHERE model = ? AND prompt IN ({marks})"
        values = (model, *prompts)
        count, first, last, asked, answered = self._run(
            f"SELECT count(*), min(date), max(date), sum(prompt_tokens), sum(completion_tokens) {where}",
            values,
        )[0]
        served = [row[0] for row in self._run(f"SELECT DISTINCT served {where} ORDER BY served", values)]
        return {
            "answers": count,
            "asked_from": first,
            "asked_to": last,
            "served": served,
            "prompt_tokens": asked or 0,
            "completion_tokens": answered or 0,
        }

    def close(self):
        """Closes the file; the next use opens it again. In memory, everything is forgotten."""
        with self._lock:
            if self._db is not None:
                self._db.close()
            self._db = None
