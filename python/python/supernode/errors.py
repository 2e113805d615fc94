"""What can go wrong: the question, the answer, or the program."""

from __future__ import annotations


class Error(Exception):
    """Why there is no answer."""


class InputError(Error, ValueError):
    """The question is wrong: a name is unknown, a value is out of its range, two contradict each other.

    ``key`` is the path of the key that is to blame, ``file`` and ``line`` are where it was read; each is ``None`` where
    there is none.
    """

    key: str | None
    file: str | None
    line: int | None

    def __init__(
        self, reason: str, *, key: str | None = None, file: str | None = None, line: int | None = None
    ) -> None:
        super().__init__(reason)
        self.key = key
        self.file = file
        self.line = line

    def __reduce__(self) -> tuple[object, ...]:
        return (_input_error, (str(self), self.key, self.file, self.line))


def _input_error(reason: str, key: str | None, file: str | None, line: int | None) -> InputError:
    return InputError(reason, key=key, file=file, line=line)


class NoAnswerError(Error):
    """The answer is no: nothing fits, nothing meets the limits, nothing completed."""


class InternalError(Error, RuntimeError):
    """The program failed: a defect of supernode, never of the question."""
