"""Survey: everything that is wrong with a dataset, at once.

Training stops at the first fault it meets. Here all examples are read, and all faults
of all files are gathered as `Finding`s. What counts as an error is decided by the
functions that training itself reads with: an error here is a `DataError` there.
Warnings and infos are about what training takes, but perhaps should not.

In come splits, from `folder_split` or `source_split`; out comes a `Survey`, from which
`suggest` and `make_report` make what `--mode=check_data` prints. `choose` glances at
folders, and takes what `suggest` says for fields that were left open.
"""

from spade_jax.data.survey.blending import blended
from spade_jax.data.survey.choosing import Choice, choose
from spade_jax.data.survey.examine import Examined
from spade_jax.data.survey.finding import KINDS, Finding
from spade_jax.data.survey.report import make_report
from spade_jax.data.survey.run import Survey, survey
from spade_jax.data.survey.splits import Split, folder_split, source_split
from spade_jax.data.survey.statistics import Statistics
from spade_jax.data.survey.suggestions import grey_ids, suggest, suggest_shape

__all__ = [
    "KINDS",
    "Choice",
    "Examined",
    "Finding",
    "Split",
    "Statistics",
    "Survey",
    "blended",
    "choose",
    "folder_split",
    "grey_ids",
    "make_report",
    "source_split",
    "suggest",
    "suggest_shape",
    "survey",
]
