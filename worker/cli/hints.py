"""What to do next about each error: a line below its sentence, and a part of `docs/errors.md`."""

import sys
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

HINTS = {
    "SpecInvalid": "`dw {command} --help` says what is taken",
    "PolicyDenied": "DW_ALLOWED_IMAGES and DW_POLICY_FILE of the workers say what is allowed: ask who runs them",
    "CredentialMissing": "`dw credential list` shows what is stored; "
    "`dw credential add {credential} --registry {registry} --username USER` stores another",
    "ImageNotFound": "`dw history {stage}` shows what was deployed before; nothing was changed",
    "PullDenied": "{used}; `dw credential list` shows what is stored, and "
    "`dw credential add {credential} --registry {registry} --username USER` replaces what is wrong",
    "RegistryUnavailable": "once {registry} answers from the engine's host, run the same command again; "
    "nothing was changed",
    "NameConflict": "`docker ps -a --filter name={container}` on the host shows whose it is; nothing was changed",
    "PortInUse": "`ss -ltnp` and `docker ps` on the host show who has it; without `--port`, the engine picks one",
    "NetworkNotFound": "`docker network create {network}` on the host makes it; without `--network`, none is needed",
    "ContainerNotFound": "`dw history {stage}` shows what became of what was there",
    "NotManaged": "`dw ps --all` shows docker-watcher's own; see to others by docker itself",
    "StartFailed": "the lines above are its last ones; mend the image or its arguments, and deploy again; "
    "what served before still does: `dw ps {stage}`",
    "Unhealthy": "the lines above are its last ones; `--health-timeout` gives it longer; "
    "what served before still does: `dw ps {stage}`",
    "EngineUnavailable": "`dw doctor` tells what is wrong with the engine of {host}; "
    "once it answers, run the same command again",
    "DeadlineExceeded": "`dw history {stage}` shows how long each step took; `--timeout` gives it longer; "
    "what served before still does",
    "DeploymentCancelled": "what served before still does: `dw ps {stage}`",
    "DeploymentSuperseded": "nothing is to be done; `dw history {stage}` shows the newer one",
    "CutoverFailed": "see what answers at that address, and its log; what served before still does: `dw ps {stage}`",
    "DiskFull": "`dw prune` removes images that nothing needs; "
    "`docker system df` on the host shows what else there is; "
    "`dw doctor` shows how much is free",
    "Unanswered": "`dw doctor` tells what is wrong",
    "UsageWrong": "`dw {command} --help` says what is taken",
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
    stage = next((each for each in (str(facts.get("stage")), *given) if each.count("/") == 1), "PROJECT/STAGE")
    command = " ".join(given[: 2 if given[:1] == ["credential"] else 1])
    registry = facts.get("registry") or (host if is_host else "docker.io" if image else "HOST")
    credential = facts.get("credential")
    return {
        **{name: str(facts[name]) for name in ("container", "network") if facts.get(name)},
        "stage": str(stage),
        "command": command,
        "registry": str(registry),
        "credential": str(credential or "NAME"),
        "used": f"credential {credential} was used" if credential else "no credential was used",
        "host": f"host {facts['host']}" if facts.get("host") else "each host",
    }
