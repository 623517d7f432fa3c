"""`podium submit`: a workflow to the orchestrator that runs here, whose agents are elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from podium.cli.manners import Manners
from podium.cli.run import Input, InputJson, NoTypeCheck, Priority, SubmissionId, Timeout

if TYPE_CHECKING:
    from podium.workflow.model import Workflow
    from podium.workflow.problems import Problem


def submit(
    manners: Manners,
    file: Annotated[str, typer.Argument(metavar="FILE", help="The workflow, a YAML file.")],
    given: Input = None,
    input_json: InputJson = None,
    submission: SubmissionId = None,
    priority: Priority = None,
    timeout: Timeout = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Show its progress and wait for its end.")] = False,
    no_type_check: NoTypeCheck = False,
) -> int:
    """Give a workflow to the running orchestrator, which has the agents of the fleet do it.

    It is refused if it can't fit the functions of any agent that is registered now; of other agent types nothing is
    known, and nothing refused.

    When this returns, it is on disk. Ctrl-C while following stops nothing but the following.
    """
    from podium.api.loading import workflow_from
    from podium.cli.checking import checked_workflow
    from podium.cli.following import Outcome, StopRequest, announce, others_run, say_how_to_go_on
    from podium.cli.following import follow as follow_to_end
    from podium.cli.given import execution_input, seconds
    from podium.cli.printing import print_json, say
    from podium.cli.reaching import fleet_types, refuse_unowned
    from podium.cli.sessions import finish, submitting
    from podium.workflow.typed import type_problems

    def check(workflow: Workflow) -> list[Problem]:
        return type_problems(workflow, fleet_types(manners.settings(), workflow.agent_counts()) or {})

    workflow = workflow_from(file) if no_type_check else checked_workflow(file, check)
    value = execution_input(workflow, given or (), input_json)
    options: dict[str, Any] = {
        "submission_id": submission,
        "priority": priority,
        "timeout_seconds": seconds(timeout, "--timeout"),
    }

    async def whole() -> Outcome:
        settings = manners.settings()
        async with submitting(manners, settings) as podium:
            refuse_unowned(settings, bool(await podium.who_runs()))
            execution = await podium.submit(workflow, value, **options)
            if not follow:
                document = {"execution_id": execution, "workflow": workflow.name, "status": "submitted"}
                if not manners.json:
                    say(f"execution {execution} of {workflow.name}")
                return Outcome(0, document if manners.json else None)
            with StopRequest() as stop:
                announce(execution, workflow.name, manners.json)
                follower = (await podium.follower(execution)).rewound()
                outcome = await follow_to_end(podium, follower, manners, stop)
                if outcome.code == 130:
                    say_how_to_go_on(settings, execution, await others_run(podium, execution))
                return outcome

    outcome = finish(whole())
    if outcome.document is not None:
        print_json(outcome.document)
    return outcome.code
