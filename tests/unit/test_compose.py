"""The plain functions of what finds or starts the services."""

import pytest

from compose.errors import UnavailableError
from compose.redis import masked
from compose.release import matches, next_sources

DEB822 = """\
# a comment
Types: deb deb-src
URIs: http://mirror.example.com/debian
Suites: bookworm bookworm-updates
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: http://other.example.com/tools
Suites: stable
Components: main
"""


def test_the_next_releases_sources_are_this_machines_own_with_another_name(tmp_path):
    (tmp_path / "sources.list.d").mkdir()
    (tmp_path / "sources.list.d/debian.sources").write_text(DEB822)
    (tmp_path / "sources.list").write_text("deb [signed-by=/a.gpg] http://old.example.com/debian bookworm main\n")
    sources = next_sources("bookworm", "trixie", tmp_path)
    assert "suites: trixie trixie-updates" in sources
    assert "http://mirror.example.com/debian" in sources
    assert "http://old.example.com/debian" in sources
    assert "other.example.com" not in sources
    assert "bookworm" not in sources


def test_a_machine_without_sources_of_its_release_is_told_so(tmp_path):
    with pytest.raises(UnavailableError, match="bookworm"):
        next_sources("bookworm", "trixie", tmp_path)


@pytest.mark.parametrize(
    ("version", "wanted", "fits"),
    [("26.1.5+dfsg1", "26.1", True), ("26.1.5", "26", True), ("26.10.0", "26.1", False), ("20.10.24", "26.1", False)],
)
def test_an_engines_version_fits_by_its_parts(version, wanted, fits):
    assert matches(version, wanted) is fits


def test_a_password_in_an_address_is_masked():
    assert masked("redis://me:hunter2@127.0.0.1:6379/0") == "redis://me:***@127.0.0.1:6379/0"
    assert masked("redis://127.0.0.1:6379/0") == "redis://127.0.0.1:6379/0"
