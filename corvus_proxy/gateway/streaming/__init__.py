"""A streamed answer on its way: the relay, the tokens its hold allows, and the clock of all."""
