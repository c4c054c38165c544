"""The real delivery code in a simulated world: one seed, one history, replayed at will."""
