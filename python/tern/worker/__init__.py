"""What runs a handler script for the server. Started by it; nothing here is meant to be imported by scripts."""
