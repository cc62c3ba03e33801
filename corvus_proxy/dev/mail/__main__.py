"""`python -m corvus_proxy.dev.mail`."""

from corvus_proxy.dev.mail.server import main

main()
