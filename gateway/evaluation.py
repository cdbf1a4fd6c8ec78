"""The evaluation: the one place where it is decided who sees what.

Law: nothing is shown that was not fetched and asked for here and now, for this viewer, with the viewer's rights read
anew, in one consistent read of the database.
"""

from __future__ import annotations

from collections import defaultdict
from contextlib import contextmanager, nullcontext, suppress
from functools import lru_cache
from time import perf_counter
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from django.contrib.auth import get_user_model
from django.db import Error as DatabaseFailure
from django.db import connections, router
from django.db.models import prefetch_related_objects

from ..permissions.crowds import Crowd, common
from ..permissions.inquiries import Inquiry
from ..permissions.lookups import Among
from ..permissions.queries import instances_of
from ..permissions.rights import Rights
from ..permissions.rules import relations_on
from ..serializers.encoding import etag
from ..serializers.hashids import InvalidHashid, decode
from ..serializers.representation import Representation
from .canary import Mismatch, is_trusted, sing
from .decisions import Asked, View
from .grounds import NOT_THERE, Ground
from .logs import deny, report, tell
from .metrics import count, observe
from .primary import from_primary
from .publications import is_serializer
from .snapshots import is_spoiled, snapshot
from .solitude import Unsettled, decide_alone

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from collections.abc import Set as AbstractSet

    from django.db.models import Model, QuerySet

    from ..permissions.viewers import Viewer
    from .decisions import Decision, Pair
    from .grounds import Grounds
    from .publications import Publication


Pairs = tuple["Pair", ...]
# An object as it is named in a pair; with what is asked about it.
Named = tuple["Publication", str]
Watched = dict[Named, Asked]
# The primary keys that are asked for, each with the hashid that stands for it.
Wanted = dict["Publication", dict[Any, str]]


# Of so many evaluations it is remembered who asked.
REMEMBERED = 8
# How many queries it took at most to fetch what a publication's permissions look at.
_most_queries: WeakKeyDictionary[Publication, int] = WeakKeyDictionary()


class Interrupted(Exception):
    """The database refused a statement of the application's code, and may refuse what follows in the transaction."""


@from_primary()
def evaluate(pairs: Iterable[Pair], grounds: Grounds | None = None) -> dict[Pair, Decision]:
    """Decide for each (viewer, object) pair what the viewer is shown now, or that there is nothing to see.

    A plain function: needs no socket and no event loop. Reads the database in one consistent snapshot, and no replica.
    An error while deciding about one pair decides that one (nothing to see), is logged as ``viewer_denied``, and
    touches no other. Pairs of a publication that can't be read at all are left out, undecided, and it is logged as
    ``evaluation_failed``; where none can be read, what the database raised is raised.

    ``grounds`` tells afterwards on what each decision rests.
    """
    begun = perf_counter()
    try:
        decisions = decide_batch(tuple(pairs), grounds)
        observe("evaluation_audiences", len(set(map(id, decisions.values())) - {id(None)}))
        return decisions
    finally:
        observe("evaluation_seconds", perf_counter() - begun)


def decide_batch(pairs: Pairs, grounds: Grounds | None) -> dict[Pair, Decision]:
    count("evaluations")
    count("pairs_evaluated", len(pairs))
    watched, _ = asked_by(pairs)
    publications = {publication for publication, _ in watched}
    if all(is_trusted(publication) for publication in publications):
        decisions = decide_together(pairs, grounds)
    elif len(publications) > 1:
        decisions = decide_apart(pairs, grounds)
    else:
        decisions = decide_each(pairs, grounds)
    if grounds is not None:
        grounds.forget(pair for pair in pairs if pair not in decisions)
    return decisions


def decide_together(pairs: Pairs, grounds: Grounds | None) -> dict[Pair, Decision]:
    try:
        return decide(pairs, grounds)
    except Mismatch:
        return decide_batch(pairs, grounds)
    except Interrupted:
        return decide_each(pairs, grounds)
    except Exception:
        if len({pair.publication for pair in pairs}) == 1:
            raise
        return decide_apart(pairs, grounds)


def decide(pairs: Pairs, grounds: Grounds | None) -> dict[Pair, Decision]:
    watched, crowd = asked_by(pairs)
    wanted = keys_of(watched)
    databases = [*(publication.queryset.db for publication in wanted), router.db_for_read(get_user_model())]
    with snapshot(databases) as is_consistent:
        decisions = look(pairs, watched, crowd, wanted, grounds)
        # Rights are to be read after all content. What is shown was so before and after; the rest is not decided.
        again = decisions if is_consistent else look(pairs, watched, crowd, wanted, grounds)
        if is_spoiled(databases):
            raise Interrupted
        if not is_consistent:
            return {pair: view for pair, view in decisions.items() if pair in again and view == again[pair]}
        try:
            sing(decisions, wanted)
        except DatabaseFailure as error:
            raise Interrupted from error
    return decisions


def look(pairs: Pairs, watched: Watched, crowd: Crowd, wanted: Wanted, grounds: Grounds | None) -> dict[Pair, Decision]:
    instances = fetch(wanted)
    rights = renew(crowd, wanted)
    try:
        return show(pairs, watched, instances, rights, grounds)
    except DatabaseFailure as error:
        raise Interrupted from error


def decide_apart(pairs: Pairs, grounds: Grounds | None) -> dict[Pair, Decision]:
    """Each publication for itself, because something of one of them fails for all."""
    decisions: dict[Pair, Decision] = {}
    failure: Exception | None = None
    for publication in dict.fromkeys(pair.publication for pair in pairs):
        try:
            of_it = tuple(pair for pair in pairs if pair.publication is publication)
            decisions |= decide_batch(of_it, grounds)
        except Exception as error:
            failure = error
            report("evaluation_failed", f"No {publication.label} could be read.", error, model=publication.label)
    if failure is not None and not decisions:
        raise failure
    return decisions


def decide_each(pairs: Iterable[Pair], grounds: Grounds | None) -> dict[Pair, Decision]:
    """Each pair for itself; one about which it can't be told yet is left undecided."""
    decisions: dict[Pair, Decision] = {}
    for pair in pairs:
        try:
            decisions[pair] = decide_alone(pair, grounds)
        except Unsettled as error:
            label = pair.publication.label
            report("evaluation_failed", f"Of a {label} it can't be told yet.", error.__cause__ or error, model=label)
    return decisions


@lru_cache(REMEMBERED)
def asked_by(pairs: Pairs) -> tuple[Watched, Crowd]:
    """What is asked about, and who asks: the same as long as the same pairs are evaluated again."""
    watched: dict[Named, list[Pair]] = defaultdict(list)
    for pair in pairs:
        watched[pair.publication, pair.hashid].append(pair)
    return {named: Asked(about) for named, about in watched.items()}, Crowd(pair.viewer for pair in pairs)


def keys_of(watched: Iterable[Named]) -> Wanted:
    """The primary keys that the hashids stand for; one that stands for nothing has none, as if its row were gone."""
    wanted: Wanted = {}
    for publication, hashid in watched:
        keys = wanted.setdefault(publication, {})
        with suppress(InvalidHashid):
            keys[decode(publication.model, hashid)] = hashid
    return wanted


def fetch(wanted: Wanted) -> dict[Named, Model]:
    """The instances that exist, by publication and hashid; one query for each publication, and one for each relation
    that its permissions follow."""
    instances: dict[Named, Model] = {}
    for publication, keys in wanted.items():
        followed = relations(publication.model, publication.reads)
        with evened_out(publication) if followed else nullcontext():
            found = instances_of(rows_among, publication, is_stable=publication.is_stable, keys=keys)
            prefetch_related_objects(found, *followed)
        instances |= {(publication, keys[instance.pk]): instance for instance in found}
    return instances


def rows_among(publication: Publication, keys: Any) -> QuerySet[Any]:
    return publication.queryset.filter(Among("pk", keys))


@contextmanager
def evened_out(publication: Publication) -> Iterator[None]:
    """Within it, as many queries are made as it ever took: an instance that is not there, or from which nothing is
    related to follow, is not known by a lower number."""
    connection = connections[publication.queryset.db]
    made = 0

    def note(execute: Callable[..., Any], *asked: Any) -> Any:
        nonlocal made
        made += 1
        return execute(*asked)

    with connection.execute_wrapper(note):
        yield
    most = _most_queries[publication] = max(made, _most_queries.get(publication, 0))
    with connection.cursor() as cursor:
        for _ in range(made, most):
            cursor.execute(f"SELECT 1{connection.features.bare_select_suffix}")


def renew(viewers: Iterable[Viewer], wanted: Wanted) -> Rights:
    """The viewers as they are now, with their rights on the objects, read after the content: one query for all viewers
    and the objects of the first publication, and one for each further, also for objects that are not there; three more
    where permissions on whole models are asked for."""
    rights = Rights(viewers, *((publication.model, keys, publication.asks_for) for publication, keys in wanted.items()))
    for publication in wanted:
        rights.prefetch_of_users(relations(get_user_model(), publication.reads_of_user))
        if publication.asks_of_models:
            rights.read_on_models()
        if publication.asks_for is None:  # code of the application's may be asked, and look at the user
            rights.read_users()
    return rights


def relations(model: type[Model], paths: Iterable[str]) -> list[str]:
    return sorted({relations_on(model, path) for path in paths} - {""})


def show(
    pairs: Pairs,
    watched: Watched,
    instances: dict[Named, Model],
    rights: Rights,
    grounds: Grounds | None,
) -> dict[Pair, Decision]:
    """The view of each pair that is allowed to see its object; for every other, nothing to see."""
    decisions: dict[Pair, Decision] = {}
    if grounds is not None:
        grounds.rest(pairs, Ground(NOT_THERE))
    rights.expect(instances.values())
    for (publication, hashid), instance in instances.items():
        asked = watched[publication, hashid]
        ground = Ground()
        inquiry = Inquiry(rights, instance, None if grounds is None else ground.notes)
        if grounds is not None:
            grounds.rest(asked.pairs, ground)
        viewers = common(rights.crowd.viewers, asked.viewers)
        try:
            shown: dict[Viewer, Decision] = {}
            for view, audience in views(publication, inquiry, viewers):
                shown |= dict.fromkeys(audience, view)
            decided = asked.each(shown)
        except DatabaseFailure:
            raise
        except Exception:  # of what can't be done for all viewers of this instance together
            there = [pair for pair in asked.pairs if pair.viewer in rights.crowd.viewers]
            decisions |= dict.fromkeys(set(asked.pairs).difference(there)) | decide_each(there, grounds)
        else:
            decisions |= decided
            for error in inquiry.denied.values():
                deny(publication.label, error)
            ground.fail(inquiry.denied)
    for named in watched.keys() - instances.keys():
        decisions |= dict.fromkeys(watched[named].pairs)
    return decisions


def views(
    publication: Publication, inquiry: Inquiry, viewers: AbstractSet[Viewer]
) -> Iterator[tuple[View, AbstractSet[Viewer]]]:
    """What is shown of one instance, with those to whom."""
    allowed = common(viewers, inquiry.remaining(inquiry.ask(publication.permission, viewers)))
    inquiry.notes = None  # the guards that are asked from here on decide about fields
    for serializer, alike in grouped(publication, inquiry, allowed):
        representation = Representation(serializer, inquiry, alike)
        for body, audience in representation.bodies:
            yield View(body, etag(body), serializer=serializer), audience
        alone = len(representation.alone.keys() - inquiry.denied.keys())
        count("views_alone", alone)
        count("views_shared", sum(len(audience) for _, audience in representation.bodies) - alone)
        for reason in set(representation.alone.values()):
            tell_personal(serializer, reason)


def grouped(
    publication: Publication, inquiry: Inquiry, viewers: AbstractSet[Viewer]
) -> Iterator[tuple[Any, AbstractSet[Viewer]]]:
    """The viewers, divided by the serializer that is chosen for them, and by what else shapes all that they see."""
    choices: dict[Any, Any] = {}
    if is_serializer(publication.serializer):
        choices[publication.serializer] = viewers
    else:
        for viewer, serializer in inquiry.each(publication.serializer_for, viewers).items():
            choices.setdefault(serializer, set()).add(viewer)
    for serializer, chosen in choices.items():
        for alike in inquiry.rights.crowd.alike:
            if those := common(chosen, alike):
                yield serializer, those


@lru_cache(maxsize=1_000)  # so that it is said once
def tell_personal(serializer: Any, reason: str) -> None:
    tell(
        "serializer_personal",
        f"What {serializer.__qualname__} makes is made for a viewer alone: {reason}.",
        serializer=f"{serializer.__module__}.{serializer.__qualname__}",
        reason=reason,
    )
