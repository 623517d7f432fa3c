"""`${secret.NAME}` in texts: where it may stand, and what is left of it where nobody knows the value."""

import pytest

from podium.workflow.expressions import (
    ExpressionProblem,
    SecretName,
    compile_template,
    secrets_in,
    without_secrets,
)
from podium.workflow.yaml import check_workflow

HEAD = "name: w\nsecrets: {token: , other: {env: OTHER}}\n"


def problems(text):
    _, found = check_workflow(text, "w.yaml")
    return [f"{p.line}:{p.rule}: {p.message}" + (f"; {p.hint}" if p.hint else "") for p in found]


def test_the_secrets_of_a_text_are_found_each_once():
    assert secrets_in("Bearer ${secret.token} ${input.x} ${secret.other}${ secret.token }") == ("token", "other")
    assert secrets_in("no $${secret.token} at all") == ()
    assert secrets_in("secret") == ()


@pytest.mark.parametrize("text", ["${secret.token.upper()}", "${'a' + secret.token}", "${secret}", "${secret.a.b}"])
def test_a_secret_is_alone_in_its_braces(text):
    with pytest.raises(ExpressionProblem, match="put in as it is"):
        secrets_in(text)


def test_without_its_secrets_a_value_says_their_names_and_keeps_all_else():
    value = {"head": "Bearer ${secret.token} of ${input.user}", "list": ["${secret.other}", 3], "plain": "$${x}"}
    plain, texts = without_secrets(value)
    scope = {"input": {"user": "ann ${secret.token}"}}
    assert compile_template(plain).render(scope) == {
        "head": "Bearer ${secret.token} of ann ${secret.token}",
        "list": ["${secret.other}", 3],
        "plain": "${x}",
    }
    assert [text.path for text in texts] == [("head",), ("list", 0)]
    # What an input says is text, whatever it looks like: only what the workflow's author wrote is a place.
    assert texts[0].parts(scope) == ("Bearer ", SecretName("token"), " of ", "ann ${secret.token}")


def test_a_value_without_secrets_is_the_same_one():
    value = {"a": ["${input.x}"]}
    assert without_secrets(value) == (value, ())
    assert without_secrets(value)[0] is value


def test_secrets_have_their_place_in_input_and_in_the_env_of_agents():
    text = HEAD + (
        "agents: {r: {type: echo, env: {TOKEN: '${secret.token}', N: 4, YES: true}}}\n"
        "tasks:\n  - {id: a, agent: r, input: {t: 'x ${secret.other}'}}\n"
    )
    workflow, found = check_workflow(text)
    assert found == []
    assert workflow is not None
    assert workflow.agents["r"].env == {"TOKEN": "${secret.token}", "N": "4", "YES": "true"}
    assert [(one.name, one.env) for one in workflow.secrets] == [("token", ""), ("other", "OTHER")]


STEERING = [
    "PATH",
    "PYTHONWARNINGS",
    "BROWSER",
    "LD_PRELOAD",
    "DYLD_LIBRARY_PATH",
    "IFS",
    "BASH_ENV",
    "ENV",
    "NODE_OPTIONS",
    "PERL5OPT",
    "RUBYOPT",
    "GIT_SSH_COMMAND",
    "path",
]


@pytest.mark.parametrize(
    ("rest", "said"),
    [
        (
            "tasks: [{id: a, agent: echo, input: {t: '${secret.tokn}'}}]",
            'undeclared-secret: task "a" reads secret.tokn',
        ),
        ("tasks: [{id: a, agent: echo, when: \"secret.token == 'x'\"}]", "secret-place"),
        ("tasks: [{id: a, agent: echo, for_each: '${secret.token}'}]", "secret-place"),
        ("tasks: [{id: a, agent: echo, cache: '${secret.token}'}]", "secret-place"),
        ("output: '${secret.token}'\ntasks: [{id: a, agent: echo}]", "secret-place"),
        ("agents: {r: {type: echo, env: {A: '${input.x}'}}}\ntasks: [{id: a, agent: r}]", "env of agents can't have"),
        ("agents: {r: {type: echo, env: {PODIUM_X: a}}}\ntasks: [{id: a, agent: r}]", "Podium's own"),
        *(
            (
                f"agents: {{r: {{type: echo, env: {{{name}: a}}}}}}\ntasks: [{{id: a, agent: r}}]",
                "which code runs there",
            )
            for name in STEERING
        ),
        ("agents: {r: {type: echo, env: {A-B: a}}}\ntasks: [{id: a, agent: r}]", "id-form"),
        ("agents: {r: {type: echo, env: {A: [1]}}}\ntasks: [{id: a, agent: r}]", "must be a text"),
        ("tasks: [{id: a, agent: echo, input: {t: '${secret.token + 1}'}}]", "put in as it is"),
    ],
)
def test_what_is_no_place_for_a_secret_is_refused(rest, said):
    found = problems(HEAD + rest)
    assert len(found) == 1, found
    assert said in found[0]


def test_an_undeclared_secret_is_told_the_nearest_one():
    (found,) = problems(HEAD + "tasks: [{id: a, agent: echo, input: {t: '${secret.tokn}'}}]")
    assert found.endswith('did you mean "token"?')


@pytest.mark.parametrize(
    ("block", "said"),
    [
        ("{token: abc}", "the value itself never stands in a workflow"),
        ("{a-b: }", "can't be called so"),
        ("{a: {env: X, file: y}}", "two places"),
        ("{a: {env: PODIUM_DATABASE}}", "Podium's own"),
        ("{a: {env: 'A B'}}", "no variable can be called"),
        ("{a: {file: ../x}}", "no name of a file"),
        ("{a: {file: /etc/passwd}}", "no name of a file"),
        ("{a: {fil: x}}", 'did you mean "file"?'),
        ("[a, a]", "declared twice"),
        ("3", "mapping of names"),
    ],
)
def test_a_wrong_declaration_is_refused_with_its_line(block, said):
    (found,) = problems(f"name: w\nsecrets: {block}\ntasks: [{{id: a, agent: echo}}]")
    assert found.startswith("2:"), found
    assert said in found
