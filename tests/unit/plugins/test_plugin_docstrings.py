from __future__ import annotations

from jobrunner.plugins.docstrings import first_paragraph, parameter_help

GOOGLE = """Back up a directory
    into an archive.

    More about it.

    Args:
        source: directory to back up
        keep (int): how many archives
            stay: the newest ones
        note:

    Returns:
        flow: not a parameter
    """

SPHINX = """Back up a directory.

    :param source: directory to back up
    :param int keep: how many archives
        stay
    :returns: the flow
    """


def test_takes_the_first_paragraph_as_one_line() -> None:
    assert first_paragraph(GOOGLE) == "Back up a directory into an archive."


def test_has_no_first_paragraph_where_parameters_come_first() -> None:
    assert first_paragraph("Args:\n    x: y") == first_paragraph(":param x: y") == first_paragraph(None) == ""


def test_reads_googles_style() -> None:
    assert parameter_help(GOOGLE) == {
        "source": "directory to back up",
        "keep": "how many archives stay: the newest ones",
        "note": "",
    }


def test_reads_sphinx_style() -> None:
    assert parameter_help(SPHINX) == {"source": "directory to back up", "keep": "how many archives stay"}


def test_is_content_with_nothing() -> None:
    assert parameter_help(None) == {} == parameter_help("Just a sentence: with a colon.")
