"""Does the pick find the right checkpoint?"""
