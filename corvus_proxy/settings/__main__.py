"""`python -m corvus_proxy.settings [example]` prints the reference, or the example file."""

import sys

from corvus_proxy.settings.reference import example, reference

sys.stdout.write(example() if sys.argv[1:] == ["example"] else reference())
