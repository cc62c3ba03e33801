"""One composition root per process: each opens what its role needs and wires it, nothing else."""
