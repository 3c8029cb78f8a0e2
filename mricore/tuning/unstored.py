"""What Ray Tune is given and must not store: it pickles all of that into its folder, and copies it."""

from __future__ import annotations

from typing import Any, Self


class Unstored:
    """Stored as an empty object, and never copied.

    What holds on to a driver's objects may hold the address of MLflow with a password in it. A search goes
    on from its own folder, so nothing of Tune's is ever read again.
    """

    def __reduce__(self) -> tuple[type[object], tuple[()]]:
        """Nothing of it leaves the process."""
        return (object, ())

    def __reduce_ex__(self, protocol: Any) -> tuple[type[object], tuple[()]]:
        """The same for newer protocols."""
        return self.__reduce__()

    def __copy__(self) -> Self:
        """The object itself."""
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """The object itself."""
        return self
