"""How a rollout's end is told to a shell."""

from rollout.events import EndState

EXIT_CODES = {EndState.PROMOTED: 0, EndState.ROLLED_BACK: 3, EndState.HELD: 4, EndState.FAILED: 1}
