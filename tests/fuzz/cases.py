"""What is sent: for each task of the contract arguments that can be done, near misses of them, rubbish, and worse.

A case is the same for the same seed on any machine: what only a run knows stands in it as `{container}` and the like.
"""

import string
from dataclasses import dataclass, field
from functools import cache

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from tasks.cancel import CancelArguments
from tasks.connect import ConnectArguments
from tasks.ensure_network import EnsureNetworkArguments
from tasks.inspect import InspectArguments
from tasks.list import ListArguments
from tasks.logs import LogsArguments
from tasks.prune import PruneArguments
from tasks.pull import PullArguments
from tasks.reconcile import ReconcileArguments
from tasks.remove import RemoveArguments
from tasks.stop import StopArguments
from tests.fuzz.schema import valid
from worker.spec import ContainerArguments, DeploymentSpec, RollbackArguments, StageOrder

MODELS = {
    "docker.pull": PullArguments,
    "docker.inspect": InspectArguments,
    "docker.ensure_network": EnsureNetworkArguments,
    "docker.create": DeploymentSpec,
    "docker.connect": ConnectArguments,
    "docker.start": ContainerArguments,
    "docker.stop": StopArguments,
    "docker.restart": StopArguments,
    "docker.remove": RemoveArguments,
    "docker.list": ListArguments,
    "docker.logs": LogsArguments,
    "docker.deploy": DeploymentSpec,
    "docker.stage": StageOrder,
    "docker.rollback": RollbackArguments,
    "docker.cancel": CancelArguments,
    "docker.reconcile": ReconcileArguments,
    "docker.prune": PruneArguments,
}
TASKS = [*MODELS, "docker.deploy", "docker.deploy", "docker.deploy", "docker.create", "docker.create"]
"""Those with the most to get wrong more often."""

PROJECTS = ("fuzz-a", "fuzz-b")
STAGES = ("staging", "next")
NETWORKS = ("{ns}-one", "{ns}-two")
VOLUMES = ("{ns}.data", "{ns}.cache")
HOST_PORTS = (18_000, 18_009)
KEPT_PORTS = (18_020, 18_039)
MEMORY, CPUS, PIDS = 64 * 2**20, 0.5, 64
CAPABILITIES = ("CHOWN", "NET_BIND_SERVICE")


@dataclass(frozen=True)
class Case:
    """One message; `envelope` has what is unusual about it beside its arguments."""

    task: str
    arguments: dict
    positional: list = field(default_factory=list)
    envelope: dict = field(default_factory=dict)


def drawn(number, count):
    """So many cases of this seed."""
    found = []

    @seed(number)
    @settings(
        max_examples=count,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(cases())
    def draw(case):
        found.append(case)

    draw()
    return found[:count]


@st.composite
def cases(draw):
    task = draw(st.sampled_from(TASKS))
    arguments = draw(sensible(task))
    for _ in range(draw(st.sampled_from([0, 0, 1, 1, 1, 2]))):
        arguments = draw(changed(task, arguments))
    oddity = draw(st.sampled_from([None] * 18 + ["positional", "envelope"]))
    return Case(
        task,
        arguments,
        draw(st.lists(RUBBISH, min_size=1, max_size=2)) if oddity == "positional" else [],
        draw(ENVELOPES) if oddity == "envelope" else {},
    )


def one(*values):
    return st.sampled_from(values)


IMAGE = one(*["{image}", "{other}"] * 3, "{image}@{digest}", "{registry}/{ns}/job@{digest}", "{registry}/{ns}/job:no")
CONTAINER = one(*["{container}", "{name}"] * 3, "{container:12}", "/{name}", "{foreign}", "{foreign-name}", "{ns}-no")
ALIAS = one("fuzz-a-web", "fuzz-b-web")
TEXT = st.text(string.printable, max_size=20)
PLAUSIBLE = {
    "project": one(*PROJECTS),
    "stage": one(*STAGES),
    "image": IMAGE,
    "credential": one("registry", "other", None),
    "policy": one("missing", "missing", "always"),
    "env": st.dictionaries(one("A", "PATH", "B.c"), TEXT, max_size=2),
    "secret_env": one({"TOKEN": "{sealed}"}, {"TOKEN": "{sealed}"}, {"OTHER": "{sealed}"}, {"TOKEN": "clear"}),
    "ports": st.dictionaries(
        one("8080/tcp", "9090/udp"), st.none() | st.just("keep") | st.integers(*HOST_PORTS), max_size=2
    ),
    "network": one(*NETWORKS),
    "aliases": st.lists(ALIAS, max_size=2),
    "labels": st.dictionaries(one("team", "fuzz.a", "fuzz.b/c"), TEXT, max_size=2),
    "command": one(None, None, ["/bin/busybox", "true"], ["/no/such/command"]),
    "user": one("0", "1000", "1000:1000", "nobody"),
    "volumes": st.dictionaries(
        one(*VOLUMES), one("/data", "/www/more", {"path": "/data", "exclusive": True}), max_size=2
    ),
    "memory": st.integers(6 * 2**20, MEMORY),
    "cpus": st.floats(0.01, CPUS),
    "pids": st.integers(1, PIDS),
    "read_only": st.booleans(),
    "init": st.booleans(),
    "stop_timeout": st.integers(0, 2),
    "restart": one("no", "always", "unless-stopped", "on-failure:3"),
    "instance_id": one("blue", "green"),
    "host": one("local", None),
    "strategy": one("start-first", "stop-first"),
    "keep": st.integers(1, 3),
    "timeout": st.integers(1, 3),
    "health": one({}, {"stable": 0}, {"timeout": 5}, {"stable": 0.1, "timeout": 1}),
    "cutover": one({"url": "{hook}"}, {"url": "{hook}", "timeout": 5}),
    "force": st.booleans(),
    "container": CONTAINER,
    "all": st.booleans(),
    "tail": st.integers(1, 20),
    "deployment_id": one("{deployment}", "{deployment}", "no-such"),
    "to": one("{deployment}", "{deployment}", "no-such"),
    "action": one("stop", "restart", "remove"),
    "dry_run": st.booleans(),
}


def sensible(task):
    """Arguments that can be done, or fail for what is there and not for what they are."""
    fields = MODELS[task].model_fields
    required = {name: PLAUSIBLE[name] for name, each in fields.items() if each.is_required()}
    optional = [name for name, each in fields.items() if not each.is_required()]
    few = st.sets(st.sampled_from(optional), max_size=4) if optional else st.just(set())
    keep = {"keep": st.integers(2, 5)} if task == "docker.prune" else {}
    return few.flatmap(
        lambda names: st.fixed_dictionaries(
            required | {name: PLAUSIBLE[name] for name in sorted(names)} | {n: s for n, s in keep.items() if n in names}
        )
    )


WORDS = (
    *("", " ", ".", "..", "/", "*", "**", "?", "{project}", "null", "true", "--privileged", "$(id)", "`id`", "%s%n"),
    *("/var/run/docker.sock", "docker.sock", "/var/run/docker.sock:/s", "{ns}.data:/etc", "../../etc/passwd"),
    *("/proc/1/root",),
    *("host", "none", "bridge", "default", "HOST", "container:{foreign}", "ns:/proc/1/ns/net", "{ns}-net"),
    *("{foreign}", "{foreign-name}", "{foreign:12}", "{container:4}", "{deployment}", 64 * "a", "sha256:" + 64 * "0"),
    *("docker-watcher.namespace", "docker-watcher.project", "docker-watcher", "com.docker.compose.project"),
    *("io.docker.x",),
    *("localhost:1/x", "127.1:1/x", "docker.io/library/x", "http://127.0.0.1:1/", "file:///etc/passwd"),
    *("{image}@{image}",),
    *("SYS_ADMIN", "seccomp=unconfined", "0:0", "root", "on-failure:99999", "0/tcp", "65536/tcp", "80/tcp/udp"),
    *("٨٠/tcp",),
    *("\0", "\n", "\r\n", "\x1b[2J", "\x7f", "\u202e", "\ufeff", "\u2028", "\ud800"),
    *("\N{FULLWIDTH LATIN SMALL LETTER H}ost", "h\N{CYRILLIC SMALL LETTER O}st"),
    *("e\u0301" * 50, "x" * 255, "x" * 256, "x" * 40_000, "é" * 200_000, "[" * 1000, "a: b\nc: d", "{{}}"),
    *("%2e%2e", "\\"),
)
NUMBERS = (
    *(0, 1, -1, 5, 1023, 1024, 18_010, 65_535, 65_536, 3600, 3601, 86_400, 86_401, 2**31, 2**53 + 1, 2**63 - 1),
    *(2**63, 2**64),
    *(10**30, -(10**30), 10**400, 10**4000, 0.0, -0.0, 0.1, 5e-324, 1e308, float("nan"), float("inf"), float("-inf")),
    *(6 * 2**20 - 1, MEMORY + 1, CPUS + 0.001, PIDS + 1, HOST_PORTS[0] - 1, HOST_PORTS[1] + 1),
)


def nested(levels):
    return [nested(levels - 1)] if levels else {"a": 1}


SCALARS = st.sampled_from(WORDS) | st.sampled_from(NUMBERS) | st.none() | st.booleans() | st.text(max_size=10)
RUBBISH = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(WORDS) | TEXT, inner, max_size=3),
    max_leaves=5,
) | st.integers(3, 20).map(nested)
UNKNOWN = (
    *("privileged", "Privileged", "network_mode", "pid_mode", "ipc_mode", "userns_mode", "uts_mode", "devices"),
    *("cap_add",),
    *("binds", "mounts", "volumes_from", "security_opt", "sysctls", "runtime", "tmpfs", "entrypoint", "host_config"),
    *("HostConfig", "name", "self", "args", "kwargs", "arguments", "task", "request", "__class__", "model_config"),
    *("", " ", "\0", "\ud800", "\N{FULLWIDTH LATIN SMALL LETTER P}rivileged", "x" * 10_000, "project ", "Image"),
    *("image\n", "publish_address"),
)


def changed(task, arguments):
    """The same with one thing wrong, or at least unusual."""
    allowed = _allowed(task)
    known = sorted(allowed)
    return st.one_of(
        st.dictionaries(st.sampled_from(UNKNOWN), RUBBISH, min_size=1, max_size=1).map(lambda more: arguments | more),
        *(
            [
                _replaced(arguments, known, lambda name: allowed[name]),
                _replaced(arguments, known, lambda _: RUBBISH),
                _replaced(arguments, known, lambda name: twisted(arguments.get(name, ""))),
                _replaced(arguments, known, lambda name: PLAUSIBLE[name].flatmap(twisted)),
                st.sampled_from(known).map(lambda name: {key: arguments[key] for key in arguments if key != name}),
            ]
            if known
            else []
        ),
    )


@cache
def _allowed(task):
    """By argument: what the task's own model takes."""
    schema = MODELS[task].model_json_schema()
    return {name: valid(each, schema.get("$defs", {})) for name, each in schema["properties"].items()}


def _replaced(arguments, names, values):
    return st.sampled_from(names).flatmap(lambda name: values(name).map(lambda value: arguments | {name: value}))


BEHIND = ("\n", "\0", " ", "/", ":", "@", "\u200b", "\ud800", "/..", "%00", ",x")
BEFORE = ("\n", " ", "/", "//", "../", "./", "-", "--", "*", "\ufeff", "x,")
TWISTS = (
    *(lambda text, word=word: text + word for word in BEHIND),
    *(lambda text, word=word: word + text for word in BEFORE),
    *(
        str.upper,
        str.title,
        lambda text: text[:-1],
        lambda text: text[::-1],
        lambda text: text * 20,
        lambda text: [text],
    ),
    lambda text: text.translate({code: code + 0xFEE0 for code in range(0x21, 0x7F) if chr(code) not in "{}"}),
    lambda text: text.replace("a", "\N{CYRILLIC SMALL LETTER A}").replace("o", "\N{CYRILLIC SMALL LETTER O}"),
    lambda text: text.replace("-", "_"),
)


def twisted(value):
    """Nearly this value: of another kind, out of bounds by one, or written in another way."""
    if isinstance(value, str):
        return st.sampled_from(TWISTS).map(lambda twist: twist(value))
    if isinstance(value, dict) and value:
        name = min(value)
        rest = {key: value[key] for key in value if key != name}
        return st.one_of(
            twisted(value[name]).map(lambda changed: {**rest, name: changed}),
            st.sampled_from(TWISTS).map(lambda twist: {**rest, str(twist(name)): value[name]}),
            st.tuples(st.sampled_from(WORDS), RUBBISH).map(lambda more: {**value, more[0]: more[1]}),
        )
    if isinstance(value, list) and value:
        return twisted(value[0]).map(lambda changed: [changed, *value[1:]]) | st.just(value * 1000)
    if isinstance(value, bool):
        return one(int(value), str(value), [value], not value)
    if isinstance(value, int | float):
        return one(value + 1, value - 1, -value, str(value), value * 2**40, float(value), [value])
    return RUBBISH


HEADERS = {
    "task": one(
        "docker.exec", "celery.map", "celery.chord", "celery.backend_cleanup", "docker.list\n", "os.system", "dw.step"
    ),
    "id": one("", "../x", "x" * 200, "\n"),
    "lang": one("py", "js"),
    "root_id": one("x"),
    "parent_id": one("x"),
    "group": one("x", "x" * 4000),
    "group_index": one(0, -1, 10**30),
    "retries": one(0, 4, 5, -1, 10**30),
    "timelimit": one([None, None], [1, 2], [0, 0], [1e308, 1], [-1, -1], [float("nan"), 1]),
    "eta": one("2020-01-01T00:00:00", "yesterday", "2026-99-99T00:00:00", "0000-00-00", "1970-01-01T00:00:00+99:99"),
    "expires": one("2020-01-01T00:00:00", "never", "9999-12-31T23:59:59", "9999-12-31T23:59:59-23:59"),
    "ignore_result": st.booleans(),
    "origin": one("x"),
    "shadow": one("docker.list", "\n" * 100),
    "dw_signature": one({}, {"producer": "x"}, "signed", {"producer": "x", "time": 1, "nonce": "x", "value": "x"}),
    "stamped_headers": one(["a"], "a"),
    "compression": one("application/x-gzip", "zlib"),
    "replaced_task_nesting": one(10**30),
}
SIGNATURE = {"task": "docker.list", "args": [], "kwargs": {}, "options": {}, "subtask_type": None, "immutable": True}
EMBEDDED = st.dictionaries(
    one("callbacks", "errbacks", "chain", "chord", "x"),
    RUBBISH | one([{}], [{"a": 1}], [SIGNATURE], [{**SIGNATURE, "task": "celery.map"}], SIGNATURE, {}, [{"task": 5}]),
    min_size=1,
    max_size=2,
)
BODIES = (
    *(b"", b"{", b"42", b'"docker.deploy"', b"[[], {}]", b"[{}, [], {}]", b"\xff\xfe\x00", b"null", b"[" * 50_000),
    *(b"[[], {}, {}] x", b'[[], {"tail": ' + b"9" * 5000 + b"}, {}]", b"[[], {}, {}]".decode().encode("utf-16")),
)
ENVELOPES = st.one_of(
    st.sampled_from(sorted(HEADERS)).flatmap(
        lambda name: (HEADERS[name] | RUBBISH).map(lambda value: {"headers": {name: value}})
    ),
    EMBEDDED.map(lambda value: {"embedded": value}),
    RUBBISH.map(lambda value: {"embedded": value}),
    st.sampled_from(BODIES).map(lambda body: {"body": body}),
    st.dictionaries(
        one("content-type", "content-encoding", "body", "headers", "properties"), RUBBISH, min_size=1, max_size=1
    ).map(lambda whole: {"whole": whole}),
    one("application/x-python-serialize", "application/x-yaml", "application/data", "text/plain").map(
        lambda kind: {"whole": {"content-type": kind}}
    ),
    st.dictionaries(
        one(
            "delivery_tag", "delivery_info", "priority", "body_encoding", "correlation_id", "reply_to", "delivery_mode"
        ),
        RUBBISH,
        min_size=1,
        max_size=1,
    ).map(lambda properties: {"properties": properties}),
    RUBBISH.map(lambda raw: {"raw": raw}),
)
