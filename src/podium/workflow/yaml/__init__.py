"""Workflows as YAML: document 004's workflow definition language, read within limits and written back.

Every problem of a file is found at once, with its line, column, rule, and the nearest right word.
"""

from podium.workflow.yaml.dumper import dump_workflow
from podium.workflow.yaml.loader import check_workflow, load_workflow
from podium.workflow.yaml.opening import Opened, Opener

__all__ = ["Opened", "Opener", "check_workflow", "dump_workflow", "load_workflow"]
