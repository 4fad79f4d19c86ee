"""Requests and answers, as ASGI has them."""

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

LARGEST_BODY = 64 * 1024


class RequestError(Exception):
    """An answer that is none of what was asked for."""

    def __init__(self, status: int, reason: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(reason)
        self.status, self.reason, self.headers = status, reason, headers or {}


class Answer(NamedTuple):
    """A status, a body, and headers beside those that say what the body is."""

    body: bytes
    content_type: str
    status: int = 200
    headers: Mapping[str, str] = {}


def as_json(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Answer:
    """Return an answer in JSON."""
    return Answer(json.dumps(value).encode(), "application/json", status, headers or {})


async def read_body(receive: Receive) -> bytes:
    """Return all of a request's body. Raises RequestError."""
    body = b""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise RequestError(400, "the client went away")
        body += message.get("body", b"")
        if len(body) > LARGEST_BODY:
            raise RequestError(413, f"a body has at most {LARGEST_BODY} bytes")
        if not message.get("more_body", False):
            return body


async def read_json(receive: Receive) -> Any:
    """Return what a request's body says. Raises RequestError."""
    try:
        return json.loads(await read_body(receive))
    except ValueError as error:  # neither JSON nor, perhaps, text
        raise RequestError(400, "the body must be JSON") from error


async def send_answer(send: Send, answer: Answer) -> None:
    """Send it."""
    headers = {"content-type": answer.content_type, "content-length": str(len(answer.body)), **answer.headers}
    encoded = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": answer.status, "headers": encoded})
    await send({"type": "http.response.body", "body": answer.body})
