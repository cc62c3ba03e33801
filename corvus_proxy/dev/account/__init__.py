"""What a provider tells of an account: its models, its usage, its cost."""
