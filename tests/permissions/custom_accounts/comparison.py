"""Deals grants at random, and compares every decision with what ``user.has_perm`` says when it is asked alone."""

import json
from collections import Counter
from functools import cache
from random import Random

from django.contrib.auth import get_user_model
from django.contrib.auth.models import AnonymousUser
from django.db import connection
from django.test.utils import CaptureQueriesContext
from guardian.shortcuts import assign_perm
from rest_framework.serializers import Serializer
from things.models import Document, OwnDocument, OwnPage, Page

from livegate.gateway.decisions import Pair
from livegate.gateway.evaluation import evaluate
from livegate.gateway.publications import publish
from livegate.permissions import Viewer, has_model_perm, has_perm, permission

User = get_user_model()
Group = User.groups.rel.model


def view(thing):
    return f"things.view_{thing._meta.model_name}"


@permission
def custom(viewer, thing):
    return viewer.user.has_perm(view(thing), thing)


PUBLICATIONS = {
    model: {
        "has_perm": publish(model, Serializer, to=has_perm(f"view_{model._meta.model_name}")),
        "~has_perm": publish(model, Serializer, to=~has_perm(view(model))),
        "custom": publish(model, Serializer, to=custom),
        "has_model_perm": publish(model, Serializer, to=has_model_perm(view(model))),
    }
    for model in [Page, Document, OwnPage, OwnDocument]
}


def main():
    connection.creation.create_test_db(verbosity=0, autoclobber=True, serialize=False)
    try:
        print(json.dumps(compare(*deal(Random(User._meta.label)))))
    finally:
        connection.creation.destroy_test_db(connection.settings_dict["NAME"], verbosity=0)


def compare(viewers, things):
    """How many answers were compared, which were yes, which differ, and the queries for two users and for all."""
    ordinary = User.objects.filter(is_active=True, is_superuser=False, groups__isnull=False).distinct()[:2]
    some = {None, *(user.pk for user in ordinary)}  # and an anonymous one: who stands for them is one query more
    _, queries_of_two = evaluated([viewer for viewer in viewers if viewer.user.pk in some][:3], things)
    decisions, queries_of_all = evaluated(viewers, things)

    compared, yes_to, differing = Counter(), Counter(), []
    for (viewer, thing, kind), decision in decisions.items():
        answer = alone(viewer, view(thing), None if kind == "has_model_perm" else thing)
        yes = answer is (kind != "~has_perm")
        compared[kind] += 1
        yes_to[kind] += yes
        yes_to["anonymous"] += viewer.user.is_anonymous and answer
        if yes is (decision is None):
            differing.append(f"{viewer.user}, {kind}, {thing}: {answer} alone")
    queries = [queries_of_two, queries_of_all]
    return {"compared": compared, "yes": yes_to, "differing": differing, "queries": queries}


def deal(dice):
    """Viewers, whose users are as they were before anything was granted to them or changed about them; and things."""
    stand_in = list(User.objects.all())  # guardian's user for anonymous ones, if there is one
    users = User.objects.bulk_create(User(username=f"user {number}") for number in range(40))
    groups = [Group.objects.create(name=f"group {number}") for number in range(6)]
    things = [thing for model in PUBLICATIONS for thing in model.objects.bulk_create(model() for _ in range(3))]
    asking = [*users, *stand_in, AnonymousUser(), AnonymousUser()]
    viewers = [Viewer(user, "en", "UTC", "http", f"{number}.example") for number, user in enumerate(asking)]

    for user in [*users, *stand_in]:
        user.groups.set(dice.sample(groups, dice.randrange(3)))
    for thing in things:
        for holder in [*dice.sample(users, 9), *dice.sample(groups, 2), *stand_in[: dice.randrange(2)]]:
            assign_perm(dice.choice([view(thing), f"change_{thing._meta.model_name}"]), holder, thing)
    for model in PUBLICATIONS:
        for holder in [*dice.sample(users, 5), dice.choice(groups)]:
            assign_perm(view(model), holder)
    for number, user in enumerate(users):
        User.objects.filter(pk=user.pk).update(is_active=number % 4 > 0, is_superuser=number % 5 == 0)
    User.objects.filter(pk=users[1].pk).delete()
    return viewers, things


def evaluated(viewers, things):
    """The decision about each (viewer, thing, kind of permission), all of one batch, and its number of queries."""
    pairs = {
        (viewer, thing, kind): Pair(viewer, publication, thing.hashid)
        for viewer in viewers
        for thing in things
        for kind, publication in PUBLICATIONS[type(thing)].items()
    }
    with CaptureQueriesContext(connection) as queries:
        decisions = evaluate(pairs.values())
    return {question: decisions[pair] for question, pair in pairs.items()}, len(queries)


@cache
def alone(viewer, *question):
    """What the user is told who was fetched for this one question; None where they are gone or inactive."""
    if viewer.user.is_anonymous:
        return viewer.user.has_perm(*question)
    user = User.objects.filter(pk=viewer.user.pk, is_active=True).first()
    return user and user.has_perm(*question)
