"""The redaction filter. Oracle: the list of spec DEPLOY 9.6, with planted canaries."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from driver_plugin.system_logs.redaction import clean, clean_deep, hide_secret_values

JWT = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJjYW5hcnkifQ.c2lnbmF0dXJlLWNhbmFyeQ"


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        (f"token {JWT} refused", JWT),
        (f"token={JWT.rsplit('.', 1)[0]}", "eyJzdWIi"),
        ("key AKIAIOSFODNN7EXAMPLE used", "AKIAIOSFODNN7EXAMPLE"),
        ("Authorization: Bearer abcdef0123456789", "abcdef0123456789"),
        ("authorization: bearer abcdef0123456789", "abcdef0123456789"),
        ("Authorization: Basic dXNlcjpwYXNz", "dXNlcjpwYXNz"),
        ("GET https://user:hunter2@host/x failed", "hunter2"),
        ("proxy http://user:p@ss:w0rd@proxy:3128", "w0rd"),
        ("-----BEGIN PRIVATE KEY-----\nMIIcanary\n-----END PRIVATE KEY-----", "MIIcanary"),
        ("-----BEGIN RSA PRIVATE KEY-----\\nMIIcanary\\n", "MIIcanary"),
    ],
)
def test_a_planted_secret_does_not_pass(text: str, secret: str) -> None:
    assert secret in text
    assert secret not in clean(text)


@pytest.mark.parametrize(
    "text", ["http://ml-pipeline:8888/apis/v2beta1/runs?x=a@b", "the bearer of news", "s3://bucket/key.log"]
)
def test_harmless_text_passes_unchanged(text: str) -> None:
    assert clean(text) == text


def test_control_characters_are_written_out() -> None:
    assert clean("a\nb\r\x1b[31mc\x00\u2028") == r"a\nb\r\x1b[31mc\x00\u2028"


@given(st.text())
def test_clean_text_is_one_line_without_control_characters(text: str) -> None:
    cleaned = clean(text)

    assert cleaned.isprintable() or not any(
        ord(character) < 32 or ord(character) == 127 for character in cleaned
    )
    assert len(cleaned.splitlines()) <= 1


@pytest.mark.parametrize("unit", ["eyJ", "://a:", "-----BEGIN A", "Bearer ", "://@:", "AKIA"])
def test_hostile_text_is_filtered_in_linear_time(unit: str) -> None:
    started = time.process_time()
    clean(unit * 60_000)

    assert time.process_time() - started < 5


def test_values_of_secret_keys_are_hidden_at_every_depth() -> None:
    values = {"password": "a", "x": {"api_token": "b", "y": [{"Credential": "c"}]}, "task_key": "kept"}

    assert hide_secret_values(values) == {
        "password": "***",
        "x": {"api_token": "***", "y": [{"Credential": "***"}]},
        "task_key": "kept",
    }


def test_nested_text_is_cleaned_and_stays_data() -> None:
    assert clean_deep({"a": ["x\x7f", 3, None]}) == {"a": ["x\\x7f", 3, None]}
