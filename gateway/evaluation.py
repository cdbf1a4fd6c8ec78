"""The evaluation: the one place where it is decided who sees what.

Law: nothing is shown that was not fetched and asked for here and now, for this viewer, with the viewer's rights read
anew, in one consistent read of the database.
"""

from __future__ import annotations

from contextlib import ExitStack, contextmanager, suppress
from contextvars import copy_context
from copy import deepcopy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.contrib.auth import get_user_model
from django.db import DatabaseError, connections, router, transaction
from django.db.models import Model, prefetch_related_objects

from ..permissions.requests import retrieval
from ..permissions.rights import Rights
from ..permissions.rules import relations_on
from ..permissions.viewers import Viewer, refresh
from ..serializers.encoding import encode, etag
from ..serializers.hashids import InvalidHashid, decode
from .logs import report

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from contextvars import Context

    from ..permissions.rules import Permission
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


@dataclass(frozen=True)
class Admission:
    """What one viewer is about to be shown: who they are now, and an instance and a context of their own."""

    viewer: Viewer
    instance: Model
    context: Context


class Interrupted(Exception):
    """The database refused a statement that was made for one pair, and may refuse what follows in the transaction."""


def evaluate(pairs: Iterable[Pair]) -> dict[Pair, Decision]:
    """Decide for each (viewer, object) pair what the viewer is shown now, or that there is nothing to see.

    A plain function: needs no socket and no event loop. Reads the database in one consistent snapshot. An error
    while deciding about one pair decides that one (nothing to see), is logged as ``viewer_denied``, and touches no
    other. Pairs of a publication that can't be read at all are left out, undecided, and it is logged as
    ``evaluation_failed``; where none can be read, what the database raised is raised.
    """
    batch = list(dict.fromkeys(pairs))
    try:
        return decide(batch)
    except Interrupted:
        return {pair: decide_alone(pair) for pair in batch}
    except Exception:
        if len({pair.publication for pair in batch}) == 1:
            raise
        return decide_apart(batch)


def decide(pairs: list[Pair]) -> dict[Pair, Decision]:
    wanted = keys_of(pairs)
    databases = {publication: publication.queryset.db for publication in wanted}
    with snapshot([*databases.values(), router.db_for_read(get_user_model())]):
        instances = fetch(wanted, databases)
        viewers = renew(pairs, wanted)
        admissions = ask(pairs, instances, viewers)
        return show(pairs, admissions)


def decide_apart(pairs: list[Pair]) -> dict[Pair, Decision]:
    """Each publication for itself, because something of one of them fails for all."""
    decisions: dict[Pair, Decision] = {}
    failure: Exception | None = None
    for publication in dict.fromkeys(pair.publication for pair in pairs):
        try:
            decisions |= evaluate([pair for pair in pairs if pair.publication is publication])
        except Exception as error:
            failure = error
            report("evaluation_failed", f"No {publication.label} could be read.", error, model=publication.label)
    if failure is not None and not decisions:
        raise failure
    return decisions


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


def fetch(wanted: Wanted, databases: dict[Publication, str]) -> dict[tuple[Publication, str], Model]:
    """The instances that exist, by publication and hashid; one query for each publication, and one for each relation
    that its permission follows."""
    instances: dict[tuple[Publication, str], Model] = {}
    for publication, keys in wanted.items():
        found = list(publication.queryset.using(databases[publication]).filter(pk__in=list(keys)))
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
    """The pairs whose viewer may see the object. Each has an instance and a context of its own: what a permission or a
    serializer remembers on the instance, or sets in a context variable, reaches no other viewer."""
    admissions: dict[Pair, Admission] = {}
    for pair in pairs:
        instance = instances.get((pair.publication, pair.hashid))
        viewer = viewers.get(pair.viewer)
        if instance is None or viewer is None:
            continue
        with denying(pair):
            admission = Admission(viewer, own_copy(instance), copy_context())
            if admission.context.run(allows, pair.publication.permission, viewer, admission.instance):
                admissions[pair] = admission
    return admissions


def allows(permission: Permission, viewer: Viewer, instance: Model) -> bool:
    with viewer.locale():
        return permission.allows(viewer, instance)


def own_copy(instance: Model) -> Model:
    """A copy that shares nothing with the instance, related instances that were fetched with it included."""
    memo: dict[int, Any] = {}
    copied: Model = deepcopy(instance, memo)
    pending, seen = [(instance, copied)], set()
    while pending:
        original, twin = pending.pop()
        if id(original) in seen:
            continue
        seen.add(id(original))
        # Copied querysets have forgotten what they had fetched.
        for name, fetched in vars(original).get("_prefetched_objects_cache", {}).items():
            forgetful = vars(twin)["_prefetched_objects_cache"][name]
            forgetful._result_cache = deepcopy(fetched._result_cache, memo)
            forgetful._prefetch_done = True
            pending += zip(fetched._result_cache, forgetful._result_cache, strict=True)
        for name, related in original._state.fields_cache.items():
            if isinstance(related, Model):
                pending.append((related, twin._state.fields_cache[name]))
    return copied


def show(pairs: list[Pair], admissions: dict[Pair, Admission]) -> dict[Pair, Decision]:
    """The view of each pair that was admitted; for every other, nothing to see."""
    decisions: dict[Pair, Decision] = dict.fromkeys(pairs)
    for pair, admission in admissions.items():
        with denying(pair):
            decisions[pair] = admission.context.run(serialize, pair.publication, admission.viewer, admission.instance)
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
    """Within it, an error leaves the pair with nothing to see; also one that is meant to end a task or a process."""
    try:
        yield
    except DatabaseError as error:
        raise Interrupted from error
    except BaseException as error:
        deny(pair, error)


def deny(pair: Pair, error: BaseException) -> None:
    report(
        "viewer_denied",
        f"An error while deciding what a viewer sees of a {pair.publication.label}: they see nothing.",
        error,
        model=pair.publication.label,
    )


@contextmanager
def snapshot(databases: Iterable[str]) -> Iterator[None]:
    """Within it, every read sees these databases as they were at one moment.

    One transaction for each: REPEATABLE READ on PostgreSQL, where a transaction would otherwise see each commit of
    others; on SQLite every transaction is a snapshot. Inside a transaction that is already open, that one's view of
    the database holds.
    """
    with ExitStack() as transactions:
        for alias in dict.fromkeys(databases):
            connection = connections[alias]
            if not connection.in_atomic_block:
                transactions.enter_context(transaction.atomic(using=alias))
                if connection.vendor == "postgresql":
                    with connection.cursor() as cursor:
                        cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        yield
