"""A W&B server small enough for tests: it takes online runs on 127.0.0.1 and remembers them."""

import base64
import gzip
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.wandb_sweeps import ArtifactAnswers, SweepAnswers


class WandbStub:
    """A server that keeps what it is sent.

    Attributes:
        runs: Variables of the requests that created or updated a run, by run id.
        stream: Lines appended to a run's files (`wandb-history.jsonl`, ...), by run id and file.
        exit_code: How a run ended, by run id.
        uploads: Paths of uploaded files.
        refused: Fields of the schema to answer with an error.
        delay_s: Seconds before every answer.
        unknown: Requests that were not understood.
        sent: Everything that was sent, as text, to look for what must not be in it.
        sweeps: Sweeps and agents.
        artifacts: Artifacts.
    """

    def __init__(self) -> None:
        self.runs: dict[str, dict[str, Any]] = {}
        self.stream: dict[str, dict[str, list[str]]] = {}
        self.exit_code: dict[str, int] = {}
        self.uploads: list[str] = []
        self.refused: set[str] = set()
        self.delay_s = 0.0
        self.unknown: list[str] = []
        self.sent: list[str] = []
        handler = type("Handler", (_Handler,), {"stub": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self.sweeps, self.artifacts = SweepAnswers(), ArtifactAnswers(self.url)
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        """Stop listening; open connections break at their next request."""
        self._server.shutdown()
        self._server.server_close()

    def history(self, run_id: str) -> list[dict[str, Any]]:
        """Rows that arrived for a run."""
        lines = self.stream.get(run_id, {}).get("wandb-history.jsonl", [])
        return [json.loads(line) for line in lines]

    def answer_query(self, query: str, variables: dict[str, Any]) -> dict[str, Any] | None:
        """The data for a GraphQL request; `None` if it is not understood."""
        if any(field in query for field in self.refused):
            return None
        answers = {
            "serverInfo": self._server_info,
            "viewer": self._viewer,
            "upsertBucket": self._upsert_bucket,
            "createRunFiles": self._create_run_files,
            "bucket(": self._bucket,
            **self.sweeps.answers,
            **self.artifacts.answers,
        }
        matching = (answer for field, answer in answers.items() if field in query)
        answer = next(matching, None)
        if answer is None:
            self.unknown.append(query)
        return answer(variables) if answer else None

    def append(self, run_id: str, body: dict[str, Any]) -> None:
        """Take lines of a run's files, and its end."""
        for name, chunk in (body.get("files") or {}).items():
            self.stream.setdefault(run_id, {}).setdefault(name, []).extend(chunk["content"])
        if body.get("complete"):
            self.exit_code[run_id] = body["exitcode"]

    def _server_info(self, _: dict[str, Any]) -> dict[str, Any]:
        version = {"outOfDate": False, "latestVersionString": "0"}
        return {
            "serverInfo": {
                "cliVersionInfo": {"max_cli_version": "99.0.0"},
                "latestLocalVersionInfo": version | {"versionOnThisInstanceString": "0"},
                "features": [],
            }
        }

    def _viewer(self, _: dict[str, Any]) -> dict[str, Any]:
        viewer = {"id": "user", "entity": "team", "username": "user", "flags": "{}"}
        more = {"teams": {"edges": []}, "admin": False, "email": "user@example.org"}
        return {"viewer": viewer | more}

    def _bucket(self, variables: dict[str, Any]) -> dict[str, Any]:
        """What the library asks about a run before it resumes it."""
        name = variables["name"]
        if name not in self.runs:
            return {"model": {"bucket": None}, "project": {"run": None}}
        lines = self.stream[name]["wandb-history.jsonl"]
        summary = self.stream[name]["wandb-summary.json"][-1]
        bucket = {
            "id": base64.b64encode(name.encode()).decode(),
            "name": name,
            "displayName": name,
            "summaryMetrics": summary,
            "historyLineCount": len(lines),
            "eventsLineCount": 0,
            "logLineCount": 0,
            "historyTail": json.dumps(lines[-1:]),
            "eventsTail": "[]",
            "config": "{}",
            "tags": [],
            "wandbConfig": '{"t": 1}',
        }
        project = {"id": "project", "name": "fer_ray", "entity": {"id": "entity", "name": "team"}}
        return {"model": project | {"bucket": bucket}}

    def _upsert_bucket(self, variables: dict[str, Any]) -> dict[str, Any]:
        name = variables.get("name") or "run"
        given = {key: value for key, value in variables.items() if value is not None}
        inserted = name not in self.runs
        self.runs.setdefault(name, {}).update(given)
        project = {"id": "project", "name": variables.get("project") or "uncategorized"}
        bucket = {
            "id": base64.b64encode(name.encode()).decode(),
            "name": name,
            "displayName": variables.get("displayName") or name,
            "description": "",
            "config": variables.get("config") or "{}",
            "sweepName": variables.get("sweep"),
            "historyLineCount": 0,
            "project": project | {"entity": {"id": "entity", "name": "team"}},
        }
        return {"upsertBucket": {"bucket": bucket, "inserted": inserted}}

    def _create_run_files(self, variables: dict[str, Any]) -> dict[str, Any]:
        names = variables.get("files", [])
        files = [{"name": name, "uploadUrl": f"{self.url}/upload/{name}"} for name in names]
        return {"createRunFiles": {"runID": "run", "uploadHeaders": [], "files": files}}


@contextmanager
def running_stub() -> Iterator[WandbStub]:
    """A stub that is closed at the end."""
    stub = WandbStub()
    try:
        yield stub
    finally:
        stub.close()


class _Handler(BaseHTTPRequestHandler):
    stub: WandbStub
    protocol_version = "HTTP/1.1"
    timeout = 5

    def log_message(self, format: str, *args: Any) -> None:
        del format, args

    def handle(self) -> None:
        with suppress(ConnectionError):
            super().handle()

    def do_GET(self) -> None:
        self._reply({})

    def do_PUT(self) -> None:
        self.stub.sent.append(self._body().decode("latin-1"))
        self.stub.uploads.append(self.path.removeprefix("/upload/"))
        self._reply({})

    def do_POST(self) -> None:
        data = self._body()
        self.stub.sent.append(data.decode("latin-1"))
        if self.path.startswith("/graphql"):
            self._graphql(json.loads(data))
        elif "file_stream" in self.path:
            self.stub.append(self.path.split("/")[-2], json.loads(data))
            self._reply({"limits": {}})
        else:
            self._reply({})

    def _graphql(self, request: dict[str, Any]) -> None:
        answer = self.stub.answer_query(request["query"], request.get("variables") or {})
        error = {"data": {}, "errors": [{"message": "the stub does not know this"}]}
        self._reply(error if answer is None else {"data": answer})

    def _body(self) -> bytes:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        return gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body

    def _reply(self, content: dict[str, Any]) -> None:
        time.sleep(self.stub.delay_s)
        data = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
