"""What a user can do wrong or meet, and the exit code of each. Knows no other module."""


class RecsysTextError(Exception):
    """A failure that one clear line explains; the command line prints it without a traceback."""

    exit_code = 1


class ConfigError(RecsysTextError, ValueError):
    """Bad usage or a bad configuration: an unknown key, a missing file, a wrong argument."""

    exit_code = 2


class ContractError(RecsysTextError, ValueError):
    """Data that breaks its contract: a missing column, a wrong type, too many rejected rows."""

    exit_code = 3


class LakeChanged(ContractError):
    """The lake is no longer what a publication was begun with; what is there now can be published."""


class GateRefusal(RecsysTextError):
    """The challenger did not clear the gate; the champion stays."""

    exit_code = 4


class UnavailableError(RecsysTextError):
    """A store, source or service out of reach: down, read-only, full. Worth trying again."""

    exit_code = 5
