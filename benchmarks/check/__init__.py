"""Does ``lorasweep check`` find what is wrong?"""
