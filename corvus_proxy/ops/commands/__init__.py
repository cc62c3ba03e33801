"""The commands, a module a noun; `ops.cli` gathers them."""
