"""What the W&B server of tests says of sweeps, agents and artifacts."""

import json
from collections.abc import Callable
from typing import Any

import yaml

Answer = Callable[[dict[str, Any]], dict[str, Any]]


class SweepAnswers:
    """Sweeps and their agents.

    Attributes:
        sweeps: `config`, `state`, `description` and `prior_runs` of each sweep, by id.
        configs: Configurations that agents are still to run, nested.
    """

    def __init__(self) -> None:
        self.sweeps: dict[str, dict[str, Any]] = {}
        self.configs: list[dict[str, Any]] = []
        self._num_runs = 0

    @property
    def answers(self) -> dict[str, Answer]:
        """Answers by a word of the query."""
        return {
            "upsertSweep": self._upsert,
            "sweep(sweepName": self._sweep,
            "createAgent": lambda _: {"createAgent": {"agent": {"id": "agent1"}}},
            "agentHeartbeat": self._heartbeat,
        }

    def _upsert(self, variables: dict[str, Any]) -> dict[str, Any]:
        name = variables.get("id") or f"sweep{len(self.sweeps) + 1}"
        sweep = self.sweeps.setdefault(name, {"state": "RUNNING", "prior_runs": []})
        if variables.get("config"):
            filters = json.loads(variables.get("priorRunsFilters") or '{"$or": []}')
            sweep |= {
                "config": yaml.safe_load(variables["config"]),
                "description": variables["description"],
                "prior_runs": [item["name"] for item in filters["$or"]],
            }
        sweep["state"] = variables.get("state") or sweep["state"]
        entity = {"id": "entity", "name": variables.get("entityName") or "team"}
        project = {"id": "project", "name": variables.get("projectName"), "entity": entity}
        return {"upsertSweep": {"sweep": {"name": name, "project": project}}}

    def _sweep(self, variables: dict[str, Any]) -> dict[str, Any]:
        name = variables["sweep"]
        if name not in self.sweeps:
            return {"project": {"sweep": None}}
        sweep = self.sweeps[name]
        known = {"id": name, "name": name, "state": sweep["state"], "runs": {"edges": []}}
        return {"project": {"sweep": known | {"config": yaml.safe_dump(sweep["config"])}}}

    def _heartbeat(self, _: dict[str, Any]) -> dict[str, Any]:
        commands: list[dict[str, Any]] = [{"type": "exit"}]
        if self.configs:
            self._num_runs += 1
            args = {key: {"value": value} for key, value in self.configs.pop(0).items()}
            program = next(iter(self.sweeps.values()))["config"].get("program")
            name = f"agents-run-{self._num_runs}"
            commands = [{"type": "run", "run_id": name, "program": program, "args": args}]
        elif self._num_runs:
            commands = []  # the agent counts the runs itself
        return {"agentHeartbeat": {"agent": {"id": "agent1"}, "commands": json.dumps(commands)}}


class ArtifactAnswers:
    """Artifacts, whose files are uploaded like those of a run.

    Attributes:
        artifacts: `type`, `run` and `files` of each artifact, by name; once it is complete.
    """

    def __init__(self, url: str) -> None:
        self.artifacts: dict[str, dict[str, Any]] = {}
        self._url = url
        self._pending: dict[str, dict[str, Any]] = {}

    @property
    def answers(self) -> dict[str, Answer]:
        """Answers by a word of the query."""
        return {
            "query ArtifactType": lambda _: {"project": {"artifact": None}},
            "createArtifact(": self._create,
            "createArtifactManifest(": self._manifest("createArtifactManifest"),
            "updateArtifactManifest(": self._manifest("updateArtifactManifest"),
            "createArtifactFiles(": self._files,
            "commitArtifact(": self._commit,
        }

    def _create(self, variables: dict[str, Any]) -> dict[str, Any]:
        given = variables["input"]
        name = given["artifactCollectionName"]
        self._pending[name] = {
            "type": given["artifactTypeName"],
            "run": given["runName"],
            "files": [],
        }
        sequence = {"latestArtifact": None}
        artifact = {"id": name, "state": "PENDING", "artifactSequence": sequence}
        return {"createArtifact": {"artifact": artifact}}

    def _manifest(self, field: str) -> Answer:
        file = {"id": "file", "uploadUrl": f"{self._url}/upload/manifest", "uploadHeaders": []}
        return lambda _: {field: {"artifactManifest": {"id": "manifest", "file": file}}}

    def _files(self, variables: dict[str, Any]) -> dict[str, Any]:
        edges = []
        for given in variables["input"]["artifactFiles"]:
            artifact = given["artifactID"]
            self._pending[artifact]["files"].append(given["name"])
            path = f"artifact/{artifact}/{given['name']}"
            node: dict[str, Any] = {"storagePath": path, "artifact": {"id": artifact}}
            node |= {"uploadUrl": f"{self._url}/upload/{path}", "uploadHeaders": []}
            edges.append({"node": node | {"uploadMultipartUrls": None}})
        return {"createArtifactFiles": {"files": {"edges": edges}}}

    def _commit(self, variables: dict[str, Any]) -> dict[str, Any]:
        name = variables["artifactID"]
        self.artifacts[name] = self._pending.pop(name)
        return {"commitArtifact": {"artifact": {"id": name, "digest": "digest"}}}
