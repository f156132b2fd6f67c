"""The report: chapters, and the pictures and tables that their cells show."""
