# Everything in this module is for compiled callers.
