"""The two ways a run can fail: the user's input is wrong, or we are."""

EXIT_DONE = 0
EXIT_USER_ERROR = 2
EXIT_INTERRUPTED = 130


def shareable(text: str) -> str:
    """A message up to the first place it names: what is passed on tells no path or address of the user."""
    words = text.split(" ")
    named = next((number for number, word in enumerate(words) if "/" in word or "\\" in word), None)
    return text if named is None else " ".join([*words[:named], "..."])


class UserError(Exception):
    """The input or a setting is wrong; the message is one line and says what to do.

    Entry points print the message without a traceback and exit with code 2. The message must never
    hold text from inside a DICOM file (names, UIDs, descriptions): only what the user typed.
    """

    def __init__(self, problem: str, remedy: str) -> None:
        self.problem = problem
        self.remedy = remedy
        super().__init__(f"{problem} -> {remedy}")

    def __reduce__(self) -> tuple[type["UserError"], tuple[str, str]]:
        """Keep both parts when the error crosses a process boundary (Ray pickles exceptions)."""
        return (UserError, (self.problem, self.remedy))
