"""`podium diff`: what differs between two versions of a workflow, and what running executions could take of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from podium.cli.manners import Manners
from podium.cli.phrases import counted

if TYPE_CHECKING:
    from podium.workflow.differences import Difference

_SIGNS: Final = {"added": "+", "removed": "-", "changed": "~"}
_COLORS: Final = {"added": "green", "removed": "red", "changed": "yellow"}
_LONGEST_VALUE: Final = 60


def diff(
    manners: Manners,
    before: Annotated[str, typer.Argument(metavar="A", help="The former version, a YAML file.")],
    after: Annotated[str, typer.Argument(metavar="B", help="The later version, a YAML file.")],
    equal: Annotated[bool, typer.Option("--equal", help="Exit code 1 for any difference.")] = False,
) -> int:
    """Show what differs between two versions of a workflow, and what running executions could take of it.

    The exit code is 0 if an execution of A could go on by B wherever it stands, else 1. Running executions keep the
    version that they were started with.
    """
    from podium.api.loading import workflow_from
    from podium.cli.printing import print_json, say
    from podium.workflow.differences import differences

    old, new = workflow_from(before), workflow_from(after)
    found = differences(old, new)
    incompatible = [one for one in found if not one.compatible]
    if manners.json:
        print_json(
            {
                "equal": not found,
                "compatible": not incompatible,
                "differences": [_document(one) for one in found],
            }
        )
    else:
        say(_heads(before, after, f"{old.name} {old.version}", f"{new.name} {new.version}"))
        _say_group("running executions could take", [one for one in found if one.compatible])
        _say_group("running executions can't take", incompatible)
        say(_summed_up(len(found), len(incompatible)))
    return int(bool(found if equal else incompatible))


def _heads(before: str, after: str, old: str, new: str) -> str:
    from podium.cli.printing import cut, width

    return "\n".join(
        cut(f"{letter} {file}: {name}", width()) for letter, file, name in (("A", before, old), ("B", after, new))
    )


def _say_group(title: str, group: list[Difference]) -> None:
    from podium.cli.printing import painted, say, wrapped

    if not group:
        return
    say(f"\n{title}:")
    for one in group:
        sign = _SIGNS[one.change]
        lines = wrapped(f"  {sign} {_sentence(one)}", indent="      ")
        say(lines.replace(sign, painted(sign, _COLORS[one.change]), 1))


def _sentence(one: Difference) -> str:
    what = f"{one.kind} {one.name}".rstrip()
    if one.field:
        what = f"{what}, {one.field}" if one.name else one.field
        what = f"{what}: {_value(one.before)} → {_value(one.after)}"
    return f"{what}: {one.why}" if one.why and not one.field else f"{what}; {one.why}" if one.why else what


def _value(value: Any) -> str:
    import msgspec

    from podium.cli.printing import cut

    return "nothing" if value is None else cut(msgspec.json.encode(value).decode(), _LONGEST_VALUE)


def _summed_up(found: int, incompatible: int) -> str:
    if not found:
        return "they mean the same"
    if not incompatible:
        return f"\n{counted(found, 'difference')}; running executions could take all of them"
    return f"\n{counted(found, 'difference')}; {incompatible:,} of them running executions can't take"


def _document(one: Difference) -> dict[str, Any]:
    return {
        "change": one.change.value,
        "kind": one.kind,
        "name": one.name,
        "field": one.field,
        "before": one.before,
        "after": one.after,
        "compatible": one.compatible,
        "why": one.why,
    }
