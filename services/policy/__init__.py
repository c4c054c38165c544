"""The decisions: holds the grant table in memory and answers `policy.decide`."""
