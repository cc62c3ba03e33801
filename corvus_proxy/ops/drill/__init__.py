"""`corvus drill`: breaks a stack of its own in forty named ways and checks that no money is wrong.

`stack` starts it, `links` stand between its parts, `workload` uses it, `faults` break it, `logs`
gathers what each side knows, `checkers` compares, `runner` does one fault after the other.
docs/drill.md tells the whole.
"""
