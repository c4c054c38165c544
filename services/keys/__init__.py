"""The control plane: owns the records, the change log in MongoDB and its publication."""
