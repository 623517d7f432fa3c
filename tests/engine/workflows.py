"""Random workflows and random inputs, legal and illegal, for the properties of the engine."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import strategies as st

from podium.engine import inputs as inp
from podium.engine.asking import FAIL, RETRY, asking
from podium.engine.state import DECIDING
from podium.workflow.model import (
    AgentGroup,
    Constraint,
    ConstraintType,
    ContinueAsNew,
    Escalation,
    FailureAction,
    OnFailure,
    ParentClose,
    RetryPolicy,
    RunIf,
    Task,
    TaskStatus,
    TaskType,
    Workflow,
    WorkflowConfig,
)
from podium.workflow.validation import problems_of
from tests.engine.playing import Play, error, json_value

_HOWS = ("error", "error", "timeout", "crash", "cancelled", "nonsense")
_RETRIES = st.sampled_from(
    [
        None,
        RetryPolicy(max_attempts=2, jitter=0.0),
        RetryPolicy(max_attempts=3, initial_delay_seconds=0.0),
        RetryPolicy(max_attempts=2, non_retryable=("KeyError",)),
    ]
)


_CONTINUATIONS = (
    *(None, None, None, ContinueAsNew("execution.run < 3")),
    ContinueAsNew("input.go and execution.run < 4", {"go": "${execution.run < 2}"}),
)
_CHILD = Workflow(name="child", tasks=(Task(id="x", agent_type="worker"),))
_OUTSIDE: list[dict[str, Any]] = [
    {"type": TaskType.WAIT, "signal": "s"},
    {"type": TaskType.WAIT, "signal": "s", "accept": "signal.value.n > 1"},
    {"type": TaskType.WAIT, "wait_for": 5.0},
    {"workflow": _CHILD},
    {"workflow": _CHILD, "parent_close": ParentClose.TERMINATE, "retries": 1},
    {"workflow": _CHILD, "for_each": [1, 2, 3], "max_parallel": 2, "retries": 1},
    {"workflow": _CHILD, "for_each": [1, 2, 3], "parent_close": ParentClose.ABANDON, "max_parallel": 2},
    {"workflow": _CHILD, "parent_close": ParentClose.ABANDON, "retries": 1},
    {"type": TaskType.WAIT, "until": "2023-11-14T22:13:30Z"},
    {"type": TaskType.WAIT, "execution": "e-2"},
    {"type": TaskType.HUMAN, "assignee": "ann", "escalation": Escalation(4.0, "bob")},
    {"type": TaskType.HUMAN, "form": {"type": "object", "required": ["n"]}},
]


@st.composite
def workflows(draw: st.DrawFn, most: int = 10) -> Workflow:
    """Draw a valid workflow of a few tasks with random policies."""
    count = draw(st.integers(1, most))
    names = [f"t{i}" for i in range(count)]
    tasks: list[Task] = []
    fallbacks = _fallbacks(draw, names)
    stand_ins = set(fallbacks.values())
    for at, name in enumerate(names):
        before = [n for n in names[:at] if fallbacks.get(n) != name]
        dependencies = draw(st.lists(st.sampled_from(before), unique=True, max_size=3)) if before else []
        tasks.append(_task(draw, name, dependencies, fallbacks.get(name), name in stand_ins))
    workflow = Workflow(
        name="w",
        tasks=tuple(tasks),
        agents={"team": AgentGroup("team", "worker", count=draw(st.integers(1, 3)))},
        config=WorkflowConfig(
            timeout=draw(st.sampled_from([None, None, 30.0])),
            max_crashes=draw(st.integers(1, 3)),
            max_parallel_tasks=draw(st.sampled_from([None, None, 1, 2, 4])),
        ),
        constraints=draw(st.sampled_from([(), (), (Constraint(ConstraintType.MAX_PARALLEL, 3),)])),
        continue_as_new=draw(st.sampled_from(_CONTINUATIONS)),
    )
    if problems_of(workflow):  # a fallback that waits for who waits for its primary
        plain = tuple(_without_fallback(task) for task in tasks)
        workflow = Workflow(name="w", tasks=plain, agents=workflow.agents, config=workflow.config)
        assert not problems_of(workflow), problems_of(workflow)
    return workflow


def _fallbacks(draw: st.DrawFn, names: list[str]) -> dict[str, str]:
    """Draw who falls back to whom: each fallback to one primary, later in the order of names."""
    found: dict[str, str] = {}
    for at, name in enumerate(names[1:], 1):
        if draw(st.integers(0, 3)) == 0:
            primary = draw(st.sampled_from(names[:at]))
            found.setdefault(primary, name)
    return found


def _task(draw: st.DrawFn, name: str, dependencies: list[str], fallback: str | None, stands_in: bool) -> Task:
    action = draw(st.sampled_from([FailureAction.FAIL, FailureAction.CONTINUE, FailureAction.ASK]))
    on_failure = OnFailure(FailureAction.FALLBACK, fallback) if fallback else OnFailure(action)
    if draw(st.integers(0, 4)) == 0:
        return Task(
            id=name,
            dependencies=tuple(dependencies),
            on_failure=OnFailure() if on_failure.action is FailureAction.ASK else on_failure,
            run_if=draw(st.sampled_from([RunIf.ALL_SUCCEEDED, RunIf.ALL_DONE])),
            timeout=draw(st.sampled_from([None, None, 20.0])),
            deadline=draw(st.sampled_from([None, None, 8.0])),
            **draw(st.sampled_from(_OUTSIDE)),
        )
    about: dict[str, Any] = {}
    shape = draw(st.integers(0, 5))
    if shape == 0:
        about["for_each"] = list(range(draw(st.integers(0, 6))))
        about["max_parallel"] = draw(st.sampled_from([None, 1, 2]))
    elif shape == 1:
        about["parallel"] = True
    elif shape == 2 and dependencies:
        about["for_each"] = f"${{tasks.{dependencies[0]}.result}}"
    when = draw(st.integers(0, 7))
    if when == 0 and dependencies:
        about["when"] = f"tasks.{dependencies[0]}.status == 'completed'"
    elif when == 1:
        about["when"] = "input.go"
    elif when == 2 and dependencies:
        about["when"] = f"tasks.{dependencies[0]}.error == None"
    return Task(
        id=name,
        agent="team",
        agent_type="worker",
        dependencies=tuple(dependencies),
        on_failure=on_failure,
        retry=draw(_RETRIES),
        run_if=draw(st.sampled_from([RunIf.ALL_SUCCEEDED, RunIf.ALL_SUCCEEDED, RunIf.ALL_DONE])),
        timeout=draw(st.sampled_from([None, None, 3.0])),
        deadline=draw(st.sampled_from([None, None, 8.0])),
        grows=draw(st.sampled_from([False, False, True])),
        **about,
    )


def _without_fallback(task: Task) -> Task:
    if task.on_failure.action is FailureAction.FALLBACK:
        return msgspec.structs.replace(task, on_failure=OnFailure())
    return task


# --- inputs ----------------------------------------------------------------------------------------------------------

_COMMANDS: tuple[inp.Input, ...] = (
    inp.Pause("so"),
    inp.Resume(),
    inp.Cancel("so"),
    inp.Cancel("so", force=True),
    inp.Retry(),
    inp.Signal("s"),
    inp.Signal("s", json_value({"n": 2})),
    inp.Answer("t0", json_value({"n": 1}), "ann"),
    inp.Await("e-3", "x", 3, "t"),
    inp.Await("e-3", "x", 3, "another"),
    inp.Ended("t0", "e-2", "completed"),
)


def _from_outside(draw: st.DataObject, play: Play) -> inp.Input:
    """Draw what a waiting task waits for, or something like it."""
    path = draw.draw(st.sampled_from([path for paths in play.state.waiting.values() for path in paths]))
    wait = play.state.tasks[path].wait
    assert wait is not None
    return what_comes(path, wait.awaits, wait.name, draw.draw(st.booleans()))


def what_comes(path: str, awaits: str, name: str, fits: bool) -> inp.Input:
    """Return an input that ends a wait, or fails to."""
    match awaits:
        case "signal":
            return inp.Signal(name, json_value({"n": 2 if fits else 0}))
        case "person":
            return inp.Answer(path, json_value({"n": 1} if fits else 1), "ann")
        case "execution":
            status, why = ("completed", None) if fits else ("failed", error())
            return inp.Ended(path, name, status, json_value(1) if fits else None, why)
        case _:
            return inp.Tick()


def draw_input(draw: st.DataObject, play: Play) -> inp.Input:
    """Draw an input that fits the state, mostly, or one that doesn't."""
    kind = draw.draw(st.integers(0, 21))
    if kind >= 20:
        return _steering(draw, play)
    if kind >= 17:
        return draw.draw(st.sampled_from(_COMMANDS))
    if play.state.children and kind == 11:
        execution, (path, _) = draw.draw(st.sampled_from(sorted(play.state.children.items())))
        return what_comes(path, "execution", execution, draw.draw(st.booleans()))
    if play.state.waiting and kind == 12:
        return _from_outside(draw, play)
    if kind >= 15:
        play.now_us += draw.draw(st.sampled_from([0, 1, 500_000, 1_000_000, 4_000_000, 40_000_000]))
        return inp.Tick()
    if kind >= 13:
        return _strange(draw, play)
    live = [(t.path, n) for t in play.state.tasks.values() for n in t.live or ()]
    ready = play.ready()
    if ready and (kind < 6 or not live):
        some = draw.draw(st.lists(st.sampled_from(ready), min_size=1, max_size=4))
        return inp.Grant(1, len(play.rows), tuple(_granted(play, task) for task in some))
    if live:
        return _about(draw, play, *draw.draw(st.sampled_from(live)))
    return inp.Tick()


def _granted(play: Play, task: str) -> inp.Granted:
    return inp.Granted(task, play.state.tasks[task].number + 1, "a", "i")


def _about(draw: st.DataObject, play: Play, task: str, number: int) -> inp.Input:
    kind = draw.draw(st.integers(0, 11))
    match kind:
        case 0 | 1 | 2:
            name = draw.draw(st.sampled_from(["ValueError", "KeyError"]))
            return inp.Failed(
                task, number, error(name, retryable=draw.draw(st.booleans())), draw.draw(st.sampled_from(_HOWS))
            )
        case 3:
            return inp.Refused(task, number, "full")
        case 4:
            return inp.Lost(task, number, draw.draw(st.sampled_from(["gone", "owner_died"])))
        case 5:
            return inp.Saved(task, number, 1, json_value({"at": 1}))
        case 6:
            return inp.Published(task, number, draw.draw(st.integers(1, 3)), json_value({"at": 1}))
        case _:
            value = json_value(draw.draw(st.sampled_from([None, 1, [], [1, 2, 3], {"a": 1}])))
            known = play.state.tasks.get(task)
            may = known is not None and known.compiled.spec.grows and play.state.total < _MOST_GROWN
            growth = draw_growth(draw, play) if kind > (7 if may else 10) else None
            return inp.Succeeded(task, number, value, growth)


_MOST_GROWN = 40
_AGENTS = ("team", "team", "team", "worker", "tame")


def draw_growth(draw: st.DataObject, play: Play) -> inp.Growth:
    """Draw what a result may add to the graph: mostly what is allowed, some cycles, unknown names and ids twice."""
    there = list(play.state.definition.tasks)
    new = [f"g{len(there)}_{i}" for i in range(draw.draw(st.integers(0, 3)))]
    unknown = ["nobody"] if draw.draw(st.integers(0, 5)) == 0 else []
    every = st.sampled_from([*there, *new, *unknown])
    tasks: list[Task] = []
    for at, name in enumerate(new):
        spare = new[at + 1] if at + 1 < len(new) and draw.draw(st.integers(0, 3)) == 0 else None
        needs: tuple[str, ...] = tuple(draw.draw(st.lists(every, unique=True, max_size=2)))
        guarded = draw.draw(st.booleans())
        tasks.append(
            Task(
                id=name,
                agent=draw.draw(st.sampled_from(_AGENTS)),
                dependencies=needs,
                on_failure=OnFailure(FailureAction.FALLBACK, spare) if spare else OnFailure(),
                grows=at % 2 == 0,
                for_each=[1, 2] if draw.draw(st.integers(0, 3)) == 0 else None,
                when=f"tasks.{needs[0]}.status == 'completed'" if needs and guarded else None,
                retry=draw.draw(_RETRIES),
            )
        )
    waits = draw.draw(st.lists(st.tuples(st.sampled_from(there), every), max_size=2))
    return inp.Growth(tuple(tasks), {task: (needs,) for task, needs in waits})


def _steering(draw: st.DataObject, play: Play) -> inp.Input:
    """Draw what a person decides about a task, or an instance, whether or not that fits."""
    path = draw.draw(st.sampled_from([*play.state.tasks, "nobody", "t0[99]", "t0[x]"]))
    parked = asking(play.state)
    if len(parked) > draw.draw(st.integers(0, 1)):
        decision = draw.draw(st.sampled_from([RETRY, RETRY, FAIL, "so"]))
        return inp.Resolve(draw.draw(st.sampled_from(parked)), decision)
    match draw.draw(st.integers(0, 5)):
        case 0:
            return inp.Resolve(path, RETRY, "", "maren")
        case 1:
            return inp.Skip(path, "so", draw.draw(st.sampled_from(["", "maren"])))
        case 2 | 3:
            return inp.Complete(path, json_value(draw.draw(st.sampled_from([None, 1, [1, 2]]))), "", "maren")
        case _:
            return inp.Retry(path)


def _strange(draw: st.DataObject, play: Play) -> inp.Input:
    """Draw something late, repeated, unknown or out of place."""
    paths = [*play.state.tasks, "nobody", "t0[99]"]
    task, number = draw.draw(st.sampled_from(paths)), draw.draw(st.integers(0, 4))
    match draw.draw(st.integers(0, 3)):
        case 0:
            return inp.Grant(1, len(play.rows), tuple(inp.Granted(task, number, "a", "i") for _ in range(number)))
        case 1:
            return play.begun
        case _:
            return _about(draw, play, task, number)


def _end_a_wait(play: Play) -> None:
    """Let what the first waiting task waits for come."""
    for execution, (path, _) in play.state.children.items():  # an end waits for them, whatever else there is
        play.give(what_comes(path, "execution", execution, True))
        return
    ((awaits, name), paths) = next(iter(play.state.waiting.items()))
    if awaits == "time":
        play.now_us = max(play.state.next_timer_us() or 0, play.now_us)
    play.give(what_comes(next(iter(paths)), awaits, name, True))


def wind_down(play: Play, most: int = 3_000) -> None:
    """Let the execution come to its end: everything resumes, is granted and succeeds, and timers fire."""
    for _ in range(most):
        if play.state.final:
            return
        if str(play.state.status) in ("paused", "pausing"):
            play.give(inp.Resume())
            continue
        live = [(t.path, n) for t in play.state.tasks.values() for n in t.live or ()]
        ready = [t.path for t in play.state.tasks.values() if t.status is TaskStatus.READY]
        if live:
            play.give(inp.Succeeded(*live[0], json_value([1, 2])))
        elif ready and play.state.status in DECIDING:  # one that ends waits for its children only
            play.give(inp.Grant(1, len(play.rows), tuple(_granted(play, task) for task in ready)))
        elif (parked := asking(play.state)) and play.state.status in DECIDING:
            unreadable = play.state.tasks[parked[0]].number == 0  # it would only ask again
            tired = len(play.rows) % 5 == 0
            play.give(inp.Resolve(parked[0], FAIL if unreadable or tired else RETRY))
        elif play.state.waiting or play.state.children:
            _end_a_wait(play)
        else:
            due = play.state.next_timer_us()
            assert due is not None, "nothing is live, ready or timed, and it isn't final"
            play.now_us = max(due, play.now_us)
            play.give(inp.Tick())
    raise AssertionError(f"it doesn't come to an end: {play.state.status}")
