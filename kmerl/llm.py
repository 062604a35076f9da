"""Entities from reports by a language model behind an OpenAI-compatible server (SPEC 8; Sec. 2.4 of the
paper)."""

import copy
import os
import warnings
from typing import NamedTuple

from .extraction import Finding, Reading, Statement, check_texts, lexicon
from .llm_cache import FILE, AnswerCache, digest
from .llm_client import Client, Question
from .llm_prompts import STAGES, Prompts
from .llm_support import statuses, support, surface
from .vocabulary import LANGUAGES, Entity, Vocabulary, normalise

__all__ = ["LLMExtractor", "Mined"]

CHUNK = 1024  # texts in hand
LONGEST_TEXT = 20_000  # characters; what is longer is not asked about
NAMES = 120  # in one question of merging or grouping
ROUNDS = 4  # of merging the merged names
_VERDICTS = {"YES": "asserted", "POSSIBLE": "hedged", "NO": "rejected"}


class Mined(NamedTuple):
    """What `LLMExtractor.mine` gives.

    Attributes
    ----------
    vocabulary : Vocabulary
        Canonical names in alphabetical order, with the words of the reports as synonyms; superclasses behind
        them.
    findings : list of list of Finding
        For each text; `Finding.entity` is a name of the vocabulary.
    about : dict
        Provenance, see `LLMExtractor.provenance`.
    """

    vocabulary: Vocabulary
    findings: list
    about: dict


class LLMExtractor:
    """Extracts entities with a language model: extract, verify, merge synonyms, aggregate into superclasses.

    Works with every server that speaks OpenAI's chat completions: llama.cpp, vLLM, Ollama, LM Studio and
    others (docs/llm.md). Each distinct statement is asked about once; answers are kept, so that a run that
    was cut off goes on. What the model names must stand in the text, else it is dropped and counted.

    Parameters
    ----------
    base_url : str
        The server, such as "http://127.0.0.1:8080/v1". Report texts are sent there.
    model : str
        The model's name on the server.
    api_key : str, optional
        The server's key. Never read from the environment, so that it reaches no server by mistake.
    unit : {"statement", "report"}
        What is asked about at a time: each distinct statement (machine reports repeat a few thousand), or
        each distinct report, as in the paper.
    verify : {"rules", "llm"}
        How findings are verified as positive: by the scopes of negation and hedge in the C core, or by asking
        the model name by name, as in the paper.
    prompts : path-like or mapping, optional
        Prompts in place of kmerl's: a folder with some of ``extract.txt``, ``verify.txt``, ``merge.txt``,
        ``superclasses.txt``, ``assign.txt``, or a mapping {stage: file}; "extract-short" and
        "extract-confirmed" are names of kmerl's own variants.
    merge_synonyms, superclasses : bool
        The stages of a mined vocabulary (Table 2b): without the first each surface name is an entity, without
        the second there are no superclasses.
    concurrency : int
        Requests under way at once.
    retries : int
        How often a request that failed is made again, after a time that doubles from half a second.
    timeout : float
        Seconds that the server may be silent.
    temperature, seed : float, int or None
        Sent with each request.
    max_tokens : int
        Length of an answer; four times that for merging and superclasses.
    response_format : {"json_schema", "json_object", "none"}
        What the server is asked to hold answers to; they are checked in any case.
    extra : dict, optional
        More fields for each request, such as ``{"chat_template_kwargs": {"enable_thinking": False}}``.
    cache : path-like, optional
        SQLite file of answers. By default ``llm.sqlite`` in the store that is labelled, else memory.

    Attributes
    ----------
    id : str
        Model, hash of the prompts, unit and verification.
    counts : dict of str to int
        What happened since the extractor was made: "requests", "retries", "cached", "invalid", "unanswered",
        "prompt_tokens", "completion_tokens"; distinct findings: "entities" (named by the model),
        "unsupported" (not in the text, dropped), "asserted", "hedged", "negated", "rejected" (by the model),
        "remark" (in a technical or comparing remark); "too_long" texts; "unassigned" names (of no entity of
        the vocabulary); "links" of superclasses that were dropped (unknown members, cycles).
    unanswered : list of str
        The texts that got no valid answer, or were too long to ask about; they count as without entities.

    Raises
    ------
    ValueError
        A parameter is out of range, or a prompt is faulty.
    FileNotFoundError
        A prompt file is missing.

    Examples
    --------
    >>> extractor = kmerl.LLMExtractor("http://127.0.0.1:8080/v1", "llama-3.1-70b-instruct")  # doctest: +SKIP
    >>> store.label(None, extractor=extractor)                                                # doctest: +SKIP
    """

    def __init__(
        self,
        base_url,
        model,
        api_key=None,
        *,
        unit="statement",
        verify="rules",
        prompts=None,
        merge_synonyms=True,
        superclasses=True,
        concurrency=4,
        retries=5,
        timeout=120.0,
        temperature=0.0,
        seed=0,
        max_tokens=1024,
        response_format="json_schema",
        extra=None,
        cache=None,
    ):
        for name, value, known in (
            ("unit", unit, ("statement", "report")),
            ("verify", verify, ("rules", "llm")),
        ):
            if value not in known:
                raise ValueError(f"{name} is {value!r}, expected {' or '.join(map(repr, known))}")
        self._cache = AnswerCache(cache)
        self._client = Client(
            base_url,
            model,
            api_key,
            cache=self._cache,
            concurrency=concurrency,
            retries=retries,
            timeout=timeout,
            temperature=temperature,
            seed=seed,
            max_tokens=max_tokens,
            response_format=response_format,
            extra=extra,
        )
        self.model, self.unit, self.verify = model, unit, verify
        self.merge_synonyms, self.superclasses = bool(merge_synonyms), bool(superclasses)
        self._prompts = Prompts.load(prompts)
        self._keys = {stage: self._client.prompt_key(stage, self._prompts.texts[stage]) for stage in STAGES}
        self.counts = self._client.counts
        more = "entities unsupported asserted hedged negated rejected remark too_long unassigned links"
        self.counts.update(dict.fromkeys(more.split(), 0))
        self.unanswered = []
        self._read = {}  # unit's text: [(surface name, span, status)]
        self._assigned = {}  # (vocabulary's hash, surface name): entity or None
        self._mined = set()  # entities of vocabularies that hold every name there is

    def __repr__(self):
        return f"<kmerl.LLMExtractor {self.id}>"

    @property
    def prompt_hash(self):
        """SHA-256 of all that answers depend on besides the model and the text: prompts, settings."""
        return digest(self._keys)

    @property
    def id(self):
        return f"{self.model} (prompts {self.prompt_hash[:12]}, {self.unit}, verified by {self.verify})"

    @property
    def cache(self):
        """Where answers are kept: a path, or None for memory."""
        return self._cache.path

    def in_folder(self, folder):
        """This extractor, or, where it has no cache file, one like it that keeps answers in a folder."""
        if self._cache.path is not None:
            return self
        other = copy.copy(self)
        other._cache = AnswerCache(os.path.join(os.fspath(folder), FILE))
        other._client = copy.copy(self._client)
        other._client.cache, other._client._connection = other._cache, None
        return other

    def provenance(self):
        """Where the answers come from.

        Returns
        -------
        dict
            "model", "served" (names that the server gave itself), "prompts" {stage: hash}, "prompt_hash",
            "unit", "verify", "merge_synonyms", "superclasses", the settings of the requests, "answers" in the
            cache with "asked_from" and "asked_to" (UTC), their "prompt_tokens" and "completion_tokens",
            "counts", "kmerl".
        """
        import kmerl

        return {
            "model": self.model,
            **self._cache.about(self.model, list(self._keys.values())),
            "prompts": {stage: digest(text) for stage, text in self._prompts.texts.items()},
            "prompt_hash": self.prompt_hash,
            "unit": self.unit,
            "verify": self.verify,
            "merge_synonyms": self.merge_synonyms,
            "superclasses": self.superclasses,
            **self._client.settings,
            "counts": dict(self.counts),
            "kmerl": kmerl.__version__,
        }

    # ---- the extractor's interface -----------------------------------------------------------------------

    def extract(self, texts, vocabulary=None, details=False, progress=True):
        """Finds the entities of a vocabulary that reports name; see `kmerl.extract`.

        A finding that is no name or synonym is looked up in the C core's lexicon of the vocabulary, then the
        model is asked which entity it means.

        Returns
        -------
        list
            For each text a list of `Finding`; with `details` a `Reading`.

        Raises
        ------
        OSError
            The server cannot be reached or gives up; what was answered is kept.
        ValueError
            The server's answers are not what was asked for, or it does not know the model.
        """
        vocabulary = Vocabulary.default() if vocabulary is None else vocabulary
        texts = check_texts(texts)
        units = self._units(texts, details)
        distinct = dict.fromkeys(unit for found in units for _, unit, _ in found)
        self._read_units(distinct, progress)
        self._assign(distinct, vocabulary, progress)
        result = []
        for found in units:
            findings, statements = [], []
            for start, unit, kind in found:
                here = self._findings(start, unit, vocabulary)
                findings += here
                if kind is not None:
                    kind = "clinical" if here else "unmatched" if kind == "clinical" else kind
                    statements.append(Statement((start, start + len(unit)), kind))
            result.append(Reading(findings, statements) if details else findings)
        return result

    def mine(self, texts, *, hedged="drop", progress=True):
        """Makes a vocabulary of what reports assert: the paper's three stages.

        Parameters
        ----------
        texts : list of str
            Reports.
        hedged : {"drop", "keep"}
            Whether what is only ever hedged becomes an entity.
        progress : bool
            Show progress bars on standard error, with the tokens spent.

        Returns
        -------
        Mined
            ``vocabulary, findings, about = extractor.mine(texts)``

        Raises
        ------
        OSError, ValueError
            As `extract`; a ValueError too if no finding is left.
        """
        vocabulary = self.mine_vocabulary(texts, hedged=hedged, progress=progress)
        findings = self.extract(texts, vocabulary, progress=progress)
        return Mined(vocabulary, findings, self.provenance())

    def mine_vocabulary(self, texts, *, hedged="drop", progress=True):
        """The vocabulary of `mine` alone: for many reports, whose findings would fill the memory."""
        if hedged not in ("drop", "keep"):
            raise ValueError(f"hedged is {hedged!r}, expected 'drop' or 'keep'")
        texts = check_texts(texts)
        units = self._distinct(texts)
        self._read_units(units, progress)
        wanted = ("asserted",) if hedged == "drop" else ("asserted", "hedged")
        found = {(name, status) for unit in units for name, _, status in self._read[unit]}
        names = sorted({name for name, status in found if status in ("asserted", "hedged")})
        kept = {name for name, status in found if status in wanted}
        if not kept:
            raise ValueError(
                f"nothing to make a vocabulary of: {self.model} found no asserted entity in {len(texts):,} "
                "texts"
            )
        vocabulary = self._vocabulary(names, kept, progress)
        self._mined.add(_everything(vocabulary))
        return vocabulary

    def prepare(self, texts, vocabulary, progress=True):
        """Asks all that `extract` will need, so that it needs no server: with one progress bar for many
        texts."""
        units = self._distinct(check_texts(texts))
        self._read_units(units, progress)
        self._assign(units, vocabulary, progress)

    # ---- units: statements or reports --------------------------------------------------------------------

    def _units(self, texts, kinds=False):
        """For each text the (start, text, kind) of what is asked about; kind where `kinds`, else None."""
        from .extraction import KINDS

        if self.unit == "report" and not kinds:
            return [[(0, text, None)] if any(map(str.isalnum, text)) else [] for text in texts]
        _, statements = lexicon(Vocabulary.default()).read(texts)
        result = [[] for _ in texts]
        for text, start, end, kind in statements.tolist():
            result[text].append((start, texts[text][start:end], KINDS[kind] if kinds else None))
        if self.unit == "report":
            for text, found in zip(texts, result, strict=True):
                kind = "technical" if found and all(k == "technical" for _, _, k in found) else "clinical"
                found[:] = [(0, text, kind)] if any(map(str.isalnum, text)) else []
        return result

    def _distinct(self, texts):
        units = {}
        for start in range(0, len(texts), CHUNK):
            for found in self._units(texts[start : start + CHUNK]):
                units.update(dict.fromkeys(unit for _, unit, _ in found))
        return units

    # ---- extract and verify ------------------------------------------------------------------------------

    def _question(self, stage, **values):
        return Question(
            stage, self._prompts.fill(stage, **values), self._keys[stage], digest(sorted(values.items()))
        )

    def _read_units(self, units, progress):
        """Fills `_read` for the texts that are not in it."""
        new = [unit for unit in units if unit not in self._read]
        long = [unit for unit in new if len(unit) > LONGEST_TEXT]
        self.counts["too_long"] += len(long)
        questions = {unit: self._question("extract", text=unit) for unit in new if len(unit) <= LONGEST_TEXT}
        answers = self._client.ask(questions.values(), "extract", progress)
        missing = [unit for unit, question in questions.items() if question not in answers]
        mentions = {}
        for unit, question in questions.items():
            mentions[unit] = []
            for name in dict.fromkeys(map(surface, answers.get(question, ()))):
                places = support(unit, name) if name else []
                self.counts["entities"] += 1
                self.counts["unsupported"] += not places
                if places:
                    mentions[unit].append((name, places))
        if self.verify == "rules":
            read = statuses(mentions)
        else:
            read = self._ask_statuses(mentions, missing, progress)
        for unit in missing + long:
            read[unit] = []
        for unit in new:
            for status in dict((name, status) for name, _, status in read[unit]).values():
                self.counts[status] += 1
        self._read.update(read)
        lost = list(dict.fromkeys(missing + long))
        self.unanswered += lost
        if lost:
            warnings.warn(
                f"{len(lost):,} of {len(new):,} texts have no valid answer from {self.model} and count as "
                "without entities; another extractor's run asks about them again",
                stacklevel=4,
            )

    def _ask_statuses(self, mentions, missing, progress):
        questions = {
            (unit, name): self._question("verify", text=unit, entity=name)
            for unit, found in mentions.items()
            for name, _ in found
        }
        answers = self._client.ask(questions.values(), "verify", progress)
        read = {unit: [] for unit in mentions}
        for unit, found in mentions.items():
            for name, places in found:
                verdict = answers.get(questions[unit, name])
                if verdict is None:
                    missing.append(unit)
                else:
                    read[unit] += [(name, place, _VERDICTS[verdict]) for place in places]
        return read

    def _findings(self, start, unit, vocabulary):
        findings = []
        for name, (first, last), status in self._read[unit]:
            if status in ("asserted", "negated", "hedged"):
                for entity in self._entities(name, vocabulary):
                    findings.append(Finding(entity, (start + first, start + last), status))
        return sorted(findings, key=lambda f: (f.span, f.entity))

    # ---- names of a given vocabulary ---------------------------------------------------------------------

    def _entities(self, name, vocabulary):
        if name in vocabulary:
            return [vocabulary[name].name]
        return self._assigned.get((vocabulary.hash, name)) or []

    def _assign(self, units, vocabulary, progress):
        """Finds an entity for each name that the vocabulary does not have."""
        if _everything(vocabulary) in self._mined:
            return
        names = {
            name
            for unit in units
            for name, _, status in self._read[unit]
            if status in ("asserted", "hedged", "negated") and name not in vocabulary
        }
        aside = {normalise(one) for entity in vocabulary.aside for one in (entity.name, *entity.synonyms)}
        names = sorted(names - aside)
        names = [name for name in names if (vocabulary.hash, name) not in self._assigned]
        if not names:
            return
        findings, _ = lexicon(vocabulary).read(names)
        matched = {}
        canonical = list(vocabulary)
        for i, start, end, entity, status in findings.tolist():
            if status == 0 and (start, end) == (0, len(names[i])):
                matched.setdefault(names[i], []).append(canonical[entity])
        entities = "\n".join(canonical)
        questions = {
            name: self._question("assign", name=name, entities=entities)
            for name in names
            if name not in matched
        }
        answers = self._client.ask(questions.values(), "assign", progress)
        for name in names:
            found = matched.get(name)
            if found is None:
                answer = answers.get(questions[name], "none")
                found = [vocabulary[answer].name] if answer in vocabulary else []
                self.counts["unassigned"] += not found
            self._assigned[vocabulary.hash, name] = found

    # ---- merge and aggregate -----------------------------------------------------------------------------

    def _vocabulary(self, names, kept, progress):
        """Entities that at least one of the names in `kept` stands for."""
        canonical = self._merge(names, progress) if self.merge_synonyms else {name: name for name in names}
        members = {}
        for name in names:
            members.setdefault(canonical[name], []).append(name)
        members = {name: found for name, found in members.items() if not kept.isdisjoint(found)}
        known = set(members)
        above = self._aggregate(sorted(members), canonical, progress) if self.superclasses else {}
        language = _languages()
        entities = []
        for name in sorted(members) + sorted(
            {parent for found in above.values() for parent in found} - known
        ):
            groups = {}
            for synonym in members.get(name, ()):
                if synonym != name:
                    groups.setdefault(language.get(synonym, "en"), []).append(synonym)
            groups = {group: tuple(groups[group]) for group in LANGUAGES if group in groups}
            synonyms = tuple(synonym for found in groups.values() for synonym in found)
            entities.append(Entity(name, synonyms, tuple(sorted(above.get(name, ()))), {}, groups))
        return Vocabulary(entities, name=f"mined with {self.model}, prompts {self.prompt_hash[:12]}")

    def _merge(self, names, progress):
        """{surface name: canonical name}. Names go in groups; merged names are merged again until none
        changes."""
        canonical = {name: name for name in names}
        for _ in range(ROUNDS):
            current = sorted(set(canonical.values()))
            merged = {}
            for start in range(0, len(current), NAMES):
                part = current[start : start + NAMES]
                known = sorted(set(merged.values()))
                answer = self._must_ask("merge", part, known, "merge", progress)
                answer = {surface(name): surface(to) for name, to in answer.items()}
                merged.update({name: answer.get(name) or name for name in part})
            canonical = {name: _follow(merged, to) for name, to in canonical.items()}
            if len(current) <= NAMES or all(name == to for name, to in merged.items()):
                break
        return canonical

    def _aggregate(self, names, canonical, progress):
        """{name: superclasses directly above}; a DAG."""
        above = {}
        known = set()
        for start in range(0, len(names), NAMES):
            part = names[start : start + NAMES]
            answer = self._must_ask("superclasses", part, sorted(known), "superclasses", progress)
            groups = {}
            for group, members in answer.items():  # by their canonical names, where they have another one
                group, *members = (canonical.get(name, name) for name in map(surface, [group, *members]))
                groups.setdefault(group, []).extend(members)
            valid = set(names) | {group for group in groups if group} | known
            for group, members in groups.items():
                for member in dict.fromkeys(members):
                    if not group or member not in valid or member == group or _reaches(above, group, member):
                        self.counts["links"] += 1
                    else:
                        above.setdefault(member, set()).add(group)
                        known.add(group)
        # A superclass that has no members but superclasses of its own is none.
        parents = {parent for found in above.values() for parent in found}
        return {name: found for name, found in above.items() if name in parents or name in set(names)}

    def _must_ask(self, stage, names, known, description, progress):
        question = self._question(stage, names="\n".join(names), known="\n".join(known) or "(none yet)")
        answers = self._client.ask([question], description, progress)
        if question not in answers:
            raise ValueError(
                f"the server gave no valid answer to the question '{stage}' about {len(names)} names; "
                "the other answers are kept, and "
                f"{'merge_synonyms' if stage == 'merge' else stage}=False leaves this stage out"
            )
        return answers[question]


def _everything(vocabulary):
    """The entities of a vocabulary and of those that it was made from by taking some out."""
    return frozenset(entity.name for entity in (*vocabulary.entities, *vocabulary.aside))


def _languages():
    """Language of each synonym that kmerl's own vocabulary knows."""
    return {
        normalise(synonym): group
        for entity in Vocabulary.default().entities
        for group, synonyms in entity.languages.items()
        for synonym in synonyms
    }


def _follow(merged, name):
    """Where a chain of merged names ends; the first in the alphabet of names that are merged in a circle."""
    path = [name]
    while (name := merged.get(name, name)) not in path:
        path.append(name)
    return min(path[path.index(name) :])


def _reaches(above, name, goal):
    """Whether `goal` stands above `name`."""
    open_ones, seen = [name], set()
    while open_ones:
        at = open_ones.pop()
        if at == goal:
            return True
        if at not in seen:
            seen.add(at)
            open_ones.extend(above.get(at, ()))
    return False
