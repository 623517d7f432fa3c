"""Secrets on the bus: references and places, in frames of Podium's own and in document 000's JSON; never values."""

from __future__ import annotations

import json

import msgspec
from msgspec import Raw

from podium.engine.assignments import assignment_for
from podium.fleet import wire
from podium.fleet.frames import decode_heard, encode_frame
from podium.fleet.messages import Assignment, SecretPlace, SecretReference
from podium.fleet.translation import wire_task
from podium.workflow.model import AgentGroup, Secret, Task, Workflow
from tests.engine.playing import Play

TOKEN = SecretReference("token", env="TOKEN")


def assigned() -> Assignment:
    team = AgentGroup("team", "worker", env={"KEY": "${secret.key}", "PLAIN": "$${x}"})
    payload = {"list": ["Bearer ${secret.token} for ${input.who}"], "n": 1}
    workflow = Workflow(
        name="w",
        tasks=(Task(id="a", agent="team", payload=payload),),
        agents={"team": team},
        secrets=(Secret("token", env="TOKEN"), Secret("key")),
    )
    play = Play(workflow, given={"who": "${secret.key}"})
    play.start()
    play.grant("a")
    return assignment_for(play.state, play.state.tasks["a"], 1, "team-1", 15.0)


def test_an_assignment_says_where_secrets_belong_and_what_is_around_them():
    made = assigned()
    assert json.loads(bytes(made.arguments)) == {"list": ["Bearer ${secret.token} for ${secret.key}"], "n": 1}
    assert made.env == (("KEY", "${secret.key}"), ("PLAIN", "${x}"))
    assert made.secrets == (
        SecretPlace(("input", "list", 0), ("Bearer ", TOKEN, " for ", "${secret.key}")),
        SecretPlace(("env", "KEY"), (SecretReference("key"),)),
    )


def test_frames_carry_it_as_it_is():
    made = assigned()
    (heard,) = decode_heard(encode_frame("podium", 1, [made])).messages
    assert (heard.env, heard.secrets) == (made.env, made.secrets)
    plain = Assignment("e:1:a:1", "x", "e", "t", "a", "f", Raw(b"{}"), "key")
    (heard,) = decode_heard(encode_frame("podium", 2, [plain])).messages
    assert (heard.env, heard.secrets) == ((), ())


def test_an_agent_in_another_language_is_told_the_places_in_its_payload():
    told = json.loads(wire.encoded(wire.TaskAssignmentMessage(task=wire_task(assigned()))))["task"]
    assert told["secrets"] == [
        {"path": ["list", 0], "parts": ["Bearer ", {"name": "token", "env": "TOKEN"}, " for ", "${secret.key}"]}
    ]
    assert "KEY" not in msgspec.json.encode(told).decode()
