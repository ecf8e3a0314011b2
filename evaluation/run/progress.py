"""The bar that shows how far an evaluation is."""

import sys

from spikepropamine.progress import progress_bar


class ProgressBar:
    """A bar that counts environment steps, up to `horizon` an episode, and the time left."""

    def __init__(self, horizon: int) -> None:
        self.horizon = horizon
        self.said: set[str] = set()
        self.bar = progress_bar(0, "steps", unit_scale=True)

    def more(self, episodes: int) -> None:
        """So many more episodes will be run."""
        self.bar.total += episodes * self.horizon
        self.bar.refresh()

    def say(self, text: str) -> None:
        """A line above the bar."""
        self.bar.write(text, file=sys.stderr)

    def say_once(self, text: str) -> None:
        """A line above the bar, unless it was said before."""
        if text not in self.said:
            self.said.add(text)
            self.say(text)

    def stepped(self, running: int) -> None:
        """So many episodes have gone on by one step."""
        self.bar.update(running)

    def ended(self, length: int) -> None:
        """An episode has ended; what it did not use of its horizon will not be run."""
        self.bar.total -= self.horizon - length

    def close(self) -> None:
        """The bar stays as it is."""
        self.bar.close()
