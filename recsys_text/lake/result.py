"""What became of a window, and whether that will do. Knows no frames and no paths."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from recsys_text.errors import ContractError

#: Windows that a line names one by one.
_NAMED = 3


@dataclass(frozen=True, kw_only=True)
class WriteResult:
    """What became of a window's rows.

    rows: that are kept. rejected: by the rule that they broke. duplicates: that were dropped. conflicts: kept rows of
    which a duplicate differed. left: items of the snapshot before that this one lacks, told of the last window of an
    extraction. changed: whether the kept rows are others than before.
    """

    rows: int
    rejected: dict[str, int]
    duplicates: int
    conflicts: int = 0
    left: int = 0
    changed: bool = True


class RefusedEmpty(ContractError):
    """Windows that had rows, of which the source has none any more; they were kept."""

    def __init__(self, table: str, lost: Mapping[str, int], source: str) -> None:
        self.lost = dict(lost)
        rows = sum(lost.values())
        super().__init__(
            f"{table}: {source} has no rows for {shortened(list(lost))}, where the lake has {rows:,}; the former "
            f"{'window is' if len(lost) == 1 else 'windows are'} kept. Check the source, or empty them with "
            "`recsys-text extract --allow-empty`; min_rows = 1 refuses every empty window"
        )


def shortened(keys: Sequence[str]) -> str:
    """Keys of windows for one line: two or three of them, or the first, how many between, and the last."""
    return ", ".join(keys) if len(keys) <= _NAMED else f"{keys[0]} to {keys[-1]} ({len(keys)} windows)"


def too_many(rejected: int, kept: int, total: int, max_rejected: float) -> bool:
    """Whether more rows are rejected than the share `max_rejected` of all.

    A share of a few rows is no whole number of rows: one bad row of three is no reason to lose the other two.
    """
    few = 1 if max_rejected and kept else 0
    return rejected > max(few, max_rejected * total)


def no_candidates(grace: int) -> str:
    """What becomes of items that a snapshot lacks, where they stay candidates for so many windows."""
    if not grace:
        return "no candidates any more"
    count = "1 window" if grace == 1 else f"{grace} windows in a row"
    return f"no candidates after {count} without them (sources.items.grace)"


def check_result(
    name: str,
    result: WriteResult,
    offenders: dict[str, str],
    *,
    max_rejected: float,
    min_rows: int,
    replaces: bool,
) -> None:
    """Raises ContractError for too many rejected rows, of which `offenders` has examples by rule, or too few others.

    replaces: whether there is a window already, which then stays.
    """
    rejected = sum(result.rejected.values())
    total = result.rows + result.duplicates + rejected
    if too_many(rejected, result.rows, total, max_rejected):
        rule = max(result.rejected, key=lambda rule: result.rejected[rule])
        raise ContractError(
            f"{name}: {rejected} of {total} rows break the contract, more than max_rejected = {max_rejected:g}; "
            f"{result.rejected[rule]} break {rule}, such as {offenders[rule]}"
        )
    if result.rows < min_rows:
        stays = "the former window is kept" if replaces else "nothing is written"
        raise ContractError(f"{name}: {result.rows} rows, fewer than min_rows = {min_rows}; {stays}")
