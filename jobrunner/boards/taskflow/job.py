"""A job as a TaskFlow program sees it: what was posted, and questions to the board."""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, Any

from taskflow.jobs import base

from jobrunner.boards.taskflow.claims import Claim
from jobrunner.boards.taskflow.posting import PRIORITIES, Posting

if TYPE_CHECKING:
    from jobrunner.boards.taskflow.jobboard import PostingBoard


class PostedJob(base.Job):
    """A job of a :class:`~jobrunner.boards.taskflow.jobboard.PostingBoard`. Two with one id are equal.

    It remembers the claim that was made with it, so that the board can tell one run of a job from the next.
    """

    def __init__(
        self, board: PostingBoard, job_id: str, rank: int, posting: Posting, *, backend: Any, book: Any = None
    ) -> None:
        self._on: PostingBoard = board
        super().__init__(
            board,
            posting.name,
            uuid=job_id,
            details=posting.details,
            backend=backend,
            book=book,
            book_data=posting.book,
        )
        self._rank = rank
        self._created_on = posting.created_on
        self.claim: Claim | None = None

    @property
    def created_on(self) -> datetime.datetime:
        return self._created_on

    @property
    def last_modified(self) -> datetime.datetime:
        """When it was posted: a posting never changes."""
        return self._created_on

    @property
    def priority(self) -> base.JobPriority:
        return PRIORITIES[self._rank]

    @property
    def state(self) -> str:
        """UNCLAIMED, CLAIMED, or COMPLETE if it was consumed, as the board has it at this moment.

        Raises NotFound if the board knows nothing of it, JobFailure if it was trashed or the board is away.
        """
        return self._on.state_of(self)

    def expires_in(self) -> float:
        """Seconds until the claim's lease ends; TaskFlow's KEY_NOT_FOUND, which is negative, if nobody claims it."""
        return self._on.expires_in(self)

    def extend_expiry(self, expiry: float) -> bool:
        """Let this process's claim last for ``expiry`` seconds from now, not less than its lease; whether it does.

        False if the claim is another's by now, has run out, or was never made here.
        """
        return self._on.extend_expiry(self, expiry)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, PostedJob):
            return NotImplemented
        return bool(self._uuid == other._uuid)

    def __hash__(self) -> int:
        return hash(self._uuid)
