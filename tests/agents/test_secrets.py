"""Secrets on the agent's side: where they are found, who is given them, and that nobody else ever is."""

from __future__ import annotations

import asyncio
import os

import msgspec
import pytest
from pydantic import BaseModel

from podium.agents import builtin, concealing
from podium.agents.builtin import Shell
from podium.agents.context import Context
from podium.agents.sdk import function_agent, task
from podium.agents.secrets import MAX_BYTES, Secrets
from podium.exceptions import SecretError
from podium.fleet.messages import Failed, SecretPlace, SecretReference
from tests.agents import sample
from tests.agents.support import assignment, hosting

TOKEN = SecretReference("token")
VALUE = "s3cr3t-value-of-the-token"
PLACE = SecretPlace(("input", "text"), ("Bearer ", TOKEN))


@task
async def repeat(text: str, context: Context) -> str:
    context.logger.info("given", header=text)
    context.progress(0.5, text)
    context.checkpoint({"text": text})
    context.publish({"text": text})
    if text.startswith("raise "):
        raise ValueError(text)
    return text


@task
def in_a_thread(text: str, context: Context) -> list[str]:
    return [text, context.env["TOKEN"]]


@task
async def enlarge(text: str) -> str:
    return "x" * 70_000 + text


@task
async def wants_a_number(text: int) -> int:
    return text


def known(**more: str) -> Secrets:
    return Secrets(environment={"PODIUM_SECRET_TOKEN": VALUE, **more})


# --- where ---------------------------------------------------------------------------------------------------------


def test_a_secret_is_a_variable_or_a_file_of_its_name(tmp_path):
    (tmp_path / "file_only").write_text("from a file\n")
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "x.key").write_bytes(b"line 1\nline 2\r\n")
    secrets = Secrets(str(tmp_path), {"PODIUM_SECRET_TOKEN": VALUE, "OTHER": "another value"})
    assert secrets.value_of(TOKEN) == VALUE
    assert secrets.value_of(SecretReference("x", env="OTHER")) == "another value"
    assert secrets.value_of(SecretReference("file_only")) == "from a file"
    assert secrets.value_of(SecretReference("x", file="below/x.key")) == "line 1\nline 2"


def test_a_file_may_be_a_link_within_the_folder_and_none_out_of_it(tmp_path):
    folder = tmp_path / "secrets"
    (folder / "..data").mkdir(parents=True)
    (folder / "..data" / "token").write_text("linked value")
    (folder / "token").symlink_to("..data/token")
    (tmp_path / "outside").write_text("not a secret of ours")
    (folder / "out").symlink_to("../outside")
    secrets = Secrets(str(folder), {})
    assert secrets.value_of(TOKEN) == "linked value"
    for file in ("out", "../outside"):
        with pytest.raises(SecretError, match="is not in"):
            secrets.value_of(SecretReference("x", file=file))
    with pytest.raises(SecretError, match="is no file"):
        secrets.value_of(SecretReference("x", file="..data"))


def test_one_that_isnt_there_is_named_with_what_to_do(tmp_path):
    secrets = Secrets(str(tmp_path), {})
    with pytest.raises(SecretError) as caught:
        secrets.value_of(TOKEN, "research-1")
    assert str(caught.value) == (
        f"agent research-1 doesn't know the secret 'token': set PODIUM_SECRET_TOKEN where it runs, or write it to "
        f"{tmp_path}/token"
    )
    with pytest.raises(SecretError, match=r"set OTHER where it runs$"):
        secrets.value_of(SecretReference("x", env="OTHER"))
    with pytest.raises(SecretError, match="there is no file"):
        secrets.value_of(SecretReference("x", file="key.pem"))


def test_what_cant_be_kept_secret_or_isnt_text_is_refused(tmp_path):
    (tmp_path / "large").write_bytes(b"x" * (MAX_BYTES + 1))
    (tmp_path / "bytes").write_bytes(b"\xff\xfe\xfd\xfc")
    secrets = Secrets(str(tmp_path), {"PODIUM_SECRET_TOKEN": "abc"})
    with pytest.raises(SecretError, match="fewer than 4 characters"):
        secrets.value_of(TOKEN)
    with pytest.raises(SecretError, match="larger than"):
        secrets.value_of(SecretReference("large"))
    with pytest.raises(SecretError, match="isn't UTF-8"):
        secrets.value_of(SecretReference("bytes"))


@pytest.mark.parametrize("variable", ["PODIUM_DATABASE", "PODIUM_NATS_PASSWORD", "DATABASE_URL", "NATS_URL"])
def test_podiums_own_variables_are_nobodys_secrets(variable):
    with pytest.raises(SecretError, match="Podium's own"):
        Secrets(environment={variable: "postgresql://u:p@h/d"}).value_of(SecretReference("x", env=variable))


# --- who is given them, and what they say ----------------------------------------------------------------------------


def test_only_the_places_of_the_assignment_are_filled():
    text = "${secret.token}"  # of an input, say: what looks like a secret is none
    given = known().given(assignment("a1", arguments={"text": "x", "other": text}, env=(("A", "b"),), secrets=(PLACE,)))
    assert msgspec.json.decode(given.arguments) == {"text": f"Bearer {VALUE}", "other": text}
    assert given.env == {"A": "b"}


@pytest.mark.parametrize("function", [repeat, sample.repeat_aloud])
@pytest.mark.parametrize("how", ["Bearer ", "raise "])
def test_what_an_attempt_says_has_no_secret_in_it(function, how):
    async def main() -> None:
        async with hosting(function_agent("f", [function]), secrets=known()) as rig:
            name = function.__podium_task__.name
            place = SecretPlace(("input", "text"), (how, TOKEN))
            rig.give("a1", name, {"text": "…"}, secrets=(place,))
            if how == "raise ":
                failed = await rig.failure("a1")
                assert failed.error.message == "raise [secret token]"
                assert "[secret token]" in failed.error.traceback
            else:
                assert await rig.result("a1") == "Bearer [secret token]"
            said = msgspec.json.encode([rig.mailbox.messages, rig.lines.lines]).decode()
            assert VALUE not in said
            assert rig.lines.texts == [f'info: given header="{how}[secret token]"']

    asyncio.run(main())


def test_an_argument_that_doesnt_fit_is_refused_without_its_value():
    async def main() -> None:
        long = "abcdefgh" * 20
        secrets = Secrets(environment={"PODIUM_SECRET_TOKEN": long})
        async with hosting(wants_a_number, secrets=secrets) as rig:
            rig.give("a1", "wants_a_number", {"text": ""}, secrets=(SecretPlace(("input", "text"), (TOKEN,)),))
            failed = await rig.failure("a1")
            assert failed.error.type == "ArgumentError"
            assert "abcdefgh" not in failed.error.message

    asyncio.run(main())


class Refused(ValueError):
    """Like pydantic's: its text repeats begin and end of what was given."""

    def __init__(self, given: str) -> None:
        super().__init__(f"1 validation error: input_value='{given[:24]}...{given[-24:]}'")

    def errors(self, *, include_url: bool, include_context: bool, include_input: bool) -> list[dict[str, object]]:
        assert not include_url
        assert not include_context
        assert not include_input
        return [{"loc": ("page", 0), "msg": "should be a number"}, {"loc": (), "msg": "is no address"}] * 11


class Address:
    """A model that takes nothing."""

    @classmethod
    def model_validate(cls, value: str) -> Address:
        raise Refused(value)


@task
async def visit(text: Address) -> None:
    raise NotImplementedError


def test_what_a_model_refuses_is_said_without_what_was_given():
    async def main() -> None:
        value = "".join(f"{number:02x}" for number in range(80))
        async with hosting(visit, secrets=Secrets(environment={"PODIUM_SECRET_TOKEN": value})) as rig:
            place = SecretPlace(("input", "text"), ("x" * 90, TOKEN))
            rig.give("a1", "visit", {"text": ""}, secrets=(place,))
            message = (await rig.failure("a1")).error.message
            assert "argument `text` expected Address" in message
            assert ": page.0: should be a number; is no address; page.0:" in message
            assert message.endswith("; and 2 more")
            assert "input_value" not in message

    asyncio.run(main())


class Page(BaseModel):
    """A model of pydantic's."""

    number: int


@task
async def turn(page: Page) -> None:
    raise NotImplementedError


def test_what_pydantic_refuses_is_said_without_what_was_given():
    async def main() -> None:
        value = "".join(f"{number:02x}" for number in range(80))
        async with hosting(turn, secrets=Secrets(environment={"PODIUM_SECRET_TOKEN": value})) as rig:
            rig.give("a1", "turn", {"page": {}}, secrets=(SecretPlace(("input", "page", "number"), ("x" * 90, TOKEN)),))
            message = (await rig.failure("a1")).error.message
            assert "number: Input should be a valid integer" in message
            assert value[-12:] not in message

    asyncio.run(main())


def test_a_large_result_is_looked_through_beside_the_loop(monkeypatch):
    async def main() -> None:
        async with hosting(function_agent("f", [enlarge, sample.enlarge_aside]), secrets=known()) as rig:
            for attempt, function in (("a1", "enlarge"), ("a2", "enlarge_aside")):
                place = SecretPlace(("input", "text"), (TOKEN,))
                rig.give(attempt, function, {"text": ""}, secrets=(place,))
                assert await rig.result(attempt) == "x" * 70_000 + "[secret token]"
            assert len(elsewhere) == 2

    elsewhere = []
    to_thread = asyncio.to_thread

    async def noted(*args):
        elsewhere.append(args)
        return await to_thread(*args)

    monkeypatch.setattr(asyncio, "to_thread", noted)
    asyncio.run(main())


def test_what_an_attempt_was_given_is_concealed_however_many_others_come_meanwhile(monkeypatch):
    monkeypatch.setattr(concealing, "MOST_VALUES", 2)
    secrets = Secrets(environment={f"PODIUM_SECRET_S{n}": f"value-number-{n}-end" for n in range(9)})
    places = tuple(SecretPlace(("input", f"k{n}"), (SecretReference(f"s{n}"),)) for n in range(9))
    given = secrets.given(assignment("a1", arguments={}, secrets=places))
    assert b"value-number-8" in bytes(given.arguments)
    assert secrets.conceal_json(given.arguments) == msgspec.Raw(
        msgspec.json.encode({f"k{n}": f"[secret s{n}]" for n in range(9)})
    )


def test_bytes_of_a_variable_that_are_no_text_are_refused():
    with pytest.raises(SecretError, match="isn't UTF-8"):
        Secrets(environment={"PODIUM_SECRET_TOKEN": "bytes \udcff of it"}).value_of(TOKEN)


def test_an_agent_that_lacks_the_secret_says_which_and_isnt_asked_again():
    async def main() -> None:
        async with hosting(repeat, secrets=Secrets(environment={})) as rig:
            rig.give("a1", "repeat", {"text": ""}, secrets=(PLACE,))
            failed: Failed = await rig.failure("a1")
            assert failed.error.type == "podium.exceptions.SecretError"
            assert not failed.error.retryable
            assert "agent agent-1 doesn't know the secret 'token'" in failed.error.message

    asyncio.run(main())


def test_env_is_in_the_context_of_what_runs_in_this_process_and_not_in_its_own():
    async def main() -> None:
        async with hosting(in_a_thread, secrets=known()) as rig:
            env, place = (("TOKEN", "${secret.token}"),), SecretPlace(("env", "TOKEN"), (TOKEN,))
            rig.give("a1", "in_a_thread", {"text": "x"}, env=env, secrets=(place,))
            assert await rig.result("a1") == ["x", "[secret token]"]
            assert "TOKEN" not in os.environ

    asyncio.run(main())


def test_env_is_the_environment_of_a_worker_process_and_others_get_other_ones():
    async def main() -> None:
        async with hosting(function_agent("cpu", [sample.variable], slots=1), secrets=known()) as rig:
            found = []
            for attempt, value in (("a1", "one"), ("a2", "one"), ("a3", "two")):
                rig.give(attempt, "variable", {"name": "COLOUR"}, env=(("COLOUR", value),))
                found.append(await rig.result(attempt))
            rig.give("a4", "variable", {"name": "COLOUR"})
            found.append(await rig.result("a4"))
            assert [one[:2] for one in found] == [["one", "one"], ["one", "one"], ["two", "two"], [None, None]]
            workers = [one[2] for one in found]
            assert workers[0] == workers[1]
            assert len(set(workers)) == 3
            assert [one[3] for one in found] == ["one", "one", "two", None]

    asyncio.run(main())


def test_a_worker_process_isnt_started_with_env_and_sets_it_itself(monkeypatch):
    started = []
    start = asyncio.create_subprocess_exec

    async def noted(*command, env=None, **more):
        started.append({**os.environ, **(env or {})})
        return await start(*command, env=env, **more)

    async def main() -> None:
        async with hosting(function_agent("cpu", [sample.variable], slots=1), secrets=known()) as rig:
            rig.give("a1", "variable", {"name": "COLOUR"}, env=(("COLOUR", "one"), ("TZ", "XYZ-3")))
            colour, of_context, _, at_import, zone = await rig.result("a1")
            assert (colour, of_context, at_import, zone) == ("one", "one", "one", "XYZ")

    monkeypatch.setattr(asyncio, "create_subprocess_exec", noted)
    asyncio.run(main())
    assert ["COLOUR" in env for env in started] == [False]


@pytest.mark.parametrize("agent", [sample.variable, Shell])
def test_variables_that_say_which_code_runs_are_set_for_nobody(agent):
    async def main() -> None:
        async with hosting(agent, secrets=known()) as rig:
            given = {"name": "x"} if agent is sample.variable else {"command": ["true"]}
            rig.give("a1", "variable", given, env=(("COLOUR", "x"), ("LD_PRELOAD", "/tmp/x.so")))
            failed = await rig.failure("a1")
            assert failed.error.message.startswith("the variable LD_PRELOAD would say which code runs here")
            assert not failed.error.retryable

    asyncio.run(main())


def test_a_program_of_shell_has_the_env_and_what_it_writes_is_concealed():
    async def main() -> None:
        async with hosting(Shell, secrets=known()) as rig:
            env, place = (("TOKEN", "${secret.token}"),), SecretPlace(("env", "TOKEN"), (TOKEN,))
            rig.give("a1", "run", {"command": ["sh", "-c", 'echo "it is $TOKEN"']}, env=env, secrets=(place,))
            assert (await rig.result("a1"))["stdout"] == "it is [secret token]\n"
            rig.give("a2", "run", {"command": ["sh", "-c", 'echo "$TOKEN" >&2; exit 3']}, env=env, secrets=(place,))
            assert (await rig.failure("a2")).error.message == "sh ended with exit code 3: [secret token]"
            rest = "x" * (builtin.MESSAGE_LIMIT - 10)
            rig.give(
                "a3", "run", {"command": ["sh", "-c", f'echo "$TOKEN{rest}" >&2; exit 3']}, env=env, secrets=(place,)
            )
            assert (await rig.failure("a3")).error.message == f"sh ended with exit code 3: …[secret token]{rest}"


def test_what_is_kept_of_a_long_output_begins_with_a_whole_line(monkeypatch):
    monkeypatch.setattr(builtin, "OUTPUT_LIMIT", 30)

    async def main() -> None:
        async with hosting(Shell, secrets=known()) as rig:
            env, place = (("TOKEN", "${secret.token}"),), SecretPlace(("env", "TOKEN"), (TOKEN,))
            command = ["sh", "-c", 'echo "$TOKEN"; echo the-last-line']
            rig.give("a1", "run", {"command": command}, env=env, secrets=(place,))
            output = await rig.result("a1")
            assert output["stdout"] == "the-last-line\n"
            assert output["left_out_bytes"] == len(VALUE) + 1

    asyncio.run(main())

    asyncio.run(main())
