"""What the operator's desk keeps and reads: what is switched off, log-ins, deeds, figures."""
