"""The pages that are made from the code, so that no key, endpoint, rule or reason goes without a word for people."""
