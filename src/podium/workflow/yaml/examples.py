"""An example of each field of the language: a few lines as they stand in their block, and the file around them.

The reference shows the lines; a test has each file validated. A field without an example fails that test.
"""

from __future__ import annotations

from textwrap import indent
from typing import Final

WORKFLOW: Final = {
    "name": "name: weekly_report",
    "id": "id: 7b0e1a54-6a43-5a0e-9f0c-2f6d0c9c2b11",
    "version": 'version: "2.1"',
    "description": "description: Reads what is new and writes a page about it.",
    "orchestration_pattern": "orchestration_pattern: graph",
    "include": "include: [{file: search.yaml, prefix: web_}]",
    "inputs": "inputs: {question: string, papers: array, limit: 10}",
    "secrets": "secrets: [token]",
    "output": 'output: {text: "${tasks.write.result}"}',
    "publish": 'publish: {writing: "${tasks.write.status}"}',
    "continue_as_new": (
        "continue_as_new:\n  when: ${tasks.search.result.more}\n"
        '  input: {question: "${input.question}", papers: "${tasks.search.result.next}"}'
    ),
    "agents": "agents:\n  writer: {type: writer_agent, count: 2}",
    "defaults": "defaults: {agent: writer, retries: 2, timeout: 1m}",
    "tasks": "tasks:\n  - {id: write, agent: writer}",
    "config": "config: {timeout: 1h, max_parallel_tasks: 8}",
    "timeout": "timeout: 1h30m",
    "priority": "priority: high",
    "coordination": "coordination: {type: hybrid, event_driven: [search], graph_based: [write]}",
    "fault_tolerance": "fault_tolerance:\n  circuit_breaker: {failure_threshold: 5, timeout: 30s}",
    "constraints": "constraints: {max_parallel: 4}",
    "metadata": "metadata: {team: research, ticket: 4711}",
    "scheduled_at": 'scheduled_at: "2027-01-04T09:00:00+01:00"',
    "schedule": 'schedule: "0 9 * * mon-fri"',
}

SCHEDULE: Final = {
    "cron": 'cron: "*/15 9-17 * * mon-fri"',
    "every": "every: 15m",
    "at": 'at: "2030-01-31T09:00:00Z"',
    "time_zone": 'cron: "0 9 * * *"\ntime_zone: Europe/Zurich',
    "starts_at": 'every: 1h\nstarts_at: "2030-01-01T00:00:00Z"',
    "ends_at": 'every: 1h\nends_at: "2031-01-01T00:00:00Z"',
    "max_firings": "every: 1h\nmax_firings: 24",
    "overlap": "every: 1h\noverlap: buffer_one",
    "catch_up": "every: 1h\ncatch_up: 10m",
    "catch_up_limit": "every: 1m\ncatch_up_limit: 1",
    "jitter": "every: 1h\njitter: 30s",
}

INPUT: Final = {
    "type": "type: string",
    "default": "default: What is new?",
    "required": "type: string\nrequired: false",
    "description": "type: string\ndescription: What the report answers.",
    "enum": "type: string\nenum: [short, long]",
    "minimum": "type: integer\nmin: 1",
    "maximum": "type: string\nmax: 200",
    "pattern": 'type: string\npattern: "^[A-Z]{2}-[0-9]{4}$"',
}

INCLUDED: Final = {
    "file": "file: search.yaml",
    "prefix": "file: search.yaml\nprefix: web_",
}

SECRET: Final = {
    "env": "env: SEARCH_TOKEN",
    "file": "file: search/token",
    "description": "description: Of the search service.",
}

AGENT: Final = {
    "type": "type: writer_agent",
    "count": "type: writer_agent\ncount: 3",
    "capabilities": "type: writer_agent\ncapabilities: [markdown, german]",
    "resources": "type: writer_agent\nresources: {cpu: 4, memory: 8GB}",
    "version": 'type: writer_agent\nversion: ">=1.2,<2"',
    "rate_limit": "type: writer_agent\nrate_limit: 100/m",
    "concurrency": "type: writer_agent\nconcurrency: 10",
    "env": 'type: writer_agent\nenv: {OMP_NUM_THREADS: 4, TOKEN: "${secret.token}"}',
}

TASK: Final = {
    "id": "id: write",
    "name": "name: Write the report",
    "type": "type: compute",
    "agent": "agent: writer",
    "agent_type": "agent_type: writer_agent",
    "function": "function: summarise",
    "depends_on": "depends_on: [search]",
    "input": 'depends_on: [search]\ninput: {question: "${input.question}", found: "${tasks.search.result.papers}"}',
    "parallel": "parallel: true",
    "for_each": 'for_each: ${input.papers}\ninput: {paper: "${item}"}',
    "max_parallel": "for_each: ${input.papers}\nmax_parallel: 4",
    "when": "depends_on: [search]\nwhen: ${tasks.search.result.count > 0}",
    "retry": "retry: {max_attempts: 5, initial_delay: 2s, max_delay: 1m}",
    "retry_policy": "retry_policy: exponential_backoff",
    "retries": "retries: 3",
    "timeout": "timeout: 90s",
    "deadline": "deadline: 10m",
    "estimated_duration": "estimated_duration: 45s",
    "priority": "priority: 80",
    "resources": 'resources: {cpu: "2 cores", memory: 4GB}',
    "on_failure": "on_failure: {fallback: search}",
    "run_if": "depends_on: [search]\nrun_if: all_done",
    "grows": "grows: true",
    "rate_limit": "rate_limit: 10/s",
    "concurrency": "concurrency: 3",
    "signal": "type: wait\nsignal: approved",
    "accept": "type: wait\nsignal: approved\naccept: signal.value.by != 'nobody'",
    "for": "type: wait\nfor: 10m",
    "until": 'type: wait\nuntil: "2030-01-01T09:00:00Z"',
    "execution": "type: wait\ndepends_on: [search]\nexecution: ${tasks.search.result.execution}",
    "form": "type: human\nform: {type: object, required: [ok], properties: {ok: {type: boolean}}}",
    "assignee": "type: human\nassignee: ann",
    "escalation": "type: human\nassignee: ann\nescalation: {after: 1d, to: bob}",
    "idempotent": "idempotent: false",
    "cache": 'cache: {key: "report ${input.question}", ttl: 1h}',
    "compensation": "compensation: {agent: writer, function: withdraw}",
    "workflow": (
        "type: workflow\nworkflow:\n  name: proof\n  inputs: {text: string}\n"
        "  tasks: [{id: read, agent: writer_agent}]\ninput: {text: Hello.}"
    ),
    "parent_close": (
        "type: workflow\nworkflow: {name: mirror, tasks: [{id: copy, agent: writer_agent}]}\nparent_close: abandon"
    ),
}

ESCALATION: Final = {
    "after": "after: 1h\nto: bob",
    "to": "after: 1h\nto: bob",
}

RATE_LIMIT: Final = {
    "limit": "limit: 10",
    "per": "limit: 100\nper: 5m",
    "key": 'limit: 10\nkey: "customer-${input.question}"',
}

CONCURRENCY: Final = {
    "limit": "limit: 3",
    "key": "limit: 3\nkey: mailbox",
}

CACHE: Final = {
    "key": "key: report ${input.question}",
    "ttl": "key: report ${input.question}\nttl: 1h",
}

COMPENSATION: Final = {
    "task": "task: search",
    "agent": "agent: writer",
    "agent_type": "agent_type: writer_agent",
    "function": "agent: writer\nfunction: withdraw",
    "input": 'agent: writer\ninput: {report: "${tasks.write.result}"}',
    "timeout": "agent: writer\ntimeout: 1m",
}

RETRY: Final = {
    "max_attempts": "max_attempts: 5",
    "initial_delay": "max_attempts: 5\ninitial_delay: 500ms",
    "multiplier": "max_attempts: 5\nmultiplier: 3",
    "max_delay": "max_attempts: 5\nmax_delay: 2m",
    "jitter": "max_attempts: 5\njitter: 0.2",
    "non_retryable": "max_attempts: 5\nnon_retryable: [ValueError]",
}

FAILURE: Final = {
    "fallback": "fallback: search",
    "action": "action: continue",
    "task": "action: fallback\ntask: search",
}

RESOURCES: Final = {
    "cpu_cores": "cpu: 500m",
    "memory_mb": "memory: 4GiB",
    "disk_mb": "disk: 20GB",
    "network_bandwidth_mbps": "network_bandwidth: 100",
    "gpu_count": "gpu: 1",
    "custom_resources": "custom: {licence: 1}",
}

CONFIG: Final = {
    "timeout": "timeout: 2h",
    "priority": "priority: low",
    "max_parallel_tasks": "max_parallel_tasks: 16",
    "max_concurrent_executions": "max_concurrent_executions: 3",
    "max_crashes": "max_crashes: 1",
}

CONSTRAINT: Final = {
    "type": "type: max_parallel\nvalue: 4",
    "value": "type: max_parallel\nvalue: 4",
}

CONTINUE_AS_NEW: Final = {
    "when": "when: ${tasks.search.result.more}",
    "input": 'input: {question: "${input.question}", papers: "${tasks.search.result.next}"}',
}

COORDINATION: Final = {
    "type": "type: hybrid",
    "event_driven": "event_driven: [search]",
    "graph_based": "graph_based: [search, write]",
}

FAULT_TOLERANCE: Final = {
    "circuit_breaker": "circuit_breaker: {failure_threshold: 5, timeout: 30s}",
    "saga_pattern": "saga_pattern: {compensation_enabled: true, rollback_on_failure: true}",
}

CIRCUIT_BREAKER: Final = {
    "failure_threshold": "failure_threshold: 10",
    "timeout_seconds": "timeout: 1m",
}

SAGA: Final = {
    "compensation_enabled": "compensation_enabled: true",
    "rollback_on_failure": "compensation_enabled: true\nrollback_on_failure: true",
}

_AROUND: Final = {
    "name": "name: example",
    "inputs": "inputs: {question: string, papers: array}",
    "secrets": "secrets: {token: {env: SEARCH_TOKEN}}",
    "agents": "agents:\n  writer: {type: writer_agent, count: 2}",
    "tasks": "tasks:\n  - {id: search, agent: writer}\n  - {id: write, agent: writer}",
}
_WRITE: Final = {"id": "id: write", "agent": "agent: writer"}
_ASK: Final = {"id": "id: write", "type": "type: human"}
_IN_TASK: Final = {
    "retry": "retry",
    "failure": "on_failure",
    "resources": "resources",
    "rate_limit": "rate_limit",
    "concurrency": "concurrency",
    "escalation": "escalation",
    "cache": "cache",
    "compensation": "compensation",
}
_IN_WORKFLOW: Final = {
    "workflow": (),
    "included": ("include",),
    "input": ("inputs", "question"),
    "secret": ("secrets", "token"),
    "agent": ("agents", "writer"),
    "schedule": ("schedule",),
    "config": ("config",),
    "constraint": ("constraints", "-"),
    "continue_as_new": ("continue_as_new",),
    "coordination": ("coordination",),
    "fault_tolerance": ("fault_tolerance",),
    "circuit_breaker": ("fault_tolerance", "circuit_breaker"),
    "saga": ("fault_tolerance", "saga_pattern"),
}


def file_around(block: str, lines: str) -> str:
    """Return a whole workflow's file in which these lines stand in a block of this name."""
    if block == "task" or block in _IN_TASK:
        task = indent(_task_around(block, lines), "    ")
        return _merged(_AROUND, f"tasks:\n  - {{id: search, agent: writer}}\n  -\n{task}")
    said = lines
    for key in reversed(_IN_WORKFLOW[block]):
        said = f"- \n{indent(said, '  ')}" if key == "-" else f"{key}:\n{indent(said, '  ')}"
    return _merged(_AROUND, said)


def _task_around(block: str, lines: str) -> str:
    """Return a task with these lines, its own or those of one of its blocks."""
    said = lines if block == "task" else f"{_IN_TASK[block]}:\n{indent(lines, '  ')}"
    if said.startswith("agent_type:"):
        return f"id: write\n{said}"
    of_nobody = block == "escalation" or said.startswith(("type: wait", "type: human", "type: workflow"))
    return _merged(_ASK if of_nobody else _WRITE, said)


def _merged(around: dict[str, str], lines: str) -> str:
    """Return the lines of a mapping with what is missing of those around them."""
    said = {line.partition(":")[0] for line in lines.splitlines() if not line.startswith((" ", "-"))}
    return "\n".join([*(text for key, text in around.items() if key not in said), lines])
