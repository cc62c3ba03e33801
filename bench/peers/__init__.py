"""Other gateways, installed apart and measured beside this one: `corvus bench --peers`."""
