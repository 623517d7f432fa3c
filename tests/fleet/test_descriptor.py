"""What can't be a descriptor is refused, however it is made."""

import msgspec
import pytest

from podium.exceptions import InvalidInputError
from podium.fleet.descriptor import MAX_METADATA, SLA, AgentDescriptor, ServiceType, descriptor_of
from podium.fleet.messages import Registration


@pytest.mark.parametrize("wrong", ["*", ">", "a.b", "a b", "a\r\nb", "a\n", "", "x" * 10_240, "é", "a*"])
def test_ids_that_would_mean_more_than_one_agent_are_refused(wrong):
    with pytest.raises(InvalidInputError, match="1 to 128 letters"):
        AgentDescriptor(agent_id=wrong)
    with pytest.raises(InvalidInputError):
        msgspec.json.decode(msgspec.json.encode({"agent_id": wrong}), type=AgentDescriptor)


@pytest.mark.parametrize("good", ["a", "A-1_b", "x" * 128])
def test_ids_that_may_stand_in_a_subject_are_taken(good):
    assert AgentDescriptor(agent_id=good).agent_id == good


@pytest.mark.parametrize(
    "wrong",
    [
        {"agent_type": ""}, {"agent_type": "a.b"}, {"agent_type": "-a"}, {"agent_type": "x" * 129},
        {"capabilities": ["a b"]}, {"capabilities": ["a\n"]}, {"capabilities": [""]}, {"capabilities": "add"},
        {"capabilities": ["x" * 129]}, {"capabilities": [f"c{n}" for n in range(257)]}, {"capabilities": [7]},
        {"tags": ["\x00"]}, {"service_types": ["two words"]}, {"functions": [""]},
        {"version": ""}, {"version": "1 0"}, {"location": "a\tb"},
        {"endpoint": "tcp://x\r\n"}, {"endpoint": "x" * 1_025},
        {"key": "\x1b"}, {"incarnation": "x" * 1_025},
        {"slots": 0}, {"slots": True}, {"slots": 1.5}, {"slots": 100_001},
        {"metadata": {"x": "y" * MAX_METADATA}}, {"metadata": {"x": object()}}, {"metadata": ["x"]},
    ],
)  # fmt: skip
def test_what_is_too_large_or_would_break_a_label_is_refused(wrong):
    with pytest.raises(InvalidInputError):
        AgentDescriptor(agent_id="a", **wrong)


def test_lists_become_tuples_without_doubles():
    made = AgentDescriptor(agent_id="a", capabilities=["add", "divide", "add"], service_types=[ServiceType.COMPUTATION])
    assert made.capabilities == ("add", "divide")
    assert made.service_types == ("computation",)
    assert made.max_concurrent_tasks == 1


def test_a_descriptor_crosses_a_bus():
    made = AgentDescriptor(agent_id="a", capabilities=["add"], tags=["t"], sla=SLA(error_rate=0.1), metadata={"x": 1})
    for codec in (msgspec.json, msgspec.msgpack):
        assert codec.decode(codec.encode(made), type=AgentDescriptor) == made


def test_a_registration_over_the_link_becomes_one():
    said = Registration("a", "calculator", "i1", ("add",), ("sum",), 3, version="2.0")
    made = descriptor_of(said, key="k", location="east")
    assert (made.agent_id, made.agent_type, made.incarnation, made.slots) == ("a", "calculator", "i1", 3)
    assert (made.capabilities, made.functions, made.version) == (("add",), ("sum",), "2.0")
    assert (made.key, made.location) == ("k", "east")


@pytest.mark.parametrize("wrong", [{"response_time_ms": 0}, {"availability": 1.1}, {"error_rate": -0.1}])
def test_an_sla_out_of_range_is_refused(wrong):
    with pytest.raises(InvalidInputError):
        SLA(**wrong)
