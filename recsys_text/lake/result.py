"""What became of a window, and whether that will do. Knows no frames and no paths."""

from dataclasses import dataclass
from math import ceil

from recsys_text.errors import ContractError


@dataclass(frozen=True, kw_only=True)
class WriteResult:
    """What became of a window's rows: kept, rejected (rule -> count) and dropped as duplicates; whether those that are
    kept are others than before.
    """

    rows: int
    rejected: dict[str, int]
    duplicates: int
    changed: bool = True


def check_result(name: str, result: WriteResult, offenders: dict[str, str], max_rejected: float, min_rows: int) -> None:
    """Raises ContractError for too many rejected rows, of which `offenders` has examples by rule, or too few others."""
    rejected = sum(result.rejected.values())
    total = result.rows + result.duplicates + rejected
    # A share of a small window is no whole number of rows: one bad row of three is no reason to lose the other two.
    if rejected > ceil(max_rejected * total) or (rejected and not result.rows and max_rejected < 1):
        rule = max(result.rejected, key=lambda rule: result.rejected[rule])
        raise ContractError(
            f"{name}: {rejected} of {total} rows break the contract, more than max_rejected = {max_rejected:g}; "
            f"{result.rejected[rule]} break {rule}, such as {offenders[rule]}"
        )
    if result.rows < min_rows:
        raise ContractError(f"{name}: {result.rows} rows, fewer than min_rows = {min_rows}; the former window is kept")
