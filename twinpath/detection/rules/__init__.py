"""The RULES table: one row for each rule. A new rule is one module here, its row, and its test.

A rule module holds `Parameters` (frozen, with defaults), `State` (a `History`), `FEATURES` (the names
of the numbers it judges on) and the pure functions `judge`, `verdict`, `learn`, `teach`, `correct`
and `forget`. Raise a rule's code version when the same log could give other alerts.
"""

from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import blake2s
from types import ModuleType
from typing import Any

import msgspec

from twinpath.detection.history import width
from twinpath.detection.rules import spending, velocity
from twinpath.errors import ConfigurationError


@dataclass(frozen=True)
class Rule:
    """One rule as the detector uses it; `logic` is its module."""

    name: str
    code_version: int
    key_column: str
    logic: Any
    parameters: Any
    generation: int = 1

    @cached_property
    def version(self) -> str:
        """Code version, a hash of the parameters and, past the first one, the generation: `1-c7261d16.2`.

        Alerts of other versions stand beside ours. A generation is raised to judge the same log again.
        """
        text = msgspec.json.encode(self.parameters, order="deterministic")
        version = f"{self.code_version}-{blake2s(text, digest_size=4).hexdigest()}"
        return version if self.generation == 1 else f"{version}.{self.generation}"


def _row(code_version: int, key_column: str, logic: ModuleType) -> Rule:
    name = logic.__name__.rpartition(".")[2]
    if width(logic.FEATURES) != logic.State.WIDTH:
        raise TypeError(f"rule {name}: State.WIDTH is {logic.State.WIDTH}, wanted width(FEATURES)")
    return Rule(name, code_version, key_column, logic, logic.Parameters())


RULES: dict[str, Rule] = {
    rule.name: rule
    for rule in (
        _row(1, "user_id", spending),
        _row(1, "user_id", velocity),
    )
}


def configured(name: str, overrides: dict[str, dict[str, Any]] | None = None, generation: int = 1) -> Rule:
    """The rule of this name with the parameters given in `overrides[name]`, in a generation (the first is 1).

    Raises ConfigurationError for an unknown rule, an unknown parameter or a value that cannot be.
    """
    for wanted in (name, *(overrides or {})):
        if wanted not in RULES:
            raise ConfigurationError(f"found rule {wanted!r}, wanted one of: {', '.join(RULES)}")
    rule = replace(RULES[name], generation=generation)
    given = (overrides or {}).get(name)
    if not given:
        return rule
    values = msgspec.structs.asdict(rule.parameters) | given
    try:
        parameters = msgspec.convert(values, type(rule.parameters))
    except msgspec.ValidationError as error:
        raise ConfigurationError(f"parameters of rule {name}: {error}") from None
    return replace(rule, parameters=parameters)
