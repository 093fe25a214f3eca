"""Make a page of the HTTP API from docs/openapi.json: each call with its parameters, and the fields of each object."""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

DOCUMENT = Path(__file__).parents[1] / "openapi.json"
PAGE = "http-api.md"
Schema = Mapping[str, Any]

HEADER = """# HTTP API

Made from `docs/openapi.json`, which the service also gives at `/openapi.json`. [Endpoints](endpoints.md) is the
overview; [requests](requests.md) says what a body may be. An error is a [Problem](#problem) with one of these
[codes](errors.md).
"""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    document = json.loads(DOCUMENT.read_text(encoding="utf-8"))
    files.append(File.generated(config, PAGE, content=page_of(document)))
    return files


def page_of(document: Schema) -> str:
    """Return the page, in Markdown."""
    lines = [HEADER, "## Calls", ""]
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            lines += [*_call(f"{method.upper()} {path}", operation), ""]
    lines += ["## Objects", "", "A name without *optional* is always there.", ""]
    for name, schema in sorted(document["components"]["schemas"].items()):
        lines += [*_object(name, schema), ""]
    return "\n".join(lines)


def _call(title: str, operation: Schema) -> Iterator[str]:
    yield f"### `{title}`"
    yield ""
    yield f"{operation['summary']}."
    if description := operation.get("description"):
        yield f"\n{_linked(description)}"
    bodies = operation.get("requestBody", {}).get("content", {})
    if bodies:
        yield f"\n**Body:** {', '.join(_media(kind, one) for kind, one in bodies.items())}"
    if parameters := operation.get("parameters"):
        yield "\n| parameter | in | type | meaning |\n|---|---|---|---|"
        for one in parameters:
            meaning = _cell(one.get("description", ""), one["schema"])
            needed = "" if one["required"] else ", optional"
            yield f"| `{one['name']}` | {one['in']}{needed} | {_type(one['schema'])} | {meaning} |"
    answers = operation["responses"]["200"].get("content", {})
    if answers:
        yield f"\n**200:** {', '.join(_media(kind, one) for kind, one in answers.items())}"
    others = [status for status in operation["responses"] if status != "200"]
    if others:
        yield f"\n**Errors:** {', '.join(others)}"


def _media(kind: str, content: Schema) -> str:
    schema = content.get("schema", {})
    named = _type(schema) if "$ref" in json.dumps(schema) else ""
    return f"`{kind}`" + (f" ({named})" if named else "")


def _object(name: str, schema: Schema) -> Iterator[str]:
    yield f"### {name}"
    if description := schema.get("description"):
        yield f"\n{_linked(description)}"
    if "properties" not in schema:
        yield f"\n{_type(schema)}"
        return
    yield "\n| field | type | meaning |\n|---|---|---|"
    required = schema.get("required", [])
    for field, one in schema["properties"].items():
        needed = "" if field in required else ", *optional*"
        yield f"| `{field}`{needed} | {_type(one)} | {_cell(one.get('description', ''), one)} |"


def _type(schema: Schema) -> str:
    if "$ref" in schema:
        name = schema["$ref"].rsplit("/", 1)[1]
        return f"[{name}](#{name.lower()})"
    if parts := schema.get("anyOf", schema.get("oneOf")):
        return " or ".join(_type(one) for one in parts)
    if "const" in schema or "enum" in schema:
        values = schema.get("enum", [schema.get("const")])
        return ", ".join(f"`{json.dumps(one)}`" for one in values)
    if schema.get("type") == "array":
        items = schema["prefixItems"][0] if "prefixItems" in schema else schema["items"]
        return f"list of {_type(items)}"
    if schema.get("type") == "object" and isinstance(schema.get("additionalProperties"), dict):
        return f"object of {_type(schema['additionalProperties'])}"
    return str(schema.get("type", "any"))


def _cell(text: str, schema: Schema) -> str:
    """Return what a parameter or a field means, with its range and its default."""
    least, most = schema.get("minimum"), schema.get("maximum")
    ranges = [f"from {least:g}"] if least is not None else []
    ranges += [f"to {most:g}"] if most is not None else []
    default = schema.get("default")
    stated = [] if default in (None, [], "") else [f"default: `{json.dumps(default)}`"]
    parts = [text, " ".join(ranges), *stated]
    return _plain("; ".join(part for part in parts if part)).replace("|", "\\|").replace("\n", " ")


def _linked(text: str) -> str:
    """Return a description in which a page that it names by its path is a link."""
    return re.sub(r"docs/([\w-]+\.md)", r"[\1](\1)", _plain(text))


def _plain(text: str) -> str:
    """Return a text whose brackets are no links; inside code they are as they are."""
    parts = text.split("`")
    return "`".join(
        part if place % 2 else part.replace("[", "\\[") for place, part in enumerate(parts)
    )
