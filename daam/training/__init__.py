"""When things happen in a run: the loop, the step, the state."""
