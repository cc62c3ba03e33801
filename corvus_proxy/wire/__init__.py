"""What the bytes of each dialect mean. Pure: no I/O, no clock.

A body is never re-serialised: `request` reads the few members that decide price and routing,
`edits` changes single bytes ranges at offsets that the scanner found.
"""
