"""Messages as document 003 has them."""

import pytest
from msgspec.structs import replace

import podium
from podium.bus.message import Message, MessageType, Priority, priority_named
from podium.exceptions import InvalidInputError

# Document 003, section 1, with its package's name replaced.
SNIPPET = """
from podium import MessageBus, Message, MessageType

bus = MessageBus()
await bus.initialize()

# Publish message
message = Message(
    sender_id="agent-001",
    recipient_id="agent-002",
    message_type=MessageType.REQUEST,
    payload={"task": "calculate_emissions", "supplier_id": "SUP-123"}
)
await bus.publish(message)

# Subscribe to messages
async for msg in bus.subscribe(["agent.messages"]):
    print(f"Received: {msg.payload}")
    break
metrics = await bus.get_metrics()
print(f"Throughput: {metrics['throughput_per_second']}")
print(f"Active consumers: {metrics['active_consumers']}")
await bus.shutdown()
"""


def test_the_example_of_document_003_runs_as_it_stands(capsys, tmp_path, monkeypatch):
    import ast
    import asyncio
    import inspect

    monkeypatch.chdir(tmp_path)
    for name in ("PODIUM_BUS", "NATS_URL"):
        monkeypatch.delenv(name, raising=False)
    code = compile(SNIPPET, "003", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    running = eval(code, {})
    assert inspect.iscoroutine(running)
    asyncio.run(asyncio.wait_for(running, 20))
    out = capsys.readouterr().out
    assert "Received: {'task': 'calculate_emissions', 'supplier_id': 'SUP-123'}" in out
    assert "Active consumers: 1" in out


def test_the_public_names_are_there():
    assert (podium.Message, podium.MessageType, podium.Priority) == (Message, MessageType, Priority)
    assert podium.MessageBus.__module__ == "podium.bus.message_bus"


def test_a_message_is_a_value():
    message = Message(sender_id="a", payload={"n": 1})
    assert message == Message(sender_id="a", payload={"n": 1})
    with pytest.raises(AttributeError):
        message.sender_id = "b"  # type: ignore[misc]
    assert replace(message, priority=75).priority == Priority.HIGH
    assert message.message_type is MessageType.EVENT
    assert Message().payload is not Message().payload


@pytest.mark.parametrize(("name", "number"), [("LOW", 25), ("normal", 50), ("High", 75), ("critical", 100)])
def test_priorities_have_names(name, number):
    assert priority_named(name) == Priority(name) == number


def test_what_is_no_priority_is_refused():
    with pytest.raises(InvalidInputError, match="'urgent' is no priority"):
        priority_named("urgent")
    with pytest.raises(ValueError, match="urgent"):
        Priority("urgent")  # type: ignore[arg-type]
