"""Pages for customers: server-rendered, useful without JavaScript, no third-party file."""
