"""The evaluation: the one place where it is decided who sees what.

Law: nothing is shown that was not fetched and asked for here and now, for this viewer, with the viewer's rights read
anew, in one consistent read of the database.
"""

from __future__ import annotations

import copy
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.contrib.auth import get_user_model
from django.db import DatabaseError, connections, router, transaction
from django.db.models import prefetch_related_objects

from ..permissions.requests import retrieval
from ..permissions.rights import Rights
from ..permissions.rules import relations_on
from ..permissions.viewers import Viewer, refresh
from ..serializers.encoding import encode, etag
from ..serializers.hashids import InvalidHashid, decode
from .logs import report

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from django.db.models import Model

    from .publications import Publication


@dataclass(frozen=True)
class Pair:
    """A viewer and an object, named as the viewer names it; the object may not exist."""

    viewer: Viewer
    publication: Publication
    hashid: str


@dataclass(frozen=True)
class View:
    """The decision to show: the JSON of the serialized instance, UTF-8, and its ETag."""

    body: bytes
    etag: str


# The primary keys that are asked for, each with the hashid that stands for it.
Wanted = dict["Publication", dict[Any, str]]
# The decision about a pair: what to show, or None where there is nothing to see.
Decision = View | None
# What one viewer is about to be shown: who they are now, and an instance of their own.
Admission = tuple[Viewer, "Model"]


class Interrupted(Exception):
    """The database refused a statement that was made for one pair, and may refuse what follows in the transaction."""


def evaluate(pairs: Iterable[Pair]) -> dict[Pair, Decision]:
    """Decide for each (viewer, object) pair what the viewer is shown now, or that there is nothing to see.

    A plain function: needs no socket and no event loop. Reads the database in one consistent snapshot. An error
    while deciding about one pair decides that one (nothing to see), is logged as ``viewer_denied``, and touches no
    other. Raises what the database raises when it can't be read at all; nothing is decided then.
    """
    batch = list(dict.fromkeys(pairs))
    try:
        return decide(batch)
    except Interrupted:
        return {pair: decide_alone(pair) for pair in batch}


def decide(pairs: list[Pair]) -> dict[Pair, Decision]:
    wanted = keys_of(pairs)
    with snapshot(pairs):
        instances = fetch(wanted)
        viewers = renew(pairs, wanted)
        admissions = ask(pairs, instances, viewers)
        return show(pairs, admissions)


def decide_alone(pair: Pair) -> Decision:
    try:
        return decide([pair])[pair]
    except Interrupted as interruption:
        deny(pair, interruption.__cause__ or interruption)
        return None


def keys_of(pairs: list[Pair]) -> Wanted:
    """The primary keys that the hashids stand for; one that stands for nothing has none, as if its row were gone."""
    wanted: Wanted = {}
    for pair in pairs:
        keys = wanted.setdefault(pair.publication, {})
        with suppress(InvalidHashid):
            keys[decode(pair.publication.model, pair.hashid)] = pair.hashid
    return wanted


def fetch(wanted: Wanted) -> dict[tuple[Publication, str], Model]:
    """The instances that exist, by publication and hashid; one query for each publication, and one for each relation
    that its permission follows."""
    instances: dict[tuple[Publication, str], Model] = {}
    for publication, keys in wanted.items():
        found = list(publication.queryset.filter(pk__in=list(keys)))
        prefetch(found, publication.model, publication.permission.reads)
        instances |= {(publication, keys[instance.pk]): instance for instance in found}
    return instances


def renew(pairs: list[Pair], wanted: Wanted) -> dict[Viewer, Viewer]:
    """The viewers as they are now, with their rights on the objects, read after the content: one query for all
    viewers, and three for each publication, also for objects that are not there."""
    viewers = refresh(pair.viewer for pair in pairs)
    users = [viewer.user for viewer in viewers.values()]
    known = [user for user in users if user.is_authenticated]
    for publication in wanted:
        prefetch(known, get_user_model(), publication.permission.reads_of_user)
    rights = Rights(users)
    for publication, keys in wanted.items():
        rights.read(publication.model, keys)
    return viewers


def prefetch(instances: list[Any], model: type[Model], paths: Iterable[str]) -> None:
    relations = {relations_on(model, path) for path in paths} - {""}
    prefetch_related_objects(instances, *sorted(relations))


def ask(
    pairs: list[Pair], instances: dict[tuple[Publication, str], Model], viewers: dict[Viewer, Viewer]
) -> dict[Pair, Admission]:
    """The pairs whose viewer may see the object, each with an instance of its own: what a permission or a serializer
    remembers on an instance reaches no other viewer."""
    admissions: dict[Pair, Admission] = {}
    for pair in pairs:
        instance = instances.get((pair.publication, pair.hashid))
        viewer = viewers.get(pair.viewer)
        if instance is None or viewer is None:
            continue
        with denying(pair):
            own = copy.deepcopy(instance)
            with viewer.locale():
                if pair.publication.permission.allows(viewer, own):
                    admissions[pair] = viewer, own
    return admissions


def show(pairs: list[Pair], admissions: dict[Pair, Admission]) -> dict[Pair, Decision]:
    """The view of each pair that was admitted; for every other, nothing to see."""
    decisions: dict[Pair, Decision] = dict.fromkeys(pairs)
    for pair, (viewer, instance) in admissions.items():
        with denying(pair):
            decisions[pair] = serialize(pair.publication, viewer, instance)
    return decisions


def serialize(publication: Publication, viewer: Viewer, instance: Model) -> View:
    """The instance as a GET by this viewer would show it."""
    with viewer.locale():
        serializer = publication.serializer_for(viewer, instance)
        view = retrieval(viewer, instance)
        body = encode(serializer(instance, context=view.get_serializer_context()).data)
    return View(body, etag(body))


@contextmanager
def denying(pair: Pair) -> Iterator[None]:
    """Within it, an error leaves the pair with nothing to see."""
    try:
        yield
    except DatabaseError as error:
        raise Interrupted from error
    except Exception as error:
        deny(pair, error)


def deny(pair: Pair, error: BaseException) -> None:
    report(
        "viewer_denied",
        f"An error while deciding what a viewer sees of a {pair.publication.label}: they see nothing.",
        error,
        model=pair.publication.label,
    )


@contextmanager
def snapshot(pairs: list[Pair]) -> Iterator[None]:
    """Within it, every read sees the databases as they were at one moment.

    One transaction for each database that the pairs and their users are read from: REPEATABLE READ on PostgreSQL,
    where a transaction would otherwise see each commit of others; on SQLite every transaction is a snapshot. Inside
    a transaction that is already open, that one's view of the database holds.
    """
    models = [*(pair.publication.model for pair in pairs), get_user_model()]
    with ExitStack() as transactions:
        for alias in dict.fromkeys(router.db_for_read(model) for model in models):
            connection = connections[alias]
            if not connection.in_atomic_block:
                transactions.enter_context(transaction.atomic(using=alias))
                if connection.vendor == "postgresql":
                    with connection.cursor() as cursor:
                        cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        yield
