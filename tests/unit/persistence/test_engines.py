"""Connecting to MariaDB and MySQL without loading certificates that nobody looks at."""

from __future__ import annotations

import ssl
from typing import Any

import pytest
from pymysql.connections import Connection

from jobrunner.persistence.server.engines import _frugal_connection


def contexts(monkeypatch: pytest.MonkeyPatch, **options: Any) -> list[ssl.SSLContext]:
    """The contexts that load authorities while a connection is made ready."""
    loading: list[ssl.SSLContext] = []
    load = ssl.SSLContext.load_default_certs

    def noted(context: ssl.SSLContext, *args: Any) -> None:
        loading.append(context)
        load(context, *args)

    monkeypatch.setattr(ssl.SSLContext, "load_default_certs", noted)
    made: Any = _frugal_connection()(defer_connect=True, user="me", **options)
    theirs: Any = Connection(defer_connect=True, user="me", **options)
    assert _wanted_tls(made) == _wanted_tls(theirs)
    if made.ssl:
        assert (made.ctx.verify_mode, made.ctx.check_hostname) == (
            theirs.ctx.verify_mode,
            theirs.ctx.check_hostname,
        )
        assert made.ctx.minimum_version == theirs.ctx.minimum_version
    return [context for context in loading if context is getattr(made, "ctx", None)]


def test_a_url_that_says_nothing_of_tls_loads_no_certificates(monkeypatch: pytest.MonkeyPatch) -> None:
    assert contexts(monkeypatch) == []


def test_a_url_that_wants_the_servers_name_verified_gets_that(monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(contexts(monkeypatch, ssl_verify_identity=True)) == 1


def test_a_url_without_tls_gets_none(monkeypatch: pytest.MonkeyPatch) -> None:
    assert contexts(monkeypatch, ssl_disabled=True) == []


def _wanted_tls(connection: Any) -> tuple[bool, bool | None]:
    """Whether it asks for TLS, and whether it goes on without, which PyMySQL knows since 1.2."""
    return connection.ssl, getattr(connection, "_ssl_required", None)
