"""What is said about a name that the language doesn't have: the nearest one it has, or all of them."""

from __future__ import annotations

from podium.workflow.expressions.methods import METHODS
from podium.workflow.expressions.operations import FUNCTIONS
from podium.workflow.expressions.problems import did_you_mean
from podium.workflow.expressions.references import ROOTS

_OTHER_LANGUAGES = {"true": "True", "false": "False", "null": "None", "none": "None", "nil": "None"}


def unknown_name(name: str) -> str:
    """Return why a name that is no root can't begin an expression."""
    if name in FUNCTIONS:
        return f"'{name}' is a function; it is called as {name}(…)"
    if name.lower() in _OTHER_LANGUAGES:
        return f"there is no name '{name}'; did you mean '{_OTHER_LANGUAGES[name.lower()]}'?"
    near = did_you_mean(name, ROOTS)
    return f"there is no name '{name}'{near or '; an expression begins with: ' + ', '.join(ROOTS)}"


def unknown_function(name: str) -> str:
    """Return why a name can't be called."""
    if name in ROOTS:
        return f"'{name}' is no function"
    if name in METHODS:
        return f"there is no function '{name}'; it is a method: ….{name}(…)"
    return f"there is no function '{name}'{did_you_mean(name, FUNCTIONS) or '; there is: ' + ', '.join(FUNCTIONS)}"


def unknown_method(name: str) -> str:
    """Return why a name after a dot can't be called."""
    if name in FUNCTIONS:
        return f"there is no method '.{name}()'; it is a function: {name}(…)"
    if name == "format":
        return "there is no method '.format()'; write the text with ${…} in it"
    return f"there is no method '.{name}()'{did_you_mean(name, METHODS) or '; there is: ' + ', '.join(METHODS)}"
