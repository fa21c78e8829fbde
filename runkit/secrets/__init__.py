"""The one deny list: names, forms and paths that say that something may be a secret; opens no file."""
