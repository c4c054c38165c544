"""What attackers may send, made up in quantity, and what reads it."""
