"""What there is to ask for."""

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import NamedTuple

from service.messages import Answer, Receive, RequestError, Scope, Send, as_json, read_json
from service.projects import Projects


@dataclass(frozen=True)
class Service:
    """What answers are made from, and what is asked first: it answers what is about the worker itself."""

    projects: Projects
    face: Callable[[Scope, Receive, Send], Awaitable[None]]


class Request(NamedTuple):
    """One request: to whom, its body that is still to come, and the numbers in its path."""

    service: Service
    receive: Receive
    numbers: dict[str, int]


async def projects_of_user(request: Request) -> Answer:
    """The projects of a user."""
    user = request.numbers["user"]
    projects = await request.service.projects.of_user(user)
    if not projects:
        raise RequestError(404, "there is no such user")
    return as_json({"user": user, "projects": projects})


async def change_project(request: Request) -> Answer:
    """Give a project another name. It may be done twice, so nginx may ask another worker where one has died."""
    user, project = request.numbers["user"], request.numbers["project"]
    wanted = await read_json(request.receive)
    name = wanted.get("name") if isinstance(wanted, dict) else None
    if not isinstance(name, str) or not 0 < len(name) <= 200:
        raise RequestError(400, 'the body must be {"name": "..."}, with 1 to 200 characters')
    if not await request.service.projects.rename(user, project, name):
        raise RequestError(404, "there is no such project")
    return as_json({"id": project, "name": name})


Handler = Callable[[Request], Awaitable[Answer]]
ROUTES: list[tuple[re.Pattern[str], dict[str, Handler]]] = [
    (re.compile(r"/users/(?P<user>[0-9]{1,9})/projects"), {"GET": projects_of_user}),
    (re.compile(r"/users/(?P<user>[0-9]{1,9})/projects/(?P<project>[0-9]{1,9})"), {"PUT": change_project}),
]


def route(method: str, path: str) -> tuple[Handler, dict[str, int]]:
    """Return what answers a request, and the numbers in its path. Raises RequestError."""
    for pattern, handlers in ROUTES:
        if match := pattern.fullmatch(path):
            if method not in handlers:
                allowed = ", ".join(handlers)
                raise RequestError(405, f"only {allowed} is possible here", {"allow": allowed})
            return handlers[method], {name: int(digits) for name, digits in match.groupdict().items()}
    raise RequestError(404, "there is nothing here")
