"""The gateway: nginx and ModSecurity in front of the page."""
