"""What is wrong with a folder of photos: facts, findings, text, sheet, mending."""
