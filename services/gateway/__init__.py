"""The traffic: reads the model out of a request, asks policy, relays what was allowed."""
