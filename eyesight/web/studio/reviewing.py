"""The review page for a project: the audit of its last check, and its own corrections."""

from __future__ import annotations

from eyesight.auditing import record
from eyesight.data.opening import open_source
from eyesight.errors import UserError
from eyesight.studio import checking
from eyesight.studio.projects import Project
from eyesight.web.review import Review

NOT_CHECKED = "the images have not been checked yet, or were changed since"


def open_review(project: Project) -> Review:
    """A review of what the last check judged; raises UserError where there is none."""
    check = checking.read_check(project)
    kept = record.recall(check.audited) if check is not None and check.audited else None
    if kept is None:
        raise UserError(NOT_CHECKED, "check the images first, in step 2")
    source = open_source(str(project.pictures))
    review = Review.open(kept, source, project.corrections_path, checking.WHO)
    review.name = project.title
    return review
