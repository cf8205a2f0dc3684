"""Every error that Twinpath raises on purpose, as one tree.

::

    TwinpathError
    +-- ConfigurationError      a setting, an option or a file that cannot be right
    +-- EnvironmentFault        the machine lacks something: Java, a port, a jar, a permission
    +-- ServiceFault            a service that we start or use does not answer as it must
    |   +-- AlertStoreUnavailable   the alert store cannot be reached now; try again
    |   +-- ChangeLogUnavailable    Kafka cannot be reached now; try again
    |   +-- TemperaturesUnavailable the database of the temperatures cannot be reached now; try again
    +-- DecodeError             one record of the change log cannot be read (kept as a dead letter)
    +-- ExactnessError          going on would lose or invent something: stop and say so
        +-- GapError                records that were never judged are gone from the log
        +-- ForeignCheckpoint       a checkpoint made for another topic, source or layout
        +-- WrongKey                a topic whose key is not the rule's key column
        +-- OwnershipLost           another process owns this partition now
        +-- Superseded              another version of the rule is the active one now
        +-- AlertConflict           one alert key with two different contents

A message says what was found, what was wanted and what to do.
"""

RESYNC = (
    "What is gone cannot be judged any more; twinpath resync goes on from the table as it is and says what was lost. "
    "To start afresh instead: twinpath down --purge, then twinpath up"
)
START_AFRESH = "What is gone cannot be judged any more; to start afresh: twinpath down --purge, then twinpath up"


def first_line(error: object) -> str:
    """The first line of a foreign error's text."""
    return str(error).strip().partition("\n")[0]


class TwinpathError(Exception):
    """Root of the tree; `exit_status` is what the `twinpath` command returns for it."""

    exit_status = 4


class ConfigurationError(TwinpathError):
    """A setting, option or file that cannot be right."""

    exit_status = 2


class EnvironmentFault(TwinpathError):
    """The machine lacks something that Twinpath needs."""

    exit_status = 3


class ServiceFault(TwinpathError):
    """A service does not answer as it must."""


class AlertStoreUnavailable(ServiceFault):
    """The alert store cannot be reached now."""


class ChangeLogUnavailable(ServiceFault):
    """Kafka cannot be reached now."""


class TemperaturesUnavailable(ServiceFault):
    """The database of the temperatures cannot be reached now."""


class DecodeError(TwinpathError):
    """One record that cannot be read; `field` names the part at fault."""

    def __init__(self, field: str, found: str, wanted: str) -> None:
        super().__init__(f"{field}: found {found}, wanted {wanted}")
        self.field = field
        self.found = found
        self.wanted = wanted


class ExactnessError(TwinpathError):
    """Going on would lose or invent something."""


class GapError(ExactnessError):
    """Records that were never judged are gone from the log."""


class ForeignCheckpoint(ExactnessError):
    """A checkpoint made for another topic, source or layout."""


class WrongKey(ExactnessError):
    """The topic's key is not the rule's key column."""


class OwnershipLost(ExactnessError):
    """Another process owns this partition now."""


class Superseded(ExactnessError):
    """Another version of the rule is the active one now."""


class AlertConflict(ExactnessError):
    """One alert key with two different contents."""
