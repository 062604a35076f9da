"""Questions to an OpenAI-compatible server: several at once, asked again where that helps, never asked twice.

What happens to a request that fails:

- no connection, cut off, time-out, 408, 409, 425, 429, 5xx: asked again `retries` times, after a time that
  doubles, or that the server names; then the run ends with an OSError, and goes on where it is started again;
- an answer of the wrong shape: asked again with another seed, REPEATS times; then its text is unanswered;
- 400, 413, 422: unanswered (the text may be too long); where nothing was answered before, the run ends;
- 401, 403, 404: the run ends.

Errors name the server, the model and the status, never what was asked or answered."""

import dataclasses
import queue
import random
import re
import threading
from urllib.parse import urlsplit

from .llm_cache import digest
from .llm_prompts import SCHEMAS, read_answer
from .progress import Progress

__all__ = ["Client", "Question"]

REPEATS = 2  # of a question that got no valid answer
IN_A_ROW = 20  # unanswered questions that end a run
FIRST_WAIT, LONGEST_WAIT = 0.5, 60.0  # seconds between tries
TRANSIENT = (408, 409, 425, 429)
FORMATS = ("json_schema", "json_object", "none")


@dataclasses.dataclass(frozen=True)
class Question:
    """One request: its stage, the whole prompt, and by what its answer is found again."""

    stage: str
    prompt: str
    prompt_key: str  # of prompt file and settings
    text_key: str  # of what was filled in


class Unanswered(Exception):
    """No valid answer to one question; the others go on."""


class Client:
    """The server, the model and the settings of requests; counts what happens.

    Attributes
    ----------
    counts : dict of str to int
        "requests", "retries", "cached" (answers taken from the cache), "invalid" (answers of the wrong
        shape), "unanswered" (questions given up), "prompt_tokens", "completion_tokens".
    """

    def __init__(
        self,
        base_url,
        model,
        api_key,
        *,
        cache,
        concurrency,
        retries,
        timeout,
        temperature,
        seed,
        max_tokens,
        response_format,
        extra,
    ):
        parts = urlsplit(base_url) if isinstance(base_url, str) else None
        if parts is None or parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError('base_url is not a URL like "http://127.0.0.1:8080/v1"')
        if not isinstance(model, str) or not model.strip():
            raise ValueError(f"model is {model!r}, expected the name that the server knows the model by")
        if response_format not in FORMATS:
            raise ValueError(f"response_format is {response_format!r}, expected one of {', '.join(FORMATS)}")
        for name, value, least in (
            ("concurrency", concurrency, 1),
            ("retries", retries, 0),
            ("max_tokens", max_tokens, 1),
        ):
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise ValueError(f"{name} is {value!r}, expected a whole number of at least {least}")
        if not isinstance(timeout, (int, float)) or not 0 < timeout < float("inf"):
            raise ValueError(f"timeout is {timeout!r}, expected seconds above 0")
        if not isinstance(temperature, (int, float)) or not 0 <= temperature <= 2:
            raise ValueError(f"temperature is {temperature!r}, expected 0 to 2")
        if seed is not None and (not isinstance(seed, int) or isinstance(seed, bool)):
            raise ValueError(f"seed is {seed!r}, expected a whole number or None")
        self.base_url = base_url
        self.server = f"{parts.scheme}://{parts.hostname}{f':{parts.port}' if parts.port else ''}{parts.path}"
        self.model, self.cache = model, cache
        self._api_key, self._connection = api_key, None
        self._concurrency, self._retries, self._timeout = concurrency, retries, timeout
        self._temperature, self._seed, self._max_tokens = temperature, seed, max_tokens
        self._format, self._extra = response_format, dict(extra or {})
        self.settings = {
            "temperature": temperature,
            "seed": seed,
            "max_tokens": max_tokens,
            "response_format": response_format,
            "extra": self._extra,
        }
        names = "requests retries cached invalid unanswered prompt_tokens completion_tokens"
        self.counts = dict.fromkeys(names.split(), 0)

    def prompt_key(self, stage, template):
        """What an answer depends on besides the model and the text."""
        try:
            return digest([stage, template, self.settings])
        except TypeError:
            raise TypeError("extra holds something that is not JSON") from None

    # ---- asking ------------------------------------------------------------------------------------------

    def ask(self, questions, description, progress=True):
        """Answers to questions, those that are equal asked once.

        Returns
        -------
        dict
            {question: answer}, without those that stay unanswered.

        Raises
        ------
        OSError, ValueError, ImportError
            The run cannot go on; what was answered is in the cache.
        """
        answers, open_ones = {}, []
        for question in dict.fromkeys(questions):
            kept = self.cache.get(self.model, question.prompt_key, question.text_key)
            if kept is not None:
                try:
                    answers[question] = read_answer(question.stage, kept)
                    self.counts["cached"] += 1
                    continue
                except ValueError:  # of an earlier version, or changed by hand
                    pass
            open_ones.append(question)
        if open_ones:
            with Progress(
                len(answers) + len(open_ones), description, "questions", progress, len(answers)
            ) as bar:
                self._ask(open_ones, answers, bar)
        return answers

    def _ask(self, questions, answers, bar):
        """Threads take questions and give outcomes; cache and counts are this thread's alone."""
        client = self._connect()
        waiting, outcomes, stop = queue.SimpleQueue(), queue.SimpleQueue(), threading.Event()
        for question in questions:
            waiting.put(question)

        def work():
            while not stop.is_set():
                try:
                    question = waiting.get_nowait()
                except queue.Empty:
                    return
                try:
                    outcome = self._answer(client, question, stop)
                except BaseException as error:
                    outcome = error
                outcomes.put((question, outcome))

        for _ in range(min(self._concurrency, len(questions))):
            threading.Thread(target=work, name="kmerl question", daemon=True).start()
        answered, failed_in_a_row = bool(answers), 0
        try:
            for _ in questions:
                question, outcome = outcomes.get()
                if isinstance(outcome, Unanswered):
                    failed_in_a_row += 1
                    self._add(outcome.counts, unanswered=1)
                    if outcome.refused and not answered or failed_in_a_row >= IN_A_ROW:
                        raise self._no_good(outcome, failed_in_a_row)
                elif isinstance(outcome, BaseException):
                    raise outcome
                else:
                    answers[question] = self._keep(question, outcome)
                    answered, failed_in_a_row = True, 0
                bar.update(1, tokens=self.counts["prompt_tokens"] + self.counts["completion_tokens"])
        except BaseException:  # what has come is kept, what is under way is not waited for
            stop.set()
            self._connection = None
            client.close()
            while not outcomes.empty():
                question, outcome = outcomes.get()
                if not isinstance(outcome, BaseException):
                    self._keep(question, outcome)
            raise

    def _keep(self, question, outcome):
        answer, content, served, counts = outcome
        self._add(counts)
        used = counts["prompt_tokens"], counts["completion_tokens"]
        key = question.prompt_key, question.text_key
        self.cache.put(question.stage, self.model, *key, content, served, used)
        return answer

    def _no_good(self, outcome, count):
        more = f", {count} times in a row" if count > 1 else ""
        more += f"; try response_format other than {self._format!r}" if outcome.refused else ""
        return ValueError(f"{self._who()} gives no valid answers: {outcome}{more}")

    def _add(self, counts, **more):
        for name, count in (*counts.items(), *more.items()):
            self.counts[name] += count

    def _connect(self):
        if self._connection is not None:
            return self._connection
        try:
            import openai
        except ImportError:
            raise ImportError('LLMExtractor needs the openai package: pip install "kmerl[llm]"') from None
        # Without a key of its own the package would send the one in the environment to any server.
        self._connection = openai.OpenAI(
            base_url=self.base_url, api_key=self._api_key or "none", max_retries=0, timeout=self._timeout
        )
        return self._connection

    def _who(self):
        return f"the server at {self.server}, asked for model {self.model!r},"

    # ---- in a thread -------------------------------------------------------------------------------------

    def _answer(self, client, question, stop):
        """(answer, content, the model's name as served, counts), or an exception."""
        counts = dict.fromkeys(self.counts, 0)
        for repeat in range(REPEATS + 1):
            completion = self._complete(client, question, repeat, counts, stop)
            try:
                content = _content(completion)
                answer = read_answer(question.stage, content)
            except ValueError as error:
                counts["invalid"] += 1
                reason = f"answers to the question '{question.stage}' are not what was asked for: {error}"
                continue
            return answer, content, str(getattr(completion, "model", None) or ""), counts
        raise _unanswered(reason, counts)

    def _complete(self, client, question, repeat, counts, stop):
        """The server's completion; anything, if the server is no good."""
        import openai

        seed = None if self._seed is None else self._seed + repeat
        wanted = {"type": self._format}
        if self._format == "json_schema":
            schema = {"name": question.stage, "schema": SCHEMAS[question.stage], "strict": True}
            wanted["json_schema"] = schema
        options = {"seed": seed, "response_format": None if self._format == "none" else wanted}
        for trial in range(self._retries + 1):
            counts["requests"] += 1
            counts["retries"] += trial > 0
            wait = None
            try:
                completion = client.chat.completions.create(
                    model=self.model,
                    messages=[{"role": "user", "content": _printable(question.prompt)}],
                    temperature=self._temperature,
                    max_tokens=self._max_tokens * (4 if question.stage in ("merge", "superclasses") else 1),
                    extra_body=self._extra or None,
                    **{name: value for name, value in options.items() if value is not None},
                )
                usage = getattr(completion, "usage", None)
                for name in ("prompt_tokens", "completion_tokens"):
                    count = getattr(usage, name, 0)
                    counts[name] += count if isinstance(count, int) and count > 0 else 0
                return completion
            except openai.APITimeoutError:
                trouble = TimeoutError, f"gave no answer within {self._timeout:g} s"
            except openai.APIConnectionError:
                trouble = ConnectionError, "cannot be reached or cut the connection; is it running there?"
            except openai.APIStatusError as error:
                status = error.status_code
                about = f"answered with HTTP status {status}{_code(error)}"
                if status in (401, 403):
                    raise PermissionError(f"{self._who()} {about}: api_key is missing or wrong") from None
                if status == 404:
                    raise ValueError(
                        f"{self._who()} {about}: either it does not know the model, or base_url is not where "
                        "its interface begins (most often it ends in /v1)"
                    ) from None
                if status not in TRANSIENT and status < 500:
                    raise _unanswered(about, counts, refused=True) from None
                trouble, wait = (ConnectionError, about), _asked_to_wait(error)
            except (openai.OpenAIError, ValueError, TypeError, AttributeError):
                return None  # something that the package could not make sense of
            if trial < self._retries:
                pause = min(LONGEST_WAIT, FIRST_WAIT * 2**trial) * random.uniform(0.75, 1.25)
                if stop.wait(min(LONGEST_WAIT, wait) if wait is not None else pause):
                    break
        kind, about = trouble
        times = f" ({self._retries + 1} tries)" if self._retries else ""
        raise kind(f"{self._who()} {about}{times}; what was answered so far is kept") from None


def _unanswered(reason, counts, refused=False):
    error = Unanswered(reason)
    error.counts, error.refused = counts, refused
    return error


def _content(completion):
    """The text of a completion; ValueError where it has none."""
    try:
        choice = completion.choices[0]
        content, finish = choice.message.content, choice.finish_reason
    except (AttributeError, IndexError, TypeError, KeyError):
        raise ValueError("no chat completion") from None
    if finish == "length":
        raise ValueError("cut off at max_tokens")
    if not isinstance(content, str):
        raise ValueError("a chat completion without a text")
    return content


def _printable(text):
    """Lone surrogates cannot be sent."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _code(error):
    """The server's own word for an error, where it is a word: longer ones may quote the request."""
    code = getattr(error, "code", None) or getattr(error, "type", None)
    return f" ({code})" if isinstance(code, str) and re.fullmatch(r"[\w.-]{1,40}", code) else ""


def _asked_to_wait(error):
    try:
        seconds = float(error.response.headers.get("retry-after", ""))
    except (AttributeError, TypeError, ValueError):
        return None
    return seconds if 0 <= seconds < float("inf") else None
