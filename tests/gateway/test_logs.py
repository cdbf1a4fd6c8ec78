"""What is logged tells where an error was, and never what it was about."""

from livegate.gateway.logs import deny, report, tell, where


def test_an_error_is_named_by_its_kind_and_place_and_not_by_its_text(caplog):
    try:
        raise ValueError("salary is 84000")
    except ValueError as error:
        report("viewer_denied", "A viewer sees nothing.", error, model="board.Card")

    [record] = caplog.records
    assert (record.name, record.event, record.model) == ("livegate", "viewer_denied", "board.Card")
    assert record.message.startswith("A viewer sees nothing. (ValueError at ")
    assert "84000" not in caplog.text
    assert record.exc_info is None


def test_an_error_that_was_never_raised_has_no_place():
    assert where(KeyError("x")) == "KeyError"


def test_without_an_error_the_sentence_stands_alone(caplog):
    report("hub_failed", "Just so.")

    assert caplog.messages == ["Just so."]


def test_what_is_no_error_is_told_where_somebody_listens(caplog):
    tell("serializer_personal", "It is made for each viewer alone.", serializer="board.CardSerializer")
    assert caplog.records == []

    caplog.set_level("INFO", "livegate")
    tell("serializer_personal", "It is made for each viewer alone.", serializer="board.CardSerializer")

    [record] = caplog.records
    assert (record.levelname, record.event, record.serializer) == (
        "INFO",
        "serializer_personal",
        "board.CardSerializer",
    )


def test_a_viewer_who_sees_nothing_because_of_an_error_is_logged_by_the_model(caplog):
    deny("board.Card", ValueError("salary is 84000"))

    [record] = caplog.records
    assert (record.levelname, record.event, record.model) == ("ERROR", "viewer_denied", "board.Card")
    assert "84000" not in caplog.text
