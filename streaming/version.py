"""The version that an agent folds: the parameters of its settings, in the generation that the alert store calls for."""

from typing import Any

import tenacity

from twinpath.detection.rules import Rule, configured
from twinpath.errors import AlertStoreUnavailable
from twinpath.rule_versions import RuleVersions
from twinpath.settings import Settings

LONGEST_WAIT_S = 5.0


def rule_to_fold(name: str, settings: Settings, versions: RuleVersions, logger: Any) -> Rule:
    """The rule of this name; an alert store that is away is waited for, a wrong setting is said before that."""
    configured(name, settings.rule_parameters)

    def say(state: tenacity.RetryCallState) -> None:
        if state.attempt_number == 1 and state.outcome is not None:
            logger.warning("waiting for the alert store", problem=str(state.outcome.exception()))

    retrying = tenacity.Retrying(
        retry=tenacity.retry_if_exception_type(AlertStoreUnavailable),
        wait=tenacity.wait_exponential(multiplier=0.1, max=LONGEST_WAIT_S),
        before_sleep=say,
    )
    return configured(name, settings.rule_parameters, retrying(versions.generation, name))
