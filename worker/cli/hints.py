"""What to do next about each error: a line below its sentence, and a part of `docs/errors.md`."""

import sys
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

HINTS = {
    "SpecInvalid": "dw {command} --help says what is taken",
    "PolicyDenied": "DW_ALLOWED_IMAGES and DW_POLICY_FILE of the workers say what is allowed: ask who runs them",
    "CredentialMissing": "dw credential list shows what is stored; "
    "dw credential add NAME --registry {registry} --username USER stores another",
    "ImageNotFound": "dw history {stage} shows what was deployed before; nothing was changed",
    "PullDenied": "dw credential list shows what is stored; "
    "dw credential add NAME --registry {registry} --username USER stores another, or a new password",
    "RegistryUnavailable": "once {registry} answers from the engine's host, run the same command again; "
    "nothing was changed",
    "NameConflict": "docker ps -a on the host shows whose it is; nothing was changed",
    "PortInUse": "ss -ltnp and docker ps on the host show who has it; without --port, the engine picks a free one",
    "NetworkNotFound": "docker network ls on the host shows those that there are; without --network, none is needed",
    "ContainerNotFound": "dw ps --all shows all that there are",
    "NotManaged": "dw ps --all shows docker-watcher's own; see to others by docker itself",
    "StartFailed": "the lines above are its last ones; mend the image or its arguments, and deploy again; "
    "what served before still does: dw ps {stage}",
    "Unhealthy": "the lines above are its last ones; --health-timeout gives it longer; "
    "what served before still does: dw ps {stage}",
    "EngineUnavailable": "dw doctor tells what is wrong with each host's engine; "
    "once it answers, run the same command again",
    "DeadlineExceeded": "dw history {stage} shows how long each step took; --timeout gives it longer; "
    "what served before still does",
    "DeploymentCancelled": "what served before still does: dw ps {stage}",
    "DeploymentSuperseded": "nothing is to be done; dw history {stage} shows the newer one",
    "CutoverFailed": "see what answers at that address, and its log; what served before still does: dw ps {stage}",
    "DiskFull": "dw prune removes images that nothing needs; docker system df on the host shows what else there is",
    "Unanswered": "dw doctor tells what is wrong",
    "UsageWrong": "dw {command} --help says what is taken",
}
"""By the error's type; what is in braces is filled in as far as it is known."""


def hint(kind: str, message: str, facts: Mapping[str, Any]) -> str | None:
    """What to do next about an error, as the command line and its facts have it."""
    text = HINTS.get(kind)
    if text and message.startswith("No such command"):
        # Of one that isn't there, there is no help.
        text = text.replace("{command} ", "")
    return text.format_map(defaultdict(lambda: "…", _known(facts))).replace("dw  ", "dw ") if text else None


def _known(facts: Mapping[str, Any]) -> dict[str, str]:
    image = str(facts.get("image", ""))
    host, slash, _ = image.partition("/")
    is_host = slash and ("." in host or ":" in host or host == "localhost")
    given = [each for each in sys.argv[1:] if not each.startswith("-")]
    stage = facts.get("stage") or next((each for each in given if each.count("/") == 1), "PROJECT/STAGE")
    command = " ".join(given[: 2 if given[:1] == ["credential"] else 1])
    registry = facts.get("registry") or (host if is_host else "docker.io" if image else "HOST")
    return {"stage": str(stage), "command": command, "registry": str(registry)}
