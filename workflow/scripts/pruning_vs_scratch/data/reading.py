"""Which window of a text each sequence of a study is, if text is read more than once.

A study numbers the sequences that its runs read. The parent reads the first ones, all other runs those after them, and
the baselines with the whole pipeline's tokens read both. The text is divided in the same way: the parent's part and the
rest share no window. Each part is read in passes, and each pass reads its whole part in a different order (Muennighoff
et al., "Scaling Data-Constrained Language Models", 2305.16264: up to about four passes are nearly as good as new text).

Positions number the windows of the text in the seeded order of data.windows, which the first pass follows.
"""

import numpy as np
from numpy.typing import NDArray

from pruning_vs_scratch.config.base import Section
from pruning_vs_scratch.data.permutation import permuted

Indices = NDArray[np.int64]


class Reading(Section):
    """How a study divides its text, and from which side a run reads it."""

    passes: int = 1
    """How often the parent reads its part; the rest is read at most as often."""
    parent_sequences: int = 0
    """Sequences that the parent reads; all others are numbered after them."""
    backwards: bool = False
    """Whether sequences are numbered from the end of the rest on. Masks are learned there, so that their text stays the
    same if a longer retraining is added to the study."""

    @property
    def parent_windows(self) -> int:
        """Windows of the parent's part of the text."""
        return -(-self.parent_sequences // self.passes)

    def windows_needed(self, sequences: int) -> int:
        """Windows that a text must have so that sequences [0, ``sequences``) can be read, none too often."""
        parent = min(sequences, self.parent_sequences)
        return -(-parent // self.passes) + -(-(sequences - parent) // self.passes)

    def passes_that_suffice(self, sequences: int, windows: int) -> int | None:
        """The smallest number of passes for which a text with this many windows suffices; None if there is none."""
        if windows < 2:
            return None
        passes = max(self.passes, sequences // windows)
        while self.model_copy(update={"passes": passes}).windows_needed(sequences) > windows:
            passes += 1
        return passes

    def positions(self, sequences: Indices, windows: int, seed: int) -> Indices:
        """Positions of some sequences in a text with this many windows.

        Raises:
            ValueError: a sequence is beyond the text's passes.
        """
        if self.backwards:
            return windows - 1 - self._in_passes(sequences, windows - self.parent_windows, f"{seed}:end")
        behind = sequences >= self.parent_sequences
        positions = np.empty_like(sequences)
        positions[~behind] = self._in_passes(sequences[~behind], self.parent_windows, f"{seed}:parent")
        rest = sequences[behind] - self.parent_sequences
        positions[behind] = self.parent_windows + self._in_passes(rest, windows - self.parent_windows, f"{seed}:rest")
        return positions

    def distinct(self, start: int, stop: int, windows: int, seed: int) -> int:
        """How many different windows sequences [start, stop) are in a text with this many."""
        if self.backwards:
            return self._distinct_in_part(start, stop, windows - self.parent_windows, f"{seed}:end")
        border = self.parent_sequences
        parent = self._distinct_in_part(start, min(stop, border), self.parent_windows, f"{seed}:parent")
        rest = max(start - border, 0), stop - border
        return parent + self._distinct_in_part(*rest, windows - self.parent_windows, f"{seed}:rest")

    def _distinct_in_part(self, start: int, stop: int, size: int, label: str) -> int:
        if stop <= start:
            return 0
        if start // size == (stop - 1) // size:
            return stop - start
        if -(-start // size) < stop // size:
            return size  # a whole pass, or more
        # The end of a pass and the beginning of the next one, in a different order.
        return len(np.unique(self._in_passes(np.arange(start, stop, dtype=np.int64), size, label)))

    def _in_passes(self, sequences: Indices, size: int, label: str) -> Indices:
        """Places in a part of ``size`` windows: the first pass in order, each further one permuted."""
        if not sequences.size:
            return sequences
        if size < 1:
            raise ValueError(f"no text is left for the sequences {sequences.min()} to {sequences.max()}")
        passes, places = sequences // size, sequences % size
        if passes.max() >= self.passes or sequences.min() < 0:
            raise ValueError(f"sequences {sequences.min()} to {sequences.max()} are not in {self.passes} x {size}")
        for number in np.unique(passes[passes > 0]).tolist():
            chosen = passes == number
            places[chosen] = permuted(places[chosen], size, f"{label}:{number}")
        return places


READ_ONCE = Reading()
"""All of a text as one part, in one pass."""
