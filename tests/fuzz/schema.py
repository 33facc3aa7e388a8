"""Values as a task's own arguments have them, from their JSON schema."""

from hypothesis import strategies as st

_MANY = 2**63


def valid(schema, definitions=None):
    """A strategy for what a pydantic model's schema allows; what pydantic checks beyond it is left to chance."""
    definitions = definitions or schema.get("$defs", {})
    if "$ref" in schema:
        return valid(definitions[schema["$ref"].rpartition("/")[2]], definitions)
    if "anyOf" in schema:
        return st.one_of([valid(each, definitions) for each in schema["anyOf"]])
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    return _KINDS[schema.get("type")](schema, definitions)


def _text(schema, _):
    if "pattern" in schema:
        return st.from_regex(schema["pattern"], fullmatch=True)
    return st.text(min_size=schema.get("minLength", 0), max_size=60)


def _integer(schema, _):
    return st.integers(schema.get("minimum", -_MANY), schema.get("maximum", _MANY))


def _number(schema, _):
    least = schema.get("minimum", schema.get("exclusiveMinimum"))
    return st.floats(least, schema.get("maximum"), exclude_min="exclusiveMinimum" in schema)


def _array(schema, definitions):
    return st.lists(valid(schema["items"], definitions), max_size=3)


def _object(schema, definitions):
    if "properties" in schema:
        fields = {name: valid(each, definitions) for name, each in schema["properties"].items()}
        required = {name: fields.pop(name) for name in schema.get("required", ())}
        return st.fixed_dictionaries(required, optional=fields)
    ((pattern, value),) = schema["patternProperties"].items()
    return st.dictionaries(st.from_regex(pattern, fullmatch=True), valid(value, definitions), max_size=3)


_KINDS = {
    "string": _text,
    "integer": _integer,
    "number": _number,
    "boolean": lambda *_: st.booleans(),
    "null": lambda *_: st.none(),
    "array": _array,
    "object": _object,
    # What the model checks by itself: host ports.
    None: lambda *_: st.integers(0, 70_000) | st.just("keep"),
}
