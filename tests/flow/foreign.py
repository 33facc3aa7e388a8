"""Images as this machine's engine would not build them: of another one's, changed in the registry itself."""

import hashlib
import json
from urllib.parse import urlsplit

import requests

_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
#: Neither this machine's nor one that an emulator is registered for: see `PROGRAM`.
PLATFORM = {"os": "linux", "architecture": "s390x"}
#: The head of a 64-bit ELF program for a machine that has none, in ASCII, as a page of a job image is a text.
PROGRAM = "\x7fELF\x02\x01\x01" + 9 * "\0" + "\x02\0\x28\0\x01\0\0\0"


class Repository:
    """A repository of the tests' registry."""

    def __init__(self, name, username, password):
        host, _, path = name.partition("/")
        self._api = f"http://{host}/v2/{path}"
        self._session = requests.Session()
        self._session.auth = (username, password)

    def close(self):
        self._session.close()

    def alter(self, tag, new_tag, change):
        """Give an image's configuration, changed, another tag."""
        manifest = self._get(f"manifests/{tag}", Accept=_MANIFEST).json()
        config = self._get(f"blobs/{manifest['config']['digest']}").json()
        change(config)
        content = json.dumps(config).encode()
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        begun = self._session.post(f"{self._api}/blobs/uploads/")
        place = urlsplit(begun.headers["Location"])
        self._put(f"{self._api.partition('/v2/')[0]}{place.path}?{place.query}&digest={digest}", content)
        manifest["config"] = {**manifest["config"], "digest": digest, "size": len(content)}
        self._put(f"{self._api}/manifests/{new_tag}", json.dumps(manifest), _MANIFEST)

    def list_as_foreign(self, tag, new_tag):
        """Make a list of platforms that has an image for `PLATFORM` alone."""
        found = self._get(f"manifests/{tag}", Accept=_MANIFEST)
        only = {
            "mediaType": _MANIFEST,
            "digest": found.headers["Docker-Content-Digest"],
            "size": len(found.content),
            "platform": PLATFORM,
        }
        listed = {"schemaVersion": 2, "mediaType": _LIST, "manifests": [only]}
        self._put(f"{self._api}/manifests/{new_tag}", json.dumps(listed), _LIST)

    def _get(self, path, **headers):
        answer = self._session.get(f"{self._api}/{path}", headers=headers)
        answer.raise_for_status()
        return answer

    def _put(self, url, content, kind="application/octet-stream"):
        self._session.put(url, data=content, headers={"Content-Type": kind}).raise_for_status()
