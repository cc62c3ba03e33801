"""What happens when Redis has lost something: who says what is missing, and how it comes back.

Every gateway process reports what it was told and what it holds (`report`); the speaker of a node
settles what its dead processes left (`replay`). Where the quick path is not open, the coordinator
closes a partition and begins it anew under a higher epoch: wallets from the books, then what every
journal proves and every living process still holds (`claims`), through calls that no other state
of a partition admits (`door`).
"""
