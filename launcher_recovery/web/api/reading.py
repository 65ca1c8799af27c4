"""The OpenAPI document as a page to be read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from jinja2 import Environment

STYLE = """\
:root { color-scheme: light dark; --text: #1f2328; --ground: #fff; --link: #0b5cad; }
@media (prefers-color-scheme: dark) { :root { --text: #e6e6e6; --ground: #16181d; --link: #8ab8f5; } }
html { color: var(--text); background: var(--ground); }
a { color: var(--link); }
body { margin: 0 auto; max-width: 60rem; padding: 1rem 1.25rem 3rem; font: 1rem/1.5 system-ui, sans-serif; }
h1 { font-size: 1.5rem; }
h2 { font-size: 1.15rem; margin: 2.25rem 0 .5rem; }
h3 { font-size: 1rem; margin: 1.5rem 0 .25rem; overflow-wrap: anywhere; }
code { font-family: ui-monospace, monospace; }
.method { display: inline-block; min-width: 4rem; font-weight: 700; }
table { border-collapse: collapse; width: 100%; margin: .5rem 0; }
th, td { text-align: left; vertical-align: top; padding: .25rem .75rem .25rem 0; border-bottom: 1px solid #8886; }
:focus-visible { outline: 3px solid #1a73c4; outline-offset: 2px; }
@media (max-width: 36rem) { td, th { display: block; border: 0; padding: 0; } tr { display: block; padding: .4rem 0; } }
"""

_PAGE = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string("""\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ info.title }} API</title>
<link rel="stylesheet" href="docs.css">
</head>
<body>
<main>
<h1>{{ info.title }} API {{ info.version }}</h1>
<p>{{ info.description }}</p>
<p>For programs: <a href="openapi.json">openapi.json</a>.</p>
{% for tag in tags %}
<section aria-labelledby="tag-{{ tag.name }}">
<h2 id="tag-{{ tag.name }}">{{ tag.name }}</h2>
{% for route in tag.routes %}
<h3><span class="method">{{ route.method }}</span> <code>{{ route.path }}</code></h3>
<p>{{ route.summary }}</p>
{% for table in (route.asks, route.answers) if table.rows %}
<table>
<caption hidden>{{ table.title }}</caption>
<tr><th scope="col">{{ table.title }}</th><th scope="col">Type</th><th scope="col">Meaning</th></tr>
{% for row in table.rows %}
<tr><td><code>{{ row.name }}</code></td><td>{{ row.type }}</td><td>{{ row.meaning }}</td></tr>
{% endfor %}
</table>
{% endfor %}
{% endfor %}
</section>
{% endfor %}
</main>
</body>
</html>
""")
_REFERENCE = "#/components/schemas/"


def page_of(document: Mapping[str, Any]) -> str:
    """The page, in HTML."""
    schemas = document["components"]["schemas"]
    tags = [{"name": tag["name"], "routes": _routes(document, tag["name"], schemas)} for tag in document["tags"]]
    return _PAGE.render(info=document["info"], tags=tags)


def _routes(document: Mapping[str, Any], tag: str, schemas: Mapping[str, Any]) -> list[dict[str, Any]]:
    found = []
    for path, methods in document["paths"].items():
        for method, entry in methods.items():
            if tag not in entry["tags"]:
                continue
            body = entry.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
            asked = [
                _row(one["name"], one["schema"], "in the path" if one["in"] == "path" else "")
                for one in entry["parameters"]
            ]
            (answered,) = entry["responses"]["200"]["content"].values()
            found.append(
                {
                    "method": method.upper(),
                    "path": path,
                    "summary": entry["summary"],
                    "asks": {"title": "Asked", "rows": [*asked, *_rows(body, schemas)]},
                    "answers": {"title": "Answered", "rows": _rows(answered["schema"], schemas)},
                }
            )
    return found


def _rows(schema: Mapping[str, Any], schemas: Mapping[str, Any]) -> Sequence[dict[str, str]]:
    name = schema.get("$ref", "").removeprefix(_REFERENCE)
    members = schemas.get(name, schema).get("properties", {})
    return [_row(member, about) for member, about in members.items() if member != "success"]


def _row(name: str, schema: Mapping[str, Any], meaning: str = "") -> dict[str, str]:
    return {"name": name, "type": _type(schema), "meaning": schema.get("description", meaning)}


def _type(schema: Mapping[str, Any]) -> str:
    if "$ref" in schema:
        return str(schema["$ref"]).removeprefix(_REFERENCE)
    if "anyOf" in schema:
        return " or ".join(_type(one) for one in schema["anyOf"])
    if "const" in schema:
        return str(schema["const"])
    kind = str(schema.get("type", "any"))
    return f"{kind} of {_type(schema['items'])}" if kind == "array" and "items" in schema else kind
