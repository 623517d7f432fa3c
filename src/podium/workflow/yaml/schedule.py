"""The `schedule` block: when the clock starts the workflow, as `podium schedule create` takes it from the file."""

from __future__ import annotations

from typing import Any, Final

from podium.workflow.problems import Path
from podium.workflow.schedules.spec import WHEN, Overlap, ScheduleSpec
from podium.workflow.yaml import values as v
from podium.workflow.yaml.fields import Field, Table, read_block
from podium.workflow.yaml.nodes import Mapping, Node, Scalar
from podium.workflow.yaml.values import INVALID, Reading

SCHEDULE: Final = Table(
    (
        Field("cron", v.text, 'a cron expression of five fields: "0 9 * * mon-fri"; or @hourly, @daily, @weekly …'),
        Field("every", v.duration, "an interval", also=("every_seconds",), attribute="every_seconds"),
        Field("at", v.moment, "once, at this time"),
        Field("time_zone", v.text, "the cron expression's, such as Europe/Zurich", also=("tz",)),
        Field("starts_at", v.moment, "not before this time", also=("from",)),
        Field("ends_at", v.moment, "not after this time", also=("until",)),
        Field("max_firings", v.integer, "so many times at most", also=("count",)),
        Field(
            "overlap",
            v.choice(Overlap, "policy"),
            "while an execution still runs: skip, buffer_one, allow, cancel_previous",
        ),
        Field(
            "catch_up",
            v.duration,
            "how late it may fire; without it an hour",
            also=("catch_up_seconds",),
            attribute="catch_up_seconds",
        ),
        Field("catch_up_limit", v.integer, "of many that are late together, so many"),
        Field(
            "jitter", v.duration, "each waits for a part of it", also=("jitter_seconds",), attribute="jitter_seconds"
        ),
    ),
    later=("backfill", "input", "inputs", "name", "paused", "priority", "timeout"),
)


def schedule(reading: Reading, node: Node, path: Path) -> Any:
    """Read a `schedule` block, or a cron expression alone."""
    if type(node) is Scalar and isinstance(node.value, str):
        return ScheduleSpec(cron=node.value)
    said = read_block(reading, node, path, SCHEDULE)
    if type(node) is not Mapping:
        return INVALID
    if WHEN.isdisjoint(said) and any((*path, field) in reading.excused for field in WHEN):
        return INVALID  # when it fires is said, and can't be read: that has been noted
    return ScheduleSpec(**said)
