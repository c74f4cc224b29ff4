"""Would an expert believe the scores?"""
