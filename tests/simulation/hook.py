"""Cut-over hooks, one for each stage that has one: each remembers where it leads, and how it has answered."""

import json
from collections import defaultdict
from dataclasses import dataclass
from http import HTTPStatus

_SHARE_OF_DONE = 0.5


@dataclass
class Hook:
    """What one URL was told."""

    leads_to: str | None = None
    """A container's id."""
    ports: dict | None = None
    is_astray: bool = False
    """Whether it may lead anywhere: it failed to be led back, or was told by somebody whose turn was long over."""
    is_left: bool = False
    """Whether it may lead to what is gone, until somebody who comes back tells it anew."""
    failures: int = 0


class Hooks:
    """What stands behind the URLs."""

    def __init__(self, world):
        self._world = world
        self.by_url = defaultdict(Hook)

    def answer(self, to, body, _):
        """As `worker.webhook._answer`."""
        told, hook = json.loads(body), self.by_url[to.url]
        is_cutover, is_back = told["event"] == "cutover", told["reason"] == "reverted"
        if is_back:
            hook.is_astray = True
        what = (told["event"], told["reason"], told["container_name"])
        status = self._world.effect("hook", what, lambda: self._tell(hook, told))
        if is_cutover:
            hook.is_astray = self._world.is_stale() or (is_back and status != HTTPStatus.NO_CONTENT)
        return status, "said the hook"

    def _tell(self, hook, told):
        status = self._drawn_status()
        is_done = status == HTTPStatus.NO_CONTENT
        hook.failures += not is_done
        # One that fails inside may have done it.
        may_be_done = status == HTTPStatus.SERVICE_UNAVAILABLE and self._world.random.random() < _SHARE_OF_DONE
        if told["event"] == "cutover" and (is_done or may_be_done):
            hook.leads_to, hook.ports, hook.is_left = told["container_id"], told["ports"], False
        return status

    def _drawn_status(self):
        weather, drawn = self._world.weather, self._world.random.random()
        if weather.cleared_up:
            return HTTPStatus.NO_CONTENT
        if drawn < weather.hook_refuses:
            return HTTPStatus.CONFLICT
        is_overloaded = drawn < weather.hook_refuses + weather.hook_is_overloaded
        return HTTPStatus.SERVICE_UNAVAILABLE if is_overloaded else HTTPStatus.NO_CONTENT
