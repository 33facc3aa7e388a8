"""What the scripts need of Redis, its user must be granted: told here at once, and by the hardened flow as a hang."""

import re
from pathlib import Path

import pytest

from compose.redis import ACL

ROOT = Path(__file__).parents[2]
SHARED = ROOT / "worker/store/common.lua"
SCRIPTS = [*ROOT.glob("worker/store/*.lua"), ROOT / "worker/broker/intake.py"]


@pytest.mark.parametrize("path", [pytest.param(path, id=path.name) for path in SCRIPTS])
def test_a_worker_may_run_each_script(path):
    (worker,) = (line.split() for line in ACL.read_text().splitlines() if line.startswith("user worker "))
    needed = {
        f"+{each.lower()}" for each in re.findall(r"redis\.call\('([A-Z]+)'", SHARED.read_text() + path.read_text())
    }
    assert needed
    assert needed <= set(worker)


def test_the_user_that_nobody_can_be_has_the_rights_that_redis_reads_its_file_in_with():
    """Without them it leaves out transactions and scripts, and says so only in ACL LOG: tests/containers sees that."""
    (default,) = (line.split() for line in ACL.read_text().splitlines() if line.startswith("user default "))
    assert set(default[2:]) == {"off", "resetpass", "~*", "&*", "+@all"}
