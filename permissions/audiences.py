"""The audience: viewers who are shown the same bytes, as long as nothing that is asked tells them apart."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, NoReturn

from .inquiries import Inquiry

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping
    from collections.abc import Set as AbstractSet

    from django.db.models import Model

    from .rights import Rights
    from .rules import Permission
    from .viewers import Viewer

# Where those who reach for a viewer are not to be found: the ways that lead there.
WAYS = ("livegate.permissions.", "livegate.serializers.", "rest_framework.", "django.")


class Unshared(BaseException):
    """What is being made can't be shared by the audience. No application code is to catch it; the audience knows why
    in any case."""


class Audience:
    """The viewers for whom something is being made once.

    Whatever depends on the viewer has to be asked here. Where the answers differ, the making ends, and the audience
    has fallen into ``parts``, for each of which it begins anew. Where one viewer would be looked at, it ends with
    the reason in ``personal``: then no two viewers can share it.
    """

    def __init__(self, viewers: AbstractSet[Viewer], rights: Rights, known: Mapping[int, bool] | None = None) -> None:
        self.viewers = viewers
        self.rights = rights
        self.parts: list[AbstractSet[Viewer]] = []
        self.personal = ""
        # The instance as a whole that is represented, and what was asked about it before: by the permission's id.
        self.root: Model | None = None
        self._known = known or {}

    def allowed(self, permissions: Mapping[str, Permission], instance: Model) -> frozenset[str]:
        """The names of the permissions that allow the viewers to see an instance."""
        inquiry = Inquiry(self.rights, instance)
        yes = {name: self._among(permission, inquiry) for name, permission in permissions.items()}
        if inquiry.apart:
            self._stop(next(iter(inquiry.apart.values())).reason)
        if inquiry.denied:
            others = inquiry.remaining(self.viewers)
            if not others:
                raise next(iter(inquiry.denied.values()))
            self._divide([inquiry.denied.keys(), others])
        cells = cells_of(self.viewers, yes.values())
        self.agree(cells)
        return frozenset(name for name, among in yes.items() if cells[0] <= among)

    def _among(self, permission: Permission, inquiry: Inquiry) -> AbstractSet[Viewer]:
        known = self._known.get(id(permission)) if inquiry.instance is self.root else None
        if known is not None:
            return self.viewers if known else frozenset()
        return inquiry.ask(permission, inquiry.remaining(self.viewers))

    def agree(self, cells: Collection[AbstractSet[Viewer]]) -> None:
        """Divide the audience where the viewers have different answers."""
        if len(cells) > 1:
            self._divide(cells)

    def _divide(self, parts: Collection[AbstractSet[Viewer]]) -> NoReturn:
        self.parts = list(parts)
        raise Unshared

    def reach(self, what: str) -> NoReturn:
        """Somebody reaches for one viewer, where there are several."""
        self._stop(f"{what}, {caller()}")

    def _stop(self, reason: str) -> NoReturn:
        self.personal = reason
        raise Unshared(reason)


def cells_of(viewers: AbstractSet[Viewer], answers: Iterable[AbstractSet[Viewer]]) -> list[AbstractSet[Viewer]]:
    """The viewers, divided by every answer: each answer is of those who are allowed something."""
    cells = [viewers]
    for allowed in answers:
        cells = [part for cell in cells for part in (cell & allowed, cell - allowed) if part]
    return cells


def caller() -> str:
    """Where the application reached for what it can't have."""
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith(WAYS):
        frame = frame.f_back
    return f"in {frame.f_code.co_name} at {frame.f_code.co_filename}:{frame.f_lineno}"
