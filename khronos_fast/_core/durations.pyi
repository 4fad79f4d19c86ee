# For compiled callers only.
