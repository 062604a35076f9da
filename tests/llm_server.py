"""A server on the loopback interface that speaks OpenAI's chat completions: well, and badly."""

import json
import re
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

TERMS = (
    "sinus rhythm", "atrial fibrillation", "afib", "vorhofflimmern", "inferior infarct", "anterior infarct",
    "anterior myocardial infarction", "left bundle branch block", "lbbb", "linksschenkelblock",
    "first degree av block", "st elevation",
)  # fmt: skip
MERGED = {
    "afib": "atrial fibrillation", "vorhofflimmern": "atrial fibrillation",
    "lbbb": "left bundle branch block",
    "linksschenkelblock": "left bundle branch block", "inferior infarct": "inferior myocardial infarction",
    "anterior infarct": "anterior myocardial infarction",
}  # fmt: skip
GROUPS = {
    "myocardial infarction": ["inferior myocardial infarction", "anterior myocardial infarction"],
    "conduction disturbance": ["left bundle branch block", "first degree av block"],
}


class Model:
    """A model that knows TERMS by heart, and takes a denied finding for a finding."""

    def __call__(self, stage, prompt, seed):
        return json.dumps(getattr(self, stage)(prompt))

    def extract(self, prompt):
        text = prompt.split("Text:\n")[-1].lower()
        return {"entities": [term for term in TERMS if re.search(rf"\b{term}\b", text)]}

    def verify(self, prompt):
        text, entity = re.search(r"Text:\n(.*)\n\nFinding: (.*)", prompt, re.S).groups()
        before = text.lower().split(entity)[0].split(".")[-1]  # in its own sentence
        return {"answer": "NO" if "no " in before else "POSSIBLE" if "possible" in before else "YES"}

    def merge(self, prompt):
        names = prompt.split("Findings:\n")[-1].split("\n")
        return {"merged": [{"name": name, "as": MERGED.get(name, name)} for name in names]}

    def superclasses(self, prompt):
        names = prompt.split("Findings:\n")[-1].split("\n")
        groups = {group: [m for m in members if m in names] for group, members in GROUPS.items()}
        return {"superclasses": [{"name": g, "members": m} for g, m in groups.items() if m]}

    def assign(self, prompt):
        name = prompt.split("Finding: ")[-1]
        return {"entity": MERGED.get(name, "none")}


class Server:
    """The server; `asked` lists the requests as (stage, prompt, whole body), `most` how many came at once.

    `trouble(number, stage, handler)` may answer request `number` in place of the model: it returns True if it
    has."""

    def __init__(self, model=None, trouble=None):
        self.model, self.trouble = model or Model(), trouble
        self.asked, self.keys, self.now, self.most, self._lock = [], [], 0, 0, threading.Lock()
        self.delay = 0.0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            wbufsize = 1 << 16  # head and body in one packet

            def do_POST(self):
                outer.serve(self)

            def log_message(self, *_):
                pass

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.daemon_threads = True
        self._http.handle_error = lambda *_: None
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}/v1"
        threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._http.shutdown()
        self._http.server_close()

    def stages(self):
        return [stage for stage, _, _ in self.asked]

    def serve(self, handler):
        body = json.loads(handler.rfile.read(int(handler.headers["Content-Length"])))
        prompt = body["messages"][0]["content"]
        stage = body.get("response_format", {}).get("json_schema", {}).get("name", "extract")
        with self._lock:
            number = len(self.asked)
            self.asked.append((stage, prompt, body))
            self.keys.append(handler.headers.get("Authorization"))
            self.now += 1
            self.most = max(self.most, self.now)
        try:
            time.sleep(self.delay)
            if handler.path != "/v1/chat/completions":
                say(handler, 404, {"error": {"message": f"no such page, you asked: {prompt}"}})
            elif not (self.trouble and self.trouble(number, stage, handler)):
                say(handler, 200, completion(self.model(stage, prompt, body.get("seed")), body["model"]))
        finally:
            with self._lock:
                self.now -= 1


def completion(content, model="served", finish="stop"):
    message = {"role": "assistant", "content": content}
    return {
        "id": "x", "object": "chat.completion", "created": 1, "model": model,
        "choices": [{"index": 0, "message": message, "finish_reason": finish}],
        "usage": {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110},
    }  # fmt: skip


def say(handler, status, value, kind="application/json", headers=()):
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    handler.send_response(status)
    handler.send_header("Content-Type", kind)
    handler.send_header("Content-Length", str(len(data)))
    for name, text in headers:
        handler.send_header(name, text)
    handler.end_headers()
    handler.wfile.write(data)
    return True


def cut(handler):
    """Promises more than it sends."""
    handler.send_response(200)
    handler.send_header("Content-Type", "application/json")
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.wfile.write(b'{"id": "x", "choi')
    handler.wfile.flush()
    handler.close_connection = True
    handler.connection.close()
    return True
