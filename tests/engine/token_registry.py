"""A registry whose logins go to a token service, as Docker Hub's and GitHub's do; behind it is the real one."""

from tests.engine.registry_proxy import Handler, RegistryProxy, basic

TOKEN = "a-token"


class TokenRegistry(RegistryProxy):
    """Gives a token for the real registry's login; `refusal` (status, body) is what it does instead."""

    def __init__(self, upstream, login):
        super().__init__(upstream, _Handler)
        self.login = basic(login)
        self.refusal = None


class _Handler(Handler):
    def do_GET(self):  # noqa: N802  # as http.server wants it
        given = self.headers.get("Authorization")
        if self.path.startswith("/token"):
            self.give_token(given)
        elif given == f"Bearer {TOKEN}":
            self.headers.replace_header("Authorization", self.server.login)
            super().do_GET()
        else:
            realm = f'Bearer realm="http://{self.server.host}/token",service="registry"'
            self.refuse(401, {"errors": [{"code": "UNAUTHORIZED"}]}, ("WWW-Authenticate", realm))

    do_HEAD = do_GET  # noqa: N815  # likewise

    def give_token(self, given):
        if self.server.refusal:
            self.refuse(*self.server.refusal)
        elif given == self.server.login:
            self.refuse(200, {"token": TOKEN})
        else:
            self.refuse(401, {"details": "incorrect username or password"})
