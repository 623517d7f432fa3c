"""`podium schema`: the language for editors, which complete and check a workflow by it while it is written."""

from __future__ import annotations

from typing import Annotated

import typer

from podium.cli.manners import Manners


def schema(
    manners: Manners,
    output: Annotated[
        str | None, typer.Option("--output", "-o", metavar="FILE", help="Where to. [default: standard output]")
    ] = None,
    reference: Annotated[bool, typer.Option("--reference", help="For people: every field, as Markdown.")] = False,
) -> int:
    """Write the JSON Schema (draft-07) of workflows, by which an editor completes and checks them.

    With the line `# yaml-language-server: $schema=FILE` at its head, a workflow names the schema itself.
    """
    import json
    from pathlib import Path

    from podium.cli.printing import print_json, say
    from podium.cli.written import write_file
    from podium.workflow.yaml.schema import workflow_schema

    if reference:
        return _reference(manners, output)
    document = workflow_schema()
    text = json.dumps(document, indent=2, ensure_ascii=False) + "\n"
    if output is None:
        if manners.json:
            print_json(document)
        else:
            say(text.rstrip())
        return 0
    write_file(Path(output), text, "--output ")
    if manners.json:
        print_json({"file": output, "draft": document["$schema"]})
        return 0
    say(f"{output}: the language of workflows as JSON Schema, draft-07")
    say("the head of a workflow that is checked by it:")
    say(f"# yaml-language-server: $schema={output}")
    return 0


def _reference(manners: Manners, output: str | None) -> int:
    from pathlib import Path

    from podium.cli.printing import print_json, say
    from podium.cli.written import write_file
    from podium.workflow.yaml.reference import language_reference

    text = language_reference()
    if output is not None:
        write_file(Path(output), text, "--output ")
        if manners.json:
            print_json({"file": output})
        else:
            say(f"{output}: every field of the language, with an example of each")
    elif manners.json:
        print_json({"markdown": text})
    else:
        say(text.rstrip())
    return 0
