"""What is stored: credentials that can't be opened, and deployments that don't come to an end."""

from collections import Counter
from collections.abc import Iterator

from worker.cli.doctor.finding import FAIL, OK, WARN, Finding, looked
from worker.errors import CredentialMissing
from worker.keyring import keyring
from worker.settings import settings
from worker.store import credentials, deployments, hosts


def look() -> list[Finding]:
    """All that records and credentials tell."""
    return [*looked("credentials", _credentials), *looked("deployments", _deployments)]


def _credentials() -> Iterator[Finding]:
    stored = credentials().list()
    if stored and not keyring().has_keys:
        yield Finding(
            "credentials", WARN, f"{len(stored)} are stored; whether they open can't be told here", "set DW_KEYS here"
        )
        return
    closed = 0
    for each in stored:
        try:
            each.password(keyring())
        except CredentialMissing as error:
            closed += 1
            yield Finding("credentials", FAIL, error.message, f"store it anew: dw credential add {each.name}")
    for registry, count in Counter(each.registry for each in stored).items():
        if count > 1:
            yield Finding(
                "credentials",
                WARN,
                f"{count} are for registry {registry}: a deployment that names none of them fails",
                "name one with --credential, or remove the others: dw credential rm NAME",
            )
    yield Finding("credentials", OK, f"{len(stored) - closed} of {len(stored)} open")


def _deployments() -> Iterator[Finding]:
    known = {each.name: each for each in hosts().all()}
    under_way = [(host, claim) for host in known for claim in deployments().stranded(host)]
    for host, claim in under_way:
        # From `drain` on there is no deadline; a removal is tried until the engine does it.
        late = claim.now - claim.deadline
        at = f"{claim.asked.where} {claim.id}: at step {claim.step}"
        if late > 2 * settings().lease_seconds and not claim.trouble:
            yield Finding(
                "deployments",
                FAIL,
                f"{at}, {late:.0f} s past its deadline",
                f"see that the workers of {host} run and reach Redis; dw cancel {claim.id}",
                host,
            )
        elif claim.trouble:
            hint = f"it is tried again by itself; to end it: dw cancel {claim.id}"
            yield Finding("deployments", WARN, f"{at}, attempt {claim.attempt}: {claim.trouble.message}", hint, host)
        elif known[host].is_away:
            hint = f"start the worker of {host}, or: dw cancel {claim.id}"
            yield Finding("deployments", WARN, f"{at}, waits for host {host}, which is away", hint, host)
    yield Finding("deployments", OK, f"{len(under_way)} under way")
