"""The tutorial's own test, in its words: connect, send {"model", "id"}, receive nothing, change, receive."""

from asgiref.sync import sync_to_async


async def test_a_person_subscribes_in_silence_and_is_told_of_the_change(demo, connect, get):
    client = await connect(demo.cleo)

    await client.send({"model": "board.Card", "id": demo.card.hashid})
    await client.nothing()
    demo.card.title = "Site reliability engineer"
    await sync_to_async(demo.card.save)()

    frame = await client.receive()
    seen = await sync_to_async(get)(f"/api/cards/{demo.card.hashid}/", demo.cleo)
    assert frame["type"] == "UPDATE_CARD"
    assert frame["payload"] == seen
    assert frame["payload"]["title"] == "Site reliability engineer"
    assert "salary" not in frame["payload"]
    await client.nothing()
