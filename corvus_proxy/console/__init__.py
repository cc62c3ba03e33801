"""The operator's port: metrics of every role on this machine. Never public."""
