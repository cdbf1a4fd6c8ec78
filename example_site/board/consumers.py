"""For the demonstration only: shows what crosses the channel layer, as it is."""

from channels.generic.websocket import AsyncJsonWebsocketConsumer

from livegate.gateway.notices import group_names


class NoticeTapConsumer(AsyncJsonWebsocketConsumer):
    """Joins the notice groups as a hub does, and passes every message on to the page."""

    groups = group_names()

    async def livegate_notices(self, message):
        if message["notices"]:
            await self.send_json(message)
