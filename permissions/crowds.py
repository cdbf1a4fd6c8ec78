"""The crowd: viewers who ask together. What can be worked out about them is, once, as long as the same ask again."""

from __future__ import annotations

from collections.abc import Collection
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from .aggregates import listed

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from collections.abc import Set as AbstractSet

    from .aggregates import Keys
    from .viewers import Viewer

# How many answers of the database a crowd knows the meaning of.
KNOWN = 16


def is_known(viewer: Viewer) -> bool:
    """Whether they are not anonymous."""
    return viewer.identity is not None


def common(some: AbstractSet[Viewer], others: AbstractSet[Viewer]) -> AbstractSet[Viewer]:
    """Those who are in both; as one of the two where it has no others. To compare sets of a thousand takes less than to
    make one more."""
    if some is others or some <= others:
        return some
    return others if others <= some else some & others


class Crowd(Collection["Viewer"]):
    """Some viewers. Nothing that is read of them is kept here, be it who is there or who may do what: only what follows
    from who they are, and which of them the keys stand for that the database gives each time anew."""

    def __init__(self, viewers: Iterable[Viewer]) -> None:
        # With the primary key of the user, None for one who has none.
        self.keys: Mapping[Viewer, Any] = MappingProxyType({viewer: viewer.user_key for viewer in viewers})
        self._meant: dict[tuple[Keys, ...], frozenset[Viewer]] = {}
        # Who is not there, if these are the accounts.
        self._absent: tuple[tuple[Keys, ...], frozenset[Viewer]] = ((), self.known)

    def __reduce__(self) -> tuple[type[Crowd], tuple[list[Viewer]]]:
        """What application code copies may hold on to it."""
        return Crowd, (list(self.keys),)

    def __iter__(self) -> Iterator[Viewer]:
        return iter(self.keys)

    def __len__(self) -> int:
        return len(self.keys)

    def __contains__(self, viewer: object) -> bool:
        return viewer in self.keys

    @cached_property
    def viewers(self) -> frozenset[Viewer]:
        return frozenset(self.keys)

    @cached_property
    def user_keys(self) -> frozenset[Any]:
        return frozenset(self._viewer_of) - {None}

    @cached_property
    def anonymous(self) -> frozenset[Viewer]:
        return self.viewers - self.known

    @cached_property
    def known(self) -> frozenset[Viewer]:
        return frozenset(filter(is_known, self))

    @cached_property
    def alike(self) -> tuple[frozenset[Viewer], ...]:
        """The viewers, divided by all but the user that may shape what they are shown."""
        surroundings = [viewer.surroundings for viewer in self]
        if not surroundings or surroundings.count(surroundings[0]) == len(surroundings):
            return (self.viewers,)
        alike: dict[tuple[str, ...], set[Viewer]] = {}
        for viewer in self:
            alike.setdefault(viewer.surroundings, set()).add(viewer)
        return tuple(map(frozenset, alike.values()))

    def being(self, keys: Iterable[Any]) -> set[Viewer]:
        """The viewers whose user has one of these keys; None stands for the anonymous ones."""
        found = self._viewer_of.keys() & keys
        viewers = set(map(self._viewer_of.__getitem__, found))
        for key in found & self._further.keys():
            viewers.update(self._further[key])
        return viewers

    def among(self, found: tuple[Keys, ...]) -> frozenset[Viewer]:
        """The viewers whose user has one of the keys that were found."""
        meant = self._meant.get(found)
        if meant is None:
            meant = frozenset().union(*(self.being(listed(keys)) for keys in found))
            if len(self._meant) >= KNOWN:
                self._meant.clear()
            self._meant[found] = meant
        return meant

    def of_accounts(self, found: tuple[Keys, ...]) -> Crowd:
        """Those who are there, if these are the keys of the accounts that are."""
        accounts, absent = self._absent
        if accounts != found:
            there = {key for keys in found for key in listed(keys)}
            absent = frozenset(one for one, key in self.keys.items() if is_known(one) and key not in there)
            self._absent = found, absent
        return Crowd(one for one in self if one not in absent) if absent else self

    @cached_property
    def _viewer_of(self) -> dict[Any, Viewer]:
        """A viewer for each key; nearly always the only one."""
        return dict(zip(self.keys.values(), self.keys, strict=True))

    @cached_property
    def _further(self) -> dict[Any, list[Viewer]]:
        """The other viewers of users who are there several times, in several languages."""
        further: dict[Any, list[Viewer]] = {}
        if len(self._viewer_of) < len(self.keys):
            for viewer, key in self.keys.items():
                if self._viewer_of[key] is not viewer:
                    further.setdefault(key, []).append(viewer)
        return further
