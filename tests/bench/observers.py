"""The consumer with djangochannelsrestframework, in its fairest configuration for the task.

An observer of the model, partitioned by object, whose message holds the key alone; and per consumer one check and one
serialization, in one hop to a thread. Its ready-made ``ObserverModelInstanceMixin`` would not do: it asks no object
permission, and hops twice.
"""

from __future__ import annotations

from channels.db import database_sync_to_async
from djangochannelsrestframework.consumers import AsyncAPIConsumer
from djangochannelsrestframework.decorators import action
from djangochannelsrestframework.observer import model_observer
from djangochannelsrestframework.permissions import IsAuthenticated

from livegate.serializers.hashids import decode

from .consumers import view_of
from .models import Card


class ObserverConsumer(AsyncAPIConsumer):
    permission_classes = (IsAuthenticated,)

    @model_observer(Card)
    async def card_changed(self, message, action=None, subscribing_request_ids=(), **kwargs):
        payload = await self.view(message["pk"])
        if payload is not None:
            for request_id in subscribing_request_ids:
                await self.reply(data=payload, action=action, request_id=request_id)

    @card_changed.groups_for_signal
    def card_changed(self, instance, **kwargs):
        yield f"observed.card.{instance.pk}"

    @card_changed.groups_for_consumer
    def card_changed(self, pk, **kwargs):
        yield f"observed.card.{pk}"

    @action()
    async def subscribe(self, id, request_id, **kwargs):  # noqa: A002  (the client's word)
        pk = decode(Card, id)
        if await self.view(pk) is not None:
            await self.card_changed.subscribe(pk=pk, request_id=request_id)
            await self.send_json({"type": "SUBSCRIBED"})

    @database_sync_to_async
    def view(self, pk):
        return view_of(self.scope["user"].pk, pk)
