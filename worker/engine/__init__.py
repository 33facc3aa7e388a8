"""The Docker Engine, as the tasks see it: typed in, typed out, and every failure one of the contract's errors.

Nothing outside this package imports `docker`.
"""

from worker.engine.answer import Container, ContainerEvent, ContainerRef, Listed
from worker.engine.client import Capacity, Engine, close_engine, engine
from worker.engine.connection import answering_within
from worker.engine.container import ContainerSpec
from worker.engine.errors import is_half_started
from worker.engine.image import Image, ListedImage, Login, Pulled, PullProgress

__all__ = [
    "Capacity",
    "Container",
    "ContainerEvent",
    "ContainerRef",
    "ContainerSpec",
    "Engine",
    "Image",
    "Listed",
    "ListedImage",
    "Login",
    "PullProgress",
    "Pulled",
    "answering_within",
    "close_engine",
    "engine",
    "is_half_started",
]
