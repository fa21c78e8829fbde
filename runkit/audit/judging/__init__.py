"""One claim about one run -> supported, contradicted or unverifiable."""
