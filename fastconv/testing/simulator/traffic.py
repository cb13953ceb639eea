"""What a warp's request costs: 32-byte sectors of global memory, passes over the banks of shared memory."""

from __future__ import annotations

import numpy as np

from fastconv.testing.simulator.counts import SECTOR_BYTES
from fastconv.testing.simulator.masks import WARP

_SECTOR_SHIFT = SECTOR_BYTES.bit_length() - 1
_BANKS, _BANK_BYTES = 32, 4


def sectors(addresses: np.ndarray, lanes: np.ndarray, all_lanes: int, itemsize: int) -> tuple[int, int, int]:
    """Requests, sectors moved, and the least that hold the elements.

    Args:
        addresses: in bytes, one for each of `lanes`.
        lanes: which they are of the `all_lanes` of the batch, in ascending order.
    """
    rows = _ascending(_rows(addresses, lanes, all_lanes, WARP))
    touched = rows >> _SECTOR_SHIFT
    moved = len(rows) + int(np.count_nonzero(touched[:, 1:] != touched[:, :-1]))
    elements = 1 + np.count_nonzero(rows[:, 1:] != rows[:, :-1], axis=1)
    ideal = int(np.sum((elements * itemsize + SECTOR_BYTES - 1) // SECTOR_BYTES))
    return len(rows), moved, ideal


def wavefronts(addresses: np.ndarray, lanes: np.ndarray, all_lanes: int, itemsize: int) -> tuple[int, int, int]:
    """Requests, wavefronts, and how many there would be without conflicts. Arguments as for `sectors`.

    In a wavefront each bank gives one 4-byte word, to any number of threads. Elements of 8 and 16 bytes are fetched for
    16 and 8 threads at a time.
    """
    words = max(1, itemsize // _BANK_BYTES)
    group, banks = WARP // words, _BANKS // words
    rows = _ascending(_rows(addresses // (words * _BANK_BYTES), lanes, all_lanes, group))
    requests = len(rows) if group == WARP else len(np.unique(lanes // WARP))
    if np.all(rows[:, -1] - rows[:, 0] < banks):  # within one row of banks: no two in the same
        return requests, len(rows), len(rows)
    first = np.ones(rows.shape, bool)
    np.not_equal(rows[:, 1:], rows[:, :-1], out=first[:, 1:])
    place = rows % banks + np.arange(len(rows))[:, None] * banks
    in_bank = np.bincount(place[first], minlength=len(rows) * banks)
    return requests, int(in_bank.reshape(-1, banks).max(axis=1).sum()), len(rows)


def one_address(warps: int) -> tuple[int, int, int]:
    """Where all threads ask for the same element."""
    return warps, warps, warps


def _rows(values: np.ndarray, lanes: np.ndarray, all_lanes: int, group: int) -> np.ndarray:
    """(groups, group), for groups with any active lane; an inactive lane repeats what an active one has."""
    if len(lanes) == all_lanes:
        return values.reshape(-1, group)
    rows = np.full((all_lanes // group, group), -1)
    rows.reshape(-1)[lanes] = values
    most = rows.max(axis=1)
    active = most >= 0
    if not active.all():
        rows, most = rows[active], most[active]
    return np.where(rows < 0, most[:, None], rows)


def _ascending(rows: np.ndarray) -> np.ndarray:
    return rows if np.all(rows[:, 1:] >= rows[:, :-1]) else np.sort(rows, axis=1)
