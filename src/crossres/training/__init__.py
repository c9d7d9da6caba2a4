"""From a spec, its data and its teacher to weights and a record.

The only room that needs torch. Whatever changes trained bits is here or in `suites.methods`, so that the digest of the
two folders identifies the code that computed a record. May import: `records`, `suites`, `base`, `files`.
"""
