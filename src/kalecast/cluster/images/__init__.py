"""Container images: built, looked into, and their bills of materials."""
