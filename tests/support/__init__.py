"""Helpers, fakes and small models that tests share."""
