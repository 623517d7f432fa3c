"""Writes small WfFormat documents, in each schema, as WfCommons does."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

Documents = dict[str, Any]


def by_name(
    names: Sequence[str], parents: Mapping[str, Sequence[str]], *, sides: str = "both", tasks: Sequence[Documents] = ()
) -> Documents:
    """A trace of schema 1.4: tasks refer to each other by name, on one side or on both."""
    written = []
    for at, name in enumerate(names):
        task: Documents = {"name": name, "id": f"ID{at:07d}", "type": "compute", "runtimeInSeconds": float(at)}
        if sides in ("both", "parents"):
            task["parents"] = list(parents.get(name, ()))
        if sides in ("both", "children"):
            task["children"] = [child for child in names if name in parents.get(child, ())]
        written.append(task | (tasks[at] if tasks else {}))
    return {
        "name": "made",
        "schemaVersion": "1.4",
        "wms": {"name": "none", "version": "1"},
        "workflow": {"makespanInSeconds": 9.0, "executedAt": "2026-11-25T10:00:00Z", "tasks": written},
    }


def by_id(ids: Sequence[str], parents: Mapping[str, Sequence[str]], *, schema: str = "1.5") -> Documents:
    """A trace of schema 1.5 or 1.6: a specification and an execution, joined by ids."""
    tasks = [
        {
            "name": f"program {at}",
            "id": task,
            "parents": list(parents.get(task, ())),
            "children": [child for child in ids if task in parents.get(child, ())],
            "inputFiles": [],
            "outputFiles": [],
        }
        for at, task in enumerate(ids)
    ]
    runs = [{"id": task, "runtimeInSeconds": float(at)} for at, task in enumerate(ids)]
    return {
        "name": "made",
        "schemaVersion": schema,
        "workflow": {
            "specification": {"tasks": tasks, "files": []},
            "execution": {"makespanInSeconds": 0.0, "executedAt": "2026-11-25T10:00:00Z", "tasks": runs},
        },
    }


def text(document: Documents) -> str:
    return json.dumps(document)
