"""How good syntheses are: scores, and the published networks that they need."""
