"""The redaction filter. Oracle: the list of spec DEPLOY 9.6, with planted canaries."""

import time

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from driver_plugin.system_logs import redaction
from driver_plugin.system_logs.redaction import (
    clean,
    clean_deep,
    hide_secret_values,
    is_clean_json,
    redact,
    secret_texts,
)

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
        ("-----BEGIN RSA PRIVATE KEY-----\nDEK-Info: AES-256-CBC,AB\n\nMIIcanary", "MIIcanary"),
        ("-----BEGIN PGP PRIVATE KEY BLOCK-----\n\nlQVYcanary", "lQVYcanary"),
        ("ghp_abcdefghijklmnopqrstuvwxyz0123456789", "klmnopq"),
        ("github_pat_11ABCDEFG0canarycanary_x", "canary"),
        ("glpat-canarycanary012345678", "canary"),
        ("xoxb-1234-canary-5678", "canary"),
        ("AIzaSyCanaryCanaryCanaryCanaryCanary012", "Canary"),
        ("ya29.a0AfCanary_canary", "Canary"),
        ("sk-proj-canarycanarycanary", "canary"),
        ("sk_live_canarycanary", "canary"),
        ("hf_canarycanarycanary", "canary"),
        ("npm_canarycanarycanarycanary", "canary"),
        ("pypi-AgEIcanarycanarycanary", "canary"),
        ("dckr_pat_canarycanary", "canary"),
        ("SG.canarycanary.canarycanary", "canary"),
        ("password=canary", "canary"),
        ('{"db_password": "can ary"}', "can ary"),
        ('{\\"db_password\\": \\"can ary\\"}', "can ary"),
        ("Server=db;User=me;Pwd=canary;", "canary"),
        ("AccountKey=canary==;EndpointSuffix=x", "canary"),
        ("aws_secret_access_key = canary/canary", "canary"),
        ("https://host/o?X-Amz-Signature=canary&x=1", "canary"),
        ("https://account.blob/c?sv=1&sig=canary", "canary"),
        ("https://canary@host/repository.git", "canary"),
        ("Set-Cookie: session=canary", "canary"),
        ("X-Api-Key: canary", "canary"),
        ("client_secret: 'can ary'", "can ary"),
        ('{"auths":{"registry":{"auth":"canary"}}}', "canary"),
        ('input parameter "api_token" value "canary" does not match', "canary"),
    ],
)
def test_a_planted_secret_does_not_pass(text: str, secret: str) -> None:
    assert secret in text
    assert secret not in clean(text)


@pytest.mark.parametrize(
    "text",
    [
        "http://ml-pipeline:8888/apis/v2beta1/runs?x=a@b",
        "the bearer of news",
        "s3://bucket/key.log",
        "KFP_TOKEN_PATH=/var/run/secrets/kfp/token",
        "secretName: mlpipeline-minio-artifact",
        'secret "mlpipeline-minio-artifact" not found',
        "author: me",
        'artifact key="model"',
    ],
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


@pytest.mark.parametrize(
    "unit",
    [
        "eyJ",
        "://a:",
        "-----BEGIN A",
        "-----BEGIN A-----",
        "Bearer ",
        "://@:",
        "AKIA",
        "secret",
        'sig="',
        "pwd:\\",
    ],
)
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


def test_what_is_known_to_be_secret_is_hidden_by_its_value_wherever_it_stands() -> None:
    secrets = secret_texts(
        {"api_token": "canary-1", "x": [{"password": {"y": ["canary-2"]}}], "lr": "visible"}
    )

    assert secrets == {"canary-1", "canary-2"}
    assert redact("got canary-1\nand canary-2", secrets) == "got ***\nand ***"


def test_short_values_of_secret_keys_make_no_holes_in_other_text() -> None:
    assert secret_texts({"token": "yes", "key": "a"}) == set()


def test_nested_text_is_cleaned_and_stays_data() -> None:
    assert clean_deep({"a": ["x\x7f", 3, None]}) == {"a": ["x\\x7f", 3, None]}


FRAGMENTS = [
    "-----BEGIN RSA PRIVATE KEY-----abc-----END RSA PRIVATE KEY-----",
    *(
        "eyJabcd.eyJabc.x",
        "AKIAABCDEFGHIJKLMN",
        "ghp_" + "a" * 20,
        "github_pat_" + "a" * 20,
        "glpat-" + "a" * 20,
    ),
    *("xoxb-12345678", "AIza" + "f" * 24, "ya29.abcdefghijkl", "sk-" + "b" * 20, "rk_live_12345678"),
    *("hf_" + "c" * 20, "npm_" + "e" * 24, "pypi-" + "d" * 20, "dckr_pat_abcdefgh", "SG.aaaaaaaa.bbbbbbbb"),
    *("Bearer abcdefghijk", "basic  QWERTYUIOP", "http://u:p@h/", "password=abc", "passphrase: x", "PWD=foo"),
    *(
        "secret='z'",
        "x_token: y",
        "cookie=1",
        "credentials=q",
        "Authorization: z",
        "api-key=1",
        "signing_key=1",
    ),
    *(
        "signature=1",
        "sig=1",
        "auth = q",
        "\N{LATIN SMALL LETTER LONG S}ecret=1",
        "cook\N{LATIN SMALL LETTER DOTLESS I}e=1",
        "\N{KELVIN SIGN}",
        " ",
        "=",
        ":",
        "x",
    ),
]


@given(st.lists(st.sampled_from(FRAGMENTS), max_size=4), st.integers(0, 60))
def test_what_is_passed_over_quickly_has_nothing_to_hide(parts: list[str], cut: int) -> None:
    """Oracle: the patterns themselves, applied whatever the text is like."""
    text = "".join(parts)[cut:]
    slowly = text
    for pattern, replacement in redaction._SECRETS:
        slowly = pattern.sub(replacement, slowly)
    assert redact(text) == redaction._ASSIGNMENT.sub(redaction._hide_assigned, slowly)


@given(
    st.recursive(
        st.none()
        | st.integers(-9, 9)
        | st.lists(st.sampled_from(FRAGMENTS), max_size=3).map("".join)
        | st.text(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(FRAGMENTS), inner),
        max_leaves=6,
    )
)
def test_json_that_is_not_filtered_has_nothing_to_filter(document: object) -> None:
    if is_clean_json(orjson.dumps(document).decode()):
        assert clean_deep(document) == document


def test_an_ordinary_record_is_encoded_once() -> None:
    assert is_clean_json('{"operation":"CreateTask","path":"/apis/v2beta1/runs/0b6c/tasks","ms":3}')
