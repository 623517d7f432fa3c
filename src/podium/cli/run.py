"""`podium run`: a workflow from its file to its result."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from podium.cli.manners import Manners

Input = Annotated[
    list[str] | None,
    typer.Option("--input", "-i", metavar="KEY=VALUE", help="One input; may be given many times. Any text will do."),
]
InputJson = Annotated[
    str | None,
    typer.Option("--input-json", metavar="TEXT|@FILE", help="The whole input as JSON, from a file or from @- too."),
]
Agents = Annotated[
    list[str] | None,
    typer.Option("--agents", metavar="SPEC", help="Code of agents: module:Name, file.py:Name, type=module:Name."),
]
SubmissionId = Annotated[
    str | None,
    typer.Option("--id", metavar="SUBMISSION", help="A name of your own: the same name starts it only once."),
]
Priority = Annotated[int | None, typer.Option("--priority", min=0, max=100, help="0 to 100; larger is sooner.")]
Timeout = Annotated[
    str | None, typer.Option("--timeout", metavar="DURATION", help="The whole run's, such as 30s, 1h30m.")
]
CapacityOption = Annotated[
    str | None,
    typer.Option("--capacity", metavar="NAME=AMOUNT,…", help="What all tasks here share: cpu=4,memory=16GB."),
]
NoTypeCheck = Annotated[
    bool,
    typer.Option("--no-type-check", help="Go on where arguments or results don't fit the types of agents' functions."),
]
Gantt = Annotated[str | None, typer.Option("--gantt", metavar="FILE.svg", help="With --simulate: draw the schedule.")]


def run(
    manners: Manners,
    file: Annotated[str, typer.Argument(metavar="FILE", help="The workflow, a YAML file.")],
    given: Input = None,
    input_json: InputJson = None,
    agents: Agents = None,
    submission: SubmissionId = None,
    priority: Priority = None,
    timeout: Timeout = None,
    capacity: CapacityOption = None,
    simulate: Annotated[
        bool,
        typer.Option(
            "--simulate",
            help="Only on virtual time: --agents is their number then, --capacity what each has.",
        ),
    ] = False,
    speed: Annotated[
        float | None,
        typer.Option("--speed", metavar="TIMES", help="With --simulate: in real time, so many times faster."),
    ] = None,
    gantt: Gantt = None,
    no_type_check: NoTypeCheck = False,
) -> int:
    """Run a workflow to its end, with live progress.

    Before anything runs, arguments and results are held against the type hints of its agents' functions.

    Ctrl-C stops and loses nothing: `podium resume ID` goes on with it, after a kill or a power cut too. With --simulate
    nothing of it is run: the engine places its tasks on so many agents of a size, and each takes its estimated time.
    """
    from podium.agents.signatures import type_check
    from podium.api.loading import workflow_from
    from podium.cli.checking import checked_workflow
    from podium.cli.given import capacities, execution_input, seconds
    from podium.exceptions import InvalidInputError

    if not simulate and (speed is not None or gantt is not None):
        raise InvalidInputError(f"{'--speed' if speed is not None else '--gantt'} needs --simulate")
    if speed is not None and not 0 < speed < float("inf"):
        raise InvalidInputError(f"--speed {speed:g}: more than 0 is allowed, such as 1000")
    if simulate and submission is not None:
        raise InvalidInputError("--id names a run that is kept; with --simulate nothing is")
    if simulate or no_type_check:  # a simulation calls no function
        workflow = workflow_from(file)
    else:
        workflow = checked_workflow(file, type_check(manners.settings().agents, agents or ()))
    options = {
        "submission_id": submission,
        "priority": priority,
        "timeout_seconds": seconds(timeout, "--timeout"),
    }
    value = execution_input(workflow, given or (), input_json)
    if simulate:
        from podium.cli.rehearsing import rehearse

        del options["submission_id"]
        limits = capacities(capacity)
        return rehearse(workflow, value, agents or (), limits, speed=speed, gantt=gantt, json=manners.json, **options)
    return run_workflow(manners, workflow, value, agents or (), capacities(capacity), options)


def run_workflow(
    manners: Manners, workflow: Any, given: Any, agents: Any, capacity: dict[str, float] | None, options: dict[str, Any]
) -> int:
    """Submit a loaded workflow and follow it to its end."""
    from podium.cli.following import (
        STOPPED_EARLY,
        Outcome,
        StopRequest,
        announce,
        follow,
        others_run,
        say_how_to_go_on,
        standard_output_kept,
    )
    from podium.cli.printing import print_json
    from podium.cli.sessions import finish, running

    async def whole() -> Outcome:
        settings = manners.settings(capacity=capacity)
        with StopRequest() as stop:
            async with running(manners, settings, agents) as podium:
                stop.arm(STOPPED_EARLY)
                execution = await podium.submit(workflow, given, **options)
                announce(execution, workflow.name, manners.json)
                follower = (await podium.follower(execution)).rewound()
                outcome = await follow(podium, follower, manners, stop)
                others = await others_run(podium, execution)
            if outcome.code == 130:
                say_how_to_go_on(settings, execution, others)
        return outcome

    with standard_output_kept(manners.json):
        outcome = finish(whole())
    if outcome.document is not None:
        print_json(outcome.document)
    return outcome.code
