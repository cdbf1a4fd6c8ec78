"""The listener: what goes wrong with the channel layer is told; how the hub gets over it is in ``test_hub``."""

from __future__ import annotations

from livegate.gateway.listener import innermost


def test_the_innermost_error_of_a_group_is_the_one_that_is_told():
    error = ValueError()

    assert innermost(ExceptionGroup("", [ExceptionGroup("", [error]), KeyError()])) is error
