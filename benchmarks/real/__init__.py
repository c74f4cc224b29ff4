"""What the drawn world cannot stand for: a real photograph, and what other trainers' own programs do."""
