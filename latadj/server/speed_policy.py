"""Where the dial stands: up at once, down a step at a time, so that it does not flutter."""

# Batches that needed a smaller speedup, one after the other, before the dial goes down.
CALM = 3


class SpeedPolicy:
    """The dial of one server.

    Attributes
    ----------
    place : of the speedup that the last batch was given
    """

    def __init__(self) -> None:
        self.place = 0
        self._calm = 0

    def turn(self, needed: int, idle: bool) -> int:
        """Turn the dial for the next batch.

        Parameters
        ----------
        needed : place of the smallest speedup that is enough
        idle : nothing ran or waited for a while, so that there is nothing to be careful of

        Returns
        -------
        the place
        """
        if needed >= self.place or idle:
            self.place, self._calm = needed, 0
            return self.place
        self._calm += 1
        if self._calm >= CALM:
            self.place = max(needed, self.place - 1)
        return self.place
