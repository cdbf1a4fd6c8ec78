"""The consumers that one would write without livegate: classic and naive; and how a save reaches them."""

from __future__ import annotations

from types import SimpleNamespace

from asgiref.sync import async_to_sync
from channels.db import database_sync_to_async
from channels.generic.websocket import AsyncJsonWebsocketConsumer
from channels.layers import get_channel_layer
from django.contrib.auth import get_user_model
from django.db import transaction
from django.db.models.signals import post_save
from guardian.core import ObjectPermissionChecker

from livegate.serializers.hashids import decode

from .models import Card
from .serializers import CheckedSerializer, OpenSerializer


class CardConsumer(AsyncJsonWebsocketConsumer):
    """Joins the group of the card that its client asks for."""

    async def connect(self):
        self.joined = set()
        await self.accept()

    async def receive_json(self, content, **kwargs):
        key = decode(Card, content["id"])
        if await self.may_subscribe(key):
            self.joined.add(group_of(key))
            await self.channel_layer.group_add(group_of(key), self.channel_name)
            await self.send_json({"type": "SUBSCRIBED"})

    async def may_subscribe(self, key):
        return True

    async def disconnect(self, code):
        for group in self.joined:
            await self.channel_layer.group_discard(group, self.channel_name)


class ClassicConsumer(CardConsumer):
    """The tutorial: whoever is in the group gets what was sent to the group."""

    async def card_changed(self, event):
        await self.send_json({"type": "UPDATE_CARD", "payload": event["payload"]})


class NaiveConsumer(CardConsumer):
    """Told that the card changed, it fetches the card, asks guardian for its user, and serializes for them."""

    async def may_subscribe(self, key):
        return await self.view(key) is not None

    async def card_changed(self, event):
        payload = await self.view(event["pk"])
        if payload is not None:
            await self.send_json({"type": "UPDATE_CARD", "payload": payload})

    @database_sync_to_async
    def view(self, key):
        return view_of(self.scope["user"].pk, key)


def view_of(user_pk, card_pk):
    """What a user sees of a card, as a GET by them would; None where they may not see it."""
    user = get_user_model().objects.get(pk=user_pk)  # the one in the scope remembers rights that were taken away
    card = Card.objects.get(pk=card_pk)
    checker = ObjectPermissionChecker(user)
    if card.owner_id != user.pk and not checker.has_perm("view_card", card):
        return None
    return CheckedSerializer(card, context={"request": SimpleNamespace(user=user), "checker": checker}).data


def group_of(key):
    return f"card.{key}"


def send_payload(card):
    return {"type": "card.changed", "payload": OpenSerializer(card).data}


def send_key(card):
    return {"type": "card.changed", "pk": card.pk}


def publish_saves(message_of):
    """From now on, send the group of a card a message after each commit of it."""

    def after_save(sender, instance, **kwargs):
        message = message_of(instance)
        send = async_to_sync(get_channel_layer().group_send)
        transaction.on_commit(lambda: send(group_of(instance.pk), message))

    post_save.connect(after_save, sender=Card, weak=False)
