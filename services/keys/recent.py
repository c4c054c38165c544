"""The newest entries of the log, kept at hand so that publishing one does not read it back."""

from collections import OrderedDict

from services.keys.log import Entry

ENTRIES = 2048
"""The most that are kept."""

BYTES = 16 * 1024 * 1024
"""The most that they may be together, but for the newest: an import has entries of a megabyte."""


class RecentEntries:
    """Entries without a gap, up to the head."""

    def __init__(self) -> None:
        """Begin with none."""
        self._kept: OrderedDict[int, Entry] = OrderedDict()
        self._bytes = 0

    def add(self, entry: Entry) -> None:
        """Keep the new head; the oldest leave when there are too many, or they are too large."""
        self._kept[entry.rev] = entry
        self._bytes += entry.size
        while len(self._kept) > 1 and (len(self._kept) > ENTRIES or self._bytes > BYTES):
            self._bytes -= self._kept.popitem(last=False)[1].size

    def after(self, rev: int, limit: int) -> list[Entry] | None:
        """The entries that follow `rev`; None when they are not all here."""
        if rev + 1 not in self._kept:
            return None
        last = min(next(reversed(self._kept)), rev + limit)
        return [self._kept[r] for r in range(rev + 1, last + 1)]
