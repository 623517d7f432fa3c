"""Patterns of texts: the part of regular expressions of which the time to match is bounded whatever the text is.

No pattern here can backtrack: there are no back-references and no look-around, and all ways through a pattern are
followed at once. What a pattern means is what JSON Schema (ECMA 262) means by it: it is found anywhere in a text unless
`^` and `$` hold it to the ends.
"""

from podium.workflow.patterns.matching import MAX_MATCHED, Pattern, pattern_of
from podium.workflow.patterns.reading import MAX_PATTERN, MAX_PLACES, MAX_RANGES

__all__ = ["MAX_MATCHED", "MAX_PATTERN", "MAX_PLACES", "MAX_RANGES", "Pattern", "pattern_of"]
