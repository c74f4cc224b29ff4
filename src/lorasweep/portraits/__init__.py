"""The drawn world as far as the product needs it: people, renderer, networks, weights."""
