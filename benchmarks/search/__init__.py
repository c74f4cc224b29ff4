"""How good is what a search finds, and what does it cost?"""
