"""A Redis in memory: the commands that the product uses, its own Lua scripts, and a clock that is told the time.

It must pass what the tests of `worker.store` ask of a real Redis; they run on both.
"""

import fnmatch
from functools import cache, partial
from pathlib import Path

import redis
from lupa.lua51 import LuaRuntime, lua_type

import worker.store

_lua = LuaRuntime(unpack_returned_tuples=True)
_SCRIPTS = tuple(Path(worker.store.__file__).parent.glob("*.lua"))


class Keyspace:
    """Keys, their values and when they expire. Commands are methods; they take and give what Redis' protocol does."""

    def __init__(self, clock):
        self._clock = clock
        self._values = {}
        self._expiries = {}
        self.redis = _lua.table(call=self._call_from_lua)

    def run(self, name, *arguments):
        return getattr(self, name.lower())(*arguments)

    def _call_from_lua(self, name, *arguments):
        answer = getattr(self, name.lower())(*map(_text, arguments))
        if isinstance(answer, list):
            return _lua.table(*(False if each is None else each for each in answer))
        return False if answer is None else answer

    def lose(self):
        """Be as empty as a new one."""
        self._values.clear()
        self._expiries.clear()

    def peek(self, key):
        """The value of a key, for who looks at it from outside."""
        return self._find(key)

    def _find(self, key, default=None):
        expiry = self._expiries.get(key)
        if expiry is not None and expiry <= self._clock.now:
            self.delete(key)
        return self._values.get(key, default)

    def _make(self, key, kind):
        value = self._find(key)
        if value is None:
            value = self._values[key] = kind()
        elif type(value) is not kind:
            raise redis.ResponseError("WRONGTYPE Operation against a key holding the wrong kind of value")
        return value

    def _drop_if_empty(self, key):
        if not self._values.get(key, True):
            self.delete(key)

    # Keys

    def exists(self, *keys):
        return sum(self._find(key) is not None for key in keys)

    def delete(self, *keys):
        for key in keys:
            self._expiries.pop(key, None)
        return sum(self._values.pop(key, None) is not None for key in keys)

    def expire(self, key, seconds):
        return self.pexpire(key, float(seconds) * 1000)

    def pexpire(self, key, milliseconds):
        if self._find(key) is None:
            return 0
        self._expiries[key] = self._clock.now + float(milliseconds) / 1000
        return 1

    def ttl(self, key):
        if self._find(key) is None:
            return -2
        return round(self._expiries[key] - self._clock.now) if key in self._expiries else -1

    def scan(self, _cursor, *options):
        pattern = options[options.index("MATCH") + 1] if "MATCH" in options else "*"
        return ["0", self.keys(pattern)]

    def keys(self, pattern="*"):
        return [key for key in list(self._values) if self._find(key) is not None and fnmatch.fnmatchcase(key, pattern)]

    def time(self):
        microseconds = round(self._clock.time() * 1e6)
        return [str(microseconds // 1_000_000), str(microseconds % 1_000_000)]

    # Strings

    def get(self, key):
        return self._find(key)

    def set(self, key, value, *options):
        if ("NX" in options and self._find(key) is not None) or ("XX" in options and self._find(key) is None):
            return None
        self.delete(key)
        self._values[key] = value
        for unit, seconds in (("EX", 1), ("PX", 0.001)):
            if unit in options:
                self.expire(key, float(options[options.index(unit) + 1]) * seconds)
        return "OK"

    def incr(self, key):
        return self.incrby(key, 1)

    def incrby(self, key, step):
        number = int(self._find(key, 0)) + int(step)
        self._values[key] = str(number)
        return number

    # Hashes

    def hget(self, key, field):
        return self._find(key, {}).get(field)

    def hmget(self, key, *fields):
        return [*map(self._find(key, {}).get, fields)]

    def hgetall(self, key):
        return [each for pair in self._find(key, {}).items() for each in pair]

    def hvals(self, key):
        return list(self._find(key, {}).values())

    def hkeys(self, key):
        return list(self._find(key, {}))

    def hexists(self, key, field):
        return int(field in self._find(key, {}))

    def hset(self, key, *pairs):
        value = self._make(key, dict)
        known = len(value)
        value.update(zip(pairs[::2], pairs[1::2], strict=True))
        return len(value) - known

    def hdel(self, key, *fields):
        value = self._find(key, {})
        gone = sum(value.pop(field, None) is not None for field in fields)
        self._drop_if_empty(key)
        return gone

    def hincrby(self, key, field, step):
        value = self._make(key, dict)
        number = int(value.get(field, 0)) + int(step)
        value[field] = str(number)
        return number

    # Sorted sets

    def zadd(self, key, *arguments):
        options = [each for each in arguments if each.upper() in {"NX", "XX"}]
        value, pairs = self._make(key, dict), arguments[len(options) :]
        known = len(value)
        for score, member in zip(pairs[::2], pairs[1::2], strict=True):
            if not options or (member in value) == (options[0].upper() == "XX"):
                value[member] = float(score)
        self._drop_if_empty(key)
        return len(value) - known

    def zrem(self, key, *members):
        return self.hdel(key, *members)

    def zincrby(self, key, step, member):
        value = self._make(key, dict)
        value[member] = value.get(member, 0.0) + float(step)
        return repr(value[member])

    def zscore(self, key, member):
        score = self._find(key, {}).get(member)
        return None if score is None else repr(score)

    def zcard(self, key):
        return len(self._find(key, {}))

    def zrange(self, key, first, last, *options):
        found = _slice(self._by_score(key), first, last)
        return _with_scores(found) if "WITHSCORES" in options else [member for _, member in found]

    def zrangebyscore(self, key, lowest, highest, *options):
        found = [pair for pair in self._by_score(key) if float(lowest) <= pair[0] <= float(highest)]
        if "LIMIT" in options:
            offset, count = map(int, options[options.index("LIMIT") + 1 :][:2])
            found = found[offset : offset + count]
        return _with_scores(found) if "WITHSCORES" in options else [member for _, member in found]

    def _by_score(self, key):
        return sorted((score, member) for member, score in self._find(key, {}).items())

    # Lists

    def lpush(self, key, *elements):
        value = self._make(key, list)
        value[:0] = elements[::-1]
        return len(value)

    def rpop(self, key):
        return self._pop(key, -1)

    def _pop(self, key, index):
        value = self._find(key)
        element = value.pop(index) if value else None
        self._drop_if_empty(key)
        return element

    def llen(self, key):
        return len(self._find(key, ()))

    def lrange(self, key, first, last):
        return _slice(self._find(key, []), first, last)

    def lpos(self, key, element):
        value = self._find(key, [])
        return value.index(element) if element in value else None

    # Sets, in the order of addition, so that nothing hangs on hashes

    def sadd(self, key, *members):
        return self.hset(key, *(each for member in members for each in (member, "")))

    def srem(self, key, *members):
        return self.hdel(key, *members)

    def smembers(self, key):
        return list(self._find(key, {}))

    def scard(self, key):
        return self.zcard(key)

    def sismember(self, key, member):
        return self.hexists(key, member)


setattr(Keyspace, "del", Keyspace.delete)


class SimulatedRedis(redis.Redis):
    """A client of a keyspace. `gate` is how each command gets there: at once, unless somebody stands between."""

    def __init__(self, keyspace, gate=None, rewrite=None):
        super().__init__(decode_responses=True, protocol=2)
        self.keyspace = keyspace
        self._gate = gate or (lambda _what, action: action())
        self._rewrite = rewrite or (lambda _name, text: text)

    def execute_command(self, *command, **options):
        return self.send(command, lambda: self._answer(command, options))

    def _answer(self, command, options):
        name, *arguments = command
        answer = self.keyspace.run(name, *map(_text, arguments))
        options.pop("keys", None)
        callback = self.response_callbacks.get(name)
        return callback(answer, **options) if callback and answer is not None else answer

    def register_script(self, script):
        name = next((path.stem for path in _SCRIPTS if script.endswith(path.read_text())), "script")
        return partial(self._run_script, name, _compiled(self._rewrite(name, script)))

    def _run_script(self, name, function, keys=(), args=(), client=None):
        texts = [*map(_text, args)]
        return (client or self).send(
            (name, *keys, *texts),
            lambda: _python(function(self.keyspace.redis, _lua.table(*keys), _lua.table(*texts))),
        )

    def send(self, what, action):
        return self._gate(what, action)

    def pipeline(self, transaction=True, shard_hint=None):  # noqa: ARG002  # as in redis.Redis
        return _Pipeline(self)


class _Pipeline(SimulatedRedis):
    """Commands that are sent together."""

    def __init__(self, client):  # not the client's own: it takes long
        vars(self).update(vars(client))
        self._commands = []

    def send(self, what, action):
        self._commands.append((what, action))
        return self

    def execute(self):
        commands, self._commands = self._commands, []
        if not commands:
            return []
        return self._gate(("pipeline", commands[0][0][0]), lambda: [action() for _, action in commands])


@cache
def _compiled(script):
    return _lua.execute(f"return function(redis, KEYS, ARGV) {script}\nend")


def _text(value):
    if isinstance(value, float):
        return repr(int(value)) if value.is_integer() else repr(value)
    return value.decode() if isinstance(value, bytes) else str(value)


def _python(value):
    """What a client is answered for a script's value: a table ends at its first nil, and numbers lose fractions."""
    if lua_type(value) == "table":
        return [_python(value[index]) for index in range(1, len(value) + 1)]
    if isinstance(value, bool):
        return 1 if value else None
    return int(value) if isinstance(value, float) else value


def _slice(sequence, first, last):
    last = int(last)
    return sequence[int(first) : last + 1 if last != -1 else None]


def _with_scores(pairs):
    return [each for score, member in pairs for each in (member, repr(score))]
