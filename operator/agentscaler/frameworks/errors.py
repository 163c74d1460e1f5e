"""What is wrong with a settings file of the user's."""

from __future__ import annotations


class BrokenFile(ValueError):  # noqa: N818 (it says what happened)
    """A settings file cannot be read, or not be changed where it has to be.

    Attributes:
        line: Where, counted from 1; None: it is not known.
    """

    def __init__(self, why: str, line: int | None = None) -> None:
        super().__init__(why)
        self.line = line
