"""What happened, a line for each effect: time, process, what, outcome."""

import hashlib

_PREFIX = "dw:simulated:"


class Story:
    """The lines are put together only when somebody reads them: of most runs, nobody does."""

    def __init__(self, clock):
        self._clock = clock
        self._begun = clock.now
        self._told = []

    def tell(self, who, what, outcome=None):
        self._told.append((self._clock.now, who, what, outcome))

    def __len__(self):
        return len(self._told)

    def lines(self):
        for when, who, what, outcome in self._told:
            words = " ".join(word for word in map(_word, what) if word)
            yield f"{when - self._begun:9.3f}  {who:<8} {words:<60} {_outcome(outcome)}"

    def digest(self):
        return hashlib.sha256("\n".join(self.lines()).encode()).hexdigest()


def _word(part):
    text = str(part).removeprefix(_PREFIX)
    return "" if text.startswith("alarms:") else "{…}" if text.startswith("{") else _cut(text, 40)


def _outcome(value):
    if value is None:
        return "ok"
    if isinstance(value, dict) and "State" in value:
        return " ".join(map(str, value["State"].values()))
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return ", ".join(f"{each.get('Names', [each.get('Name')])[0]} {each.get('State', '')}" for each in value)
    if isinstance(value, list) and "step" in value and "fence" in value:
        return " ".join(f"{name} {value[value.index(name) + 1]}" for name in ("step", "fence", "attempt"))
    return _cut(str(value), 160)


def _cut(text, longest):
    return text if len(text) <= longest else f"{text[: longest - 1]}…"
