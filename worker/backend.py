"""Celery's result backend, with a result stored in one step.

Celery asks for what is there, so that nothing takes the place of a success, and then writes (Celery 5.7): that is two
waits for Redis and five commands each time that a deployment tells how far it is, and another process can write a
success between the two.
"""

from collections.abc import Callable
from functools import cached_property
from typing import Any

from celery import states
from celery.backends.redis import RedisBackend
from redis.commands.core import Script

STORE = f"""
local stored = redis.pcall('GET', KEYS[1])
if type(stored) == 'table' then return stored end
local is_read, meta = pcall(cjson.decode, stored or '')
if is_read and type(meta) == 'table' and meta.status == '{states.SUCCESS}' then return 0 end
redis.call('SETEX', KEYS[1], ARGV[2], ARGV[1])
redis.call('PUBLISH', KEYS[1], ARGV[1])
return 1
"""


class Backend(RedisBackend):
    expires: int

    @cached_property
    def _store(self) -> Callable[..., Any]:
        script: Script = self.client.register_script(STORE)
        return script

    def _store_result(
        self, task_id: str, result: Any, state: str, traceback: Any = None, request: Any = None, **_: Any
    ) -> Any:
        meta: dict[str, Any] = self._get_result_meta(  # type: ignore[attr-defined]  # not in the stubs
            result=result, state=state, traceback=traceback, request=request
        )
        stored = self.encode({**meta, "task_id": task_id})
        self.ensure(self._store, ([self.get_key_for_task(task_id)], [stored, self.expires]))
        return result
