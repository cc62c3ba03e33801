"""What a key changes by itself: keys of its wallet, and alarms."""
