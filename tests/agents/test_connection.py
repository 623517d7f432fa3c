"""What an agent's connection leaves unsaid."""

from msgspec import Raw

from podium.agents.connection import Said, _worth_saying
from podium.fleet.messages import Accepted, ErrorInfo, Failed, Progress, Renewal, Succeeded


def test_an_acceptance_is_left_out_where_its_end_is_said_at_the_same_time_and_nothing_else_is():
    said: list[Said] = [
        Accepted("agent", "ended"),
        Accepted("agent", "running"),
        Progress("agent", "ended", 0.5),
        Renewal("agent", ("running",)),
        Succeeded("agent", "ended", Raw(b"1")),
        Accepted("agent", "failed"),
        Failed("agent", "failed", ErrorInfo("E", "no")),
    ]
    assert _worth_saying(said) == [said[1], said[2], said[3], said[4], said[6]]
    assert _worth_saying(said[:2]) == said[:2]
