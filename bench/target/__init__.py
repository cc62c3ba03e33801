"""An operator's own running gateway, asked as a customer: `corvus bench --target URL`."""
