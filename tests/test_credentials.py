"""No credential is stored or shown, and a URL without it still names the object."""

from __future__ import annotations

import json
import string
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rate.credentials import storable, without_credentials
from rate.errors import RunError

CUT = {
    "https://user:CANARY@host/a.png": "https://host/a.png",
    "https://CANARY@host/a.png": "https://host/a.png",
    "https://user:CAN@ARY@host:80/a@2x.png": "https://host:80/a@2x.png",
    "s3://AKIA:CANARY/CANARY@bucket/key": "s3://bucket/key",
    "https:/user:CANARY@host/a.png": "https:/host/a.png",  # what pathlib makes of one
    "https://h/a.png?X-Amz-Algorithm=A&X-Amz-Credential=CANARY%2F1&X-Amz-Date=1&X-Amz-Signature=CANARY": "https://h/a.png",
    "https://h/a.png?versionId=3&X-Amz-Security-Token=CANARY": "https://h/a.png?versionId=3",
    "https://h/a.png?X-Goog-Signature=CANARY&alt=media&x-goog-credential=CANARY": "https://h/a.png?alt=media",
    "https://h/a.png?AWSAccessKeyId=CANARY&Expires=1&Signature=CANARY": "https://h/a.png",
    "https://h/a.png?sv=2022&sr=b&se=2030&sp=r&sig=CANARY%3D": "https://h/a.png",
    "https://h/a.png?Policy=CANARY&Signature=CANARY&Key-Pair-Id=CANARY": "https://h/a.png",
    "https://h/a.png?access_token=CANARY#page=2": "https://h/a.png#page=2",
    "https://h/a.png#access_token=CANARY": "https://h/a.png",
    "https://h/a.png?api_key=CANARY;v=1": "https://h/a.png?v=1",
    "https://h/a.png?X%2DAmz%2DSignature=CANARY": "https://h/a.png",
    "zip://a.png::https://u:CANARY@h/z.zip?token=CANARY": "zip://a.png::https://h/z.zip",
    "tar:0+512:https://h/x.tar?sig=CANARY": "tar:0+512:https://h/x.tar",
    "403, url=URL('https://h/x?X-Amz-Signature=CANARY'), again": "403, url=URL('https://h/x'), again",
    "https://h/a.png?sig=CANARY: cannot be read": "https://h/a.png: cannot be read",
    "X-Amz-Signature=CANARY is wrong": "X-Amz-Signature=*** is wrong",
    "{'Authorization': 'Bearer CANARY'}": "{'Authorization': '***'}",
    "{'password': 'CANARY'}": "{'password': '***'}",
}


@pytest.mark.parametrize("text", CUT)
def test_credentials_are_cut_and_nothing_else(text: str) -> None:
    assert without_credentials(text) == CUT[text]
    assert without_credentials(CUT[text]) == CUT[text]


@pytest.mark.parametrize(
    "text",
    [
        "http://host:8080/path/a@2x.png",
        "s3://bucket/a:b/c@d.png",
        "http://[::1]:80/a@b",
        "zip://a.png::https://h/x@2.png",
        "https://h/a.png?se=3&sv=left&expires=never&page=2",
        "photos/what?a.png",
        "why? no reason: a = b",
        "head 'lp@2': accuracy 0.5",
    ],
)
def test_what_holds_none_stays(text: str) -> None:
    assert without_credentials(text) == text


_PASSWORD = st.text(string.ascii_letters + string.digits + "!$&'()*+,;=:~@%", min_size=6, max_size=30)


@given(secret=_PASSWORD, path=st.text(string.ascii_lowercase + "/@:._-", max_size=20))
def test_no_password_survives_and_the_object_is_the_same(secret: str, path: str) -> None:
    secret = f"0{secret}0x"  # no port
    assert without_credentials(f"https://me:{secret}@host/{path}") == without_credentials(f"https://host/{path}")


@given(value=st.text(min_size=6, max_size=40), rest=st.sampled_from(["", "&page=2", "&expires=9"]))
def test_a_url_that_was_signed_again_is_the_same(value: str, rest: str) -> None:
    signed = f"https://host/a.png?X-Amz-Signature={quote(value, safe='')}{rest}"
    again = f"https://host/a.png?X-Amz-Signature=another{rest}"
    assert without_credentials(signed) == without_credentials(again)


def test_a_known_secret_is_cut_wherever_it_stands() -> None:
    url = "ftp://me:can%20ary1@host/a?token=canary2"
    assert without_credentials("530 can ary1 can%20ary1 canary2 refused", known=url) == "530 *** *** *** refused"


def test_every_text_of_a_document_is_looked_at() -> None:
    url = "https://u:CANARY@h/a"
    assert "CANARY" not in json.dumps(storable({url: [url, {"a": (url, 1, None)}]}))
    assert storable({"a": [1.5, None, True]}) == {"a": [1.5, None, True]}


def test_messages_hold_none(tmp_path: Path) -> None:
    error = RunError(f"{tmp_path} came from https://u:CANARY@h/a?sig=CANARY")
    assert str(error) == f"{tmp_path} came from https://h/a"


@pytest.mark.parametrize("unit", ["s3://a:", "x?sig=", "https://a@", "password=", "a:/b:"])
def test_long_texts_take_no_long_time(unit: str) -> None:
    without_credentials(unit * 20_000)
