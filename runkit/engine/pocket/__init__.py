"""The embedded pair of tiny frozen language models, and the seeded script that built them."""
