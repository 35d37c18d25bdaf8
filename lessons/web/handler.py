"""One request to the lessons' server: who asks, what for, and an answer, which for all that is wrong is a sentence."""

import contextlib
import hmac
import json
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from lessons.web.answers import ANSWERS
from lessons.web.requests import called
from lessons.web.tabs import Left
from tinygpt.errors import UserError

if TYPE_CHECKING:
    from lessons.web.server import Server

LONGEST = 4 << 20  # bytes of a request
PLAIN, JSON = "text/plain; charset=utf-8", "application/json; charset=utf-8"
HTML = "text/html; charset=utf-8"
ALONE = "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
POLICY = (  # the columns of a table have their alignment in attributes
    "default-src 'none'; script-src 'self'; style-src 'self'; style-src-attr 'unsafe-inline'; img-src 'self' data:; "
    f"connect-src 'self'; {ALONE}"
)
OF_A_PICTURE = f"default-src 'none'; style-src 'unsafe-inline'; {ALONE}"
IN_ONE_FILE = f"default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:; {ALONE}"
SENTENCES = {  # for what never comes as far as a page or an answer
    400: "this is no request that can be understood",
    408: "the request did not come to its end",
    414: "the address is too long",
    431: "the head of the request is too long",
    505: "this server speaks HTTP/1.1",
}


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    server: "Server"  # type: ignore[assignment]
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "tinygpt", ""
    timeout = 60  # seconds in which nothing comes

    def log_message(self, *_: Any) -> None:
        pass

    def send_error(self, code: int, *_: Any, **__: Any) -> None:
        """What is wrong with a request that is none, or is of another method, in a sentence."""
        self.close_connection = True
        code = 405 if code == HTTPStatus.NOT_IMPLEMENTED else int(code)
        with contextlib.suppress(AttributeError):  # of a request whose first line was not understood
            return self._refuse(code, SENTENCES.get(code, "this server takes GET, HEAD and POST"))
        self.request_version = "HTTP/1.1"
        self._refuse(code, SENTENCES.get(code, SENTENCES[400]))

    def do_GET(self) -> None:
        """Send what lies at an address."""
        if not self._from_here():
            return
        path = unquote(urlsplit(self.path).path).lstrip("/") or "index.html"
        try:
            if page := self.server.exercises.pages.get(path):
                self._send(200, HTML, page.encode(), IN_ONE_FILE)
            elif path in self.server.pages.number_pages:
                self._send(200, HTML, self.server.number_pages.page(path), IN_ONE_FILE)
            elif found := self.server.pages.content(path):
                kind, content = found
                if kind.startswith("image/"):
                    self._send(200, kind, content, OF_A_PICTURE)
                else:
                    self._send(200, f"{kind}; charset=utf-8", content)
            else:
                self._refuse(404, "there is no such page here")
        except UserError as error:
            self._refuse(500, str(error))
        except Exception as error:
            self._failed(error)

    do_HEAD = do_GET

    def do_POST(self) -> None:
        """Answer what a page asks for."""
        self.close_connection = True  # until its body was read, which would be taken for the next request
        if not self._from_here(posts=True) or not self._has_key():
            return
        try:
            request = self._body()
            name = self.path.removeprefix("/")
            if name not in ANSWERS:
                return self._refuse(404, "a page cannot ask for that")
            answer = json.dumps(called(ANSWERS[name], self.server, request)).encode()
        except _Wrong as wrong:
            self._refuse(*wrong.args)
        except Left as left:
            self._refuse(410, str(left))
        except UserError as error:
            self._refuse(400, str(error))
        except TimeoutError:
            self._refuse(408, SENTENCES[408])
        except Exception as error:
            self._failed(error)
        else:
            self._send(200, JSON, answer)

    def _from_here(self, posts: bool = False) -> bool:
        """Whether a page of this server asks, by this server's own name."""
        hosts, origins = (self.headers.get_all(name, []) for name in ("Host", "Origin"))
        if len(hosts) == 1 and hosts[0] in self.server.hosts:  # which a name of somebody else's that leads here is not
            if origins == [f"http://{hosts[0]}"] or not (origins or posts):
                return True
        self._refuse(403, "this server answers to its own pages alone")
        return False

    def _has_key(self) -> bool:
        if hmac.compare_digest(self.headers.get("X-Key", "").encode(errors="replace"), self.server.key.encode()):
            return True
        self._refuse(403, "the key is not this server's; open the address that it has printed")
        return False

    def _body(self) -> dict[str, Any]:
        """What a page sent. Raises _Wrong where that is not what a page sends."""
        kind, length = self.headers.get("Content-Type", ""), self.headers.get_all("Content-Length", [])
        if kind.partition(";")[0].strip().lower() != "application/json":
            raise _Wrong(415, "what is sent here is JSON")
        if "Transfer-Encoding" in self.headers or len(length) != 1:
            raise _Wrong(411, "the length of what is sent must be given, once")
        if not (length[0].isascii() and length[0].isdigit()):
            raise _Wrong(400, "the length of what is sent is no number")
        if len(length[0]) > 12 or int(length[0]) > LONGEST:
            raise _Wrong(413, f"what is sent may have {LONGEST:,} bytes")
        content = self.rfile.read(int(length[0]))
        if len(content) < int(length[0]):
            raise _Wrong(400, "what was sent is shorter than was said")
        self.close_connection = self.headers.get("Connection", "").lower() == "close"
        try:
            request = json.loads(content)
        except (ValueError, RecursionError):
            raise _Wrong(400, "what was sent is no JSON") from None
        if not isinstance(request, dict):
            raise _Wrong(400, "what is sent here is an object of JSON")
        return request

    def _refuse(self, status: int, sentence: str) -> None:
        if self.command == "POST":
            self._send(status, JSON, json.dumps({"error": sentence}).encode())
        else:
            self._send(status, PLAIN, f"{sentence}\n".encode())

    def _failed(self, error: Exception) -> None:
        """Say what went wrong here, which is nothing that was asked for."""
        if isinstance(error, ConnectionError):
            raise error  # nobody is there to hear it
        self._refuse(500, f"this could not be answered: {type(error).__name__}: {error}")

    def _send(self, status: int, kind: str, content: bytes, policy: str = POLICY) -> None:
        self.send_response(status)
        for name, value in {
            "Content-Type": kind,
            "Content-Length": str(len(content)),
            "Cache-Control": "no-store",
            "Content-Security-Policy": policy,
            "X-Content-Type-Options": "nosniff",
            "X-Frame-Options": "DENY",
            "Referrer-Policy": "no-referrer",
            "Cross-Origin-Resource-Policy": "same-origin",
        }.items():
            self.send_header(name, value)
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


class _Wrong(Exception):
    """A request that cannot be answered: a status, and a sentence."""
