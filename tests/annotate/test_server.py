"""Who gets in."""

import asyncio
import socket

import pytest
from tornado.httpclient import AsyncHTTPClient, HTTPRequest
from tornado.websocket import websocket_connect

from nnunetv2_simple.annotate.server import start_server


@pytest.fixture
def server():
    """A server in the running loop of a test, and its address."""
    loop = asyncio.new_event_loop()

    async def start():
        return start_server(lambda document: None, port=0)

    found, address = loop.run_until_complete(start())
    yield loop, address
    found.stop()
    loop.close()


def status(server, address, **options):
    request = HTTPRequest(address, follow_redirects=False, request_timeout=20, **options)

    async def fetch():
        return await AsyncHTTPClient().fetch(request, raise_error=False)

    return server[0].run_until_complete(fetch())


def test_without_the_token_nobody_gets_in(server):
    address = server[1]
    bare, token = address.split("?token=")
    assert status(server, address).code == 200
    for wrong in (
        "",
        "?token=",
        f"?token={token[:-1]}",
        f"?token={token}x",
        "metadata",
        "autoload.js?bokeh-autoload-element=1",
    ):
        assert status(server, bare + wrong).code == 403, wrong
    assert status(server, address, headers={"Host": "evil.example"}).code == 403


def test_the_token_is_kept_in_a_cookie_of_this_server_that_no_other_site_sends(server):
    first = status(server, server[1])
    cookie = first.headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    bare = server[1].split("?")[0]
    assert status(server, bare, headers={"Cookie": cookie.split(";")[0]}).code == 200


@pytest.mark.parametrize(("origin", "opens"), [("http://localhost:9000", True), ("http://evil.example", False)])
def test_the_socket_is_for_pages_of_this_machine(server, origin, opens):
    loop, address = server
    cookie = status(server, address).headers["Set-Cookie"].split(";")[0]
    url = address.split("?")[0].replace("http", "ws") + "ws"

    async def connect(headers):
        connection = await websocket_connect(HTTPRequest(url, headers=headers, request_timeout=20))
        connection.close()

    if opens:
        loop.run_until_complete(connect({"Origin": origin, "Cookie": cookie}))
    with pytest.raises(Exception, match="403"):
        loop.run_until_complete(connect({"Origin": origin} if opens else {"Origin": origin, "Cookie": cookie}))


def test_nothing_listens_beyond_loopback(server):
    port = int(server[1].split(":")[2].split("/")[0])
    with socket.socket() as probe:
        probe.settimeout(2)
        assert probe.connect_ex(("127.0.0.2", port)) != 0, "another address of this machine"
