"""Reports: one HTML file that shows what results in folders and files say, side by side. Reads JSON; measures and runs nothing."""
