"""Serve the review page to this machine's browser, and take what a person does there.

Every address begins with a token that only the printed address holds. Requests of other pages (`Origin`), to other
names (`Host`) and of unknown images are refused. Images go by their number: no path comes from outside.
"""

from __future__ import annotations

import functools
import io
import json
import math
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from samcli.errors import ImageError, SamcliError, UsageError, one_line
from samcli.images import read_image
from samcli.review.page import image_row, served_page, served_policy, shown_by_browsers
from samcli.review.session import Session, StaleError, UnknownImageError
from samcli.types import ImageMark, Verdict

T = TypeVar("T")

_LARGEST_BODY = 1 << 20
_MOST_POINTS = 20_000
"""Of one stroke of the brush."""

_TYPES = {
    ".jpg": "image/jpeg",
    ".jpeg": "image/jpeg",
    ".png": "image/png",
    ".webp": "image/webp",
    ".bmp": "image/bmp",
}
"""Of the images that go to the browser as they are."""


@dataclass(frozen=True)
class Access:
    """Access control: a request must know the token and use one of these names of the server."""

    token: str
    hosts: frozenset[str]
    """`name:port`, as browsers send it."""

    @classmethod
    def make(cls, host: str, port: int) -> Access:
        """Return a new token for a server at a host and port; on loopback its usual names are the same."""
        names = {"127.0.0.1", "localhost", "[::1]"} if is_loopback(host) else {f"[{host}]" if ":" in host else host}
        return cls(secrets.token_urlsafe(24), frozenset(f"{name}:{port}" for name in names))

    def refusal(self, scope: Scope) -> tuple[int, str] | None:
        """Return status and reason where a request is not to be answered."""
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        if headers.get("host", "") not in self.hosts:
            return 421, "this server goes by another name"
        origin = headers.get("origin")
        if origin is not None and origin not in {f"http://{host}" for host in self.hosts}:
            return 403, "the request comes from another page"
        if origin is None and scope["method"] != "GET":
            return 403, "the request does not say which page it comes from"
        if headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
            return 403, "the request comes from another page"
        given = scope["path"].split("/")[1]
        if not secrets.compare_digest(given.encode("utf-8", "replace"), self.token.encode()):
            return 403, "the address lacks the token: open the address that samcli review has printed"
        return None


def is_loopback(host: str) -> bool:
    """Return whether only this machine reaches a server at a host."""
    return host in ("127.0.0.1", "localhost", "::1")


class Guarded:
    """An application behind `Access`, whose answers carry the headers that keep a page to itself."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app, self._access = app, access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if refused := self._access.refusal(scope):
            await Response(refused[1], refused[0])(scope, receive, send)
            return
        path = "/" + scope["path"].split("/", 2)[2] if scope["path"].count("/") > 1 else ""
        await self._app({**scope, "path": path, "raw_path": path.encode()}, receive, _with_headers(send))


def _with_headers(send: Send) -> Send:
    fixed = {
        "content-security-policy": f"{served_policy()}; frame-ancestors 'none'",
        "x-content-type-options": "nosniff",
        "referrer-policy": "no-referrer",
        "cross-origin-resource-policy": "same-origin",
        "cross-origin-opener-policy": "same-origin",
        "x-frame-options": "DENY",
    }

    async def sending(message: Any) -> None:
        if message["type"] == "http.response.start":
            have = {name.lower() for name, _ in message["headers"]}
            extra = [(n.encode(), v.encode()) for n, v in fixed.items() if n.encode() not in have]
            extra += [] if b"cache-control" in have else [(b"cache-control", b"no-store")]
            message = {**message, "headers": [*message["headers"], *extra]}
        await send(message)

    return sending


def build_app(session: Session, access: Access) -> Guarded:
    """Return the application that serves a session."""
    answers = _Answers(session)
    routes = [
        Route("/", answers.page),
        Route("/rows/{first:int}", answers.rows),
        Route("/image/{number:int}", answers.image),
        Route("/state/{number:int}", answers.state),
        Route("/open/{number:int}", answers.open, methods=["POST"]),
        Route("/edit/{number:int}", answers.edit, methods=["POST"]),
        Route("/undo", functools.partial(answers.turn, "undo"), methods=["POST"]),
        Route("/redo", functools.partial(answers.turn, "redo"), methods=["POST"]),
    ]
    return Guarded(Starlette(routes=routes), access)


_ROWS_AT_ONCE = 100


class _Answers:
    """Answers to the page's requests."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def page(self, request: Request) -> Response:
        return StreamingResponse(served_page(self._session.run, self._session.keys), media_type="text/html")

    async def rows(self, request: Request) -> Response:
        """Return the rows of some images, from the first asked for on."""

        def found() -> list[Any]:
            session, first = self._session, request.path_params["first"]
            entries = session.entries()
            return [image_row(session.run, entries, key) for key in session.keys[first : first + _ROWS_AT_ONCE]]

        return await _answered(found)

    async def image(self, request: Request) -> Response:
        """Return the image as browsers show it, decoded and encoded anew where they would not, or where it is a
        link.
        """
        try:
            data, kind = await run_in_threadpool(self._picture, request.path_params["number"])
        except (ImageError, UnknownImageError, OSError) as error:
            return Response(one_line(error), 404)
        return Response(data, media_type=kind, headers={"cache-control": "private, max-age=600"})

    def _picture(self, number: int) -> tuple[bytes, str]:
        ref = self._session.ref(number)
        kind = _TYPES.get(ref.path.suffix.lower())
        if kind and shown_by_browsers(ref) and ref.path.is_file() and not _leads_outside(ref.path, ref.root):
            return ref.path.read_bytes(), kind
        from PIL import Image

        file = io.BytesIO()
        Image.fromarray(read_image(ref).pixels).save(file, "PNG", compress_level=1)
        return file.getvalue(), "image/png"

    async def state(self, request: Request) -> Response:
        return await _answered(lambda: self._state(request.path_params["number"]))

    def _state(self, number: int) -> dict[str, Any]:
        session = self._session
        version = session.version(number)
        row = image_row(session.run, session.entries(), session.key(number))
        return {"number": number, "version": version, "row": row}

    async def open(self, request: Request) -> Response:
        """Prepare the embeddings of the image that the person looks at, and of the next ones."""
        number = request.path_params["number"]

        def found() -> dict[str, Any]:
            self._session.prepare(number)
            return self._state(number)

        return await _answered(found)

    async def edit(self, request: Request) -> Response:
        """Make one change of an image; see `_EDITS`."""
        number = request.path_params["number"]
        try:
            body = await _body(request)
            version, change = _text(body, "version"), _EDITS[_text(body, "do")]
        except (ValueError, KeyError) as error:
            return JSONResponse({"error": f"the request is no change of an image: {one_line(error)}"}, 400)

        def found() -> dict[str, Any]:
            try:
                change(self._session, number, version, body)
            except StaleError as error:
                return {"status": 409, "error": str(error), **self._state(number)}
            return self._state(number)

        return await _answered(found)

    async def turn(self, word: str, request: Request) -> Response:
        """Undo or redo."""
        return await _answered(lambda: self._state(getattr(self._session, word)()))


async def _body(request: Request) -> dict[str, Any]:
    data = b""
    async for part in request.stream():
        data += part
        if len(data) > _LARGEST_BODY:
            raise ValueError("it is too long")
    content = json.loads(data)
    if not isinstance(content, dict):
        raise ValueError("it is no object")
    return content


async def _answered(find: Callable[[], Any]) -> Response:
    """Return the answer that a function gives, in a thread of its own; what goes wrong is said in words."""
    try:
        found = await run_in_threadpool(find)
    except UnknownImageError as error:
        return JSONResponse({"error": str(error)}, 404)
    except UsageError as error:
        return JSONResponse({"error": str(error)}, 422)
    except (KeyError, ValueError, TypeError, IndexError) as error:
        return JSONResponse({"error": f"the request is no change of an image: {one_line(error)}"}, 400)
    except (SamcliError, OSError) as error:
        return JSONResponse({"error": one_line(error)}, 503)
    status = found.pop("status", 200) if isinstance(found, dict) else 200
    return Response(json.dumps(found, ensure_ascii=True), status, media_type="application/json")


def _leads_outside(path: Any, root: Any) -> bool:
    return not path.resolve().is_relative_to(root.resolve())


Body = Mapping[str, Any]
Edit = Callable[[Session, int, str, Body], None]


def _text(body: Body, name: str) -> str:
    value = body[name]
    if not isinstance(value, str):
        raise ValueError(f"{name} is no text")
    return value


def _whole(body: Body, name: str) -> int:
    value = body[name]
    if type(value) is not int:
        raise ValueError(f"{name} is no whole number")
    return value


def _index(body: Body) -> int | None:
    return None if body.get("index") is None else _whole(body, "index")


def _numbers(values: Any, count: int) -> list[float]:
    if not isinstance(values, list) or len(values) != count:
        raise ValueError(f"expected {count} numbers")
    if not all(type(value) in (int, float) and math.isfinite(value) and abs(value) < 1e6 for value in values):
        raise ValueError("a coordinate is no number, or far outside")
    return [float(value) for value in values]


def _verdict(session: Session, number: int, version: str, body: Body) -> None:
    indices, word = body["indices"], body["verdict"]
    if not isinstance(indices, list) or not all(type(index) is int for index in indices):
        raise ValueError("indices are no whole numbers")
    session.verdict(number, version, indices, None if word is None else Verdict(word))


def _mark(session: Session, number: int, version: str, body: Body) -> None:
    session.mark(number, version, None if body["mark"] is None else ImageMark(body["mark"]))


def _click(session: Session, number: int, version: str, body: Body) -> None:
    point = box = None
    if body.get("box") is not None:
        x1, y1, x2, y2 = _numbers(body["box"], 4)
        box = min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2)
    else:
        x, y = _numbers(body["point"], 2)
        point = x, y, 1 if body.get("positive", True) else 0
    session.click(number, version, index=_index(body), class_id=_whole(body, "class_id"), point=point, box=box)


def _paint(session: Session, number: int, version: str, body: Body) -> None:
    if not isinstance(body["stroke"], list) or not 0 < len(body["stroke"]) <= _MOST_POINTS:
        raise ValueError("the stroke is no list of points")
    stroke = [(x, y) for x, y in (_numbers(point, 2) for point in body["stroke"])]
    (radius,) = _numbers([body["radius"]], 1)
    if not 0.25 <= radius <= 2000:
        raise ValueError("the radius is out of bounds")
    session.paint(
        number, version, stroke, radius,
        index=_index(body), class_id=_whole(body, "class_id"), erase=body.get("erase") is True,
    )  # fmt: skip


_EDITS: dict[str, Edit] = {
    "verdict": _verdict,
    "mark": _mark,
    "class": lambda session, number, version, body: session.set_class(
        number, version, _whole(body, "index"), _whole(body, "class_id")
    ),
    "split": lambda session, number, version, body: session.split(number, version, _whole(body, "index")),
    "join": lambda session, number, version, body: session.join(
        number, version, _whole(body, "index"), _whole(body, "other")
    ),
    "click": _click,
    "next": lambda session, number, version, body: session.next_answer(number, version),
    "paint": _paint,
}
"""What `do` of a change may be."""
