"""Warnings of libraries are suppressed inside a block only."""

import logging
import warnings

import pytest

from exporter.library_warnings import ignore_library_warnings


def test_warnings_and_log_messages_are_suppressed_until_the_block_ends(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with ignore_library_warnings():
        warnings.warn("inside", stacklevel=1)
        logging.getLogger("library").warning("inside")
        logging.getLogger("library").error("an error")
    logging.getLogger("library").warning("outside")

    assert [record.getMessage() for record in caplog.records] == ["an error", "outside"]
    with pytest.warns(UserWarning, match="outside"):
        warnings.warn("outside", stacklevel=1)


def test_the_former_log_level_returns_even_after_an_error() -> None:
    with pytest.raises(ValueError, match="broken"), ignore_library_warnings():
        raise ValueError("broken")
    assert logging.root.manager.disable == logging.NOTSET
