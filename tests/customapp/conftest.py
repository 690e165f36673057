"""Nothing of the other tests, which know the default models."""
