"""The server of the page: on the loopback interface only, and for whoever has its token only."""

import hmac
import secrets
from collections.abc import Awaitable, Callable
from http import HTTPStatus

from bokeh.document import Document
from bokeh.server.auth_provider import AuthProvider
from bokeh.server.server import Server
from bokeh.settings import settings
from tornado.web import HTTPError, RequestHandler

LOOPBACK = "127.0.0.1"
HOST_NAMES = ("localhost", LOOPBACK)


class TokenAuth(AuthProvider):
    """Let those in who have the token, in the address or, afterwards, in a cookie.

    Args:
        token: Is never written anywhere but on the terminal.
    """

    def __init__(self, token: str):
        self._token, self._cookie = token, f"annotate_{secrets.token_hex(4)}"
        super().__init__()

    @property
    def get_user_async(self) -> Callable[[RequestHandler], Awaitable[str]]:  # is asked before a socket opens
        async def user(handler: RequestHandler) -> str:
            if handler.request.host_name not in HOST_NAMES:  # another site's name that leads here
                raise HTTPError(HTTPStatus.FORBIDDEN)
            given = handler.get_query_argument("token", "") or handler.get_cookie(self._cookie, "")
            if not hmac.compare_digest(given.encode(), self._token.encode()):
                raise HTTPError(HTTPStatus.FORBIDDEN, reason="open the address with the token that the server printed")
            if not handler.request.headers.get("Upgrade"):
                handler.set_cookie(self._cookie, self._token, httponly=True, samesite="Strict")
            return "annotator"

        return user

    @property
    def login_url(self) -> str:
        return "/"  # Bokeh asks for one; nobody is ever sent there


def start_server(make_page: Callable[[Document], None], *, port: int) -> tuple[Server, str]:
    """Start a server and return it with the address to open.

    Args:
        make_page: Fills the document of each browser tab.
        port: 0 for any free one.

    Raises:
        OSError: If the port is taken.
    """
    token = secrets.token_urlsafe(24)
    settings.allowed_ws_origin.set_value([f"{name}:*" for name in HOST_NAMES])  # ssh -L may use another port
    server = Server(
        make_page,
        address=LOOPBACK,
        port=port,
        auth_provider=TokenAuth(token),
        secret_key=secrets.token_bytes(32),
        sign_sessions=True,
    )
    server.start()
    return server, f"http://{LOOPBACK}:{server.port}/?token={token}"
