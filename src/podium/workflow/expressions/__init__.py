"""The small expression language of `when`, `for_each` and `${…}`: Python's syntax, a closed list of what it may do.

`compile_expression` and `compile_condition` take one expression, `compile_template` any JSON-like value with `${…}` in
its texts. All three check everything that can be checked before anything runs, and tell which values of an execution
they refer to, so that the shell can load those first. Evaluation is pure and bounded: no attribute of a Python object
is ever read, sizes are known before anything is built, and a budget ends what would take long.

Where it differs from Python: `a.b` is `a["b"]`; `range`, `keys`, `values` and `items` give lists; `str` takes no lists
or mappings; results that JSON can't hold (infinities, complex numbers, huge integers) are errors.
"""

from podium.workflow.expressions.compiler import Expression, compile_expression
from podium.workflow.expressions.problems import ExpressionProblem
from podium.workflow.expressions.references import ROOTS, Reference
from podium.workflow.expressions.secrets import SecretName, SecretText, secrets_in, without_secrets
from podium.workflow.expressions.templates import Template, compile_condition, compile_template

__all__ = [
    "ROOTS",
    "Expression",
    "ExpressionProblem",
    "Reference",
    "SecretName",
    "SecretText",
    "Template",
    "compile_condition",
    "compile_expression",
    "compile_template",
    "secrets_in",
    "without_secrets",
]
