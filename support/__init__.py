"""What everything stands on: errors, progress, files, and how text from outside is shown."""
