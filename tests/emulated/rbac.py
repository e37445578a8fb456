"""Who may do what: a Role's rules, asked at every request."""

from __future__ import annotations

from typing import Any

from tests.emulated.refusals import RefusedError

USER = "system:serviceaccount:canary-pipeline:canary-pipeline"


class Rules:
    """What one user may do in the service's namespace."""

    def __init__(self, rules: list[dict[str, Any]]) -> None:
        self._rules = rules

    def allow(self, group: str, resource: str, verb: str, name: str = "") -> bool:
        """Whether a verb is granted: a rule with names grants nothing on an object that has none yet, or on all."""
        return any(
            group in rule["apiGroups"]
            and resource in rule["resources"]
            and verb in rule["verbs"]
            and (not (names := rule.get("resourceNames")) or name in names)
            for rule in self._rules
        )

    def check(self, group: str, resource: str, verb: str, name: str, namespace: str) -> None:
        if not self.allow(group, resource, verb, name):
            what = f"{resource}.{group}" if group else resource
            which = f'{what} "{name}"' if name else what
            said = f'cannot {verb} resource "{resource}" in API group "{group}" in the namespace "{namespace}"'
            raise RefusedError(403, "Forbidden", f'{which} is forbidden: User "{USER}" {said}')
