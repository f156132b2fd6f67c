"""How the report is made: chapters are run, set as one page, and printed."""
