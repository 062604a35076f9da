"""LLMExtractor against a real server on the loopback interface that also behaves badly."""

import _thread
import functools
import json
import os
import signal
import socket
import sqlite3
import ssl
import sys
import time
import traceback

import numpy as np
import pytest
from llm_server import Model, Server, completion, cut, say
from stores import create, ecg, in_child

import kmerl
from kmerl import llm, llm_cache, llm_client, llm_prompts
from kmerl.cli import main
from kmerl.llm_cache import AnswerCache
from kmerl.llm_support import statuses, support, surface

pytest.importorskip("openai", reason='needs the openai package: pip install "kmerl[llm]"')

TEXTS = [
    "Sinus rhythm. No ST elevation. Inferior infarct, age undetermined.",
    "possible anterior infarct. AFIB",
    "Vorhofflimmern, Linksschenkelblock",
    "LBBB. anterior myocardial infarction",
    "sinus rhythm",
]
DISTINCT = 9  # statements


tls = functools.lru_cache(ssl.create_default_context)


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """No waiting for the disk, nor for a server to recover; the certificates of this machine read once."""
    monkeypatch.setattr(ssl, "create_default_context", tls)
    monkeypatch.setattr(llm_client, "FIRST_WAIT", 0.001)
    monkeypatch.setattr(llm_cache, "SYNCHRONOUS", "OFF")
    monkeypatch.setattr(os, "fsync", lambda handle: None)
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1")


@pytest.fixture
def server():
    with Server() as server:
        yield server


def extractor(server, model="m", **more):
    return kmerl.LLMExtractor(server if isinstance(server, str) else server.url, model, **more)


def words(texts, findings):
    return [
        [(f.entity, t[slice(*f.span)], f.status) for f in fs] for t, fs in zip(texts, findings, strict=True)
    ]


def mine(extractor, texts=TEXTS, **more):
    return extractor.mine(texts, progress=False, **more)


# ---- the three stages --------------------------------------------------------------------------------------


@pytest.mark.parametrize("unit", ["statement", "report"])
@pytest.mark.parametrize("verify", ["rules", "llm"])
def test_mining_a_vocabulary(server, unit, verify):
    vocabulary, findings, about = mine(extractor(server, unit=unit, verify=verify))
    assert list(vocabulary) == [
        "anterior myocardial infarction", "atrial fibrillation", "inferior myocardial infarction",
        "left bundle branch block", "sinus rhythm", "conduction disturbance", "myocardial infarction",
    ]  # fmt: skip
    assert vocabulary["AFib"].name == "atrial fibrillation" == vocabulary["vorhofflimmern"].name
    assert vocabulary["atrial fibrillation"].languages["de"] == ("vorhofflimmern",)
    assert vocabulary.above("anterior infarct") == ("myocardial infarction",)
    assert vocabulary["myocardial infarction"].superclasses == ()
    assert words(TEXTS, findings) == [
        [("sinus rhythm", "Sinus rhythm", "asserted"),
         ("inferior myocardial infarction", "Inferior infarct", "asserted")],
        [("anterior myocardial infarction", "anterior infarct", "hedged"),
         ("atrial fibrillation", "AFIB", "asserted")],
        [("atrial fibrillation", "Vorhofflimmern", "asserted"),
         ("left bundle branch block", "Linksschenkelblock", "asserted")],
        [("left bundle branch block", "LBBB", "asserted"),
         ("anterior myocardial infarction", "anterior myocardial infarction", "asserted")],
        [("sinus rhythm", "sinus rhythm", "asserted")],
    ]  # fmt: skip
    assert about["model"] == "m" and about["served"] == ["m"] and about["verify"] == verify
    assert about["asked_from"] <= about["asked_to"] and about["asked_to"].startswith("20")
    assert set(about["prompts"]) == {"extract", "verify", "merge", "superclasses", "assign"}
    assert about["counts"]["unsupported"] == 0
    assert (("verify" in server.stages()) == (verify == "llm")) and server.stages()[-2:] == [
        "merge",
        "superclasses",
    ]


def test_table_2b(server):
    every = mine(extractor(server, merge_synonyms=False, superclasses=False)).vocabulary
    assert list(every) == sorted(every) and {"afib", "vorhofflimmern", "lbbb"} <= set(every)
    assert "merge" not in server.stages() and "superclasses" not in server.stages()
    assert not every.superclass_names()
    merged = mine(extractor(server, superclasses=False)).vocabulary
    assert list(merged) == [
        "anterior myocardial infarction", "atrial fibrillation", "inferior myocardial infarction",
        "left bundle branch block", "sinus rhythm",
    ]  # fmt: skip


def test_hedged_names_become_entities_on_demand(server):
    texts = ["possible inferior infarct", "sinus rhythm"]
    assert "inferior myocardial infarction" not in mine(extractor(server), texts).vocabulary
    assert "inferior myocardial infarction" in mine(extractor(server), texts, hedged="keep").vocabulary
    with pytest.raises(ValueError, match="hedged is 'no', expected 'drop' or 'keep'"):
        mine(extractor(server), texts, hedged="no")


def test_a_given_vocabulary(server):
    """Names are looked up, then matched by the lexicon, then asked about, once each."""
    vocabulary = kmerl.Vocabulary([
        kmerl.Entity("atrial fibrillation"), kmerl.Entity("sinus rhythm"),
        kmerl.Entity("bundle branch block"),
        kmerl.Entity("left bundle branch block", superclasses=("bundle branch block",)),
    ])  # fmt: skip
    made = extractor(server)
    texts = [*TEXTS, "afib", "sinus rhythm; lbbb"]
    found = kmerl.extract(texts, vocabulary, extractor=made)
    assert [f.entity for f in found[2]] == ["atrial fibrillation", "left bundle branch block"]
    assert [f.entity for f in found[5]] == ["atrial fibrillation"] and not found[0][1:]
    asked = sorted(prompt.split("Finding: ")[-1] for stage, prompt, _ in server.asked if stage == "assign")
    assert len(asked) == len(set(asked)) and "sinus rhythm" not in asked and "afib" in asked
    assert made.counts["unassigned"] == len(asked) - 4  # afib, vorhofflimmern, lbbb, linksschenkelblock
    count = len(server.asked)
    assert kmerl.extract(texts, vocabulary, extractor=made) == found and len(server.asked) == count


def test_details_and_the_default_vocabulary(server):
    text = "Sinus rhythm. Artifact in V1. Gibberish here"
    reading = kmerl.extract([text], extractor=extractor(server), details=True)[0]
    assert words([text], [reading.findings]) == [[("sinus rhythm", "Sinus rhythm", "asserted")]]
    assert [s.kind for s in reading.statements] == ["clinical", "technical", "unmatched"]
    reading = kmerl.extract([text], extractor=extractor(server, unit="report"), details=True)[0]
    assert [(s.span, s.kind) for s in reading.statements] == [((0, len(text)), "clinical")]


# ---- support in the text -----------------------------------------------------------------------------------


def test_invented_entities_are_dropped_and_counted():
    class Liar(Model):
        def extract(self, prompt):
            return {
                "entities": [*super().extract(prompt)["entities"], "banana", "torsade de pointes", "!", ""]
            }

    with Server(Liar()) as server:
        made = extractor(server)
        vocabulary, findings, about = mine(made, ["sinus rhythm", "afib"])
    assert list(vocabulary) == ["atrial fibrillation", "sinus rhythm"]
    assert about["counts"]["unsupported"] == 6 and about["counts"]["entities"] == 8
    assert [len(found) for found in findings] == [1, 1]


@pytest.mark.parametrize(
    "text, name, places",
    [
        ("Sinus  Rhythm, sinus rhythm", "sinus rhythm", ["Sinus  Rhythm", "sinus rhythm"]),
        ("myokardschaden mÖglich", "myokardschaden möglich", ["myokardschaden mÖglich"]),
        ("left-axis deviation", "left axis deviation", ["left-axis deviation"]),
        ("st and t wave abnormality", "st abnormality", ["st and t wave abnormality"]),
        ("st and t and u and p wave abnormality", "st abnormality", []),
        ("left axis. no deviation", "left deviation", []),
        ("sinus rhythms", "sinus rhythm", []),
        ("rhythm sinus", "sinus rhythm", []),
        ("", "sinus rhythm", []),
        ("a b", "", []),
    ],
)
def test_support(text, name, places):
    assert [text[slice(*place)] for place in support(text, name)] == places


def test_surface_names():
    assert surface('  "Left\n AXIS deviation."') == "left axis deviation"
    assert surface("...") == "" == surface("-") == surface("x")


def test_rules_know_negation_and_hedge_where_the_model_does_not():
    text = "no left or right bundle branch block, possible anterior and lateral infarct, sinus rhythm"
    names = ["right bundle branch block", "left bundle branch block", "lateral infarct", "sinus rhythm"]
    found = statuses({text: [(name, support(text, name)) for name in names]})[text]
    assert [(name, status) for name, _, status in found] == list(
        zip(names, ["negated", "negated", "hedged", "asserted"], strict=True)
    )
    assert statuses({"x": []}) == {"x": []}


@pytest.mark.parametrize(
    "text, name, status",
    [
        ("Possible recent anterior infarct", "anterior infarct", "hedged"),
        ("inferior infarct, possibly recent", "inferior infarct", "asserted"),
        ("Vorhofflimmern nicht auszuschliessen", "vorhofflimmern", "hedged"),
        ("kein Hinweis auf Linksschenkelblock", "linksschenkelblock", "negated"),
        ("no zebra rhythm", "zebra rhythm", "negated"),  # no vocabulary knows it
        ("possible zebra rhythm", "zebra rhythm", "hedged"),
        ("zebra and lion rhythm", "zebra rhythm", "asserted"),
        ("no zebra or lion rhythm", "zebra rhythm", "negated"),
    ],
)
def test_status_of_a_finding(text, name, status):
    places = support(text, name)
    assert statuses({text: [(name, places)]}) == {text: [(name, places[0], status)]}


def test_model_that_takes_denied_findings():
    class Careless(Model):
        def verify(self, prompt):
            return {"answer": "YES"}

    with Server(Careless()) as server:
        found = mine(extractor(server), ["no lbbb", "sinus rhythm", "no st elevation or lbbb"])
        assert list(found.vocabulary) == ["sinus rhythm"] and found.about["counts"]["negated"] == 3
        believed = mine(extractor(server, verify="llm"), ["no lbbb", "sinus rhythm"])
        assert "lbbb" in believed.vocabulary  # the paper's way leaves it to the model


# ---- nothing is asked twice --------------------------------------------------------------------------------


def test_each_statement_is_asked_about_once(server):
    made = extractor(server)
    mine(made, TEXTS * 50)
    prompts = [prompt for stage, prompt, _ in server.asked if stage == "extract"]
    assert len(prompts) == len(set(prompts)) == DISTINCT
    count = len(server.asked)
    mine(made, TEXTS)
    assert len(server.asked) == count


def test_several_at_once(server):
    server.delay = 0.05
    made = extractor(server, concurrency=3)
    made.extract([f"statement number {i}" for i in range(9)], progress=False)
    assert server.most == 3


def test_a_cache_of_another_model_or_prompt_is_never_mixed_in(server, tmp_path):
    cache = tmp_path / "answers.sqlite"
    first = mine(extractor(server, cache=cache))
    count = len(server.asked)
    again = extractor(server, cache=cache)
    assert mine(again).vocabulary == first.vocabulary and len(server.asked) == count
    assert again.counts["requests"] == 0 and again.counts["cached"] == count
    assert again.provenance()["answers"] == count and again.provenance()["prompt_tokens"] == 100 * count
    (tmp_path / "extract.txt").write_text("What is in it?\nText:\n{text}")
    for change in (
        {"model": "other"}, {"prompts": tmp_path}, {"prompts": {"extract": "extract-short"}},
        {"temperature": 0.5}, {"seed": 1}, {"max_tokens": 100}, {"extra": {"top_k": 1}},
    ):  # fmt: skip
        before = len(server.asked)
        other = extractor(server, cache=cache, **change)
        mine(other)
        assert server.stages()[before:].count("extract") == DISTINCT and other.counts["unanswered"] == 0
        assert other.id != again.id or change == {"model": "other"}
    assert extractor(server, "other").provenance()["answers"] == 0
    assert AnswerCache(cache).about("other", list(again._keys.values()))["answers"] == count


def test_the_units_share_no_answers(server, tmp_path):
    cache = tmp_path / "answers.sqlite"
    mine(extractor(server, cache=cache))
    before = len(server.asked)
    mine(extractor(server, cache=cache, unit="report"))
    assert server.stages()[before:].count("extract") == 3  # two reports are one statement each


def test_a_killed_run_goes_on(server, tmp_path):
    cache, texts = tmp_path / "answers.sqlite", [f"sinus rhythm number {i}" for i in range(12)]

    def run():
        made = extractor(server, cache=cache, concurrency=1)
        keep, kept = made._client.cache.put, []

        def put(*values):
            keep(*values)
            kept.append(values)
            if len(kept) == 7:
                os.kill(os.getpid(), signal.SIGKILL)

        made._client.cache.put = put
        made.extract(texts, progress=False)

    assert in_child(run) == -signal.SIGKILL
    made = extractor(server, cache=cache)
    assert [f[0].entity for f in made.extract(texts, progress=False)] == ["sinus rhythm"] * 12
    assert made.counts["cached"] == 7 and made.counts["requests"] == 5


def test_interrupted_with_what_was_answered_kept(server, tmp_path):
    cache = tmp_path / "answers.sqlite"

    def trouble(number, stage, handler):
        if number == 4:
            time.sleep(0.2)
            _thread.interrupt_main()
            time.sleep(0.3)
        return False

    server.trouble = trouble
    with pytest.raises(KeyboardInterrupt):
        mine(extractor(server, cache=cache, concurrency=1))
    server.trouble = None
    made = extractor(server, cache=cache)
    mine(made)
    assert made.counts["cached"] >= 4


@pytest.mark.parametrize("kind", ["text", "sqlite", "newer", "folder", "nowhere", "cut off"])
def test_cache_files_that_are_none(kind, server, tmp_path):
    path = tmp_path / "cache"
    error, message = ValueError, "is damaged"
    if kind == "text":
        path.write_text("no database at all" * 100)
    elif kind == "sqlite":
        with sqlite3.connect(path) as db:
            db.execute("CREATE TABLE t (x)")
        message = "another kind of SQLite file"
    elif kind == "newer":
        AnswerCache(path).get("m", "p", "00")
        with sqlite3.connect(path) as db:
            db.execute("PRAGMA user_version = 99")
        message = "has format 99, this kmerl reads 1"
    elif kind == "folder":
        path.mkdir()
        error, message = IsADirectoryError, "is a folder"
    elif kind == "nowhere":
        path = tmp_path / "missing" / "cache"
        error, message = FileNotFoundError, "folder .* does not exist"
    else:
        cache = AnswerCache(path)
        for i in range(40):
            cache.put("extract", "m", "p", f"{i:064x}", "{}" * 200, "m", (1, 1))
        cache.close()
        path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(error, match=message):
        mine(extractor(server, cache=path))


def test_answers_that_were_changed_by_hand_are_asked_again(server, tmp_path):
    cache = tmp_path / "answers.sqlite"
    mine(extractor(server, cache=cache))
    with sqlite3.connect(cache) as db:
        db.execute("UPDATE answers SET answer = 'x' WHERE stage = 'merge'")
    before = len(server.asked)
    mine(extractor(server, cache=cache))
    assert server.stages()[before:] == ["merge"]


# ---- a server that is not there, is wrong, or fails --------------------------------------------------------

SECRET = "zebra rhythm"  # stands in a report, must stand in no message


def message(error):
    shown = "".join(traceback.format_exception(error))
    assert "zebra" not in shown
    return str(error)


@pytest.mark.parametrize("status, more", [(429, [("Retry-After", "0.01")]), (500, []), (503, []), (408, [])])
def test_asked_again_after(status, more, server):
    server.trouble = lambda number, stage, handler: (
        number % 3 == 0 and say(handler, status, {"error": {"message": "busy"}}, headers=more)
    )
    made = extractor(server, concurrency=2)
    assert len(mine(made).vocabulary) == 7
    assert made.counts["retries"] >= 3 and made.counts["unanswered"] == 0 == made.counts["invalid"]


def test_asked_again_after_a_cut_connection(server):
    server.trouble = lambda number, stage, handler: number in (0, 4, 5) and cut(handler)
    made = extractor(server)
    assert len(mine(made).vocabulary) == 7 and made.counts["retries"] == 3


def test_asked_again_after_a_time_out(server):
    server.trouble = lambda number, stage, handler: number == 1 and (time.sleep(0.6) or False)
    made = extractor(server, timeout=0.3)
    assert len(mine(made).vocabulary) == 7 and made.counts["retries"] >= 1


def test_no_server():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://user:password@127.0.0.1:{free.getsockname()[1]}/v1"
    with pytest.raises(
        ConnectionError, match=r"server at http://127.0.0.1:\d+/v1, .*'m'.* \(3 tries\)"
    ) as caught:
        mine(extractor(url, retries=2), [SECRET])
    assert "is it running there?" in message(caught.value) and "password" not in str(caught.value)


def test_server_that_gives_up_leaves_what_was_answered(server, tmp_path):
    cache = tmp_path / "answers.sqlite"
    server.trouble = lambda number, stage, handler: (
        number >= 5 and say(handler, 500, {"error": {"message": SECRET, "code": SECRET}})
    )
    with pytest.raises(ConnectionError, match=r"HTTP status 500 \(2 tries\)") as caught:
        mine(extractor(server, retries=1, concurrency=1, cache=cache), [SECRET, *TEXTS])
    message(caught.value)
    server.trouble = None
    made = extractor(server, cache=cache)
    mine(made, [SECRET, *TEXTS])
    assert made.counts["cached"] == 5


def test_server_that_never_answers(server):
    server.trouble = lambda number, stage, handler: time.sleep(0.3) or False
    with pytest.raises(TimeoutError, match=r"gave no answer within 0.05 s \(2 tries\)") as caught:
        mine(extractor(server, retries=1, timeout=0.05), [SECRET])
    message(caught.value)


@pytest.mark.parametrize(
    "status, error, expected",
    [
        (401, PermissionError, "HTTP status 401 .*api_key is missing or wrong"),
        (403, PermissionError, "HTTP status 403"),
        (
            404,
            ValueError,
            r"HTTP status 404 \(model_not_found\): either it does not know the model, or base_url",
        ),
        (
            400,
            ValueError,
            "no valid answers: answered with HTTP status 400 .*response_format other than 'json_s",
        ),
    ],
)
def test_server_that_refuses(status, error, expected, server):
    code = {"message": f"you said: {SECRET}", "code": "model_not_found"}
    server.trouble = lambda number, stage, handler: say(handler, status, {"error": code})
    with pytest.raises(error, match=expected) as caught:
        mine(extractor(server), [SECRET])
    message(caught.value)
    assert len(server.asked) == 1


def test_wrong_address(server):
    with pytest.raises(ValueError, match="most often it ends in /v1"):
        mine(extractor(server.url[:-3]), TEXTS)


def test_one_text_that_the_server_refuses(server):
    def trouble(number, stage, handler):
        return "zebra" in server.asked[number][1] and say(handler, 400, {"error": {"message": "too long"}})

    server.trouble = trouble
    made = extractor(server, concurrency=1)
    with pytest.warns(UserWarning, match="1 of 10 texts have no valid answer from m") as warned:
        found = mine(made, [*TEXTS, SECRET])
    assert "zebra" not in str(warned[0].message)
    assert len(found.vocabulary) == 7 and made.unanswered == [SECRET] and found.findings[5] == []


# ---- answers that are none ---------------------------------------------------------------------------------

GOOD = '{"entities": ["sinus rhythm"]}'
BAD = {
    "broken JSON": '{"entities": ["sinus rhyt',
    "no JSON": "Sure! Here are the findings.",
    "wrong key": '{"findings": ["sinus rhythm"]}',
    "one key more": '{"entities": ["sinus rhythm"], "note": ""}',
    "a text": '{"entities": "sinus rhythm"}',
    "numbers": '{"entities": [1, 2]}',
    "a number": "1",
    "NaN": '{"entities": NaN}',
    "null": "null",
    "nested": "[" * 100_000,
    "empty": "",
}
NO_COMPLETION = {
    "HTML": lambda handler: say(handler, 200, b"<html>Welcome</html>", "text/html"),
    "broken": lambda handler: say(handler, 200, b'{"id": "x", "choices": [{'),
    "binary": lambda handler: say(handler, 200, bytes(range(256))),
    "list": lambda handler: say(handler, 200, []),
    "empty": lambda handler: say(handler, 200, {}),
    "no choices": lambda handler: say(handler, 200, {**completion(GOOD), "choices": []}),
    "null choices": lambda handler: say(handler, 200, {**completion(GOOD), "choices": None}),
    "odd choices": lambda handler: say(handler, 200, {**completion(GOOD), "choices": [7]}),
    "no content": lambda handler: say(handler, 200, completion(None)),
    "odd content": lambda handler: say(handler, 200, completion({"entities": []})),
    "cut off": lambda handler: say(handler, 200, completion(GOOD, finish="length")),
}


@pytest.mark.parametrize("name", [*BAD, *(f"completion: {name}" for name in NO_COMPLETION)])
def test_bad_answers_are_asked_again_and_never_believed(name):
    respond = NO_COMPLETION[name[12:]] if name.startswith("completion: ") else None
    respond = respond or (lambda handler: say(handler, 200, completion(BAD[name])))
    with Server(trouble=lambda number, stage, handler: number % 2 == 0 and respond(handler)) as server:
        made = extractor(server, concurrency=1)
        found = made.extract(["sinus rhythm"], progress=False)
        assert [f.entity for f in found[0]] == ["sinus rhythm"] and made.counts["invalid"] == 1
        assert [body["seed"] for _, _, body in server.asked] == [0, 1]
        server.trouble = lambda number, stage, handler: respond(handler)
        with pytest.warns(UserWarning, match="1 of 1 texts have no valid answer"):
            assert made.extract(["sinus rhythm, afib"], progress=False) == [[]]
        assert made.unanswered == ["sinus rhythm, afib"] and made.counts["unanswered"] == 1
        assert len(server.asked) == 2 + 1 + llm_client.REPEATS


def test_a_server_that_only_lies_ends_the_run(server, monkeypatch):
    server.trouble = lambda number, stage, handler: say(handler, 200, completion(f"{SECRET}!"))
    monkeypatch.setattr(llm_client, "IN_A_ROW", 5)
    texts = [f"{SECRET} {i}" for i in range(20)]
    with pytest.raises(ValueError, match="not what was asked for: no JSON, 5 times in a row") as caught:
        mine(extractor(server), texts)
    message(caught.value)
    assert len(server.asked) < 60


def test_usage_that_is_none(server):
    server.trouble = lambda number, stage, handler: say(
        handler, 200, {**completion(GOOD), "usage": {"prompt_tokens": "many", "completion_tokens": -3}}
    )
    made = extractor(server)
    made.extract(["sinus rhythm"], progress=False)
    assert made.counts["prompt_tokens"] == 0 == made.counts["completion_tokens"]


@pytest.mark.parametrize(
    "stage, content, value",
    [
        ("extract", '["a", "b"]', ["a", "b"]),
        ("extract", '```json\n{"entities": ["a"]}\n```', ["a"]),
        ("extract", '<think>\nwell {"entities": []}\n</think>\n{"entities": ["a"]}', ["a"]),
        ("verify", '{"answer": "POSSIBLE"}', "POSSIBLE"),
        ("verify", "yes.", "YES"),
        ("merge", '{"a": "b"}', {"a": "b"}),
        ("merge", '{"merged": [{"name": "a", "as": "b"}]}', {"a": "b"}),
        ("superclasses", '{"x": ["a", "b"]}', {"x": ["a", "b"]}),
        ("superclasses", '{"superclasses": [{"name": "x", "members": ["a"]}]}', {"x": ["a"]}),
        ("assign", '{"entity": "none"}', "none"),
        ("verify", '{"answer": "MAYBE"}', None),
        ("merge", '{"merged": [{"name": "a"}]}', None),
        ("merge", '{"a": ["b"]}', None),
        ("merge", '{"a": "' + "b" * 200 + '"}', None),
        ("merge", '{"a": "b\\u0007c"}', None),
        ("merge", "[]", None),
        ("superclasses", '{"superclasses": [{"name": "x"}]}', None),
        ("superclasses", '{"x": "a"}', None),
        ("superclasses", '{"x": [{}]}', None),
        ("assign", '{"entity": null}', None),
    ],
)
def test_what_counts_as_an_answer(stage, content, value):
    if value is None:
        with pytest.raises(ValueError):
            llm_prompts.read_answer(stage, content)
    else:
        assert llm_prompts.read_answer(stage, content) == value


# ---- lies about names --------------------------------------------------------------------------------------


class Stages(Model):
    """A model with set answers to merging and grouping."""

    def __init__(self, merged=None, groups=None):
        self.merged, self.groups = merged, groups

    def merge(self, prompt):
        return super().merge(prompt) if self.merged is None else self.merged

    def superclasses(self, prompt):
        return super().superclasses(prompt) if self.groups is None else self.groups


def test_merging_in_chains_and_circles():
    merged = {"afib": "vorhofflimmern", "vorhofflimmern": "atrial fibrillation", "lbbb": "sinus rhythm",
              "sinus rhythm": "lbbb", "unheard of": "nonsense", "linksschenkelblock": "LBBB."}  # fmt: skip
    with Server(Stages(merged=merged, groups={})) as server:
        vocabulary = mine(extractor(server)).vocabulary
    assert vocabulary["afib"].name == "atrial fibrillation" == vocabulary["vorhofflimmern"].name
    assert vocabulary["sinus rhythm"].name == "lbbb" == vocabulary["linksschenkelblock"].name
    assert "unheard of" not in vocabulary and "inferior infarct" in set(vocabulary)


def test_merging_in_several_questions(monkeypatch, server):
    monkeypatch.setattr(llm, "NAMES", 3)
    assert list(mine(extractor(server)).vocabulary)[:5] == [
        "anterior myocardial infarction", "atrial fibrillation", "inferior myocardial infarction",
        "left bundle branch block", "sinus rhythm",
    ]  # fmt: skip
    later = [prompt for stage, prompt, _ in server.asked if stage == "merge"][1]
    assert "atrial fibrillation\n" in later.split("Findings:")[0]  # names in use are shown


def test_superclasses_that_are_nonsense():
    groups = {
        "myocardial infarction": ["inferior myocardial infarction", "unheard of", "myocardial infarction"],
        "inferior infarct": ["myocardial infarction"],  # a cycle, by a synonym
        "rhythm": ["sinus rhythm", "afib"],
        "sinus rhythm": ["rhythm"],  # a cycle
        "empty": [],
    }
    with Server(Stages(groups=groups)) as server:
        made = extractor(server)
        vocabulary = mine(made).vocabulary
    assert vocabulary["afib"].superclasses == ("rhythm",) == vocabulary["sinus rhythm"].superclasses
    assert vocabulary["inferior infarct"].superclasses == ("myocardial infarction",)
    assert "empty" not in vocabulary and made.counts["links"] == 4


@pytest.mark.parametrize("stage", ["merge", "superclasses"])
def test_no_vocabulary_without_valid_answers(stage, server):
    server.trouble = lambda number, asked, handler: asked == stage and say(handler, 200, completion("[7]"))
    with pytest.raises(ValueError, match=rf"question '{stage}' about \d names.*=False leaves this stage out"):
        mine(extractor(server))


def test_nothing_to_mine(server):
    with pytest.raises(
        ValueError, match="nothing to make a vocabulary of: m found no asserted entity in 2 texts"
    ):
        mine(extractor(server), ["gibberish", "no lbbb"])


# ---- any texts ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("unit", ["statement", "report"])
def test_any_bytes(unit, server):
    texts = [
        "",
        " \n\t",
        "...",
        "\ud800 sinus rhythm \udfff",
        "\x00\x01 afib",
        "{text} {entity} sinus rhythm",
    ]
    found = extractor(server, unit=unit).extract(texts, progress=False)
    assert [len(f) for f in found] == [0, 0, 0, 1, 1, 1]
    assert words(texts[3:4], found[3:4])[0][0][1] == "sinus rhythm"
    assert (
        any("{text} {entity} sinus rhythm" in prompt for _, prompt, _ in server.asked) or unit == "statement"
    )


def test_huge_texts_are_not_asked_about(server):
    made = extractor(server, unit="report")
    with pytest.warns(UserWarning, match="1 of 2 texts"):
        found = made.extract(["x" * 10_000_000, "sinus rhythm"], progress=False)
    assert [len(f) for f in found] == [0, 1] and made.counts["too_long"] == 1 and len(server.asked) == 1


@pytest.mark.parametrize("texts", ["sinus rhythm", [1], 5])
def test_texts_that_are_none(texts, server):
    with pytest.raises(TypeError, match="texts"):
        extractor(server).extract(texts)


# ---- prompts, arguments, keys ------------------------------------------------------------------------------


def test_prompts_of_ones_own(server, tmp_path):
    (tmp_path / "extract.txt").write_bytes("\ufeffZähle auf:\r\nText:\r\n{text}\r\n".encode())
    mine(extractor(server, prompts=tmp_path))
    assert server.asked[0][1].startswith("Zähle auf:\nText:\n")
    other = extractor(server, prompts={"extract": tmp_path / "extract.txt"})
    assert (
        other.prompt_hash == extractor(server, prompts=tmp_path).prompt_hash != extractor(server).prompt_hash
    )
    for name in ("extract-short", "extract-confirmed"):
        assert mine(extractor(server, prompts={"extract": name})).about["counts"]["asserted"] == 8


@pytest.mark.parametrize(
    "content, error",
    [(b"no place for it", r"has no \{text\}"), (b"\xff\xfe", "not UTF-8"), (b"", r"has no \{text\}")],
)
def test_prompts_with_faults(content, error, tmp_path):
    (tmp_path / "extract.txt").write_bytes(content)
    with pytest.raises(ValueError, match=error):
        extractor("http://localhost/v1", prompts=tmp_path)


def test_prompts_that_are_missing(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"has none of extract.txt, verify.txt"):
        extractor("http://localhost/v1", prompts=tmp_path)
    with pytest.raises(FileNotFoundError, match="prompts folder .* does not exist"):
        extractor("http://localhost/v1", prompts=tmp_path / "x")
    with pytest.raises(FileNotFoundError):
        extractor("http://localhost/v1", prompts={"extract": tmp_path / "x.txt"})
    with pytest.raises(ValueError, match="stage 'explain', known are extract"):
        extractor("http://localhost/v1", prompts={"explain": "x.txt"})


@pytest.mark.parametrize(
    "change, expected",
    [
        ({"base_url": "localhost:8080"}, "base_url is not a URL"),
        ({"base_url": "file:///etc/passwd"}, "base_url is not a URL"),
        ({"base_url": None}, "base_url is not a URL"),
        ({"model": ""}, "model is ''"),
        ({"unit": "word"}, "unit is 'word', expected 'statement' or 'report'"),
        ({"verify": "no"}, "verify is 'no', expected 'rules' or 'llm'"),
        ({"concurrency": 0}, "concurrency is 0, expected a whole number of at least 1"),
        ({"retries": -1}, "retries is -1"),
        ({"timeout": 0}, "timeout is 0, expected seconds above 0"),
        ({"temperature": 3}, "temperature is 3, expected 0 to 2"),
        ({"seed": "x"}, "seed is 'x'"),
        ({"max_tokens": 1.5}, "max_tokens is 1.5"),
        ({"response_format": "xml"}, "response_format is 'xml', expected one of json_schema"),
    ],
)
def test_wrong_arguments(change, expected):
    with pytest.raises(ValueError, match=expected):
        kmerl.LLMExtractor(**{"base_url": "http://localhost/v1", "model": "m", **change})


def test_keys_go_where_they_are_sent(server, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "from-the-environment")
    extractor(server).extract(["afib"], progress=False)
    made = extractor(server, api_key="given")
    made.extract(["afib"], progress=False)
    assert server.keys[0] != "Bearer from-the-environment" and server.keys[-1] == "Bearer given"
    assert "given" not in repr(made) + made.id + json.dumps(made.provenance())


def test_what_is_sent(server):
    extractor(server, temperature=0.25, seed=5, max_tokens=77, extra={"top_k": 1}).extract(
        ["afib"], progress=False
    )
    body = server.asked[0][2]
    assert (body["temperature"], body["seed"], body["max_tokens"], body["top_k"]) == (0.25, 5, 77, 1)
    assert body["response_format"]["json_schema"]["strict"] is True
    made = extractor(server, response_format="none", seed=None)
    made.extract(["afib"], progress=False)
    assert not {"response_format", "seed"} & set(server.asked[-1][2])


def test_openai_is_not_installed(monkeypatch):
    monkeypatch.setitem(sys.modules, "openai", None)
    with pytest.raises(ImportError, match=r'pip install "kmerl\[llm\]"'):
        extractor("http://127.0.0.1:1/v1").extract(["afib"])


def test_texts_stay_out_of_logs(server, caplog, capsys):
    caplog.set_level("INFO")
    extractor(server).extract([SECRET], progress=True)
    captured = capsys.readouterr()
    assert "zebra" not in caplog.text + captured.out + captured.err
    assert "tokens" in captured.err  # the progress bar


# ---- stores ------------------------------------------------------------------------------------------------


@pytest.fixture
def store(tmp_path):
    return create(tmp_path / "s", [ecg(i, report=TEXTS[i % 5], samples=100) for i in range(8)])


def test_a_store_labelled_with_a_mined_vocabulary(store, server, tmp_path):
    made = extractor(server)
    store.label(None, extractor=made, progress=False)
    assert store.vocabulary == mine(extractor(server)).vocabulary
    names = store.entities
    assert [names[k] for k in np.flatnonzero(store.labels[0])] == [
        "inferior myocardial infarction", "sinus rhythm", "myocardial infarction",
    ]  # fmt: skip
    assert [names[k] for k in np.flatnonzero(store.labels[1])] == ["atrial fibrillation"]
    about = store._meta["labels"]
    assert about["extractor"] == made.id and about["provenance"]["model"] == "m"
    assert about["provenance"]["asked_to"] and about["provenance"]["prompt_hash"] == made.prompt_hash
    assert (tmp_path / "s" / "llm.sqlite").exists()
    fingerprint, count = store.fingerprint(), len(server.asked)
    again = extractor(server)
    store.label(extractor=again, progress=False)
    assert len(server.asked) == count and again.counts["cached"] == DISTINCT + 2
    assert store.fingerprint() == fingerprint == kmerl.Store.open(tmp_path / "s").fingerprint()
    store.label(None, extractor=extractor(server), hedged="keep", progress=False)
    assert store.labels[1].sum() == 3


def test_a_store_labelled_with_a_given_vocabulary(store, server):
    store.label(kmerl.Vocabulary.default(), extractor=extractor(server), progress=False)
    by_model = store.labels
    store.label(kmerl.Vocabulary.default(), progress=False)
    assert by_model.shape == store.labels.shape and (by_model & store.labels).sum() > 5


def test_entities_held_out_of_a_mined_vocabulary(store, server):
    made = extractor(server)
    store.label(None, extractor=made, hold_out=["afib", "myocardial infarction"], progress=False)
    whole = mine(extractor(server)).vocabulary
    assert store.entities == [n for n in whole if n not in ("atrial fibrillation", "myocardial infarction")]
    assert "vorhofflimmern" not in store.vocabulary and not store.labels[1].any()
    assert "assign" not in server.stages()  # all that the reports say has been named
    with pytest.raises(KeyError, match="'frogs' is no name or synonym in vocabulary 'mined with m"):
        store.label(None, extractor=made, hold_out=["frogs"], progress=False)


def test_names_held_out_are_assigned_to_nothing_else(store, server):
    less = kmerl.Vocabulary.default().without(["atrial fibrillation"])
    store.label(less, extractor=extractor(server), progress=False)
    asked = [prompt.split("Finding: ")[-1] for stage, prompt, _ in server.asked if stage == "assign"]
    assert not {"afib", "vorhofflimmern", "atrial fibrillation"} & set(asked)
    assert not store.labels[1].any()


def test_table_2b_with_a_given_vocabulary(store, server):
    made = extractor(server)
    store.label(kmerl.Vocabulary.default(), extractor=made, merge_synonyms=False, progress=False)
    assert {"afib", "vorhofflimmern", "lbbb", "linksschenkelblock", "arrhythmia"} <= set(store.entities)
    store.label(
        kmerl.Vocabulary.default(), extractor=made, merge_synonyms=False, superclasses=False, progress=False
    )
    assert store.entities == [
        "afib", "anterior myocardial infarction", "inferior infarct", "lbbb", "linksschenkelblock", "sinus rhythm",
        "vorhofflimmern",
    ]  # fmt: skip
    store.label(kmerl.Vocabulary.default(), extractor=made, superclasses=False, progress=False)
    assert "atrial fibrillation" in store.entities and "arrhythmia" not in store.entities
    assert store.labels[1].sum() == 1


def test_table_2b_from_the_shell(store, server, capsys):
    command = ["label", store.path, "--model", "m", "--base-url", server.url, "-q"]
    assert main([*command, "--no-merge-synonyms", "--no-superclasses"]) == 0
    assert "afib" in kmerl.Store.open(store.path).entities and set(server.stages()) == {"extract"}
    capsys.readouterr()
    assert main([*command[:-2], "nonsense"]) == 1
    err = capsys.readouterr().err
    assert "--base-url" in err and "base_url" not in err
    assert main([*command, "--concurrency", "0"]) == 1
    assert "--concurrency is 0" in capsys.readouterr().err


def test_a_server_that_dies_leaves_the_labels(store, server):
    store.label(progress=False)
    before = store.labels
    server.trouble = lambda number, stage, handler: number > 3 and cut(handler)
    with pytest.raises(ConnectionError):
        store.label(None, extractor=extractor(server, retries=1, concurrency=1), progress=False)
    assert np.array_equal(kmerl.Store.open(store.path).labels, before)
    server.trouble = None
    made = extractor(server)
    store.label(None, extractor=made, progress=False)
    assert made.counts["cached"] == 4


def test_from_the_shell(store, server, capsys, monkeypatch):
    monkeypatch.setenv("KEY", "given")
    command = [
        "label",
        store.path,
        "--model",
        "m",
        "--base-url",
        server.url,
        "-q",
        "--api-key-variable",
        "KEY",
    ]
    assert main(command) == 0
    out = capsys.readouterr().out
    assert "7 of 7 entities found" in out and f"{DISTINCT + 2} requests, 1,210 tokens" in out
    assert server.keys[0] == "Bearer given"
    assert main([*command[:-1], "NOT_SET"]) == 1
    assert "environment variable NOT_SET is not set" in capsys.readouterr().err


# ---- two extractors compared -------------------------------------------------------------------------------

SMALL = kmerl.Vocabulary(
    [
        kmerl.Entity("arrhythmia"),
        kmerl.Entity("atrial fibrillation", superclasses=("arrhythmia",)),
        kmerl.Entity("sinus rhythm"),
    ],
    name="small",
)


def test_two_extractors_compared(server, tmp_path):
    texts = ["sinus rhythm", "afib", "atrial fibrillation", "no afib", "sinus rhythm, afib", "nothing"]
    found = kmerl.compare_extractors(texts, "lexicon", extractor(server), SMALL)
    # The lexicon of this vocabulary does not know the abbreviation, the model does.
    one = found.entities["atrial fibrillation"]
    assert (one.both, one.first_only, one.second_only, one.neither) == (1, 0, 2, 3)
    assert (one.accuracy, one.precision, one.recall, one.f1) == (4 / 6, 1 / 3, 1.0, 0.5)
    assert one.kappa == pytest.approx((4 / 6 - 1 / 2) / (1 / 2))
    assert found.differences("atrial fibrillation") == [(1, "second"), (4, "second")]
    assert found.differences("ATRIAL FIBRILLATION", texts)[0] == (1, "second", "afib")
    assert list(found.entities)[-1] == "sinus rhythm" and found.entities["sinus rhythm"].kappa == 1
    assert found.total.second_only == 4 and "atrial fibrillation" in found.table()
    assert "afib" not in found.table() and found.names[0] == "lexicon"
    found.to_csv(tmp_path / "c.csv")
    assert (tmp_path / "c.csv").read_text().splitlines()[-1].startswith("all,")
    assert json.loads(found.to_json())["rows"][0]["second_only"] == 2
    with pytest.raises(ValueError, match="texts has 1 texts, 6 were compared"):
        found.differences("sinus rhythm", ["x"])
    with pytest.raises(KeyError):
        found.differences("banana")


def test_compared_with_a_gold_set():
    texts, gold = ["sinus rhythm", "atrial fibrillation"], np.array([[0, 0, 1], [0, 1, 1]])
    found = kmerl.compare_extractors(texts, gold, "lexicon", SMALL)
    assert found.total.accuracy == 5 / 6 and found.entities["arrhythmia"].both == 1  # implied
    assert found.entities["sinus rhythm"].recall == 0.5 and found.names == ("gold", "lexicon")
    empty = kmerl.compare_extractors(["x"], np.zeros((1, 3)), "lexicon", SMALL)
    assert empty.entities == {} and np.isnan(empty.total.f1) and np.isnan(empty.total.kappa)
    assert json.loads(empty.to_json())["rows"][0]["f1"] is None
    for wrong, message in (
        (np.zeros((2, 2)), r"first has shape \(2, 2\), expected \(2, 3\)"),
        (np.full((2, 3), 0.5), "values other than 0 and 1"),
    ):
        with pytest.raises(ValueError, match=message):
            kmerl.compare_extractors(texts, wrong, "lexicon", SMALL)


def test_stores_compared(store):
    store.label(SMALL, progress=False)
    found = kmerl.compare_extractors(TEXTS, store, "lexicon")
    assert found.vocabulary == SMALL and found.total.accuracy == 1 and found.total.both > 0
    with pytest.raises(ValueError, match="has no report like texts.1. .1 are missing"):
        kmerl.compare_extractors([TEXTS[0], "another"], store, "lexicon")
    with pytest.raises(ValueError, match="labelled with vocabulary 'small' .*, which is not the 'kmerl"):
        kmerl.compare_extractors(TEXTS, "lexicon", store, kmerl.Vocabulary.default())


@pytest.mark.parametrize(
    "change, error, expected",
    [
        ({"texts": []}, ValueError, "texts is empty"),
        ({"texts": "x"}, TypeError, "texts must be a list"),
        ({"hedged": "x"}, ValueError, "hedged is 'x'"),
        ({"vocabulary": "x"}, TypeError, "vocabulary is a str"),
        ({"second": "x"}, ValueError, "extractor is 'x'"),
    ],
)
def test_wrong_arguments_of_comparisons(change, error, expected):
    with pytest.raises(error, match=expected):
        kmerl.compare_extractors(**{"texts": ["x"], "first": "lexicon", "second": "lexicon", **change})
