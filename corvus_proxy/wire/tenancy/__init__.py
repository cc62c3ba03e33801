"""Many customers behind one upstream account: what of a request could reach another's."""
