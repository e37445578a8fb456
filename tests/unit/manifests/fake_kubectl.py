"""A kubectl on one JSON file: the few verbs that the break-glass script uses, and faults on demand.

The file holds `objects` by `resource/name`, `faults` (the verbs that fail next, in order; `patch after effect` changes
and then loses the answer) and `calls`, what was asked so far.
"""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path
from typing import Any

Document = dict[str, Any]
STATE = "FAKE_KUBECTL_STATE"


def main() -> int:
    """Do what kubectl would."""
    file = Path(os.environ[STATE])
    state = json.loads(file.read_text())
    words = [word for word in sys.argv[1:] if not re.match(r"--(request-timeout|namespace|context|timeout)=", word)]
    state["calls"].append(" ".join(words))
    try:
        sys.stdout.write(answer(state, words))
    except LookupError as error:
        sys.stderr.write(f"Error from server: {error}\n")
        return 1
    finally:
        file.write_text(json.dumps(state))
    return 0


def answer(state: Document, words: list[str]) -> str:
    """Return what is printed; the state is changed."""
    verb = words[0]
    fault = state["faults"][0] if state["faults"] and state["faults"][0].split()[0] == verb else ""
    if fault:
        state["faults"].pop(0)
    if fault == verb:
        raise LookupError("the server is currently unable to handle the request")
    name = next(word for word in words[1:] if "/" in word)
    if "--ignore-not-found" in words and name not in state["objects"]:
        return ""
    if name not in state["objects"]:
        raise LookupError(f"{name} not found")
    said = _done(verb, name, state["objects"][name], words)
    if fault:
        raise LookupError("connection reset by peer")
    return said


def _done(verb: str, name: str, document: Document, words: list[str]) -> str:
    match verb:
        case "get":
            form = words[words.index("-o") + 1]
            return name if form == "name" else printed(form.removeprefix("jsonpath="), document)
        case "patch":
            [text] = [word.removeprefix("--patch=") for word in words if word.startswith("--patch=")]
            patched(document, json.loads(text))
        case "scale":
            document["spec"]["replicas"] = int(words[-1].removeprefix("--replicas="))
            document["status"] = {} if document.get("broken") else {"readyReplicas": document["spec"]["replicas"]}
    return ""


def patched(document: Document, operations: list[Document]) -> None:
    """Apply a JSON patch as a whole or not at all."""
    changed = json.loads(json.dumps(document))
    for operation in operations:
        *parents, last = [part.replace("~1", "/") for part in operation["path"].split("/")[1:]]
        inner: Any = changed
        for part in parents:
            inner = inner[int(part) if isinstance(inner, list) else part]
        if operation["op"] == "test" and inner[last] != operation["value"]:
            raise LookupError(f"test of {operation['path']} failed")
        inner[last] = operation["value"]
    changed["metadata"]["resourceVersion"] = str(int(changed["metadata"]["resourceVersion"]) + 1)
    document.clear()
    document.update(changed)


def printed(template: str, document: Any) -> str:
    """Return what a JSONPath template of kubectl prints: ranges, literals, fields, `[*]` and `[?(@.key=="value")]`."""
    tokens = re.findall(r'\{"[^"]*"\}|\{[^}]*\}', template)
    return _printed(iter(tokens), document)


def _printed(tokens: Any, current: Any) -> str:
    text = ""
    for token in tokens:
        inside = token[1:-1]
        if inside == "end":
            return text
        if inside.startswith("range "):
            body = _until_end(tokens)
            text += "".join(_printed(iter(body), item) for item in _found(inside.removeprefix("range "), current))
        elif inside.startswith('"'):
            text += json.loads(inside)
        else:
            text += " ".join(one if isinstance(one, str) else json.dumps(one) for one in _found(inside, current))
    return text


def _until_end(tokens: Any) -> list[str]:
    body, depth = [], 1
    for token in tokens:
        depth += token.startswith("{range ") - (token == "{end}")
        if not depth:
            break
        body.append(token)
    return body


def _found(path: str, document: Any) -> list[Any]:
    found = [document]
    for key, star, name, value in re.findall(r'\.([\w/-]+)|(\[\*\])|\[\?\(@\.(\w+)=="([^"]*)"\)\]', path):
        if key:
            found = [one[key] for one in found if isinstance(one, dict) and key in one]
        else:
            found = [item for one in found for item in one if star or item.get(name) == value]
    return found


if __name__ == "__main__":
    sys.exit(main())
